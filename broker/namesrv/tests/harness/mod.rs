//! A namesrv on a free port of the loopback, and the requests of brokers and clients.

use rmq_namesrv::{Clock, Config, Namesrv, Overrides};
use rmq_protocol::{
    Command, RequestCode as Code,
    body::{DataVersion, RegisterBrokerBody, TopicConfig, TopicRoute},
    fastjson,
    header::{self, Header},
    java_properties,
};
use rmq_remoting::{Client, Handler, Limits, Responder};
use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

/// How to start a namesrv; its files are in `folder`.
pub(crate) struct Options {
    pub(crate) config: Config,
    pub(crate) clock: Option<Clock>,
    pub(crate) folder: TempDir,
}

/// With the settings of `text`.
pub(crate) fn options(text: &str) -> Options {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name).display().to_string();
    let text = format!(
        "{text}\nlistenPort=0\nbindAddress=127.0.0.1\nkvConfigPath={}\nconfigStorePath={}",
        path("kvConfig.json"),
        path("namesrv.properties")
    );
    let (config, _) = Config::from_properties(java_properties::parse(&text)).unwrap();
    Options { config, clock: None, folder }
}

pub(crate) async fn server(text: &str) -> Server {
    Server::start(options(text)).await
}

pub(crate) struct Server {
    pub(crate) namesrv: Namesrv,
    pub(crate) folder: TempDir,
    config: Config,
    peer: Peer,
}

/// A peer with a connection to the namesrv.
pub(crate) struct Peer {
    pub(crate) client: Client,
    pub(crate) address: String,
}

impl std::ops::Deref for Server {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

fn client() -> Client {
    Client::new(Arc::new(()), Limits::default())
}

impl Server {
    pub(crate) async fn start(options: Options) -> Self {
        let overrides = Overrides { http_port: Some(0), clock: options.clock, ..Overrides::default() };
        let namesrv = Namesrv::start(options.config.clone(), overrides).await.unwrap();
        let address = namesrv.local_addr().to_string();
        Self { namesrv, folder: options.folder, config: options.config, peer: Peer { client: client(), address } }
    }

    pub(crate) async fn stop(self) -> (TempDir, Config) {
        in_time(self.namesrv.stop()).await;
        (self.folder, self.config)
    }

    pub(crate) async fn restart(self) -> Self {
        let (folder, config) = self.stop().await;
        Self::start(Options { config, clock: None, folder }).await
    }

    pub(crate) fn another_client(&self) -> Peer {
        Peer { client: client(), address: self.address.clone() }
    }

    /// A whole HTTP answer.
    pub(crate) async fn http(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.namesrv.http_addr().unwrap()).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        in_time(stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    pub(crate) async fn until(&self, condition: impl AsyncFn() -> bool) {
        in_time(async {
            while !condition().await {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

impl Peer {
    pub(crate) async fn send(&self, request: Command) -> Command {
        self.client.request(&self.address, request, DEADLINE).await.unwrap()
    }

    pub(crate) async fn ask<'a>(&self, code: Code, header: &impl Header<'a>) -> Command {
        self.send(Command::request(code, header)).await
    }

    pub(crate) async fn ok<'a>(&self, code: Code, header: &impl Header<'a>) -> Command {
        let answer = self.ask(code, header).await;
        assert_eq!(answer.code, 0, "{answer:?}");
        answer
    }

    pub(crate) async fn register(&self, header: &header::RegisterBroker<'_>, body: &RegisterBrokerBody) -> Command {
        let mut body = body.clone();
        // So that no registration has only a single topic.
        body.topic_config_serialize_wrapper
            .topic_config_table
            .insert("__filler".to_owned(), TopicConfig::new("__filler", 1, 1, 6));
        let answer = self.register_raw(header, body.to_plain()).await;
        assert_eq!(answer.code, 0, "{answer:?}");
        answer
    }

    pub(crate) async fn register_raw(&self, header: &header::RegisterBroker<'_>, body: Vec<u8>) -> Command {
        self.send(Command::request(Code::RegisterBroker, header).with_body(body)).await
    }

    pub(crate) async fn route(&self, topic: &str) -> Option<TopicRoute> {
        let answer = self.ask(Code::RouteInfoByTopic, &header::TopicRequest { topic }).await;
        (answer.code == 0).then(|| fastjson::from_slice(&answer.body).unwrap())
    }

    pub(crate) async fn put(&self, namespace: &str, key: &str, value: &str) {
        self.ok(Code::PutKvConfig, &header::PutKvConfig { namespace, key, value }).await;
    }

    pub(crate) async fn update(&self, text: &'static str) {
        let answer = self.send(Command::request(Code::UpdateNamesrvConfig, &header::Empty {}).with_body(text)).await;
        assert_eq!((answer.code, answer.remark), (0, None));
    }
}

/// Of cluster `c`.
pub(crate) fn broker<'a>(broker_name: &'a str, broker_id: i64, broker_address: &'a str) -> header::RegisterBroker<'a> {
    let ha_server_address = if broker_address == "m:1" { "ha-m:1" } else { "ha" };
    header::RegisterBroker {
        broker_name,
        broker_address,
        cluster_name: "c",
        ha_server_address,
        broker_id,
        ..Default::default()
    }
}

/// Topics of four queues that may be read and written.
pub(crate) fn register_body(counter: i64, topics: &[&str]) -> RegisterBrokerBody {
    let mut body = RegisterBrokerBody::default();
    let table = &mut body.topic_config_serialize_wrapper;
    table.data_version = DataVersion { counter, ..DataVersion::default() };
    table.topic_config_table =
        topics.iter().map(|topic| ((*topic).to_owned(), TopicConfig::new(*topic, 4, 4, 6))).collect();
    body
}

/// A member of a broker group that only receives notifications.
pub(crate) fn member() -> (SocketAddr, mpsc::UnboundedReceiver<Command>) {
    struct NotificationHandler(mpsc::UnboundedSender<Command>);
    impl Handler for NotificationHandler {
        fn handle(&self, request: Command, _responder: Responder) {
            let _ = self.0.send(request);
        }
    }
    let listener = rmq_remoting::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    let handler = Arc::new(NotificationHandler(sender));
    tokio::spawn(rmq_remoting::serve(
        listener,
        Arc::new(rmq_remoting::Reactors::start(&Arc::default()).unwrap()),
        handler,
        Limits::default(),
        Arc::default(),
        CancellationToken::new(),
    ));
    (address, receiver)
}
