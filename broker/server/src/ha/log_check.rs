//! Whether a master may take writes after a start.
//!
//! A master whose volume was lost starts with a new store, one whose system lost power with a log
//! that lacks its last bytes. If it took writes then, what its slaves still have would be out of
//! reach for good: their logs could never go on together with the new one. With
//! `checkLogBeforeWrites` a master looks first, and asks its slaves once a second:
//!
//! | what it finds | then |
//! |---|---|
//! | a slave with a longer log | closed until an administrator decides |
//! | a new store, and not `expectedSlaves` (one or more) whose logs are empty too | closed until an administrator decides |
//! | `expectedSlaves` answer and none has more | open |
//! | the same not within `checkLogTimeout`, after a clean stop or a kill | open: this log lacks nothing |
//! | the same after a restart of the system or a failed sync | closed until they answer, or an administrator decides |
//!
//! The decision is to copy the log and the tables of a slave and then open, or to accept the loss.
//!
//! While it is closed nothing is appended: clients' requests are refused, delayed messages stay
//! where they are, and the broker is not registered, so that producers go to other groups and
//! consumers to the slaves. It gives its tables to nobody: they may be empty.
//!
//! What speaks against this log is kept in the file `logCheck` until it is open: a restart, or an
//! end in the middle of a copy, must not pass for a check. Once open, it stays open as long as the
//! process lives.

use super::{Following, metadata_sync::MetadataSync};
use crate::{
    config::Live,
    error::{Answer, Rejection},
};
use parking_lot::{Condvar, Mutex};
use rmq_protocol::{
    Command, Reply, RequestCode, ResponseCode,
    body::{ClusterInfo, KvTable},
    fastjson,
    header::{self, ExchangeHaInfo, Header, RecoverMaster},
};
use rmq_remoting::{Client, Limits};
use rmq_store::MessageStore;
use std::{
    collections::BTreeMap,
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// Between two looks at the slaves.
const EVERY: Duration = Duration::from_secs(1);
/// The file below the root of the store, and what it may say.
const FILE: &str = "logCheck";
const NEW: &str = "new";
const LOST: &str = "lost";
/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Slaves that are asked, at most.
const MOST_MEMBERS: usize = 16;
/// How long what was copied may take to reach the consume queues.
const LAST_DISPATCH: Duration = Duration::from_secs(60);

/// See the head of the file.
pub(crate) struct LogCheck {
    store: Arc<MessageStore>,
    settings: Arc<Live>,
    /// What each request asks; the rest is behind the lock.
    open: AtomicBool,
    state: Mutex<State>,
    /// For threads and tasks that wait for the end of the check.
    opened: Condvar,
    opened_async: Notify,
    decided: Notify,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    decision: Option<Decision>,
    /// The broker stops: those who wait need not.
    stopping: bool,
}

/// What speaks against the log of a master that starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// It was stopped or killed; what it wrote is there.
    None,
    /// Its end may be lost.
    Lost,
    /// All of it may be.
    New,
}

/// How far the check is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Open,
    /// Waits for the slaves.
    Asking(Finding),
    Closed(Finding),
    Copying {
        from: String,
    },
}

/// What is known while a master does not take writes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    doubt: Doubt,
    /// End of the own log.
    end: u64,
    /// The slaves that answered, of so many that are expected.
    slaves: Vec<Slave>,
    expected: usize,
    /// Why the last attempt to copy a log failed.
    failed: Option<String>,
}

/// A slave and the end of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slave {
    address: String,
    end: u64,
}

/// What somebody decided about a closed master.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decision {
    Copy { from: String },
    AcceptLoss,
}

impl fmt::Display for Stage {
    /// The first word is for programs, what follows for people.
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
            (Doubt::New, 0) => f.write_str("the store of this master is new and empty")?,
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
    /// What comes of it; `waited` is over when the slaves that have not answered need not be waited for.
    fn judge(&self, longest: u64, waited: bool) -> Verdict {
        if longest > self.end {
            return Verdict::Closed;
        }
        let all = self.slaves.len() >= self.expected;
        match self.doubt {
            // A group that has no message anywhere has lost none.
            Doubt::New if all && self.expected > 0 && self.end == 0 => Verdict::Open,
            Doubt::New => Verdict::Closed,
            Doubt::None | Doubt::Lost if all => Verdict::Open,
            Doubt::None if waited => Verdict::Open,
            Doubt::Lost if waited => Verdict::Closed,
            Doubt::None | Doubt::Lost => Verdict::Asking,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Open,
    Asking,
    Closed,
}

impl LogCheck {
    /// Closed where the settings want it, for a master.
    pub(crate) fn new(store: Arc<MessageStore>, settings: Arc<Live>) -> Self {
        let (wanted, expected) = {
            let settings = settings.load();
            (settings.replication.check_log && !settings.is_slave(), settings.replication.expected_slaves as usize)
        };
        let end = store.max_physical_offset();
        let asking = Finding { doubt: Doubt::None, end, slaves: Vec::new(), expected, failed: None };
        let stage = if wanted { Stage::Asking(asking) } else { Stage::Open };
        Self {
            store,
            settings,
            open: AtomicBool::new(!wanted),
            state: Mutex::new(State { stage, decision: None, stopping: false }),
            opened: Condvar::new(),
            opened_async: Notify::new(),
            decided: Notify::new(),
        }
    }

    /// True once writes may be taken.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// In words; the first one is `open`, `asking`, `closed` or `copying`.
    pub(crate) fn describe(&self) -> String {
        self.state.lock().stage.to_string()
    }

    /// What a request gets that has to wait for the end of the check.
    pub(crate) fn refusal(&self) -> Rejection {
        Rejection::new(
            ResponseCode::ServiceNotAvailable,
            format!("this master takes no requests of clients before its log was checked; {}", self.describe()),
        )
    }

    /// Blocks until writes may be taken; false if the broker stops before.
    pub(crate) fn wait_until_open(&self) -> bool {
        let mut state = self.state.lock();
        while state.stage != Stage::Open && !state.stopping {
            self.opened.wait(&mut state);
        }
        state.stage == Stage::Open
    }

    /// The same without blocking.
    pub(crate) async fn until_open(&self) -> bool {
        loop {
            // Enabled before the look: what is notified in between is not missed.
            let notified = self.opened_async.notified();
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

    /// Ends the wait of those who wait.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.opened.notify_all();
        self.opened_async.notify_waiters();
    }

    /// 1900.
    pub(crate) fn decide(&self, request: &Command) -> Answer {
        let header = RecoverMaster::decode(&request.fields)?;
        let mut state = self.state.lock();
        let (Stage::Closed(finding) | Stage::Asking(finding)) = &mut state.stage else {
            return Err(Rejection::new(
                ResponseCode::InvalidParameter,
                format!("there is nothing to decide here; the log check of this broker: {}", state.stage),
            ));
        };
        let (end, whole) = (self.store.max_physical_offset(), self.store.dispatched().value());
        if header.action == RecoverMaster::ACCEPT_LOSS && whole != end {
            return Err(Rejection::new(
                ResponseCode::InvalidParameter,
                format!(
                    "the log ends at {end} within a record that begins at {whole}; restart this broker, which removes it, and decide again"
                ),
            ));
        }
        let decision = match (header.action, header.from.filter(|from| !from.is_empty())) {
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
        Ok(Reply::ok())
    }

    /// Runs the check to its end, until `stop`. `following` and `tables` copy a slave's log and tables, if that is decided.
    /// `before_open` is called when the log and the tables are what the broker will begin with.
    pub(crate) async fn run(
        &self,
        following: &Following,
        tables: &MetadataSync,
        before_open: impl FnOnce(),
        stop: CancellationToken,
    ) {
        let client = Client::new(Arc::new(()), Limits::default());
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
        tracing::info!(end = self.store.max_physical_offset(), "the log was checked: this master takes writes");
        self.state.lock().stage = Stage::Open;
        self.open.store(true, Relaxed);
        self.opened.notify_all();
        self.opened_async.notify_waiters();
    }

    fn set(&self, stage: Stage) {
        self.state.lock().stage = stage;
    }

    /// Returns when writes may be taken.
    async fn check(&self, client: &Client, following: &Following, tables: &MetadataSync) {
        let begun = Instant::now();
        let timeout = self.settings.load().replication.check_log_timeout.0;
        let doubt = self.doubt().await;
        // The longest log that was seen: a slave that is gone again had it all the same.
        let (mut longest, mut failed) = (0, None);
        loop {
            let finding = self.look(client, doubt, failed.take()).await;
            longest = finding.slaves.iter().map(|slave| slave.end).fold(longest, u64::max);
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

    /// What is known now. The reason of a failed copy stays until the next decision.
    async fn look(&self, client: &Client, doubt: Doubt, failed: Option<String>) -> Finding {
        let slaves = self.slaves(client).await;
        let before = match &self.state.lock().stage {
            Stage::Closed(finding) | Stage::Asking(finding) => finding.failed.clone(),
            _ => None,
        };
        let expected = self.settings.load().replication.expected_slaves as usize;
        Finding { doubt, end: self.store.max_physical_offset(), slaves, expected, failed: failed.or(before) }
    }

    /// What speaks against the log: what an earlier start has noted, and what this one finds. It is noted before the first answer.
    async fn doubt(&self) -> Doubt {
        let noted = tokio::fs::read_to_string(self.file()).await.unwrap_or_default();
        let doubt = match noted.trim() {
            NEW => Doubt::New,
            _ if self.store.is_new() => Doubt::New,
            LOST => Doubt::Lost,
            _ if self.store.lost_page_cache() => Doubt::Lost,
            _ => Doubt::None,
        };
        match doubt {
            Doubt::None => {}
            Doubt::Lost => self.note(LOST).await,
            Doubt::New => self.note(NEW).await,
        }
        doubt
    }

    fn file(&self) -> PathBuf {
        self.store.config().root.join(FILE)
    }

    async fn note(&self, text: &'static str) {
        let path = self.file();
        let written =
            tokio::task::spawn_blocking(move || rmq_store::durable_file::replace(&path, text.as_bytes())).await;
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

    /// Copies log and tables; the log first, as the tables speak of it. Until both are whole the store counts as new.
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
        // Appends go on behind whole records only.
        let dispatched = tokio::time::timeout(LAST_DISPATCH, self.store.dispatched().reached(end)).await;
        if !matches!(dispatched, Ok(Ok(_))) {
            return Err(format!(
                "the log was copied up to {end} and is readable up to {}; restart this broker, which removes what is no whole record",
                self.store.dispatched().value()
            ));
        }
        tables.copy_durably(client, from).await
    }

    /// The slaves of this group that answer. Which there are is asked from the namesrvs, with which they register.
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
            Some(Slave { address, end })
        });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }
}

/// Whose log to copy: what was asked for, or the longest.
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
mod tests {
    use super::*;
    use crate::testing::{member, message};

    fn check(root: &std::path::Path) -> LogCheck {
        let (settings, store) = member(root, &[("checkLogBeforeWrites", "true"), ("expectedSlaves", "1")]);
        store.put(&message(b"here")).unwrap();
        LogCheck::new(store, settings)
    }

    fn decide(check: &LogCheck, action: &str, from: Option<&str>) -> Result<Reply, Rejection> {
        check.decide(&Command::request(RequestCode::RecoverMaster, &RecoverMaster { action, from }))
    }

    fn slave(address: &str, end: u64) -> Slave {
        Slave { address: address.into(), end }
    }

    fn finding(doubt: Doubt, end: u64, slaves: &[u64], expected: usize) -> Finding {
        let slaves = slaves.iter().map(|end| slave("a:1", *end)).collect();
        Finding { doubt, end, slaves, expected, failed: None }
    }

    #[test]
    fn what_is_known_decides_whether_a_master_opens_waits_or_asks_for_a_decision() {
        use Verdict::{Asking, Closed, Open};
        let table = [
            ("a slave has as much", Doubt::None, 7, vec![7], 1, [Open, Open]),
            ("a slave has less", Doubt::None, 7, vec![3], 1, [Open, Open]),
            ("a slave has more", Doubt::None, 7, vec![8], 1, [Closed, Closed]),
            ("one of two has more", Doubt::None, 7, vec![7, 8], 2, [Closed, Closed]),
            ("a slave is away", Doubt::None, 7, vec![], 1, [Asking, Open]),
            ("a slave is away after a power cut", Doubt::Lost, 7, vec![], 1, [Asking, Closed]),
            ("all answer after a power cut", Doubt::Lost, 7, vec![7], 1, [Open, Open]),
            ("no slaves after a power cut", Doubt::Lost, 7, vec![], 0, [Open, Open]),
            ("a group without messages", Doubt::None, 0, vec![0], 1, [Open, Open]),
            ("the same with a lost volume", Doubt::New, 0, vec![0], 1, [Open, Open]),
            ("a lost volume", Doubt::New, 0, vec![8], 1, [Closed, Closed]),
            ("a lost volume and no slave", Doubt::New, 0, vec![], 0, [Closed, Closed]),
            ("a lost volume and the slave is away", Doubt::New, 0, vec![], 1, [Closed, Closed]),
            ("a copy that was cut off", Doubt::New, 8, vec![8], 1, [Closed, Closed]),
        ];
        for (what, doubt, end, slaves, expected, verdicts) in table {
            let finding = finding(doubt, end, &slaves, expected);
            let longest = slaves.iter().copied().max().unwrap_or(0);
            assert_eq!([false, true].map(|waited| finding.judge(longest, waited)), verdicts, "{what}");
        }
        assert_eq!(finding(Doubt::None, 7, &[], 1).judge(8, true), Closed, "it was seen and is gone again");
    }

    #[test]
    fn nothing_is_decided_about_a_master_that_is_open() {
        let root = tempfile::tempdir().unwrap();
        let check = check(root.path());
        assert!(!check.is_open());
        check.open();
        assert!(decide(&check, "accept-loss", None).unwrap_err().remark.contains("nothing to decide"));
    }

    #[tokio::test]
    async fn a_decision_is_one_of_two_and_names_a_member_by_an_address() {
        let root = tempfile::tempdir().unwrap();
        let check = check(root.path());
        let end = check.store.max_physical_offset();
        check.store.dispatched().reached(end).await.unwrap();
        let closed = |slaves| Stage::Closed(Finding { slaves, ..finding(Doubt::None, 7, &[], 1) });
        check.set(closed(Vec::new()));
        for (action, from) in [
            ("", None),
            ("drop", None),
            ("accept-loss", Some("a:1")),
            ("copy", None),
            ("copy", Some("a")),
            ("copy", Some(":1")),
            ("copy", Some("a:0")),
            ("copy", Some("a:65536")),
        ] {
            let refused = decide(&check, action, from).unwrap_err();
            assert_eq!(refused.code, ResponseCode::InvalidParameter, "{action} {from:?}");
        }
        assert_eq!(check.state.lock().decision, None);
        check.set(closed(vec![slave("a:1", 8), slave("b:1", 9)]));
        decide(&check, "copy", None).unwrap();
        assert_eq!(check.state.lock().decision, Some(Decision::Copy { from: "b:1".into() }), "the longest");
        decide(&check, "accept-loss", None).unwrap();
        assert_eq!(check.state.lock().decision, Some(Decision::AcceptLoss));
    }

    /// A second start found a store that was there, and opened it.
    #[tokio::test]
    async fn what_speaks_against_a_log_is_known_after_a_restart_and_until_it_is_open() {
        let root = tempfile::tempdir().unwrap();
        let start = || {
            let (settings, store) = member(root.path(), &[("checkLogBeforeWrites", "true")]);
            LogCheck::new(store, settings)
        };
        let first = start();
        assert_eq!(first.doubt().await, Doubt::New);
        first.store.close().unwrap();
        drop(first);
        let second = start();
        assert_eq!(second.doubt().await, Doubt::New);
        second.forget_doubt().await;
        second.store.close().unwrap();
        drop(second);
        let third = start();
        assert_eq!(third.doubt().await, Doubt::None);
    }

    #[tokio::test]
    async fn those_who_wait_are_told_of_the_end_of_the_check_and_of_the_broker() {
        let root = tempfile::tempdir().unwrap();
        let stopped = Arc::new(check(root.path()));
        let thread = std::thread::spawn({
            let stopped = Arc::clone(&stopped);
            move || stopped.wait_until_open()
        });
        let task = tokio::spawn({
            let stopped = Arc::clone(&stopped);
            async move { stopped.until_open().await }
        });
        stopped.stop();
        assert!(!task.await.unwrap() && !thread.join().unwrap());
        stopped.open();
        assert!(stopped.wait_until_open() && stopped.until_open().await && stopped.is_open());
    }
}
