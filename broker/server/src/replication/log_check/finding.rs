//! What a master knows about its log after a start, the verdict, and its description. The module
//! does not wait and does no I/O.

use rmq_store::LogOffset;
use std::fmt;

/// The doubt about the log of a master that starts, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// The broker was stopped or killed. The log has every byte that it wrote.
    None,
    /// The end of the log may be lost.
    Lost,
    /// The whole log may be lost.
    New,
}

/// The state of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// The master waits for the slaves.
    Asking(Finding),
    Closed(Finding),
    Copying {
        from: String,
    },
}

/// What is known while a master takes no writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) doubt: Doubt,
    /// End of the master's own log.
    pub(super) end: LogOffset,
    /// The slaves that answered, and the number of slaves that are expected.
    pub(super) slaves: Vec<Slave>,
    pub(super) expected: usize,
    /// Why the last attempt to copy a log failed.
    pub(super) failed: Option<String>,
}

/// A slave and the end of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slave {
    pub(super) address: String,
    pub(super) end: LogOffset,
}

impl fmt::Display for Stage {
    /// The first word is for programs, the rest is for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Asking(finding) => write!(
                f,
                "asking: {} of {} slaves have said where their log ends",
                finding.slaves.len(),
                finding.expected
            ),
            Self::Closed(finding) => write!(f, "closed: {finding}"),
            Self::Copying { from } => write!(f, "copying: the log of {from}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.doubt, self.end) {
            (Doubt::New, LogOffset::ZERO) => f.write_str("the store of this master is new and empty")?,
            (Doubt::New, end) => {
                write!(f, "the store of this master is new and was not copied whole, its log ends at {end}")?
            }
            (Doubt::Lost, end) => write!(f, "the log of this master ends at {end} and may have lost its end")?,
            (Doubt::None, end) => write!(f, "the log of this master ends at {end}")?,
        }
        for slave in &self.slaves {
            write!(f, ", that of {} at {}", slave.address, slave.end)?;
        }
        if self.slaves.len() < self.expected {
            write!(f, ", and {} of {} slaves answer", self.slaves.len(), self.expected)?;
        }
        if let Some(failed) = &self.failed {
            write!(f, "; copying failed: {failed}")?;
        }
        Ok(())
    }
}

impl Finding {
    /// The verdict. `waited` is true when the timeout for slaves that have not answered has passed.
    pub(super) fn judge(&self, longest: LogOffset, waited: bool) -> Verdict {
        if longest > self.end {
            return Verdict::Closed;
        }
        let all = self.slaves.len() >= self.expected;
        match self.doubt {
            // A group without a message on any member has lost none.
            Doubt::New if all && self.expected > 0 && self.end == LogOffset::ZERO => Verdict::Open,
            Doubt::New => Verdict::Closed,
            Doubt::None | Doubt::Lost if all => Verdict::Open,
            Doubt::None if waited => Verdict::Open,
            Doubt::Lost if waited => Verdict::Closed,
            Doubt::None | Doubt::Lost => Verdict::Asking,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Open,
    Asking,
    Closed,
}
