//! The time of day in the protocol's unit: milliseconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

/// The current time.
pub(crate) fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
