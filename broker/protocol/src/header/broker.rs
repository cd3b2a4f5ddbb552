//! Broker to broker: requests 906 and 908.

use super::header;

header! {
    /// 906, request and answer.
    ExchangeHaInfo<'a> {
        master_ha_address: Option<&'a str> = "masterHaAddress",
        master_flush_offset: Option<i64> = "masterFlushOffset",
        master_address: Option<&'a str> = "masterAddress",
    }
}
