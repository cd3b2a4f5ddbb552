//! Messages that are delivered later, in the form that Java's delay levels give them.
//!
//! A message of level n lies in queue n-1 of [`SCHEDULE_TOPIC`] and carries its level as the
//! property [`DELAY`]. The tags code of its consume queue entry is the delivery time instead of the
//! hash of its tags.

use std::time::Duration;

use super::properties::{self, DELAY};
use super::stored::Record;
use crate::names::SCHEDULE_TOPIC;

/// The tags code of the queue entry of a delayed message: the delivery time in ms. `pauses` are
/// those of the levels from 1 on; a level above the highest counts as the highest. If the record
/// has no level it is the hash of its tags, as in Java. `None` for a message that is not delayed.
pub fn entry_code(record: &Record<'_>, pauses: &[Duration]) -> Option<i64> {
    if record.topic() != SCHEDULE_TOPIC {
        return None;
    }
    let Some(level @ 1..) = properties::find_number::<i64>(record.properties(), DELAY) else {
        return Some(record.tags_code());
    };
    let level = usize::try_from(level).unwrap_or(usize::MAX).min(pauses.len());
    let pause = level.checked_sub(1).and_then(|at| pauses.get(at)).map_or(0, |pause| pause.as_millis() as i64);
    Some(record.store_timestamp().saturating_add(pause))
}
