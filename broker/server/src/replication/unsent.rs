//! Tracks which part of the log slaves have yet to copy, so that its files do not expire meanwhile.
//!
//! A slave needs everything from [`compare::WINDOW`] before the end of its log: from there on it
//! compares the logs when it connects again. The files are kept after a lost connection too.
//! Otherwise one network failure would end a copy that takes hours.
//!
//! Files do not wait for a slave that has made no progress for [`WAIT`], connected or not, nor when
//! the disk is short of space (`rmq_store::Needs`). This bounds the effect of what a slave reports:
//! it cannot fill the disk.

use super::compare;
use parking_lot::Mutex;
use rmq_store::{LogOffset, Needed};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long files wait for a slave that makes no progress.
const WAIT: Duration = Duration::from_secs(600);
/// The limit of disconnected slaves that are remembered.
const MOST_AWAY: usize = 32;

/// The position of each slave.
#[derive(Default)]
pub(super) struct Unsent {
    slaves: Mutex<BTreeMap<SocketAddr, Position>>,
}

#[derive(Debug)]
struct Position {
    /// Where it began, or the end of its log.
    reached: LogOffset,
    /// The first byte that it needs.
    from: LogOffset,
    progressed: Instant,
    connected: bool,
    /// A log line said that files do not wait for it any more.
    told: bool,
}

impl Unsent {
    /// A slave has connected and begins at `from`.
    pub(super) fn begin(&self, slave: SocketAddr, from: LogOffset, now: Instant) {
        let mut slaves = self.slaves.lock();
        // The same slave has reconnected without progress.
        let before = slaves
            .extract_if(.., |known, position| known.ip() == slave.ip() && !position.connected && from <= position.from);
        let progressed = before.map(|(_, position)| position.progressed).max().unwrap_or(now);
        slaves.insert(slave, Position { reached: from, from, progressed, connected: true, told: false });
    }

    /// The slave reports that its log ends at `end`.
    pub(super) fn reported(&self, slave: SocketAddr, end: LogOffset, now: Instant) {
        if let Some(position) = self.slaves.lock().get_mut(&slave)
            && end > position.reached
        {
            position.reached = end;
            position.from = position.from.max(end.saturating_sub(compare::WINDOW));
            (position.progressed, position.told) = (now, false);
        }
    }

    /// The slave's connection has ended.
    pub(super) fn end(&self, slave: SocketAddr) {
        let mut slaves = self.slaves.lock();
        if let Some(position) = slaves.get_mut(&slave) {
            position.connected = false;
        }
        let away = || slaves.iter().filter(|(_, position)| !position.connected);
        if away().count() > MOST_AWAY
            && let Some(oldest) = away().min_by_key(|(_, position)| position.progressed).map(|(slave, _)| *slave)
        {
            slaves.remove(&oldest);
        }
    }

    /// What files wait for.
    pub(super) fn needed(&self, now: Instant) -> Option<Needed> {
        let mut slaves = self.slaves.lock();
        for (slave, position) in slaves.iter_mut() {
            if !position.waits(now) && position.connected && !std::mem::replace(&mut position.told, true) {
                tracing::info!(
                    %slave,
                    offset = position.reached.get(),
                    "a slave has not come further for {} s: files of the log do not wait for it",
                    WAIT.as_secs()
                );
            }
        }
        let waiting = slaves.iter().filter(|(_, position)| position.waits(now));
        let (slave, position) = waiting.min_by_key(|(_, position)| position.from)?;
        Some(Needed { from: position.from, by: format!("slave {slave}") })
    }
}

impl Position {
    fn waits(&self, now: Instant) -> bool {
        now.duration_since(self.progressed) < WAIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slave(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, host], port))
    }

    fn at(offset: u64) -> LogOffset {
        LogOffset::new(offset)
    }

    fn from(unsent: &Unsent, now: Instant) -> Option<u64> {
        unsent.needed(now).map(|needed| needed.from.get())
    }

    #[test]
    fn files_wait_for_the_slave_that_is_furthest_behind() {
        let (unsent, now) = (Unsent::default(), Instant::now());
        assert_eq!(from(&unsent, now), None);
        unsent.begin(slave(1, 1), at(5_000_000), now);
        unsent.begin(slave(2, 1), at(100), now);
        let needed = Needed { from: at(100), by: "slave 127.0.0.2:1".to_owned() };
        assert_eq!(unsent.needed(now), Some(needed));
        unsent.reported(slave(2, 1), at(1_000_000), now);
        assert_eq!(from(&unsent, now), Some(1_000_000 - compare::WINDOW));
        unsent.reported(slave(2, 1), at(500), now);
        assert_eq!(from(&unsent, now), Some(1_000_000 - compare::WINDOW), "a log does not shrink");
    }

    #[test]
    fn a_slave_that_does_not_come_further_holds_no_files() {
        let (unsent, begun) = (Unsent::default(), Instant::now());
        unsent.begin(slave(1, 1), at(0), begun);
        let late = begun + WAIT - Duration::from_secs(1);
        assert_eq!(from(&unsent, late), Some(0));
        unsent.reported(slave(1, 1), at(0), late);
        assert_eq!(from(&unsent, begun + WAIT), None, "a report of the same is no progress");
        unsent.reported(slave(1, 1), at(1), begun + WAIT);
        assert_eq!(from(&unsent, begun + WAIT), Some(0));
    }

    /// A copy of hours ended for good after one network failure.
    #[test]
    fn files_wait_for_a_slave_whose_connection_was_lost() {
        let (unsent, begun) = (Unsent::default(), Instant::now());
        unsent.begin(slave(1, 1), at(0), begun);
        unsent.end(slave(1, 1));
        let later = begun + WAIT / 2;
        assert_eq!(from(&unsent, later), Some(0));
        unsent.begin(slave(1, 2), at(0), later);
        assert_eq!(unsent.slaves.lock().len(), 1);
        assert_eq!(from(&unsent, begun + WAIT), None, "to connect again is no progress");
        unsent.reported(slave(1, 2), at(10), begun + WAIT);
        assert_eq!(from(&unsent, begun + WAIT), Some(0));
    }

    #[test]
    fn slaves_that_are_away_are_few() {
        let (unsent, begun) = (Unsent::default(), Instant::now());
        for port in 0..1000 {
            let now = begun + Duration::from_millis(u64::from(port));
            unsent.begin(slave(1, port), at(u64::from(port)), now);
            unsent.end(slave(1, port));
        }
        assert_eq!(unsent.slaves.lock().len(), MOST_AWAY);
        assert_eq!(from(&unsent, begun), Some(1000 - MOST_AWAY as u64));
    }
}
