//! Numbers that are easily confused, each with a type of its own.
//!
//! On the wire all of them are Java's longs. [`QueueOffset::from_wire`] and its like refuse invalid
//! numbers, so a number from outside is checked once, where it enters.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::{SystemTime, UNIX_EPOCH};

use rmq_protocol::message::stored::Record;

/// The number of a message in its queue; the first is 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QueueOffset(u64);

impl QueueOffset {
    /// The start of a queue.
    pub const ZERO: QueueOffset = QueueOffset(0);
    /// An offset that no message has.
    pub const MAX: QueueOffset = QueueOffset(u64::MAX);

    /// The offset with this number.
    pub const fn new(offset: u64) -> Self {
        QueueOffset(offset)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset that a number on the wire stands for; `None` for a negative one.
    pub fn from_wire(offset: i64) -> Option<Self> {
        u64::try_from(offset).ok().map(QueueOffset)
    }

    /// The number for the wire. No queue gets so long that it would be inexact.
    pub fn to_wire(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// The offset this many messages later, at most the largest possible.
    #[must_use]
    pub fn saturating_add(self, messages: u64) -> Self {
        QueueOffset(self.0.saturating_add(messages))
    }

    /// The offset before this one; `None` at the start of the queue.
    pub fn before(self) -> Option<Self> {
        self.0.checked_sub(1).map(QueueOffset)
    }

    /// How many messages this is after an earlier offset; 0 if that is not earlier.
    pub fn saturating_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for QueueOffset {
    type Output = QueueOffset;

    fn add(self, messages: u64) -> QueueOffset {
        QueueOffset(self.0 + messages)
    }
}

impl AddAssign<u64> for QueueOffset {
    fn add_assign(&mut self, messages: u64) {
        self.0 += messages;
    }
}

/// How many messages lie between two offsets.
impl Sub for QueueOffset {
    type Output = u64;

    fn sub(self, earlier: Self) -> u64 {
        self.0 - earlier.0
    }
}

impl From<u64> for QueueOffset {
    fn from(offset: u64) -> Self {
        QueueOffset(offset)
    }
}

impl fmt::Display for QueueOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for QueueOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A byte position in the commit log; the first is 0. The position inside one of its files is a
/// plain number, as is the length between two offsets.
///
/// Made from a number by [`LogOffset::new`] only, without `From`: a number that becomes an offset
/// is to be seen where it does. Sums panic where they overflow, so an offset that comes from a disk
/// or a network, and can be any number, is added to with the checked or saturating functions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogOffset(u64);

impl LogOffset {
    /// The start of a log that has lost nothing.
    pub const ZERO: LogOffset = LogOffset(0);
    /// Behind every byte of a log.
    pub const MAX: LogOffset = LogOffset(u64::MAX);

    /// The offset with this number.
    pub const fn new(offset: u64) -> Self {
        LogOffset(offset)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset that a record says it begins at.
    pub fn of(record: &Record<'_>) -> Self {
        LogOffset(record.physical_offset())
    }

    /// The offset that a number on the wire or in a file stands for; `None` for a negative one.
    pub fn from_wire(offset: i64) -> Option<Self> {
        u64::try_from(offset).ok().map(LogOffset)
    }

    /// The number for the wire and for files. No log gets so long that it would be inexact.
    pub fn to_wire(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// The offset this many bytes later; `None` if there is none.
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(LogOffset)
    }

    /// The offset this many bytes before; `None` if that lies before the start of a log.
    pub fn checked_sub(self, bytes: u64) -> Option<Self> {
        self.0.checked_sub(bytes).map(LogOffset)
    }

    /// The offset this many bytes later, at most the largest possible.
    #[must_use]
    pub fn saturating_add(self, bytes: u64) -> Self {
        LogOffset(self.0.saturating_add(bytes))
    }

    /// The offset this many bytes before, at least the start of a log.
    #[must_use]
    pub fn saturating_sub(self, bytes: u64) -> Self {
        LogOffset(self.0.saturating_sub(bytes))
    }

    /// How many bytes this is behind an earlier offset; `None` if that is not earlier.
    pub fn checked_since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    /// How many bytes this is behind an earlier offset; 0 if that is not earlier.
    pub fn saturating_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for LogOffset {
    type Output = LogOffset;

    fn add(self, bytes: u64) -> LogOffset {
        LogOffset(self.0 + bytes)
    }
}

impl AddAssign<u64> for LogOffset {
    fn add_assign(&mut self, bytes: u64) {
        self.0 += bytes;
    }
}

/// How many bytes lie between two offsets.
impl Sub for LogOffset {
    type Output = u64;

    fn sub(self, earlier: Self) -> u64 {
        self.0 - earlier.0
    }
}

impl fmt::Display for LogOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for LogOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A time in milliseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(i64);

impl Millis {
    /// Before every time.
    pub const MIN: Millis = Millis(i64::MIN);
    /// After every time.
    pub const MAX: Millis = Millis(i64::MAX);

    /// The time with this number, which is also the number on the wire.
    pub const fn new(millis: i64) -> Self {
        Millis(millis)
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The time by the system's clock; 1970 if the clock is before that.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Millis(since.map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The time this many milliseconds later, [`Millis::MAX`] at most.
    #[must_use]
    pub fn saturating_add(self, millis: i64) -> Self {
        Millis(self.0.saturating_add(millis))
    }

    /// The time this many milliseconds before, [`Millis::MIN`] at least.
    #[must_use]
    pub fn saturating_sub(self, millis: i64) -> Self {
        Millis(self.0.saturating_sub(millis))
    }
}

impl From<i64> for Millis {
    fn from(millis: i64) -> Self {
        Millis(millis)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
