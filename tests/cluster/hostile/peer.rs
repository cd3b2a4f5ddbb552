//! A broker of a test's own, its figures, and connections that write what they like. Requests with
//! words of their own are in [`super::wire`].

use crate::servers::{ask, broker_with, folder, free_port, namesrv};
use bytes::BytesMut;
use rmq_namesrv::Namesrv;
use rmq_protocol::{
    Command, RequestCode, ResponseCode, Serialization,
    body::{TopicConfig, TopicConfigList},
    fastjson, frame,
    header::{self, PullMessage},
    message::sys_flag::pull,
};
use rmq_server::Broker;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// What any condition may take on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) broker: Broker,
    _namesrv: Namesrv,
    http: SocketAddr,
}

impl Server {
    pub(crate) async fn start(name: &str, settings: &[(&str, &str)]) -> Self {
        let root = folder(name);
        let namesrv = namesrv(&root).await;
        let http = free_port().to_string();
        let settings: Vec<_> = settings.iter().copied().chain([("httpPort", http.as_str())]).collect();
        let broker = broker_with(&root, name, &namesrv.local_addr().to_string(), 0, &settings).await;
        let http = broker.http_address().expect("an HTTP port");
        Self { address: broker.address(), broker, _namesrv: namesrv, http }
    }

    /// A figure without labels of its own, or of connections that others opened; 0 if it is not
    /// there yet.
    pub(crate) async fn figure(&self, name: &str) -> f64 {
        let (_, page) = ask(self.http, "/metrics").await;
        let rows =
            page.lines().filter(|line| line.starts_with(&format!("{name}{{")) && !line.contains("side=\"client\""));
        rows.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub(crate) async fn until(&self, what: &str, name: &str, reached: impl Fn(f64) -> bool) {
        let begun = Instant::now();
        loop {
            let value = self.figure(name).await;
            if reached(value) {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "waited in vain until {what}: {name} is {value}");
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn peer(&self) -> Peer {
        Peer::connect(&self.address.to_string()).await
    }

    pub(crate) async fn put_topics(&self, topics: Vec<TopicConfig>) {
        let body = fastjson::to_vec(&TopicConfigList { topic_config_list: topics });
        let command = request(RequestCode::UpdateAndCreateTopicList).with_body(body);
        assert_eq!(self.peer().await.ask(command).await.code, 0);
    }

    pub(crate) async fn put_topic(&self, name: &str, queues: i32) {
        self.put_topics(vec![TopicConfig::new(name, queues, queues, 6)]).await;
    }
}

/// A request without fields.
pub(crate) fn request(code: RequestCode) -> Command {
    Command::request(code, &header::Empty {})
}

/// A pull of queue 0 from the beginning that is willing to wait so long.
pub(crate) fn pull_of<'a>(topic: &'a str, group: &'a str, wait: Duration) -> PullMessage<'a> {
    PullMessage {
        consumer_group: group,
        topic,
        queue_id: 0,
        queue_offset: 0,
        max_messages: 32,
        sys_flag: pull::SUBSCRIPTION | pull::SUSPEND,
        commit_offset: 0,
        suspend_timeout: wait.as_millis() as i64,
        subscription: Some("*"),
        subscription_version: 0,
        expression_type: None,
        max_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
    }
}

/// A connection that is read from only when a test does.
pub(crate) struct Peer {
    reader: Reader,
    writer: Writer,
}

pub(crate) struct Reader {
    half: OwnedReadHalf,
    input: BytesMut,
}

pub(crate) struct Writer {
    half: OwnedWriteHalf,
    opaque: i32,
}

impl Writer {
    /// Sends a request; says with which number.
    pub(crate) async fn send(&mut self, command: &Command) -> i32 {
        self.send_many(command, 1).await;
        self.opaque
    }

    /// Sends a request so many times in one burst; their numbers count up.
    async fn send_many(&mut self, command: &Command, count: usize) {
        let mut bytes = Vec::new();
        for _ in 0..count {
            self.opaque += 1;
            let command = Command { opaque: self.opaque, serialization: Serialization::Binary, ..command.clone() };
            command.encode(&mut bytes);
        }
        let written = tokio::time::timeout(DEADLINE, self.half.write_all(&bytes)).await;
        written.expect("bytes are taken in time").expect("a connection that is open");
    }
}

impl Reader {
    /// What comes next; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Command> {
        loop {
            if let Some(command) = frame::decode(&mut self.input, frame::MAX_FRAME).expect("frames") {
                return Some(command);
            }
            let read = tokio::time::timeout(DEADLINE, self.half.read_buf(&mut self.input)).await;
            if !read.expect("an answer in time").is_ok_and(|bytes| bytes > 0) {
                return None;
            }
        }
    }
}

impl Peer {
    pub(crate) async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let (reader, writer) = stream.into_split();
        Self { reader: Reader { half: reader, input: BytesMut::new() }, writer: Writer { half: writer, opaque: 0 } }
    }

    pub(crate) fn split(&mut self) -> (&mut Reader, &mut Writer) {
        (&mut self.reader, &mut self.writer)
    }

    pub(crate) async fn send(&mut self, command: &Command) -> i32 {
        self.writer.send(command).await
    }

    pub(crate) async fn send_many(&mut self, command: &Command, count: usize) {
        self.writer.send_many(command, count).await;
    }

    pub(crate) async fn next(&mut self) -> Option<Command> {
        self.reader.next().await
    }

    /// Sends a request and gives its answer; others that come before are passed over.
    pub(crate) async fn ask(&mut self, command: Command) -> Command {
        let opaque = self.send(&command).await;
        loop {
            let answer = self.next().await.expect("an answer");
            if answer.is_response() && answer.opaque == opaque {
                return answer;
            }
        }
    }

    pub(crate) async fn code(&mut self, command: Command) -> (Option<ResponseCode>, String) {
        let answer = self.ask(command).await;
        (ResponseCode::from_number(answer.code), answer.remark.unwrap_or_default())
    }
}
