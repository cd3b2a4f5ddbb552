//! The outcome of a transaction: request 37. And 323, which opens a given up one again.
//!
//! A commit stores the message in its own topic, a roll back an op message. Either waits for the
//! disk and slaves like a send, so what was acknowledged survives a crash. The op messages of
//! commits are written later, several together: the message itself says which half message it
//! finishes. The transaction is claimed before and finished right after the append, so a second
//! outcome stores nothing.

use super::{
    Acknowledged, MessageWriter, Outcome, Prepared as AnyPrepared, Reached, Stored, Waits, durability::Wanted,
    prepare::OwnedDraft, properties,
};
use crate::{
    clock::now_millis,
    error::{Reason, Rejection},
    topic,
    transaction::{Claim, Contents, Half, op_message, op_properties, with_checks},
};
use bytes::Bytes;
use rmq_protocol::{
    header::owned::{EndTransaction, ResumeCheckHalfMessage},
    message::{
        OffsetId, properties as names_of,
        stored::{Draft, Record},
        sys_flag::{self, Transaction},
    },
    names,
};
use rmq_store::{Deadline, LogOffset, QueueOffset};
use std::time::{Duration, Instant};

/// How long a request waits for its half message to be taken from the log, and for another outcome
/// of the same transaction.
const TIMEOUT: Duration = Duration::from_secs(2);

const UNKNOWN: i32 = 0;
const COMMIT: i32 = 8;
const ROLL_BACK: i32 = 12;

/// An outcome that is checked. Only the append remains.
pub(crate) struct Prepared {
    /// The message, or the op message of a roll back.
    draft: OwnedDraft,
    commits: bool,
    topic: String,
    claim: Claim,
    wanted: Wanted,
}

impl Prepared {
    pub(super) fn bytes(&self) -> usize {
        self.draft.bytes()
    }
}

fn refuse(words: impl Into<String>) -> Rejection {
    Rejection::new(Reason::Failed, words)
}

impl MessageWriter {
    /// Commits or rolls back. Reads the half message, which may block on the disk. Does not wait
    /// for disk blocks.
    pub(crate) fn end_transaction(&self, header: &EndTransaction) -> Result<Outcome<'static>, Rejection> {
        self.role.require_master(Reason::Unavailable, "end transactions at its master")?;
        let commit = match header.commit_or_rollback {
            // The producer does not know. It will be asked again.
            UNKNOWN => return Ok(done()),
            COMMIT => true,
            ROLL_BACK => false,
            other => {
                let wanted = "8 (commit), 12 (roll back) or 0 (unknown) is wanted";
                return Err(Rejection::number("commitOrRollback", other.into(), wanted));
            }
        };
        let deadline = Instant::now() + TIMEOUT;
        let bytes = self.half_message(header, deadline)?;
        let record = Record::parse(&bytes).map_err(|error| refuse(format!("the half message is damaged: {error}")))?;
        let half = self.check_outcome(header, &record)?;
        let known = Half { offset: record.queue_offset().into(), position: LogOffset::of(&record) };
        let Some(claim) = self.claim(known, &record, &half, deadline)? else {
            return Err(refuse(format!("the transaction {} has ended already; nothing is stored", half.key)));
        };
        let draft = if commit { self.message(&bytes, &record, &half, &claim) } else { self.op_message(&claim) };
        let wanted = self.durability.wanted(properties::see(record.properties()).wait)?;
        let prepared = Prepared { draft, commits: commit, topic: half.topic.into_owned(), claim, wanted };
        Ok(match self.append_end(prepared, Deadline::Now)? {
            Ok(stored) => Outcome::stored(stored),
            Err(prepared) => {
                Outcome::Waits(Waits::Blocks { prepared: AnyPrepared::End(Box::new(prepared)), new_topic: false })
            }
        })
    }

    /// The record that the request points at. A producer may be faster than the dispatch of its own
    /// half message.
    fn half_message(&self, header: &EndTransaction, deadline: Instant) -> Result<Bytes, Rejection> {
        let missing = || refuse(format!("there is no half message at offset {}", header.commit_log_offset));
        let position = LogOffset::from_wire(header.commit_log_offset).ok_or_else(missing)?;
        if position >= self.store.max_physical_offset() {
            return Err(missing());
        }
        if self.store.dispatched().wait_until(position + 1, deadline) != Ok(true) {
            return Err(rmq_store::Error::Stalled.into());
        }
        self.store.record(position).ok_or_else(missing)
    }

    /// Compares the request with the half message that it points at.
    fn check_outcome<'a>(&self, header: &EndTransaction, record: &Record<'a>) -> Result<Contents<'a>, Rejection> {
        let offset = header.commit_log_offset;
        let half =
            Contents::read(record).map_err(|why| refuse(format!("no half message lies at offset {offset}: {why}")))?;
        if half.group != header.producer_group {
            return Err(refuse(format!(
                "the transaction at offset {offset} belongs to another producer group than {}",
                header.producer_group
            )));
        }
        if QueueOffset::from_wire(header.transaction_offset) != Some(record.queue_offset().into()) {
            return Err(refuse(format!(
                "the half message at offset {offset} has the queue offset {}, not {}",
                record.queue_offset(),
                header.transaction_offset
            )));
        }
        let timeout = self.settings.load().transactions.timeout.0.as_millis() as i64;
        let late = now_millis().saturating_sub(record.born_timestamp()) > half.immunity(timeout);
        if late && half.immunity.is_some() && header.from_check != Some(true) {
            return Err(Rejection::new(
                Reason::OutcomeTooLate,
                format!(
                    "the transaction {} is older than its {}: its outcome is the answer to a check",
                    half.key,
                    names_of::CHECK_IMMUNITY_TIME_IN_SECONDS
                ),
            ));
        }
        Ok(half)
    }

    /// Claims the transaction, by this half message or by the newest copy of it.
    fn claim(
        &self,
        known: Half,
        record: &Record<'_>,
        half: &Contents<'_>,
        deadline: Instant,
    ) -> Result<Option<Claim>, Rejection> {
        let mut known = known;
        loop {
            if let Some(claim) = self.transactions.claim(known, deadline)? {
                return Ok(Some(claim));
            }
            // A copy may have been stored that was not taken from the log yet.
            let _ = self.store.dispatched().wait_until(self.store.max_physical_offset(), deadline);
            match self.newest_copy(record, half).filter(|newest| newest.offset > known.offset) {
                Some(newest) => known = newest,
                None => return Ok(None),
            }
        }
    }

    /// The newest copy of a half message, if it is open. A producer may give several transactions
    /// one id, so the message has to be the same too.
    fn newest_copy(&self, record: &Record<'_>, half: &Contents<'_>) -> Option<Half> {
        let newest = self.transactions.newest(&half.key)?;
        let bytes = self.store.record(newest.position)?;
        let copy = Record::parse(&bytes).ok()?;
        let contents = Contents::read(&copy).ok()?;
        let same = (&contents.key, &contents.group, &contents.topic) == (&half.key, &half.group, &half.topic)
            && (copy.born_timestamp(), copy.body()) == (record.born_timestamp(), record.body());
        same.then_some(newest)
    }

    /// The message of the transaction. As in Java, its properties still contain those of the half
    /// message.
    fn message(&self, bytes: &Bytes, record: &Record<'_>, half: &Contents<'_>, claim: &Claim) -> OwnedDraft {
        let known = self.topics.find(&half.topic);
        // The queue may have been removed meanwhile, and then no consumer would read it.
        let queue_id = known.map_or(half.queue_id, |known| topic::readable_queue(&known, half.queue_id));
        // A half message of a Java broker may have a delay, which begins with the commit.
        let level = properties::see(record.properties()).delay_level.min(self.delay.levels().count());
        let (topic, queue_id) = match level {
            1.. => (names::SCHEDULE_TOPIC, level - 1),
            _ => (&*half.topic, queue_id),
        };
        let draft = Draft {
            topic,
            queue_id,
            sys_flag: sys_flag::with_transaction(record.sys_flag(), Transaction::Commit),
            store_host: self.store_host,
            prepared_transaction_offset: claim.half().position.to_wire(),
            ..Draft::of(record)
        };
        OwnedDraft::new(&draft, bytes.slice_ref(record.body()))
    }

    /// The op message of a roll back, by itself: nothing else in the log would say after a crash
    /// that the transaction is finished.
    fn op_message(&self, claim: &Claim) -> OwnedDraft {
        let (body, properties) = (Bytes::from(claim.half().offset.to_string()), op_properties());
        OwnedDraft::new(&op_message(&body, &properties, self.store_host), body.clone())
    }

    /// Appends the message. Returns `prepared` if no disk blocks are available within `deadline`.
    pub(super) fn append_end(
        &self,
        prepared: Prepared,
        deadline: Deadline,
    ) -> Result<Result<Stored<'static>, Prepared>, Rejection> {
        let draft = prepared.draft.draft();
        let Some(appended) = self.store.put_again_within(&draft, deadline)? else { return Ok(Err(prepared)) };
        let (bytes, born) = (draft.body.len(), draft.born_timestamp);
        let Prepared { commits, claim, topic, wanted, .. } = prepared;
        if commits {
            self.count(&topic, 1, bytes, &self.settings.load());
            claim.commit(&topic, born);
        } else {
            claim.roll_back(&topic);
        }
        Ok(Ok(Stored { sent: None, end: appended.end, wanted, new_topic: false }))
    }

    /// Opens a given up transaction again: its half message, with no checks counted, goes back to
    /// the half topic. Blocks.
    pub(crate) fn resume_check(&self, header: &ResumeCheckHalfMessage) -> Result<(), Rejection> {
        self.role.require_master(Reason::Unavailable, "resume checks at its master")?;
        let id = header.message_id.as_deref().unwrap_or_default();
        let missing = || refuse(format!("there is no message {id} in {}", names::CHECK_MAX_TIME_TOPIC));
        let position = id.parse::<OffsetId>().map_err(|_| missing())?.physical_offset;
        let bytes = self.store.record(LogOffset::new(position)).ok_or_else(missing)?;
        let record = Record::parse(&bytes).map_err(|_| missing())?;
        // The body of a message may look like a record. One that is in the queue is one.
        let place =
            self.store.physical_offset(names::CHECK_MAX_TIME_TOPIC, record.queue_id(), record.queue_offset().into())?;
        if record.topic() != names::CHECK_MAX_TIME_TOPIC || place != Some(LogOffset::new(position)) {
            return Err(missing());
        }
        let half = Contents::read_any(&record).map_err(|why| refuse(format!("{id} is no half message: {why}")))?;
        if self.newest_copy(&record, &half).is_some() {
            return Err(refuse(format!("the transaction {} is open again already; nothing is stored", half.key)));
        }
        self.transactions.admit(&half.group, &self.settings.load())?;
        let written = with_checks(record.properties(), 0);
        let draft = Draft {
            topic: names::HALF_TOPIC,
            queue_id: 0,
            store_host: self.store_host,
            prepared_transaction_offset: 0,
            properties: &written,
            ..Draft::of(&record)
        };
        let stored = self.store.put_again_within(&draft, Deadline::client())?.ok_or(rmq_store::Error::Stalled)?;
        // Until then a second request would open it twice.
        let _ = self.store.dispatched().wait_until(stored.end, Instant::now() + TIMEOUT);
        Ok(())
    }
}

fn done() -> Outcome<'static> {
    Outcome::Acknowledged(Acknowledged { sent: None, reached: Reached::All })
}
