//! The presence of one producer or consumer in the cluster: an id, connections, routes, heartbeats.
//!
//! Each producer and consumer has a session of its own. Java's clients of one process share theirs;
//! that saves a connection per broker, but a slow or stopped client then affects the others.

use crate::{
    Error,
    link::Link,
    route::{REFRESH, Routes},
};
use bytes::Bytes;
use futures::future::join_all;
use rmq_protocol::{Command, RequestCode, body::Heartbeat, fastjson, header};
use rmq_remoting::{Handler, Limits};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Notify;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64)
}

/// See the module docs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Session {
    /// `ip@instance`, which identifies the client at brokers.
    pub(crate) client_id: Arc<str>,
    pub(crate) ip: IpAddr,
    pub(crate) link: Link,
    pub(crate) routes: Arc<Routes>,
    /// Cancelled when the client stops.
    pub(crate) stop: CancellationToken,
    /// All tasks of the client, except those of its connections.
    pub(crate) tasks: TaskTracker,
    /// Requests a heartbeat now.
    pub(crate) beat: Arc<Notify>,
}

impl Session {
    /// Connects to a namesrv; the connection also determines this machine's own address. Without
    /// `instance` the id is unique.
    pub(crate) async fn start(
        namesrvs: &str,
        instance: Option<&str>,
        timeout: Duration,
        handler: Arc<dyn Handler>,
        limits: Limits,
    ) -> Result<Self, Error> {
        let link = Link::new(namesrvs, timeout, handler, limits)?;
        let ip = own_address(&link).await?;
        let instance = match instance {
            Some(name) => name.to_owned(),
            None => format!("{}#{:016x}", std::process::id(), rand::random::<u64>()),
        };
        Ok(Self {
            client_id: format!("{ip}@{instance}").into(),
            ip,
            routes: Arc::new(Routes::new(link.clone())),
            link,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            beat: Arc::default(),
        })
    }

    /// Runs a task until it ends or the session stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let _ = stop.run_until_cancelled(task).await;
        });
    }

    /// Refreshes routes and sends heartbeats until the session stops.
    pub(crate) fn keep(&self, heartbeat: impl Fn() -> Heartbeat + Send + Sync + 'static) {
        let session = self.clone();
        self.spawn(async move {
            let mut tick = tokio::time::interval(REFRESH);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            tick.tick().await;
            loop {
                tokio::select! {
                    _ = tick.tick() => session.routes.refresh().await,
                    () = session.beat.notified() => {}
                }
                session.send_heartbeat(&heartbeat()).await;
            }
        });
    }

    /// Sends a heartbeat to every broker in the routes: consumers to all of them, mere producers to
    /// the masters.
    pub(crate) async fn send_heartbeat(&self, heartbeat: &Heartbeat) {
        let consumes = !heartbeat.consumer_data_set.is_empty();
        let body = Bytes::from(fastjson::to_vec(heartbeat));
        let brokers = self.routes.brokers();
        let sent = brokers.iter().filter(|(_, is_master)| consumes || **is_master).map(async |(address, _)| {
            if let Err(error) =
                self.link.ask_with(address, RequestCode::HeartBeat, &header::Empty {}, body.clone()).await
            {
                tracing::debug!(broker = address, %error, "a heartbeat failed");
            }
        });
        join_all(sent).await;
    }

    /// Leaves the groups at every broker, and closes the connections. The session's tasks must have
    /// ended.
    pub(crate) async fn leave(&self, producer_group: Option<&str>, consumer_group: Option<&str>) {
        let request = header::UnregisterClient { client_id: &self.client_id, producer_group, consumer_group };
        let brokers = self.routes.brokers();
        let sent = brokers.keys().map(async |address| {
            let command = Command::request(RequestCode::UnregisterClient, &request);
            if let Err(error) =
                self.link.send(address, RequestCode::UnregisterClient, command, Duration::from_secs(1)).await
            {
                tracing::debug!(broker = address, %error, "a broker was not notified of the stop");
            }
        });
        join_all(sent).await;
        self.link.remoting().close().await;
    }

    /// Stops the session and closes its connections when dropped, for clients that are dropped
    /// without being stopped.
    pub(crate) fn drop_guard(&self) -> DropGuard {
        let dropped = CancellationToken::new();
        let (session, gone) = (self.clone(), dropped.clone());
        tokio::spawn(async move {
            gone.cancelled().await;
            session.stop.cancel();
            session.link.remoting().close().await;
        });
        dropped.drop_guard()
    }
}

async fn own_address(link: &Link) -> Result<IpAddr, Error> {
    let mut last = None;
    for address in link.namesrvs() {
        match link.remoting().connection(address).await {
            Ok(connection) => {
                let ip = connection.local().ip();
                return Ok(if ip.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { ip });
            }
            Err(error) => last = Some(Error::Connection(error)),
        }
    }
    Err(Error::NoNamesrv { last: Box::new(last.unwrap_or(Error::Stopped)) })
}
