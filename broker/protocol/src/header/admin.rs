//! Requests of tools only: 26, 315, 317 and their responses.

use super::header;

header! {
    /// No fields.
    Empty {}

    /// The response to 26.
    BrokerConfigResponse<S> {
        /// A data version, as JSON.
        version: S = "version",
    }

    /// 315.
    ViewBrokerStats<S> {
        name: S = "statsName",
        key: S = "statsKey",
    }

    /// 317.
    BrokerConsumeStats {
        order: Option<bool> = "isOrder",
    }
}
