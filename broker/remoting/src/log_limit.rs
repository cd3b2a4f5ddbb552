//! A rate limit for log lines that peers cause. Without it a peer that opens connections could fill
//! the log: thousands of lines a second, and the disk of the log with them.

use parking_lot::Mutex;
use std::time::Duration;

/// How long the lines of a kind are counted before a summary line reports their number.
const PERIOD: Duration = Duration::from_secs(10);

/// Connections that were closed because of their input. The first few lines name the peer and its
/// fault.
pub(crate) static MALFORMED: LogLimit = LogLimit::new(8, "more connections were closed that do not speak our protocol");
/// Connections that were not accepted.
pub(crate) static TOO_MANY: LogLimit = LogLimit::new(1, "connections were closed, as there were too many");

/// The lines of one kind. The first ones are written at once; those that follow are counted, and a
/// summary line every 10 s reports their number. Each kind is a static.
pub struct LogLimit {
    lines: u64,
    what: &'static str,
    period: Duration,
    /// Lines of the current period; `None` while there is none.
    seen: Mutex<Option<u64>>,
}

impl LogLimit {
    /// Writes `lines` of them before it counts the rest; the summary calls them `what`.
    pub const fn new(lines: u64, what: &'static str) -> Self {
        Self { lines, what, period: PERIOD, seen: Mutex::new(None) }
    }

    /// True if a line is to be written now; other lines are counted. It must be called in a tokio
    /// task: another task writes the summary.
    pub fn admits(&'static self) -> bool {
        let number = {
            let mut seen = self.seen.lock();
            let number = seen.map_or(1, |lines| lines + 1);
            *seen = Some(number);
            number
        };
        if number > 1 {
            return number <= self.lines;
        }
        tokio::spawn(Period(self).pass());
        true
    }

    /// Writes the summary of the suppressed lines; false if there were none.
    fn summarize(&self) -> bool {
        // In the next period all lines are suppressed.
        let seen = self.seen.lock().replace(self.lines).unwrap_or(0);
        let more = seen.saturating_sub(self.lines);
        if more > 0 {
            tracing::warn!(more, seconds = self.period.as_secs(), "{}", self.what);
        }
        more > 0
    }
}

/// Ends with its task, also when the runtime is dropped; the next line is then a first one again.
struct Period(&'static LogLimit);

impl Period {
    /// Ends with the first period in which no line was suppressed.
    async fn pass(self) {
        loop {
            tokio::time::sleep(self.0.period).await;
            if !self.0.summarize() {
                return;
            }
        }
    }
}

impl Drop for Period {
    fn drop(&mut self) {
        *self.0.seen.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fuzzer wrote 149,895 lines in 25 s.
    #[tokio::test]
    async fn the_first_lines_are_written_and_the_others_are_counted() {
        static LIMIT: LogLimit = LogLimit::new(2, "lines of a test");
        assert_eq!((0..1000).filter(|_| LIMIT.admits()).count(), 2);
        assert_eq!(*LIMIT.seen.lock(), Some(1000));
        assert!(LIMIT.summarize(), "998 were left out");
        assert!(!LIMIT.admits(), "the flood goes on");
        assert!(LIMIT.summarize(), "one was left out");
        assert!(!LIMIT.summarize(), "nothing was left out");
    }

    #[tokio::test]
    async fn after_a_quiet_period_a_line_is_a_first_one_again() {
        static LIMIT: LogLimit =
            LogLimit { lines: 1, what: "lines of a test", period: Duration::from_millis(1), seen: Mutex::new(None) };
        assert!(LIMIT.admits() && !LIMIT.admits());
        let quiet = async {
            while LIMIT.seen.lock().is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), quiet).await.expect("the period ends");
        assert!(LIMIT.admits());
    }

    #[test]
    fn a_runtime_that_ends_leaves_no_period_open() {
        static LIMIT: LogLimit = LogLimit::new(1, "lines of a test");
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            assert!(runtime.block_on(async { LIMIT.admits() }));
        }
    }
}
