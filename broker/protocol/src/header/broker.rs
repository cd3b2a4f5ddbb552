//! A broker and its group: requests 906 and 908, and 1900, which Java does not have.

use super::header;

header! {
    /// 906, request and response.
    ExchangeHaInfo<S> {
        master_ha_address: Option<S> = "masterHaAddress",
        master_flush_offset: Option<i64> = "masterFlushOffset",
        master_address: Option<S> = "masterAddress",
    }

    /// 908: the offset to which its master is said to have flushed.
    ResetMasterFlushOffset {
        master_flush_offset: Option<i64> = "masterFlushOffset",
    }

    /// 1900: what a master that accepts no writes must do.
    RecoverMaster<S> {
        /// `copy` or `accept-loss`, see [`RecoverMaster::COPY`].
        action: S = "action",
        /// For `copy`: the address at which the member serves requests whose log is copied.
        from: Option<S> = "from",
    }
}

impl RecoverMaster<'_> {
    /// Copy the log and the tables of another member, then accept writes.
    pub const COPY: &'static str = "copy";
    /// Accept writes with the log as it is.
    pub const ACCEPT_LOSS: &'static str = "accept-loss";
}
