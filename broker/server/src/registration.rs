//! Registers this broker and its topics with every namesrv.
//!
//! One task registers everything at the start, once a period, and when a connection to a namesrv is
//! lost. New and changed topics are registered at once; all that have accumulated go in one
//! message. A namesrv that does not answer is retried after a pause that grows from one second,
//! independent of the period. A slave learns the address of its master from the responses.

use crate::{
    address,
    config::Live,
    feature::Feature,
    metrics_page::{MetricsPage, Written},
    role::{CurrentRole, Master},
    table::Changes,
    topic::Topics,
};
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{RegisterBrokerBody, TopicConfigAndMappingTable, perm},
    header::{BrokerIdentity, Header, RegisterBroker, RegisterBrokerResponse},
    message::java,
};
use rmq_remoting::{Budget, Client, Connection, Handler, Limits, Responder};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// The first pause after a failed registration.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const RETRY_LAST: Duration = Duration::from_secs(10);
/// The timeout of the other namesrvs once one has answered.
const STRAGGLERS: Duration = Duration::from_secs(3);
/// The timeout of the unregistration at the stop.
const GOODBYE: Duration = Duration::from_secs(3);

/// The response of a namesrv to a registration.
#[derive(Debug, Default)]
struct RegistrationResponse {
    /// The address of the master, in responses to a slave.
    master: Option<Master>,
    /// Another living broker that registers with this name and id.
    conflict: Option<String>,
}

/// The response to a registration, or why it failed.
type Registered = Result<RegistrationResponse, String>;

/// See the head of the file.
pub(crate) struct Registration {
    client: Client,
    settings: Arc<Live>,
    topics: Arc<Topics>,
    /// The next registration must contain everything.
    everything: AtomicBool,
    wake: Arc<Notify>,
    /// The generation of the topic table that was sent to every namesrv, or could not be sent.
    announced: watch::Sender<u64>,
    namesrvs: Mutex<BTreeMap<String, Option<Instant>>>,
    /// By namesrv, the other broker that it routes clients to under this name and id.
    conflicts: Mutex<BTreeMap<String, String>>,
    role: Arc<CurrentRole>,
}

/// A lost connection to a namesrv means that the namesrv has removed this broker.
struct OnDisconnect(Arc<Notify>);

impl Handler for OnDisconnect {
    fn handle(&self, _request: Command, _responder: Responder) {}

    fn closed(&self, _connection: &Connection) {
        self.0.notify_one();
    }
}

impl Registration {
    pub(crate) fn new(settings: Arc<Live>, role: Arc<CurrentRole>, topics: Arc<Topics>, budget: Arc<Budget>) -> Self {
        let wake = Arc::<Notify>::default();
        // Registrations keep the connection alive, unless the period exceeds the idle timeout.
        let limits = Limits { idle: Duration::from_secs(300), ..Limits::default() };
        Self {
            client: Client::with_budget(Arc::new(OnDisconnect(Arc::clone(&wake))), limits, budget),
            settings,
            topics,
            everything: AtomicBool::new(true),
            wake,
            announced: watch::Sender::new(0),
            namesrvs: Mutex::default(),
            conflicts: Mutex::default(),
            role,
        }
    }

    /// For a slave that cannot reach its master: registers again, because the response contains the
    /// master's current address.
    pub(crate) fn ask_for_master(&self) -> impl Fn() + Send + Sync + use<> {
        let wake = Arc::clone(&self.wake);
        move || wake.notify_one()
    }

    /// Schedules the changes of the topic table to be sent to every namesrv.
    pub(crate) fn announce(&self) {
        self.wake.notify_one();
    }

    /// Creates a topic of the broker's own if it does not exist. Writes the topic table then, and
    /// blocks.
    pub(crate) fn ensure_topic(&self, name: &str) {
        let (_, new) = self.topics.find_or_create(name, 1, perm::READ | perm::WRITE);
        if !new {
            return;
        }
        self.announce();
        if let Err(error) = self.topics.persist() {
            tracing::warn!(%error, "a new topic cannot be written to disk; it lasts until the broker ends");
        }
    }

    /// Schedules everything to be sent to every namesrv.
    pub(crate) fn announce_everything(&self) {
        self.everything.store(true, SeqCst);
        self.wake.notify_one();
    }

    /// Waits until the current topic table has reached every namesrv that responds, or `timeout`
    /// has passed.
    pub(crate) async fn announced(&self, timeout: Duration) {
        let generation = self.topics.generation();
        let mut announced = self.announced.subscribe();
        let _ = tokio::time::timeout(timeout, announced.wait_for(|done| *done >= generation)).await;
    }

    /// The namesrvs that this broker is not registered with.
    pub(crate) fn missing(&self) -> Vec<String> {
        // Namesrvs that were never tried are missing too.
        self.addresses();
        let namesrvs = self.namesrvs.lock();
        namesrvs.iter().filter(|(_, registered)| registered.is_none()).map(|(address, _)| address.clone()).collect()
    }

    /// A description of where another broker takes this one's place in routes. `None` if there is
    /// none.
    pub(crate) fn contested(&self) -> Option<String> {
        let conflicts = self.conflicts.lock();
        let routes = |(namesrv, other): (&String, &String)| format!("namesrv {namesrv} routes clients to {other}, too");
        let places: Vec<_> = conflicts.iter().map(routes).collect();
        let why = "another broker registers with this brokerName and brokerId; stop it or rename it";
        (!places.is_empty()).then(|| format!("{}: {why}", places.join(", ")))
    }

    /// The number of namesrvs where another broker takes this one's place.
    fn contested_namesrvs(&self) -> usize {
        self.conflicts.lock().len()
    }

    fn record_conflict(&self, namesrv: &str, conflict: Option<String>) {
        let mut conflicts = self.conflicts.lock();
        let before = match &conflict {
            Some(conflict) => conflicts.insert(namesrv.to_owned(), conflict.clone()),
            None => conflicts.remove(namesrv),
        };
        drop(conflicts);
        match conflict {
            Some(conflict) if before.as_ref() != Some(&conflict) => tracing::warn!(
                %namesrv,
                other = conflict,
                "another broker registers with this brokerName and brokerId and takes this one's \
                 place in routes, so producers write to both; stop it, or give it another name or \
                 id"
            ),
            None if before.is_some() => {
                tracing::info!(%namesrv, other = before, "no other broker registers with this brokerName and brokerId any more");
            }
            _ => {}
        }
    }

    /// Whether a namesrv routes clients to this broker.
    pub(crate) fn is_registered(&self) -> bool {
        self.namesrvs.lock().values().any(Option::is_some)
    }

    fn addresses(&self) -> Vec<String> {
        let addresses: Vec<String> = self
            .settings
            .load()
            .namesrv
            .addresses
            .split(';')
            .map(str::trim)
            .filter(|a| !a.is_empty())
            .map(str::to_owned)
            .collect();
        self.conflicts.lock().retain(|address, _| addresses.contains(address));
        let mut known = self.namesrvs.lock();
        known.retain(|address, _| addresses.contains(address));
        for address in &addresses {
            known.entry(address.clone()).or_default();
        }
        addresses
    }

    /// Runs until `stop`, then unregisters.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let period = self.settings.load().namesrv.period.0;
        let mut retry = RETRY_FIRST;
        let mut sent = 0;
        loop {
            let (generation, body) = self.changes(sent);
            // A namesrv that does not answer must not delay the stop.
            let Some(complete) = stop.run_until_cancelled(self.send(&body)).await else { return self.goodbye().await };
            self.announced.send_replace(generation);
            sent = generation;
            // A slave that started before its master cannot follow it until a response names it.
            let settled = complete && !self.lacks_master();
            let pause = if settled { period } else { retry };
            retry = if settled { RETRY_FIRST } else { (retry * 2).min(RETRY_LAST) };
            if !self.pause(pause, complete, generation, &stop).await {
                return self.goodbye().await;
            }
        }
    }

    fn lacks_master(&self) -> bool {
        let settings = self.settings.load();
        self.role.is_slave() && settings.replication.master_address.is_empty() && !self.role.knows_master()
    }

    /// Waits for the next reason to register. Returns false at the stop.
    async fn pause(&self, pause: Duration, complete: bool, sent: u64, stop: &CancellationToken) -> bool {
        let due = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep_until(due) => {
                    self.everything.store(true, SeqCst);
                    return true;
                }
                () = self.wake.notified() => {
                    let changed = self.topics.generation() > sent;
                    // Nothing changed: a connection is lost, or everything was requested. If the
                    // last attempt failed, the time of the next is set already, because failed
                    // attempts lose connections too.
                    if !complete || !changed {
                        self.everything.store(true, SeqCst);
                    }
                    if complete || changed {
                        return true;
                    }
                }
            }
        }
    }

    /// The registration to send now: all topics, or those that changed after generation `sent`. A
    /// namesrv reads topics only if the version is new to it, so everything that belongs to a
    /// version must be sent with it.
    fn changes(&self, sent: u64) -> (u64, RegisterBrokerBody) {
        let since = if self.everything.swap(false, SeqCst) { 0 } else { sent };
        let Changes { version, generation, entries } =
            self.topics.changed_since(since, self.settings.load().topics.permission);
        let table =
            TopicConfigAndMappingTable { data_version: version, topic_config_table: entries, ..Default::default() };
        (generation, RegisterBrokerBody { topic_config_serialize_wrapper: table, ..Default::default() })
    }

    /// Sends to all namesrvs concurrently. Returns true if each accepted it.
    async fn send(&self, body: &RegisterBrokerBody) -> bool {
        let compressed = self.settings.load().namesrv.compressed;
        let bytes = bytes::Bytes::from(if compressed { body.to_compressed() } else { body.to_plain() });
        let addresses = self.addresses();
        let attempts: FuturesUnordered<_> = addresses
            .iter()
            .map(|address| {
                let body = bytes.clone();
                async move { (address, self.register(address, body, compressed).await) }
            })
            .collect();
        let outcomes = Self::outcomes(attempts, &addresses).await;
        let complete = outcomes.iter().all(|(_, outcome)| outcome.is_ok());
        let mut master = None;
        for (address, outcome) in outcomes {
            let registered = match outcome {
                Ok(decoded) => {
                    self.record_conflict(address, decoded.conflict);
                    master = master.or(decoded.master);
                    Some(Instant::now())
                }
                Err(error) => {
                    tracing::warn!(namesrv = %address, error, "cannot register; trying again");
                    None
                }
            };
            self.namesrvs.lock().insert(address.clone(), registered);
        }
        if let Some(master) = master {
            self.role.learn(master);
        }
        complete
    }

    /// The outcome of each attempt. Once a namesrv has answered, the others have a short timeout: a
    /// namesrv that does not answer must not delay topics for the others.
    async fn outcomes<'a, F>(
        mut attempts: FuturesUnordered<F>,
        addresses: &'a [String],
    ) -> Vec<(&'a String, Registered)>
    where
        F: Future<Output = (&'a String, Registered)>,
    {
        let mut outcomes = Vec::new();
        while let Some((address, outcome)) = attempts.next().await {
            let responded = outcome.is_ok();
            outcomes.push((address, outcome));
            if responded {
                break;
            }
        }
        let rest = async {
            while let Some(outcome) = attempts.next().await {
                outcomes.push(outcome);
            }
        };
        if tokio::time::timeout(STRAGGLERS, rest).await.is_err() {
            for address in addresses {
                if !outcomes.iter().any(|(done, _)| *done == address) {
                    outcomes.push((address, Err(format!("no response within {STRAGGLERS:?} of the first one"))));
                }
            }
        }
        outcomes
    }

    async fn register(&self, namesrv: &str, body: bytes::Bytes, compressed: bool) -> Registered {
        let settings = self.settings.load_full();
        let (identity, network) = (&settings.identity, &settings.network);
        let broker_address = address::join(&identity.broker_ip, network.listen_port);
        let ha_server_address = address::join(&identity.replication_ip, network.replication_port);
        let header = RegisterBroker {
            broker_name: &identity.broker_name,
            broker_address: &broker_address,
            cluster_name: &identity.cluster_name,
            ha_server_address: &ha_server_address,
            broker_id: identity.broker_id as i64,
            heartbeat_timeout: None,
            enable_acting_master: None,
            compressed: Some(compressed),
            body_crc32: Some(java::crc32(&body) as i32),
        };
        let request = Command::request(RequestCode::RegisterBroker, &header).with_body(body);
        let response = self
            .client
            .request(namesrv, request, settings.namesrv.timeout.0)
            .await
            .map_err(|error| error.to_string())?;
        if response.code != ResponseCode::Success.number() {
            return Err(response.remark.unwrap_or_else(|| format!("response code {}", response.code)));
        }
        let decoded = RegisterBrokerResponse::decode(&response.fields).map_err(|error| error.to_string())?;
        let master = match (decoded.master_address, decoded.ha_server_address) {
            (Some(address), Some(replication)) if !address.is_empty() && !replication.is_empty() => {
                Some(Master { address: address.to_owned(), replication_address: replication.to_owned() })
            }
            _ => None,
        };
        Ok(RegistrationResponse { master, conflict: decoded.contested_by.map(str::to_owned) })
    }

    async fn goodbye(&self) {
        let settings = self.settings.load_full();
        let identity = &settings.identity;
        let broker_address = address::join(&identity.broker_ip, settings.network.listen_port);
        let header = BrokerIdentity {
            broker_name: &identity.broker_name,
            broker_address: &broker_address,
            cluster_name: &identity.cluster_name,
            broker_id: identity.broker_id as i64,
        };
        let addresses = self.addresses();
        let attempts = addresses.iter().map(|namesrv| {
            let request = Command::request(RequestCode::UnregisterBroker, &header);
            async move {
                if let Err(error) = self.client.request(namesrv, request, GOODBYE).await {
                    tracing::warn!(%namesrv, %error, "cannot unregister; the namesrv will notice the closed connection");
                }
            }
        });
        futures::future::join_all(attempts).await;
        self.client.close().await;
    }
}

impl Feature for Registration {
    fn metrics(&self, to: &MetricsPage) -> Written {
        to.count(
            "rocketmq_broker_unregistered_namesrvs",
            "Namesrvs this broker is not registered with.",
            self.missing().len(),
        )?;
        to.count(
            "rocketmq_broker_contested_namesrvs",
            "Namesrvs with which another broker registers with this one's name and id: they lead clients to both.",
            self.contested_namesrvs(),
        )
    }
}
