//! The version of a table, by which other processes detect changes.

use serde::{Deserialize, Serialize};

/// Two tables are equal if all three numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataVersion {
    /// One more for each change.
    pub counter: i64,
    /// The epoch of the master that made the change; 0 without elections.
    pub state_version: i64,
    /// When it changed last, in milliseconds since 1970.
    pub timestamp: i64,
}

impl DataVersion {
    /// Counts a change made at `now` (milliseconds since 1970).
    pub fn next(&mut self, now: i64) {
        // It came from a file or another broker, and only has to differ.
        self.counter = self.counter.wrapping_add(1);
        self.timestamp = now;
    }
}
