//! Whether a master may take writes after a start.
//!
//! A master whose volume was lost starts with an empty log, one whose system lost power with a log
//! that lacks its last bytes. If it took writes then, what its slaves still have would be out of
//! reach for good: their logs could never go on together with the new one. With
//! `checkLogBeforeWrites` a master looks first.
//!
//! ```text
//! start -> own log empty ----------------------------------> closed until somebody decides
//!       -> asks the slaves for their ends
//!            one is longer --------------------------------> closed until somebody decides
//!            expectedSlaves have answered, none is longer -> open
//!            checkLogTimeout is over ----------------------> open, unless the page cache was lost with the system
//! decision: copy the log and the tables of a slave, then open | accept the loss and open
//! ```
//!
//! While it is closed nothing is appended: clients' requests are refused, delayed messages stay
//! where they are, and the broker is not registered, so that producers go to other groups and
//! consumers to the slaves. A slave copies no tables of a master whose log it does not follow.
//!
//! Once open, it stays open as long as the process lives.

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
    fmt,
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
/// The same once it is closed: only the numbers that are told may change.
const EVERY_CLOSED: Duration = Duration::from_secs(5);
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

/// How far the check is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Open,
    /// So many slaves have answered, of those that are expected.
    Asking {
        answered: usize,
        expected: usize,
    },
    Closed(Finding),
    Copying {
        from: String,
    },
}

/// Why a master does not take writes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// End of the own log.
    end: u64,
    /// The slaves that answered.
    slaves: Vec<Slave>,
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
            Self::Asking { answered, expected } => {
                write!(f, "asking: {answered} of {expected} slaves have said where their log ends")
            }
            Self::Closed(finding) => write!(f, "closed: {finding}"),
            Self::Copying { from } => write!(f, "copying: the log of {from}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            0 => f.write_str("the log of this master is empty")?,
            end => write!(f, "the log of this master ends at {end}")?,
        }
        for slave in &self.slaves {
            write!(f, ", that of {} at {}", slave.address, slave.end)?;
        }
        if self.slaves.is_empty() {
            f.write_str(", and no slave answers")?;
        }
        if let Some(failed) = &self.failed {
            write!(f, "; copying failed: {failed}")?;
        }
        Ok(())
    }
}

impl LogCheck {
    /// Closed where the settings want it, for a master.
    pub(crate) fn new(store: Arc<MessageStore>, settings: Arc<Live>) -> Self {
        let (wanted, expected) = {
            let settings = settings.load();
            (settings.replication.check_log && !settings.is_slave(), settings.replication.expected_slaves as usize)
        };
        let stage = if wanted { Stage::Asking { answered: 0, expected } } else { Stage::Open };
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
        let Stage::Closed(finding) = &state.stage else {
            return Err(Rejection::new(
                ResponseCode::NoPermission,
                format!("there is nothing to decide here; the log check of this broker: {}", state.stage),
            ));
        };
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
        tracing::warn!(?decision, from = %finding, "somebody has decided about this master's log");
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
        let check = async {
            let finding = match self.ask_until_settled(&client).await {
                Some(finding) => finding,
                None => return,
            };
            tracing::error!(
                "this master takes no writes: {finding}. `rocketmq admin broker recover` copies the log of a slave, or accepts the loss"
            );
            self.set(Stage::Closed(finding));
            self.wait_for_decision(&client, following, tables).await;
        };
        if stop.run_until_cancelled(check).await.is_some() {
            before_open();
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

    /// Asks the slaves until it is clear whether this log is the longest; the finding if somebody has to decide.
    async fn ask_until_settled(&self, client: &Client) -> Option<Finding> {
        let begun = Instant::now();
        let (expected, timeout) = {
            let settings = self.settings.load();
            (settings.replication.expected_slaves as usize, settings.replication.check_log_timeout.0)
        };
        let end = self.store.max_physical_offset();
        let is_empty = end == self.store.min_physical_offset();
        loop {
            let slaves = self.slaves(client).await;
            let answered = slaves.len();
            if is_empty || slaves.iter().any(|slave| slave.end > end) {
                return Some(Finding { end: if is_empty { 0 } else { end }, slaves, failed: None });
            }
            if answered >= expected {
                return None;
            }
            if begun.elapsed() >= timeout && !self.store.lost_page_cache() {
                tracing::warn!(
                    answered,
                    expected,
                    end,
                    "not all slaves say where their log ends; this master takes writes with its own, as nothing of it can be lost"
                );
                return None;
            }
            self.set(Stage::Asking { answered, expected });
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Keeps what is told up to date until somebody decides, and does what was decided.
    async fn wait_for_decision(&self, client: &Client, following: &Following, tables: &MetadataSync) {
        loop {
            let _ = tokio::time::timeout(EVERY_CLOSED, self.decided.notified()).await;
            let decision = self.state.lock().decision.take();
            match decision {
                Some(Decision::AcceptLoss) => return,
                Some(Decision::Copy { from }) => {
                    self.set(Stage::Copying { from: from.clone() });
                    let Err(error) = self.copy(client, &from, following, tables).await else { return };
                    tracing::error!(%from, error, "cannot copy the log of another member");
                    let slaves = self.slaves(client).await;
                    let end = self.store.max_physical_offset();
                    self.set(Stage::Closed(Finding { end, slaves, failed: Some(error) }));
                }
                None => {
                    let slaves = self.slaves(client).await;
                    if let Stage::Closed(finding) = &mut self.state.lock().stage {
                        finding.slaves = slaves;
                    }
                }
            }
        }
    }

    /// Copies log and tables; the log first, as the tables speak of it.
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

    fn check(root: &std::path::Path, full: bool) -> LogCheck {
        let (settings, store) = member(root, &[("checkLogBeforeWrites", "true"), ("expectedSlaves", "1")]);
        if full {
            store.put(&message(b"here")).unwrap();
        }
        LogCheck::new(store, settings)
    }

    fn decide(check: &LogCheck, action: &str, from: Option<&str>) -> Result<Reply, Rejection> {
        check.decide(&Command::request(RequestCode::RecoverMaster, &RecoverMaster { action, from }))
    }

    #[test]
    fn nothing_is_decided_about_a_master_that_is_not_closed() {
        let root = tempfile::tempdir().unwrap();
        let check = check(root.path(), true);
        assert!(!check.is_open());
        assert!(decide(&check, "accept-loss", None).unwrap_err().remark.contains("asking: 0 of 1 slaves"));
    }

    #[test]
    fn a_decision_is_one_of_two_and_names_a_member_by_an_address() {
        let root = tempfile::tempdir().unwrap();
        let check = check(root.path(), true);
        let closed = |slaves| Stage::Closed(Finding { end: 7, slaves, failed: None });
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
        let slave = |address: &str, end| Slave { address: address.into(), end };
        check.set(closed(vec![slave("a:1", 8), slave("b:1", 9)]));
        decide(&check, "copy", None).unwrap();
        assert_eq!(check.state.lock().decision, Some(Decision::Copy { from: "b:1".into() }), "the longest");
        decide(&check, "accept-loss", None).unwrap();
        assert_eq!(check.state.lock().decision, Some(Decision::AcceptLoss));
    }

    #[tokio::test]
    async fn those_who_wait_are_told_of_the_end_of_the_check_and_of_the_broker() {
        let root = tempfile::tempdir().unwrap();
        let stopped = Arc::new(check(root.path(), true));
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
