//! Transaction messages.
//!
//! A producer sends a half message, does its own transaction, and commits or rolls back. If the
//! broker hears neither, it asks a producer of the same group. The records are those of a Java
//! broker, so either broker continues in the other's directory.
//!
//! | file | what |
//! |---|---|
//! | this | the limits; who may finish a transaction |
//! | [`state`], [`claim`] | what is known of all; the right to finish one |
//! | [`open`] | the open ones |
//! | [`groups`], [`topics`] | when each producer group has its turn; open ones by topic |
//! | [`follow`] | what the log says; where a start continues |
//! | [`proof`] | finished ones whose op message is not safe yet |
//! | [`seed`] | reading back what was open before the start |
//! | [`half`], [`op`] | the contents of half messages and of op messages |
//! | [`check`] | the thread: checks, given up transactions, op messages |
//!
//! ```text
//! prepare     send/one.rs               half message; `open` when it is taken from the log
//! commit      send/end_transaction.rs   claim, message, finished; op message later
//! roll back   send/end_transaction.rs   claim, op message, finished
//! check       check.rs                  claim, copy of the half message, finished, question
//! ```
//!
//! Every change of the open transactions comes from the log, in its order. Requests and checks only
//! claim a transaction, which excludes the others, and mark it finished.
//!
//! A start reads the half queue and the op queue up to a place in the log, and takes the log from
//! there on. The place is never behind a finishing record without a safe op message.

mod check;
mod claim;
mod follow;
mod groups;
mod half;
mod metrics;
mod op;
mod open;
mod proof;
mod seed;
mod state;
mod topics;

pub(crate) use check::Checks;
pub(crate) use claim::Claim;
pub(crate) use half::{Half as Contents, with_checks};
pub(crate) use op::{message as op_message, properties as op_properties};
pub(crate) use open::Half;

use crate::{
    clock::now_millis,
    config::{Config, Live},
    error::{Reason, Rejection},
    group::offsets::ConsumerOffsets,
    role::CurrentRole,
};
use follow::PlaceFile;
use metrics::Counters;
use open::{Claimed, Refused};
use parking_lot::{Condvar, Mutex};
use rmq_protocol::{message::stored::Record, names};
use rmq_store::{LogOffset, QueueOffset};
use state::{Offsets, State};
use std::{
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};
use topics::CountsFile;

/// The limit of producer groups with open transactions. A group takes some 300 bytes.
pub(crate) const MAX_GROUPS: usize = 10_000;
/// The consumer group whose offsets in the half queue and the op queue are those at which a start,
/// or a Java broker, continues.
const GROUP: &str = "CID_RMQ_SYS_TRANS";
/// A half message that waits longer than this is stored again, in milliseconds. The half queue has
/// to be read from its oldest open message after a start.
const RENEW: i64 = 3_600_000;

/// The state of all transactions, and the follower of the log that keeps it.
pub(crate) struct Transactions {
    settings: Arc<Live>,
    offsets: Arc<ConsumerOffsets>,
    /// Only a master commits offsets.
    role: Arc<CurrentRole>,
    file: PlaceFile,
    state: Mutex<State>,
    /// Locked without the state.
    counts: Mutex<CountsFile>,
    /// Wakes the thread of the checks.
    alarm: Condvar,
    /// Tells requests that a claim has ended.
    settled: Condvar,
    /// The times of the state are milliseconds since this one. A clock that is set does not change
    /// them.
    epoch: Instant,
    counters: Counters,
}

impl Transactions {
    /// Reads the place below the store's root.
    pub(crate) fn open(
        root: &Path,
        settings: Arc<Live>,
        role: Arc<CurrentRole>,
        offsets: Arc<ConsumerOffsets>,
    ) -> Result<Self, crate::Error> {
        let file = PlaceFile::new(root);
        let written = file.read()?;
        Ok(Self {
            settings,
            offsets,
            role,
            file,
            state: Mutex::new(State::new(written)),
            counts: Mutex::new(CountsFile::open(root)?),
            alarm: Condvar::new(),
            settled: Condvar::new(),
            epoch: Instant::now(),
            counters: Counters::new()?,
        })
    }

    /// The store is open, and its log ends at `end`. Without a place of its own the log is taken
    /// from here on.
    pub(crate) fn opened(&self, end: LogOffset) {
        let mut state = self.state.lock();
        state.boundary = state.boundary.min(end);
    }

    /// Whether a producer of the group may begin one more transaction.
    ///
    /// # Errors
    /// The broker refuses transactions, or as many are open as may be.
    pub(crate) fn admit(&self, group: &str, settings: &Config) -> Result<(), Rejection> {
        if settings.transactions.reject {
            let words = "this broker takes no transaction messages (rejectTransactionMessage)";
            return Err(Rejection::new(Reason::NotPermitted, words));
        }
        let max = settings.transactions.max_open;
        let refused = match self.state.lock().open.admit(group, max, MAX_GROUPS) {
            Ok(()) => return Ok(()),
            Err(Refused::Open { all, of_group }) => format!(
                "{all} transactions are open, {of_group} of them of the group {group}; {max} may be \
                (maxOpenTransactions), and of one group half of what the others leave: finish some"
            ),
            Err(Refused::Groups(groups)) => {
                format!("{groups} producer groups have open transactions, as many as may; use fewer groups")
            }
        };
        Err(Rejection::new(Reason::Busy, format!("[OVERLOAD]system busy, {refused}")))
    }

    /// Claims an open transaction to finish it. Waits until `deadline` for one who has claimed it
    /// before. Blocks.
    ///
    /// # Errors
    /// It is not open, or is not known to be yet.
    pub(crate) fn claim(self: &Arc<Self>, half: Half, deadline: Instant) -> Result<Option<Claim>, Rejection> {
        let mut state = self.state.lock();
        loop {
            if !state.ready {
                return Err(busy("the transactions from before the start are still being read"));
            }
            match state.open.claim(half) {
                Claimed::Yes => return Ok(Some(Claim::new(Arc::clone(self), half))),
                Claimed::NotOpen => return Ok(None),
                Claimed::Busy => {}
            }
            if self.settled.wait_until(&mut state, deadline).timed_out() {
                return Err(busy("another outcome of this transaction is being stored"));
            }
        }
    }

    /// The newest copy of a half message that was checked, if that is open.
    pub(crate) fn newest(&self, key: &str) -> Option<Half> {
        self.state.lock().newest_copy(key)
    }

    /// Gives back the claim of a transaction that was read for the first time since the start.
    fn adopt(&self, claim: Claim, contents: &Contents<'_>, left: u64) {
        if contents.is_copy {
            self.state.lock().note_copy(&contents.key, claim.half().offset);
        }
        claim.adopt(contents.owner(), self.now().saturating_add(left));
    }

    /// A master writes the op messages that a kill has lost.
    fn add_missing_ops(&self) {
        self.state.lock().add_missing_ops(self.now());
    }

    /// Milliseconds since the epoch of the state.
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long a half message waits for its check, at the time `time`: a clock that was set back
    /// cannot make that longer than the pause itself.
    fn wait(&self, record: &Record<'_>, half: Option<&Contents<'_>>, time: i64) -> u64 {
        let settings = self.settings.load();
        let pauses = &settings.transactions;
        let millis = |pause: crate::config::Millis| i64::try_from(pause.0.as_millis()).unwrap_or(i64::MAX);
        let left = |since: i64, pause: i64| since.saturating_add(pause).saturating_sub(time).clamp(0, pause) as u64;
        let stored = record.store_timestamp();
        match half {
            Some(half) if half.checks > 0 => left(stored, millis(pauses.check_interval)),
            // It takes the place of `transactionTimeOut`, as in Java.
            Some(Contents { immunity: Some(immunity), .. }) => {
                left(record.born_timestamp(), *immunity).min(RENEW as u64)
            }
            _ => left(stored, millis(pauses.timeout)),
        }
    }

    /// Wakes the thread if something is due before it wakes by itself.
    fn wake(&self, state: &mut State) {
        let op = state.op_due(&self.settings.load());
        let next = state.open.next_turn().into_iter().chain(op).min();
        if next.is_some_and(|next| next < state.sleeps_until) {
            state.sleeps_until = 0;
            self.alarm.notify_one();
        }
    }

    fn commit_offsets(&self, offsets: &Offsets) {
        if self.role.is_slave() {
            return;
        }
        let committed = [(names::HALF_TOPIC, Some(offsets.half)), (names::OP_HALF_TOPIC, offsets.op)];
        for (topic, offset) in committed {
            let Some(offset) = offset.map(QueueOffset::to_wire) else { continue };
            let before = self.offsets.committed(topic, GROUP, 0);
            if before.map_or(offset > 0, |before| before < offset) {
                self.offsets.commit(topic, GROUP, 0, offset);
            }
        }
    }

    fn lost(&self, count: usize) {
        self.counters.lost.fetch_add(count as u64, Relaxed);
        tracing::error!(count, "half messages of open transactions were deleted with the old files of the log");
    }
}

fn busy(why: &str) -> Rejection {
    Rejection::new(Reason::Busy, format!("[OVERLOAD]system busy, {why}; try again later"))
}

/// The age of a message, in milliseconds.
fn age(born: i64) -> i64 {
    now_millis().saturating_sub(born)
}

#[cfg(test)]
mod tests;
