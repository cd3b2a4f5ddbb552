//! Retention: which files are deleted. The decision is made from numbers; the upkeep thread carries
//! it out.
//!
//! | disk used | deleted files |
//! |---|---|
//! | up to `max_used` | expired ones, at the hours of `delete_when` |
//! | above `max_used` | expired ones, at any hour |
//! | above `clean_forcibly` | the oldest, whatever their age, if `forcibly_enabled` |
//! | above `refuse_writes` | the same, and messages are refused |
//!
//! A file expires `reserved` after its last write. The last file is never deleted, nor one that
//! dispatch still needs. Up to `clean_forcibly` expired files are also kept while a reader outside
//! of the store has yet to copy them ([`Needed`]); above it they are deleted all the same, as a
//! full disk stops every producer.

use std::time::SystemTime;

use crate::config::Retention;
use crate::position::LogOffset;

/// A commit log file that may be deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// Offset behind its last byte.
    pub(crate) end: LogOffset,
    /// The time of its last write.
    pub(crate) modified: SystemTime,
}

/// The bytes that a reader outside of the store, such as a slave that copies the log, has yet to
/// read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// Offset of the first byte that it needs.
    pub from: LogOffset,
    /// Its name, for the log.
    pub by: String,
}

/// Called in each round of deletion. `None`: no reader needs more than the store keeps by itself.
pub type Needs = Box<dyn Fn() -> Option<Needed> + Send + Sync>;

/// The outcome of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Doomed {
    /// How many of the oldest files are deleted.
    pub(crate) files: usize,
    /// How many of these a reader has yet to copy.
    pub(crate) needed: usize,
    /// How many expired files are kept because a reader has yet to copy them.
    pub(crate) held: usize,
}

/// The input of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) now: SystemTime,
    /// Hour of the day, local time.
    pub(crate) hour: u8,
    /// Used part of the fuller of two volumes, in percent: that of the queues, and that of the log
    /// with the most room.
    pub(crate) used_percent: f64,
    /// An administrator requested it.
    pub(crate) asked: bool,
    /// Records before this are dispatched.
    pub(crate) dispatched: LogOffset,
    /// A reader needs the bytes from here on; [`LogOffset::MAX`] if there is none.
    pub(crate) needed: LogOffset,
}

impl Round {
    /// Whether the disk is so full that files are deleted even if they are needed.
    pub(crate) fn is_short_of_space(&self, config: &Retention) -> bool {
        self.used_percent > f64::from(config.clean_forcibly)
    }

    /// Whether the disk is too full to accept messages.
    pub(crate) fn refuses_writes(&self, config: &Retention) -> bool {
        self.used_percent > f64::from(config.refuse_writes)
    }

    /// Which files are deleted. `files` are all files, oldest first.
    pub(crate) fn doomed(&self, config: &Retention, files: &[Candidate]) -> Doomed {
        let short = self.is_short_of_space(config);
        let forced = config.forcibly_enabled && short;
        let due =
            self.asked || config.delete_when.contains(&self.hour) || self.used_percent > f64::from(config.max_used);
        let expired = |file: &Candidate| self.now.duration_since(file.modified).is_ok_and(|age| age >= config.reserved);
        let needed = |file: &Candidate| file.end > self.needed;
        let all_but_last = &files[..files.len().saturating_sub(1)];
        let free = || all_but_last.iter().take_while(|file| file.end <= self.dispatched && (forced || expired(file)));
        if short {
            let files = if forced || due { free().take(config.batch_max).count() } else { 0 };
            let needed = all_but_last[..files].iter().filter(|file| needed(file)).count();
            return Doomed { files, needed, held: 0 };
        }
        let held = free().filter(|file| needed(file)).count();
        let files = if due { free().take(config.batch_max).take_while(|file| !needed(file)).count() } else { 0 };
        Doomed { files, needed: 0, held }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;

    const HOUR: Duration = Duration::from_secs(3600);

    fn files(ages: &[u32]) -> Vec<Candidate> {
        let at = |(n, age): (usize, &u32)| Candidate {
            end: LogOffset::new(100 * (n as u64 + 1)),
            modified: SystemTime::UNIX_EPOCH + 1000 * HOUR - HOUR * *age,
        };
        ages.iter().enumerate().map(at).collect()
    }

    fn round(hour: u8, used_percent: f64) -> Round {
        let now = SystemTime::UNIX_EPOCH + 1000 * HOUR;
        Round { now, hour, used_percent, asked: false, dispatched: LogOffset::MAX, needed: LogOffset::MAX }
    }

    #[test]
    fn expired_files_go_at_their_hour_or_when_the_disk_fills_up() {
        let config = Config::new("/s").retention;
        let files = files(&[100, 73, 71, 80, 90]);
        for (hour, used, doomed) in [(4, 10.0, 2), (5, 10.0, 0), (5, 75.0, 0), (5, 76.0, 2), (5, 86.0, 4), (4, 95.0, 4)]
        {
            assert_eq!(round(hour, used).doomed(&config, &files).files, doomed, "hour {hour}, {used} %");
        }
        assert_eq!(Round { asked: true, ..round(5, 10.0) }.doomed(&config, &files).files, 2);
        assert!(!round(0, 90.0).refuses_writes(&config) && round(0, 90.1).refuses_writes(&config));
    }

    #[test]
    fn the_last_file_and_what_dispatch_needs_stay() {
        let config = Config::new("/s").retention;
        assert_eq!(round(4, 99.0).doomed(&config, &files(&[100])).files, 0);
        assert_eq!(round(4, 99.0).doomed(&config, &[]).files, 0);
        let behind = Round { dispatched: LogOffset::new(250), ..round(4, 10.0) };
        assert_eq!(behind.doomed(&config, &files(&[100, 100, 100, 100])).files, 2);
    }

    #[test]
    fn a_round_is_bounded_and_force_can_be_forbidden() {
        let mut config = Config::new("/s").retention;
        assert_eq!(round(4, 10.0).doomed(&config, &files(&[100; 30])).files, 10);
        config.forcibly_enabled = false;
        assert_eq!(round(5, 99.0).doomed(&config, &files(&[1, 1, 1])).files, 0);
    }

    #[test]
    fn a_clock_that_went_back_expires_nothing() {
        let config = Config::new("/s").retention;
        let future = Candidate { end: LogOffset::new(1), modified: SystemTime::UNIX_EPOCH + 5000 * HOUR };
        assert_eq!(round(4, 10.0).doomed(&config, &[future, future]).files, 0);
    }

    /// Files expired while a new slave copied them, and the slave had to start again or got a hole.
    #[test]
    fn expired_files_that_a_reader_needs_stay_until_the_disk_is_short_of_space() {
        let mut config = Config::new("/s").retention;
        let files = files(&[100, 90, 80, 80, 1]);
        // It has yet to copy a part of the second file, whose bytes are 100 to 199.
        let needed = |hour, used| Round { needed: LogOffset::new(150), ..round(hour, used) }.doomed(&config, &files);
        assert_eq!(needed(4, 10.0), Doomed { files: 1, needed: 0, held: 3 });
        assert_eq!(needed(5, 10.0), Doomed { files: 0, needed: 0, held: 3 }, "at no hour of deletion");
        assert_eq!(needed(5, 80.0), Doomed { files: 1, needed: 0, held: 3 });
        assert_eq!(needed(5, 86.0), Doomed { files: 4, needed: 3, held: 0 });
        config.forcibly_enabled = false;
        let needed = |used| Round { needed: LogOffset::new(150), ..round(5, used) }.doomed(&config, &files);
        assert_eq!(needed(86.0), Doomed { files: 4, needed: 3, held: 0 }, "expired, and the disk is short of space");
        let copied = Round { needed: LogOffset::new(200), ..round(4, 10.0) };
        assert_eq!(copied.doomed(&config, &files), Doomed { files: 2, needed: 0, held: 2 });
    }
}
