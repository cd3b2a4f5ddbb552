//! A broker and its group: requests 906 and 908, and 1900, which Java does not have.

use super::header;

header! {
    /// 906, request and answer.
    ExchangeHaInfo<'a> {
        master_ha_address: Option<&'a str> = "masterHaAddress",
        master_flush_offset: Option<i64> = "masterFlushOffset",
        master_address: Option<&'a str> = "masterAddress",
    }
}

header! {
    /// 1900: what a master that takes no writes is to do.
    RecoverMaster<'a> {
        /// `copy` or `accept-loss`, see [`RecoverMaster::COPY`].
        action: &'a str = "action",
        /// For `copy`: the address at which the member answers requests whose log is copied.
        from: Option<&'a str> = "from",
    }
}

impl RecoverMaster<'_> {
    /// Copy the log and the tables of another member, then take writes.
    pub const COPY: &'static str = "copy";
    /// Take writes with the log as it is.
    pub const ACCEPT_LOSS: &'static str = "accept-loss";
}
