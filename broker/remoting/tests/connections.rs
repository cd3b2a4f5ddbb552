//! Both sides of a connection over real sockets.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use bytes::BytesMut;
use parking_lot::Mutex;
use rmq_protocol::{Command, Fields, Reply, RequestCode, ResponseCode, Serialization, frame, header};
use rmq_remoting::{Client, Connection, Counters, Error, Handler, Limits, Reactors, Responder, bind, serve};
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(10);

/// Responds with the request's body; keeps requests whose body begins with `late`.
struct Echo {
    late: Mutex<Vec<(Command, Responder)>>,
    events: mpsc::UnboundedSender<&'static str>,
}

impl Handler for Echo {
    fn handle(&self, request: Command, responder: Responder) {
        if request.body.starts_with(b"late") {
            self.late.lock().push((request, responder));
            let _ = self.events.send("late");
            return;
        }
        responder.reply(&Reply::body(request.body));
    }

    fn closed(&self, _connection: &Connection) {
        let _ = self.events.send("closed");
    }
}

struct Server {
    address: SocketAddr,
    echo: Arc<Echo>,
    events: mpsc::UnboundedReceiver<&'static str>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn reactors() -> Arc<Reactors> {
    Arc::new(Reactors::start(&Arc::default()).unwrap())
}

fn server(limits: Limits) -> Server {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, events) = mpsc::unbounded_channel();
    let echo = Arc::new(Echo { late: Mutex::default(), events: sender });
    let (counters, stop) = (Arc::<Counters>::default(), CancellationToken::new());
    let task =
        tokio::spawn(serve(listener, reactors(), Arc::clone(&echo), limits, Arc::clone(&counters), stop.clone()));
    Server { address, echo, events, counters, stop, task }
}

impl Server {
    async fn event(&mut self) -> &'static str {
        tokio::time::timeout(DEADLINE, self.events.recv()).await.expect("an event in time").unwrap()
    }
}

/// What is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn until(what: &str, reached: impl Fn() -> bool) {
    let reached = async {
        while !reached() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, reached).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// The next command that comes on a socket.
async fn response(stream: &mut TcpStream, input: &mut BytesMut) -> Command {
    loop {
        if let Some(response) = frame::decode(input, 1 << 20).unwrap() {
            return response;
        }
        assert!(
            tokio::time::timeout(DEADLINE, stream.read_buf(input)).await.unwrap().unwrap() > 0,
            "the connection ended"
        );
    }
}

fn client() -> Client {
    Client::new(Arc::new(()), Limits::default())
}

fn request(body: impl Into<bytes::Bytes>) -> Command {
    Command::request(RequestCode::SendMessageV2, &header::Empty {}).with_body(body)
}

#[tokio::test]
async fn responses_find_their_callers() {
    let server = server(Limits::default());
    let client = client();
    let address = server.address.to_string();
    let calls = (0..200u32).map(|number| {
        let (client, address) = (client.clone(), address.clone());
        tokio::spawn(async move {
            let body = vec![number as u8; (number as usize) * 97];
            let response = client.request(&address, request(body.clone()), DEADLINE).await.unwrap();
            assert_eq!(response.body, body);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(server.counters.accepted.load(Relaxed), 1);
    assert_eq!(server.counters.frames_in.load(Relaxed), 200);
}

/// Reports the thread that handles its requests.
struct WhichThread;

impl Handler for WhichThread {
    fn handle(&self, _request: Command, responder: Responder) {
        responder.reply(&Reply::body(std::thread::current().name().unwrap_or_default().to_owned()));
    }
}

#[tokio::test]
async fn connections_are_spread_over_the_threads_and_stay_there() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (address, stop) = (listener.local_addr().unwrap().to_string(), CancellationToken::new());
    tokio::spawn(serve(listener, reactors(), Arc::new(WhichThread), Limits::default(), Arc::default(), stop.clone()));
    let threads = std::thread::available_parallelism().unwrap().get().min(16);
    let (mut clients, mut seen) = (Vec::new(), std::collections::BTreeMap::<_, usize>::new());
    for _ in 0..2 * threads {
        let client = client();
        let first = client.request(&address, request("a"), DEADLINE).await.unwrap().body;
        for _ in 0..10 {
            assert_eq!(client.request(&address, request("b"), DEADLINE).await.unwrap().body, first);
        }
        *seen.entry(first).or_default() += 1;
        clients.push(client);
    }
    assert_eq!((seen.len(), seen.values().max()), (threads, Some(&2)), "{seen:?}");
    stop.cancel();
}

#[tokio::test]
async fn a_connection_that_sends_much_and_then_little_loses_nothing() {
    let server = server(Limits::default());
    let (client, address) = (client(), server.address.to_string());
    for round in 0..3u32 {
        for size in [200_000, 70_000, 1, 64 * 1024 - 100, 8 * 1024, 3] {
            let body = vec![round as u8; size];
            let several = (0..8).map(|_| client.request(&address, request(body.clone()), DEADLINE));
            for response in futures::future::join_all(several).await {
                assert_eq!(response.unwrap().body, body);
            }
        }
    }
}

#[tokio::test]
async fn a_thread_pauses_after_several_answers_at_once_and_after_no_others() {
    let mut server = server(Limits::default());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let (mut input, mut pauses) = (BytesMut::new(), 0);
    for (body, count, more) in [("a", 1, 0), ("b", 3, 0), ("c", 4, 1), ("late", 8, 0), ("d", 40, 1), ("e", 70, 0)] {
        let mut frame = Vec::new();
        Command { serialization: Serialization::Binary, ..request(body) }.encode(&mut frame);
        // Over loopback they arrive as one piece, which one read of 8 KiB takes.
        stream.write_all(&frame.repeat(count)).await.unwrap();
        if body == "late" {
            for _ in 0..count {
                assert_eq!(server.event().await, "late");
            }
            // Responses given while the requests are still being read would count as immediate.
            let mut next = Vec::new();
            request("next").encode(&mut next);
            stream.write_all(&next).await.unwrap();
            assert_eq!(response(&mut stream, &mut input).await.body, "next");
            let late = std::mem::take(&mut *server.echo.late.lock());
            late.into_iter().for_each(|(request, responder)| responder.reply(&Reply::body(request.body)));
        }
        for _ in 0..count {
            assert_eq!(response(&mut stream, &mut input).await.body, body);
        }
        pauses += more;
        assert_eq!(server.counters.pauses.load(Relaxed), pauses, "after {count} requests {body:?}");
    }
}

#[tokio::test]
async fn a_late_response_overtakes_nothing_and_arrives() {
    let mut server = server(Limits::default());
    let (client, address) = (client(), server.address.to_string());
    let late = tokio::spawn({
        let (client, address) = (client.clone(), address.clone());
        async move { client.request(&address, request("late"), DEADLINE).await }
    });
    assert_eq!(server.event().await, "late");
    assert_eq!(client.request(&address, request("now"), DEADLINE).await.unwrap().body, "now");
    let (_, responder) = server.echo.late.lock().pop().unwrap();
    responder.reply(&Reply::refuse(ResponseCode::PullNotFound, "nothing"));
    let response = late.await.unwrap().unwrap();
    assert_eq!((response.code, response.remark.as_deref()), (19, Some("nothing")));
}

#[tokio::test]
async fn responses_given_at_the_same_time_leave_together() {
    let mut server = server(Limits::default());
    let client = client();
    let ask = |body: &'static str| {
        let (client, address) = (client.clone(), server.address.to_string());
        tokio::spawn(async move { client.request(&address, request(body), DEADLINE).await })
    };
    let (first, second) = (ask("late 1"), ask("late 2"));
    for _ in 0..2 {
        assert_eq!(server.event().await, "late");
    }
    let late = std::mem::take(&mut *server.echo.late.lock());
    let written = || server.counters.bytes_out.load(Relaxed);
    let before = written();
    let mut unsent: Vec<_> =
        late.into_iter().map(|(request, responder)| responder.reply_unsent(&Reply::body(request.body))).collect();
    assert_eq!(written(), before);
    drop(unsent.pop());
    let both = written();
    assert!(both > before);
    assert_eq!(first.await.unwrap().unwrap().body, "late 1");
    assert_eq!(second.await.unwrap().unwrap().body, "late 2");
    drop(unsent);
    assert_eq!(written(), both);
}

#[tokio::test]
async fn a_request_without_response_times_out_and_frees_its_slot() {
    let mut server = server(Limits::default());
    let client = Client::new(Arc::new(()), Limits { pending: 1, ..Limits::default() });
    let address = server.address.to_string();
    for _ in 0..3 {
        let error = client.request(&address, request("late"), Duration::from_millis(20)).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert_eq!(server.event().await, "late");
    }
    assert_eq!(client.counters().requests_refused.load(Relaxed), 0);
    let waits = client.request(&address, request("late"), DEADLINE);
    let second = async {
        assert_eq!(server.event().await, "late");
        client.request(&address, request("there is no place for it"), DEADLINE).await
    };
    tokio::select! {
        response = waits => panic!("no handler responds: {response:?}"),
        refused = second => assert!(matches!(refused, Err(Error::Overloaded(_))), "{refused:?}"),
    }
    assert_eq!(client.counters().requests_refused.load(Relaxed), 1);
}

#[tokio::test]
async fn a_peer_that_speaks_nonsense_is_closed_and_others_go_on() {
    let mut server = server(Limits { frame: 1000, ..Limits::default() });
    let client = client();
    let address = server.address.to_string();
    client.request(&address, request("a"), DEADLINE).await.unwrap();
    let lines = Lines::default();
    let writer = lines.clone();
    // The log of the whole process, because a server's connections have threads of their own; lines
    // of other tests are told apart by the peer.
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let lies: [(&str, &[u8]); 5] = [
        ("a frame over the limit", &[0, 0, 4, 0, 0, 0, 0, 4, 0, 0, 0, 0]),
        ("TLS", &[0x16, 3, 1, 0, 0, 0, 0, 0, 0]),
        ("an unknown serialize type", &[0, 0, 0, 8, 7, 0, 0, 4, 0, 0, 0, 0]),
        ("a header longer than its frame", &[0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 0]),
        ("a header that is no JSON", &[0, 0, 0, 8, 0, 0, 0, 4, b'{', b'{', b'{', b'{']),
    ];
    for (what, lie) in lies {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let peer = stream.local_addr().unwrap().to_string();
        stream.write_all(lie).await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("closed in time");
        assert_eq!(server.event().await, "closed");
        let said = String::from_utf8(lines.0.lock().clone()).unwrap();
        let said: Vec<_> = said.lines().filter(|line| line.contains(&peer)).collect();
        assert!(matches!(said[..], [line] if line.contains("WARN")), "{what}: {said:?}");
    }
    assert_eq!(server.counters.malformed.load(Relaxed), 5);
    assert_eq!(client.request(&address, request("b"), DEADLINE).await.unwrap().body, "b");
}

#[tokio::test]
async fn connections_over_the_cap_are_closed_at_once() {
    let server = server(Limits { connections: 1, ..Limits::default() });
    let (first, second) = (client(), client());
    let address = server.address.to_string();
    first.request(&address, request("a"), DEADLINE).await.unwrap();
    assert!(matches!(second.request(&address, request("b"), DEADLINE).await, Err(Error::Closed(_))));
    assert_eq!(server.counters.refused.load(Relaxed), 1);
}

#[tokio::test]
async fn a_silent_connection_is_closed_and_the_client_opens_another() {
    let mut server = server(Limits { idle: Duration::from_millis(30), ..Limits::default() });
    let (client, address) = (client(), server.address.to_string());
    for _ in 0..3 {
        client.request(&address, request("a"), DEADLINE).await.unwrap();
        assert_eq!(server.event().await, "closed");
        let connection = client.connection(&address).await;
        // The client may not have seen the end yet; a request shows it.
        if let Ok(connection) = connection {
            let _ = connection.request(request("probe"), DEADLINE).await;
        }
        while let Ok(event) = server.events.try_recv() {
            assert_eq!(event, "closed");
        }
    }
    assert!(server.counters.idle_closed.load(Relaxed) >= 3);
}

#[tokio::test]
async fn stopping_answers_what_was_asked_and_then_ends() {
    let mut server = server(Limits::default());
    let (client, address) = (client(), server.address.to_string());
    let late = tokio::spawn({
        let client = client.clone();
        async move { client.request(&address, request("late"), DEADLINE).await }
    });
    assert_eq!(server.event().await, "late");
    server.stop.cancel();
    let (_, responder) = server.echo.late.lock().pop().unwrap();
    responder.reply(&Reply::body("done"));
    assert_eq!(late.await.unwrap().unwrap().body, "done");
    tokio::time::timeout(DEADLINE, server.task).await.expect("ends in time").unwrap();
}

#[tokio::test]
async fn a_peer_learns_of_the_end_though_handles_live_on() {
    let mut server = server(Limits::default());
    let (client, address) = (client(), server.address.to_string());
    client.request(&address, request("a"), DEADLINE).await.unwrap();
    let handle = client.connection(&address).await.unwrap();
    client.close().await;
    assert_eq!(server.event().await, "closed");
    drop(handle);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_not_read_from() {
    let limits = Limits { outbox: 64 * 1024, ..Limits::default() };
    let mut server = server(limits);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut frame = Vec::new();
    request(vec![1; 32 * 1024]).encode(&mut frame);
    // Far more than socket buffers and the outbox hold: at some point our own writes must stop.
    let stuck = async {
        for _ in 0..4000 {
            if stream.write_all(&frame).await.is_err() {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(2), stuck).await.is_err(), "the server read everything");
    let responded = server.counters.frames_in.load(Relaxed);
    assert!(responded < 4000, "{responded}");
    let counters = Arc::clone(&server.counters);
    let waiting = counters.outbox_bytes.load(Relaxed);
    assert!((64 * 1024..16 << 20).contains(&waiting), "{waiting} bytes are said to wait");
    assert_eq!((counters.held_back.load(Relaxed), counters.held_back_for_requests.load(Relaxed)), (1, 0));
    assert!(counters.held_back_for_outbox.load(Relaxed) >= 1);
    let mut read = 0;
    let mut chunk = vec![0; 1 << 20];
    while read < 1 << 22 {
        read += tokio::time::timeout(DEADLINE, stream.read(&mut chunk)).await.expect("responses flow again").unwrap();
    }
    drop(stream);
    assert_eq!(server.event().await, "closed");
    assert_eq!((counters.held_back.load(Relaxed), counters.outbox_bytes.load(Relaxed)), (0, 0), "it is gone");
}

#[tokio::test]
async fn what_a_peer_reads_late_is_no_longer_said_to_wait() {
    let server = server(Limits::default());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let (count, size) = (400, 128 * 1024);
    let mut frame = Vec::new();
    request(vec![1; size]).encode(&mut frame);
    let (mut reader, mut writer) = stream.split();
    for _ in 0..count {
        // As much as the server reads while no client reads its responses.
        if tokio::time::timeout(Duration::from_millis(100), writer.write_all(&frame)).await.is_err() {
            break;
        }
    }
    until("bytes wait", || server.counters.outbox_bytes.load(Relaxed) > 0).await;
    let mut chunk = vec![0; 1 << 20];
    let read = async { while reader.read(&mut chunk).await.unwrap() > 0 {} };
    tokio::select! {
        () = until("nothing waits", || server.counters.outbox_bytes.load(Relaxed) == 0) => {}
        () = read => panic!("the connection ended"),
    }
}

#[tokio::test]
async fn large_bodies_in_pieces_arrive_whole() {
    struct Pieces;
    impl Handler for Pieces {
        fn handle(&self, _request: Command, responder: Responder) {
            let parts = (0..300usize).map(|n| vec![n as u8; if n % 3 == 0 { 10 } else { 5000 + n }].into()).collect();
            let mut reply = Reply { body: rmq_protocol::Body::Parts(parts), ..Reply::ok() };
            reply.fields = [("a", "1")].into_iter().collect::<Fields>();
            responder.reply(&reply);
        }
    }
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, reactors(), Arc::new(Pieces), Limits::default(), Arc::default(), stop.clone()));
    let client = client();
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (client, address) = (client.clone(), address.clone());
            tokio::spawn(async move { client.request(&address, request(""), DEADLINE).await.unwrap() })
        })
        .collect();
    let expected: Vec<u8> = (0..300usize).flat_map(|n| vec![n as u8; if n % 3 == 0 { 10 } else { 5000 + n }]).collect();
    for call in calls {
        assert!(call.await.unwrap().body == expected);
    }
    stop.cancel();
}

#[tokio::test]
async fn an_unreachable_address_is_an_error_that_names_it() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = client().request(&address, request("a"), DEADLINE).await.unwrap_err();
    assert!(matches!(&error, Error::Connect { address: named, .. } if *named == address), "{error}");
}

/// A peer that writes for as long as it can, whatever it receives.
fn flood(address: SocketAddr, frame: Vec<u8>) -> std::thread::JoinHandle<()> {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    let many = frame.repeat(200);
    std::thread::spawn(move || while std::io::Write::write_all(&mut stream, &many).is_ok() {})
}

/// The task that reads it never observed the stop, nor did others of its thread.
#[tokio::test(flavor = "current_thread")]
async fn a_socket_that_always_has_bytes_holds_up_neither_others_nor_the_stop() {
    let server = server(Limits { grace: Duration::from_millis(200), ..Limits::default() });
    let mut frame = Vec::new();
    request("noise").one_way().encode(&mut frame);
    let flooding = flood(server.address, frame);
    let client = client();
    let address = server.address.to_string();
    for _ in 0..20 {
        let response = client.request(&address, request("beside it"), DEADLINE).await.unwrap();
        assert_eq!(response.body, "beside it");
    }
    server.stop.cancel();
    tokio::time::timeout(DEADLINE, server.task).await.expect("an end in time").unwrap();
    assert_eq!(server.counters.connections.load(Relaxed), 0);
    flooding.join().unwrap();
}

#[tokio::test]
async fn a_peer_with_too_many_open_requests_is_not_read_from_until_some_are_answered() {
    let mut server = server(Limits { unanswered: 10, ..Limits::default() });
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut frame = Vec::new();
    request([b"late".as_slice(), &[b'x'; 20_000]].concat()).encode(&mut frame);
    let (mut reader, mut writer) = stream.split();
    let write = async {
        for _ in 0..30 {
            writer.write_all(&frame).await.unwrap();
        }
    };
    let response = async {
        for responded in 0..30 {
            assert_eq!(server.event().await, "late");
            if responded < 9 {
                continue;
            }
            if responded == 9 {
                until("it is not read from", || server.counters.held_back.load(Relaxed) == 1).await;
            }
            let (request, responder) = server.echo.late.lock().remove(0);
            // One read of at most 64 KiB completes up to four, and may begin with nine open.
            assert!(server.echo.late.lock().len() < 9 + 4, "it was read on");
            responder.reply(&Reply::body(request.body));
        }
    };
    let read = async {
        let mut some = vec![0; 64 * 1024];
        while reader.read(&mut some).await.unwrap() > 0 {}
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(write, response) } => {}
        () = read => panic!("the connection ended"),
    }
    assert!(server.counters.held_back_for_requests.load(Relaxed) >= 1);
    assert_eq!(server.counters.held_back_for_outbox.load(Relaxed), 0);
    until("it is read from again", || server.counters.held_back.load(Relaxed) == 0).await;
}
