//! What only tools ask: requests 26, 315, 317 and their answers.

use super::header;

header! {
    /// The answer to 26.
    BrokerConfigResponse<'a> {
        /// A data version, as JSON.
        version: &'a str = "version",
    }

    /// 315.
    ViewBrokerStats<'a> {
        name: &'a str = "statsName",
        key: &'a str = "statsKey",
    }

    /// 317.
    BrokerConsumeStats {
        order: Option<bool> = "isOrder",
    }
}
