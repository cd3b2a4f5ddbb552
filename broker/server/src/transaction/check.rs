//! The thread that asks producers for the outcome of open transactions.
//!
//! Before each question the half message is stored again with the number of its checks, so the
//! number survives a restart, and the half queue is read from an offset that moves on. A group
//! without a producer is not asked and nothing is counted: its transactions wait, until they are as
//! old as the files of the log may be.
//!
//! The thread sleeps until the next transaction is due.

use super::{Claim, Contents, RENEW, Transactions, age, groups, half, op};
use crate::{
    clock::now_millis,
    config::{Config, Live},
    feature::{Feature, Tasks},
    group::members::{Client, Producers},
    metrics_page::{MetricsPage, Written},
    registration::Registration,
    role::CurrentRole,
};
use rmq_protocol::{
    Command, RequestCode,
    header::CheckTransactionState,
    message::{
        properties::MAX_LEN,
        stored::{Draft, Record},
    },
    names,
};
use rmq_store::{Appended, Deadline, Error, MessageStore};
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// Transactions of one group in one turn.
const TURN: usize = 64;
/// Bytes of half messages that are stored again for a group in one turn: the rest waits.
const TURN_BYTES: usize = 1 << 20;
/// The pause of a group after a full turn, in milliseconds: others have theirs meanwhile, and its
/// producers time to answer.
const GROUP_PAUSE: u64 = 25;
/// The pause after a failed append, in milliseconds.
const RETRY: u64 = 1000;
/// The time between two warnings about the same, in milliseconds.
const WARN_EVERY: u64 = 60_000;

/// Asks producers, gives up transactions, and writes op messages.
pub(crate) struct Checks {
    pub(crate) transactions: Arc<Transactions>,
    pub(crate) store: Arc<MessageStore>,
    pub(crate) producers: Arc<Producers>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) settings: Arc<Live>,
    pub(crate) role: Arc<CurrentRole>,
    pub(crate) store_host: SocketAddr,
}

/// What the thread remembers.
#[derive(Default)]
struct Progress {
    /// Whose turn it is among the producers of a group.
    round: usize,
    /// No op message is written before.
    ops_not_before: u64,
    /// The last warnings about appends, and about groups without producers.
    warned_append: Option<u64>,
    warned_alone: Option<u64>,
    warned_given_up: Option<u64>,
}

/// Whether a warning is due, and that it is given now.
fn may_warn(last: &mut Option<u64>, now: u64) -> bool {
    let due = last.is_none_or(|last| now.saturating_sub(last) >= WARN_EVERY);
    if due {
        *last = Some(now);
    }
    due
}

impl Feature for Checks {
    /// A slave keeps the state too: it may be the next master.
    fn start(self: Arc<Self>, tasks: &Tasks) {
        if !self.role.is_slave() {
            return;
        }
        let stop = tasks.stop.clone();
        tasks.run("read open transactions", async move {
            let read = tokio::task::spawn_blocking(move || self.transactions.read_back(&self.store));
            if let Err(error) = read.await {
                tracing::error!(%error, "the open transactions are not read");
                return;
            }
            stop.cancelled().await;
        });
    }

    /// The checks have a thread of their own, because they read from the disk and wait for disk
    /// blocks.
    fn lead(self: Arc<Self>, tasks: &Tasks) -> Result<(), crate::Error> {
        tasks.thread("transactions", move || {
            if self.transactions.read_back(&self.store) {
                self.transactions.add_missing_ops();
                self.run();
            }
        })
    }

    fn stop(&self) {
        self.transactions.state.lock().stopping = true;
        self.transactions.alarm.notify_all();
    }

    /// Writes the last op messages, so that nothing is checked twice through a clean restart.
    fn save(&self) -> Result<(), Error> {
        let config = self.settings.load();
        while self.write_op(&config, u64::MAX)? {}
        Ok(())
    }

    fn metrics(&self, to: &MetricsPage) -> Written {
        self.transactions.metrics(to)
    }
}

impl Checks {
    pub(super) fn run(&self) {
        let mut progress = Progress::default();
        loop {
            let config = self.settings.load_full();
            self.write_ops(&config, &mut progress);
            let busy = self.turn(&config, &mut progress);
            let of = &*self.transactions;
            let mut state = of.state.lock();
            let state = &mut state;
            if state.stopping {
                return;
            }
            if busy {
                continue;
            }
            let op = state.op_due(&config).map(|due| due.max(progress.ops_not_before));
            let next = state.open.next_turn().into_iter().chain(op).min();
            state.sleeps_until = next.unwrap_or(u64::MAX);
            match next.and_then(|next| of.epoch.checked_add(Duration::from_millis(next))) {
                Some(until) => {
                    of.alarm.wait_until(state, until);
                }
                None => of.alarm.wait(state),
            }
            state.sleeps_until = 0;
        }
    }

    /// Writes the op messages that are due.
    fn write_ops(&self, config: &Config, progress: &mut Progress) {
        let now = self.transactions.now();
        if now < progress.ops_not_before {
            return;
        }
        loop {
            match self.write_op(config, now) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    progress.ops_not_before = now + RETRY;
                    if may_warn(&mut progress.warned_append, now) {
                        tracing::warn!(%error, "op messages of transactions cannot be stored yet; trying again");
                    }
                    return;
                }
            }
        }
    }

    /// Writes one op message, if one is due at `until`. Returns whether it did.
    fn write_op(&self, config: &Config, until: u64) -> Result<bool, Error> {
        let of = &*self.transactions;
        let (body, count) = {
            let state = of.state.lock();
            if state.op_due(config).is_none_or(|due| due > until) {
                return Ok(false);
            }
            state.pending.next(config.transactions.op_bytes as usize)
        };
        self.put(&op::message(&body, &op::properties(), self.store_host))?;
        of.state.lock().pending.written(count, of.now());
        Ok(true)
    }

    /// The turn of one group. Returns false if it is no group's turn.
    fn turn(&self, config: &Config, progress: &mut Progress) -> bool {
        let of = &self.transactions;
        let now = of.now();
        let Some((group, name)) = of.state.lock().open.turn(now) else { return false };
        let clients = name.as_deref().map(|name| self.clients(name));
        let alone = clients.as_ref().is_some_and(Vec::is_empty);
        // Without a producer only those are read that have to be stored again, or given up.
        let until = if alone { now.checked_sub(RENEW as u64) } else { Some(now) };
        let claims: Vec<Claim> = {
            let mut state = of.state.lock();
            if !state.open.is(group, name.as_deref()) {
                // Its last transaction has ended since, and the number may be another group's.
                return true;
            }
            let due = until.map_or_else(Vec::new, |until| state.open.claim_due(group, until, TURN));
            if due.len() == TURN {
                // Those that a start has to read have the next turn after all others that are due.
                state.open.pause(group, if group == groups::UNREAD { now } else { now + GROUP_PAUSE });
            } else if alone {
                let interval = config.transactions.check_interval.0.as_millis() as u64;
                state.open.pause(group, now + interval.max(RETRY));
            }
            due.into_iter().map(|half| Claim::new(Arc::clone(of), half)).collect()
        };
        if alone && may_warn(&mut progress.warned_alone, now) {
            tracing::warn!(
                group = name.as_deref().unwrap_or_default(),
                "no producer of this group, and perhaps of others, is connected: their transactions wait"
            );
        }
        let mut bytes = 0;
        for claim in claims {
            if bytes >= TURN_BYTES {
                // It stays due.
                drop(claim);
                continue;
            }
            bytes += self.check_one(claim, config, clients.as_deref(), progress);
        }
        if bytes >= TURN_BYTES {
            let mut state = of.state.lock();
            if state.open.is(group, name.as_deref()) {
                state.open.pause(group, of.now() + GROUP_PAUSE);
            }
        }
        true
    }

    /// The producers of a group that take a question now.
    fn clients(&self, group: &str) -> Vec<Client> {
        let mut clients = self.producers.clients(group);
        clients.retain(|client| client.connection.takes_pushes());
        clients
    }

    /// Reads a half message that is due, and does what it needs. `clients` are the producers of its
    /// group; `None` if the group is not known yet. Returns the bytes that were stored again.
    fn check_one(&self, claim: Claim, config: &Config, clients: Option<&[Client]>, progress: &mut Progress) -> usize {
        let bytes = self.store.record(claim.half().position);
        let Some(record) = bytes.as_ref().and_then(|bytes| Record::parse(bytes).ok()) else {
            self.transactions.lost(1);
            claim.finish();
            return 0;
        };
        let size = record.size();
        let pauses = &config.transactions;
        let reserved = i64::try_from(config.store.reserved_hours).unwrap_or(i64::MAX).saturating_mul(3_600_000);
        let contents = match Contents::read(&record) {
            Ok(contents) => contents,
            Err(why) => {
                self.give_up(claim, &record, &why, progress);
                return size;
            }
        };
        let old = age(record.born_timestamp()) > reserved;
        if old || contents.checks >= pauses.check_max {
            let why =
                if old { "it is older than fileReservedTime" } else { "it was checked transactionCheckMax times" };
            self.give_up(claim, &record, why, progress);
            return size;
        }
        let of = &*self.transactions;
        let left = of.wait(&record, Some(&contents), now_millis());
        let fresh = age(record.store_timestamp()) < RENEW;
        let clients = match clients {
            None if fresh => {
                of.adopt(claim, &contents, left);
                return 0;
            }
            // The broker was down for long: it is stored again before its file is deleted.
            clients => clients.unwrap_or_default(),
        };
        let immune = contents.is_immune(age(record.born_timestamp()));
        let client = if immune { None } else { next(clients, progress) };
        if client.is_none() && fresh {
            claim.release(of.now().saturating_add(left.max(RETRY)));
            return 0;
        }
        let properties = half::with_checks(record.properties(), contents.checks + u32::from(client.is_some()));
        if properties.len() > MAX_LEN {
            self.give_up(claim, &record, "its properties leave no room for the number of its checks", progress);
            return size;
        }
        let Some(copy) = half::copy(&record, names::HALF_TOPIC, &properties, self.store_host) else { return 0 };
        let stored = self.replace(claim, &copy, progress);
        if let (Some(client), Some(stored)) = (client, stored) {
            of.counters.checks.fetch_add(1, Relaxed);
            ask(client, &copy, &contents, &stored);
        }
        size
    }

    /// Stores what takes the place of a half message, which is finished with it.
    fn replace(&self, claim: Claim, copy: &Draft<'_>, progress: &mut Progress) -> Option<Appended> {
        match self.put(copy) {
            Ok(stored) => {
                claim.finish();
                Some(stored)
            }
            Err(error) if error.is_about_message() => {
                // It stays readable in its queue for as long as the log has it.
                tracing::error!(%error, offset = %claim.half().offset, "a transaction can be neither checked nor kept");
                claim.finish();
                None
            }
            Err(error) => {
                let now = self.transactions.now();
                if may_warn(&mut progress.warned_append, now) {
                    let offset = claim.half().offset;
                    tracing::warn!(%error, %offset, "a half message cannot be stored for its check; trying again");
                }
                claim.release(now + RETRY);
                None
            }
        }
    }

    /// Moves a transaction without an outcome to the topic for those, where an administrator
    /// finds it.
    fn give_up(&self, claim: Claim, record: &Record<'_>, why: &str, progress: &mut Progress) {
        self.registration.ensure_topic(names::CHECK_MAX_TIME_TOPIC);
        let Some(kept) = half::copy(record, names::CHECK_MAX_TIME_TOPIC, record.properties(), self.store_host) else {
            return;
        };
        let (offset, now) = (claim.half().offset, self.transactions.now());
        if let Some(stored) = self.replace(claim, &kept, progress) {
            let total = self.transactions.counters.given_up.fetch_add(1, Relaxed) + 1;
            if may_warn(&mut progress.warned_given_up, now) {
                let (id, kept_in) = (stored.id().to_string(), names::CHECK_MAX_TIME_TOPIC);
                tracing::error!(%offset, id, kept_in, why, total, "the outcome of a transaction is not known: it is given up");
            }
        }
    }

    /// Ignores the current `maxMessageSize`, because the message was accepted before.
    fn put(&self, draft: &Draft<'_>) -> Result<Appended, Error> {
        self.store.put_again_within(draft, Deadline::client())?.ok_or(Error::Stalled)
    }
}

/// The producer whose turn it is to be asked. `None` if all are gone or do not read.
fn next<'a>(clients: &'a [Client], progress: &mut Progress) -> Option<&'a Client> {
    progress.round = progress.round.wrapping_add(1);
    let first = progress.round.checked_rem(clients.len())?;
    let (before, after) = clients.split_at_checked(first)?;
    after.iter().chain(before).find(|client| client.connection.takes_pushes())
}

/// Asks a producer for the outcome of the transaction whose half message was stored as `copy`.
fn ask(client: &Client, copy: &Draft<'_>, half: &Contents<'_>, stored: &Appended) {
    let message = Draft { topic: &half.topic, queue_id: half.queue_id, prepared_transaction_offset: 0, ..*copy };
    // What was stored can be encoded.
    let Ok(prepared) = message.prepare() else { return };
    let (offset, position) = (stored.queue_offset, stored.physical_offset);
    let body = prepared.to_vec(offset.get(), position.get(), stored.store_timestamp.get());
    let id = stored.id().to_string();
    let header = CheckTransactionState {
        topic: Some(names::HALF_TOPIC),
        transaction_offset: offset.to_wire(),
        commit_log_offset: position.to_wire(),
        message_id: Some(&half.key),
        transaction_id: Some(&half.key),
        offset_message_id: Some(&id),
    };
    let question = Command::request(RequestCode::CheckTransactionState, &header).with_body(body);
    if let Err(error) = client.connection.one_way(question) {
        tracing::debug!(%error, client = client.id, "a producer cannot be asked; its group is, after the interval");
    }
}
