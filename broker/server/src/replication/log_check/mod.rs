//! Decides whether a master may take writes after a start.
//!
//! A master whose volume was lost starts with a new store. A master whose system lost power starts
//! with a log that may lack its last bytes. If it took writes then, the messages that only its
//! slaves have would be out of reach for good: their logs could never be joined with the new one.
//! With `checkLogBeforeWrites` a master first asks its slaves once a second:
//!
//! | what it finds | then |
//! |---|---|
//! | a slave with a longer log | closed until an administrator decides |
//! | a new store, and not `expectedSlaves` (one or more) whose logs are empty too | closed until an administrator decides |
//! | `expectedSlaves` answer and none has more | open |
//! | the same not within `checkLogTimeout`, after a clean stop or a kill | open: this log lacks nothing |
//! | the same after a restart of the system or a failed sync | closed until they answer, or an administrator decides |
//!
//! The administrator decides either to copy the log and the tables of a slave and then open, or to
//! accept the loss.
//!
//! While the master is closed nothing is appended. Requests of clients are refused, delayed
//! messages are not delivered, and the broker is not registered, so producers use other groups and
//! consumers use the slaves. The master gives its tables to no member, because they may be empty.
//!
//! The doubt about this log is kept in the file `logCheck` until the master is open: a restart, or
//! a stop in the middle of a copy, must not count as a check. Once open, it stays open as long as
//! the process lives.

mod finding;

use self::finding::{Doubt, Finding, Slave, Stage, Verdict};
use super::{Following, tables::MetadataSync};
use crate::{
    config::{Config, Live},
    error::{Reason, Rejection},
};
use parking_lot::Mutex;
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{ClusterInfo, KvTable},
    fastjson,
    header::{self, ExchangeHaInfo, Header, RecoverMaster, owned},
};
use rmq_remoting::{Client, Limits};
use rmq_store::{LogOffset, MessageStore, durable_file};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// The time between two requests to the slaves.
const EVERY: Duration = Duration::from_secs(1);
/// The name of the file below the root of the store. The constants are its possible contents.
const FILE: &str = "logCheck";
const NEW: &str = "new";
const LOST: &str = "lost";
/// Files of which each store has at least one from its first opening on.
const STORE_FILES: [&str; 2] = ["checkpoint", "abort"];
/// The timeout of one answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The limit of slaves that are asked.
const MOST_MEMBERS: usize = 16;
/// The timeout for copied messages to reach the consume queues.
const LAST_DISPATCH: Duration = Duration::from_secs(60);

/// See the head of the file.
pub(crate) struct LogCheck {
    store: Arc<MessageStore>,
    settings: Arc<Live>,
    /// Read by each request. All other state is behind the lock.
    open: AtomicBool,
    state: Mutex<State>,
    /// For tasks that wait for the end of the check.
    opened: Notify,
    decided: Notify,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    decision: Option<Decision>,
    /// The broker stops: waits end early.
    stopping: bool,
}
/// An administrator's decision about a closed master.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decision {
    Copy { from: String },
    AcceptLoss,
}

/// Notes that the store does not exist yet, on a master whose settings require the check. Called
/// before the store is opened: the opening creates files, and a process that is killed after that
/// leaves an empty store which the next start would take for an old one.
///
/// # Errors
/// The note cannot be written.
pub(crate) fn note_new_store(config: &Config) -> Result<(), rmq_store::Error> {
    let root = Path::new(&config.store.root);
    if !is_wanted(config) || STORE_FILES.iter().any(|name| root.join(name).exists()) {
        return Ok(());
    }
    durable_file::replace(&root.join(FILE), NEW.as_bytes())
}

fn is_wanted(config: &Config) -> bool {
    config.replication.check_log && !config.is_slave()
}

impl LogCheck {
    /// Creates the check. It starts closed on a master whose settings require the check.
    pub(crate) fn new(store: Arc<MessageStore>, settings: Arc<Live>) -> Self {
        let (wanted, expected) = {
            let settings = settings.load();
            (is_wanted(&settings), settings.replication.expected_slaves as usize)
        };
        let end = store.max_physical_offset();
        let asking = Finding { doubt: Doubt::None, end, slaves: Vec::new(), expected, failed: None };
        let stage = if wanted { Stage::Asking(asking) } else { Stage::Open };
        Self {
            store,
            settings,
            open: AtomicBool::new(!wanted),
            state: Mutex::new(State { stage, decision: None, stopping: false }),
            opened: Notify::new(),
            decided: Notify::new(),
        }
    }

    /// True once writes may be taken.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// A description for people. Its first word is `open`, `asking`, `closed` or `copying`.
    pub(crate) fn describe(&self) -> String {
        self.state.lock().stage.to_string()
    }

    /// The refusal of a request that must wait for the end of the check.
    pub(crate) fn refusal(&self) -> Rejection {
        Rejection::new(
            Reason::Unavailable,
            format!("this master takes no requests of clients before its log was checked; {}", self.describe()),
        )
    }

    /// Waits until writes may be taken. Returns false if the broker stops before.
    pub(crate) async fn until_open(&self) -> bool {
        loop {
            // Enabled before the state is read, so a notification in between is not missed.
            let notified = self.opened.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            {
                let state = self.state.lock();
                if state.stage == Stage::Open || state.stopping {
                    return state.stage == Stage::Open;
                }
            }
            notified.await;
        }
    }

    /// Ends all waits.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.opened.notify_waiters();
    }

    /// Request 1900.
    pub(crate) fn decide(&self, header: &owned::RecoverMaster) -> Result<(), Rejection> {
        let mut state = self.state.lock();
        let (Stage::Closed(finding) | Stage::Asking(finding)) = &mut state.stage else {
            return Err(Rejection::new(
                Reason::Invalid,
                format!(
                    "there is nothing to decide here; the log check of this broker: {}. If this master lost its log and a \
                     slave still has it: stop the master, move its store elsewhere and keep it, start it with an empty \
                     directory and with checkLogBeforeWrites=true and expectedSlaves=1, then decide to copy",
                    state.stage
                ),
            ));
        };
        let (end, whole) = (self.store.max_physical_offset(), self.store.dispatched().value());
        if header.action == RecoverMaster::ACCEPT_LOSS && whole != end {
            return Err(Rejection::new(
                Reason::Invalid,
                format!(
                    "the log ends at {end} within a record that begins at {whole}; restart this broker, which removes it, and decide again"
                ),
            ));
        }
        let decision = match (header.action.as_str(), header.from.as_deref().filter(|from| !from.is_empty())) {
            (RecoverMaster::ACCEPT_LOSS, None) => Decision::AcceptLoss,
            (RecoverMaster::COPY, from) => Decision::Copy { from: source(from, finding)? },
            (action, from) => {
                let from = from.map_or_else(String::new, |from| format!(" from {from:?}"));
                return Err(Rejection::invalid(format!(
                    "{action:?}{from} is no action: {} with the address of a member, or {} without",
                    RecoverMaster::COPY,
                    RecoverMaster::ACCEPT_LOSS
                )));
            }
        };
        tracing::warn!(?decision, %finding, "an administrator has decided about this master's log");
        finding.failed = None;
        state.decision = Some(decision);
        self.decided.notify_one();
        Ok(())
    }

    /// Runs the check to its end, or until `stop`. `following` and `tables` copy a slave's log and
    /// tables if an administrator decides so. `before_open` is called when the log and the tables
    /// are in the state that the broker will start with.
    pub(crate) async fn run(
        &self,
        following: &Following,
        tables: &MetadataSync,
        before_open: impl FnOnce(),
        stop: CancellationToken,
    ) {
        let client = Client::with_budget(Arc::new(()), Limits::default(), Arc::clone(&tables.budget));
        let check = self.check(&client, following, tables);
        if stop.run_until_cancelled(check).await.is_some() {
            before_open();
            self.forget_doubt().await;
            self.open();
        }
        self.stop();
        client.close().await;
    }

    fn open(&self) {
        tracing::info!(end = self.store.max_physical_offset().get(), "the log was checked: this master takes writes");
        self.state.lock().stage = Stage::Open;
        self.open.store(true, Relaxed);
        self.opened.notify_waiters();
    }

    fn set(&self, stage: Stage) {
        self.state.lock().stage = stage;
    }

    /// Returns when writes may be taken.
    async fn check(&self, client: &Client, following: &Following, tables: &MetadataSync) {
        let begun = Instant::now();
        let timeout = self.settings.load().replication.check_log_timeout.0;
        let doubt = self.doubt().await;
        // The longest log seen so far. It counts even if the slave that has it is gone again.
        let (mut longest, mut failed) = (LogOffset::ZERO, None);
        loop {
            let finding = self.look(client, doubt, failed.take()).await;
            longest = finding.slaves.iter().map(|slave| slave.end).fold(longest, LogOffset::max);
            let closed = matches!(self.state.lock().stage, Stage::Closed(_));
            match finding.judge(longest, begun.elapsed() >= timeout) {
                Verdict::Open => return,
                Verdict::Asking if !closed => self.set(Stage::Asking(finding)),
                Verdict::Asking | Verdict::Closed => {
                    if !closed {
                        tracing::error!(
                            "this master takes no writes: {finding}. `rocketmq admin broker recover` copies the log of a slave, \
                             or accepts the loss"
                        );
                    }
                    self.set(Stage::Closed(finding));
                }
            }
            let _ = tokio::time::timeout(EVERY, self.decided.notified()).await;
            let decision = self.state.lock().decision.take();
            match decision {
                None => {}
                Some(Decision::AcceptLoss) => return,
                Some(Decision::Copy { from }) => {
                    self.set(Stage::Copying { from: from.clone() });
                    let Err(error) = self.copy(client, &from, following, tables).await else { return };
                    tracing::error!(%from, error, "cannot copy the log of another member");
                    failed = Some(error);
                }
            }
        }
    }

    /// The current finding. The reason of a failed copy stays until the next decision.
    async fn look(&self, client: &Client, doubt: Doubt, failed: Option<String>) -> Finding {
        let slaves = self.slaves(client).await;
        let before = match &self.state.lock().stage {
            Stage::Closed(finding) | Stage::Asking(finding) => finding.failed.clone(),
            _ => None,
        };
        let expected = self.settings.load().replication.expected_slaves as usize;
        Finding { doubt, end: self.store.max_physical_offset(), slaves, expected, failed: failed.or(before) }
    }

    /// The doubt about the log: the one that is recorded, and the one of this start, which is
    /// recorded before the first answer.
    async fn doubt(&self) -> Doubt {
        let noted = self.noted().await;
        if noted == Doubt::None && self.store.lost_page_cache() {
            self.note(LOST).await;
            return Doubt::Lost;
        }
        noted
    }

    /// The doubt that [`note_new_store`] or an earlier start has recorded. A record that cannot be
    /// read counts as the worst doubt: it would not exist without a reason.
    async fn noted(&self) -> Doubt {
        let path = self.file();
        let parse = |text: &[u8]| Ok(if text == LOST.as_bytes() { Doubt::Lost } else { Doubt::New });
        let load = move || durable_file::load::<Doubt, rmq_store::Error>(&path, parse);
        match tokio::task::spawn_blocking(load).await {
            Ok(Ok(noted)) => noted.unwrap_or(Doubt::None),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot read what an earlier start noted about this log");
                Doubt::New
            }
            Err(_) => Doubt::New,
        }
    }

    fn file(&self) -> PathBuf {
        self.store.config().root.join(FILE)
    }

    async fn note(&self, text: &'static str) {
        let path = self.file();
        let written = tokio::task::spawn_blocking(move || durable_file::replace(&path, text.as_bytes())).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "cannot note what speaks against this log; a restart would not know of it");
        }
    }

    async fn forget_doubt(&self) {
        for path in [self.file(), self.file().with_extension("bak")] {
            match tokio::fs::remove_file(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "cannot remove a note; the next start would ask for a decision");
                }
                _ => {}
            }
        }
    }

    /// Copies the log and the tables. The log comes first, because the tables refer to it. Until
    /// both are complete the store counts as new.
    async fn copy(
        &self,
        client: &Client,
        from: &str,
        following: &Following,
        tables: &MetadataSync,
    ) -> Result<(), String> {
        let request = Command::request(RequestCode::ExchangeBrokerHaInfo, &ExchangeHaInfo::default());
        let answer = ask(client, from, request).await?;
        let told = ExchangeHaInfo::decode(&answer.fields).map_err(|error| error.to_string())?;
        let replication = told.master_ha_address.filter(|address| !address.is_empty());
        let replication = replication.ok_or_else(|| format!("{from} does not say where it serves its log"))?;
        self.note(NEW).await;
        following.copy_from(replication).await?;
        let end = self.store.max_physical_offset();
        // Appends may follow whole records only.
        let dispatched = tokio::time::timeout(LAST_DISPATCH, self.store.dispatched().reached(end)).await;
        if !matches!(dispatched, Ok(Ok(_))) {
            return Err(format!(
                "the log was copied up to {end} and is readable up to {}; restart this broker, which removes what is no whole record",
                self.store.dispatched().value()
            ));
        }
        tables.copy_durably(client, from).await
    }

    /// The slaves of this group that answer. The list comes from the namesrvs that they register
    /// with.
    async fn slaves(&self, client: &Client) -> Vec<Slave> {
        let settings = self.settings.load_full();
        let mut addresses = BTreeMap::new();
        for namesrv in settings.namesrv.addresses.split(';').map(str::trim).filter(|address| !address.is_empty()) {
            let request = Command::request(RequestCode::BrokerClusterInfo, &header::Empty {});
            let Ok(answer) = ask(client, namesrv, request).await else { continue };
            let Ok(mut info) = fastjson::from_slice::<ClusterInfo>(&answer.body) else { continue };
            if let Some(group) = info.broker_addr_table.remove(&settings.identity.broker_name) {
                addresses.extend(group.broker_addrs.into_iter().filter(|(id, _)| *id != 0));
            }
        }
        let asked = addresses.into_values().take(MOST_MEMBERS).map(async |address| {
            let request = Command::request(RequestCode::BrokerRuntimeInfo, &header::Empty {});
            let answer = ask(client, &address, request).await.ok()?;
            let info: KvTable = fastjson::from_slice(&answer.body).ok()?;
            let end = info.table.get("commitLogMaxOffset")?.parse().ok()?;
            Some(Slave { address, end: LogOffset::new(end) })
        });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }
}

/// The member whose log is copied: the requested one, or the one with the longest log.
fn source(asked: Option<&str>, finding: &Finding) -> Result<String, Rejection> {
    match asked {
        Some(address) if is_address(address) => Ok(address.to_owned()),
        Some(address) => {
            Err(Rejection::invalid(format!("{address:?} is no address of a member: write it as host:port")))
        }
        None => match finding.slaves.iter().max_by_key(|slave| slave.end) {
            Some(slave) => Ok(slave.address.clone()),
            None => {
                Err(Rejection::invalid("no slave answers, so there is no log to copy; name the address of a member"))
            }
        },
    }
}

fn is_address(text: &str) -> bool {
    text.len() <= 260
        && text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
}

async fn ask(client: &Client, address: &str, request: Command) -> Result<Command, String> {
    let answer = client.request(address, request, TIMEOUT).await.map_err(|error| error.to_string())?;
    match answer.code == ResponseCode::Success.number() {
        true => Ok(answer),
        false => Err(format!("{address} answers {} {}", answer.code, answer.remark.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests;
