//! Peers that request much and read little, send frames that never end, or hit a fault of a
//! handler: the effect on other peers and on memory.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use bytes::BytesMut;
use rmq_protocol::{Command, Reply, RequestCode, frame, header};
use rmq_remoting::{Budget, Client, Connection, Counters, Deferred, Handler, Limits, Reactors, Responder, bind, serve};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

/// The timeout of any condition on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of the response to `large`.
const LARGE: usize = 64 * 1024;

/// Does what the body of a request names.
#[derive(Default)]
struct Obedient {
    closed: AtomicUsize,
}

impl Handler for Obedient {
    fn handle(&self, request: Command, responder: Responder) {
        match &request.body[..] {
            b"large" => responder.reply(&Reply::body(vec![7; LARGE])),
            b"slow" => {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(2) {}
                responder.reply(&Reply::ok());
            }
            b"panic" => panic!("a handler's fault, on purpose"),
            b"panic elsewhere" => drop(std::thread::spawn(move || {
                let _responder = responder;
                panic!("a handler's fault, on purpose");
            })),
            _ => responder.reply(&Reply::body(request.body)),
        }
    }

    fn closed(&self, _connection: &Connection) {
        self.closed.fetch_add(1, Relaxed);
    }
}

struct Server {
    address: SocketAddr,
    handler: Arc<Obedient>,
    counters: Arc<Counters>,
    _stop: tokio_util::sync::DropGuard,
}

fn server(limits: Limits, budget: Budget) -> Server {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (handler, stop) = (Arc::<Obedient>::default(), CancellationToken::new());
    let counters = Arc::new(Counters::with_budget(Arc::new(budget)));
    let reactors = Arc::new(Reactors::start(&Arc::default()).unwrap());
    tokio::spawn(serve(listener, reactors, Arc::clone(&handler), limits, Arc::clone(&counters), stop.clone()));
    Server { address, handler, counters, _stop: stop.drop_guard() }
}

fn wide() -> Budget {
    Budget::new(1 << 30)
}

fn frame_of(body: &'static str) -> Vec<u8> {
    let mut frame = Vec::new();
    Command::request(RequestCode::SendMessageV2, &header::Empty {}).with_body(body).encode(&mut frame);
    frame
}

async fn until(what: &str, reached: impl Fn() -> bool) {
    let reached = async {
        while !reached() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, reached).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

async fn response(stream: &mut TcpStream, input: &mut BytesMut) -> Command {
    loop {
        if let Some(response) = frame::decode(input, 1 << 20).unwrap() {
            return response;
        }
        let read = tokio::time::timeout(DEADLINE, stream.read_buf(input)).await.expect("a response in time").unwrap();
        assert!(read > 0, "the connection ended");
    }
}

async fn is_answered(address: SocketAddr) {
    let client = Client::new(Arc::new(()), Limits::default());
    let request = Command::request(RequestCode::SendMessageV2, &header::Empty {}).with_body("hello");
    let response = client.request(&address.to_string(), request, DEADLINE).await.unwrap();
    assert_eq!(response.body, "hello");
    client.close().await;
}

/// 280 small requests in one burst took 198 MiB of responses: the limit was checked once per read.
#[tokio::test]
async fn a_burst_of_requests_for_much_stops_at_the_limit_and_goes_on_when_the_peer_reads() {
    let outbox = 4 * LARGE;
    let server = server(Limits { outbox, ..Limits::default() }, wide());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let count = 400;
    stream.write_all(&frame_of("large").repeat(count)).await.unwrap();
    until("it is held back", || server.counters.held_back.load(Relaxed) == 1).await;
    let most = outbox + LARGE + 1024;
    let waiting = server.counters.outbox_bytes.load(Relaxed);
    assert!((outbox..most).contains(&waiting), "{waiting} bytes wait, at most {most} may");
    assert_eq!(server.counters.budget.used() - server.counters.input_bytes.load(Relaxed), waiting);

    let mut input = BytesMut::new();
    for _ in 0..count {
        assert_eq!(response(&mut stream, &mut input).await.body.len(), LARGE);
    }
    stream.write_all(&frame_of("again")).await.unwrap();
    assert_eq!(response(&mut stream, &mut input).await.body, "again");
    drop(stream);
    until("nothing is counted any more", || server.counters.budget.used() == 0).await;
}

/// Requests of one read were all handled before another connection of the thread had its turn.
#[tokio::test]
async fn others_of_the_thread_have_their_turns_while_one_peer_asks_for_much_work() {
    let server = server(Limits::default(), wide());
    let threads = std::thread::available_parallelism().unwrap().get().min(16);
    // As many as one read of 8 KiB brings.
    let count = 60;
    let mut busy = Vec::new();
    for _ in 0..threads {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&frame_of("slow").repeat(count)).await.unwrap();
        busy.push(stream);
    }
    until("work has begun", || server.counters.frames_in.load(Relaxed) >= threads as u64).await;
    is_answered(server.address).await;
    let handled = server.counters.frames_in.load(Relaxed);
    assert!(handled < (threads * count) as u64, "all {handled} requests of others were handled first");
    for mut stream in busy {
        let mut input = BytesMut::new();
        for _ in 0..count {
            response(&mut stream, &mut input).await;
        }
    }
}

#[tokio::test]
async fn frames_that_never_end_do_not_keep_the_memory_of_all() {
    let limit = 4 << 20;
    let limits = Limits { relief: Duration::from_millis(500), ..Limits::default() };
    let server = server(limits, Budget::new(limit));
    // 2 MiB are announced, and all but the last byte is sent.
    let mut begun = vec![0; 2 << 20];
    begun[..4].copy_from_slice(&(2u32 << 20).to_be_bytes());
    begun[7] = 100;
    let begun: Arc<[u8]> = begun.into();
    let peers = 40;
    let writers: Vec<_> = (0..peers)
        .map(|_| {
            let begun = Arc::clone(&begun);
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(server.address).await.unwrap();
                let _ = stream.write_all(&begun).await;
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
            })
        })
        .collect();
    let counters = Arc::clone(&server.counters);
    // A share, one read of 64 KiB, and the rounding of the counting unit.
    let most = limit + peers * (64 + 64 + 72) * 1024;
    let watched = async {
        let mut seen = 0;
        while counters.closed_for_memory.load(Relaxed) == 0 {
            seen = seen.max(counters.budget.used());
            assert!(seen < most, "{seen} bytes are taken of {limit}, at most {most} may be");
            tokio::task::yield_now().await;
        }
        seen
    };
    let seen = tokio::time::timeout(DEADLINE, watched).await.expect("connections that are closed");
    assert!(seen > limit, "the budget was not used up: {seen}");
    assert!(counters.held_back_for_memory.load(Relaxed) > 0);
    is_answered(server.address).await;
    for writer in writers {
        writer.abort();
        let _ = writer.await;
    }
    until("nothing is counted any more", || counters.budget.used() == 0).await;
    assert_eq!((counters.input_bytes.load(Relaxed), counters.held_back.load(Relaxed)), (0, 0));
}

/// A peer that reads again in time is not closed, and gets every response.
#[tokio::test]
async fn peers_that_read_slowly_while_memory_is_short_get_their_answers() {
    let server = server(Limits { outbox: 16 * LARGE, ..Limits::default() }, Budget::new(8 * LARGE));
    let count = 100;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&frame_of("large").repeat(count)).await.unwrap();
        streams.push(stream);
    }
    until("memory is short", || server.counters.held_back_for_memory.load(Relaxed) > 0).await;
    is_answered(server.address).await;
    for mut stream in streams {
        let mut input = BytesMut::new();
        for _ in 0..count {
            assert_eq!(response(&mut stream, &mut input).await.body.len(), LARGE);
        }
    }
    assert_eq!(server.counters.closed_for_memory.load(Relaxed), 0);
}

/// The log lines of the connections of this process; lines of other tests are told apart by the
/// peer.
static LOG: parking_lot::Mutex<Vec<u8>> = parking_lot::Mutex::new(Vec::new());

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Errors that are logged of this peer.
fn logged(stream: &TcpStream) -> Vec<String> {
    let peer = stream.local_addr().unwrap().to_string();
    let log = String::from_utf8(LOG.lock().clone()).unwrap();
    log.lines().filter(|line| line.contains("ERROR") && line.contains(&peer)).map(str::to_owned).collect()
}

fn begin_log() {
    // For the test that runs first.
    let _ = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).try_init();
}

/// The socket and what the handler knew of the client stayed for two minutes; later the response
/// was lost, and the panic logged twice.
#[tokio::test]
async fn a_handler_that_panics_ends_its_connection_and_no_other() {
    begin_log();
    let server = server(Limits::default(), wide());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&frame_of("panic")).await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection goes on: {rest:?}");
    let response = frame::decode(&mut BytesMut::from(&rest[..]), 1 << 20).unwrap().expect("a response");
    assert!(
        response.code == 1 && response.remark.as_ref().is_some_and(|remark| remark.contains("panic")),
        "{response:?}"
    );
    until("its end is reported", || server.handler.closed.load(Relaxed) == 1).await;
    assert_eq!(server.counters.panics.load(Relaxed), 1);
    let logged = logged(&stream);
    assert!(logged.len() == 1 && logged[0].contains("its connection is closed"), "{logged:?}");
    is_answered(server.address).await;
}

/// The peer waited for its response in vain.
#[tokio::test]
async fn a_handler_that_panics_on_another_thread_is_an_answer() {
    begin_log();
    let server = server(Limits::default(), wide());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&frame_of("panic elsewhere")).await.unwrap();
    let response = response(&mut stream, &mut BytesMut::new()).await;
    assert!(
        response.code == 1 && response.remark.as_ref().is_some_and(|remark| remark.contains("panic")),
        "{response:?}"
    );
    assert_eq!(logged(&stream).len(), 1);
}

/// Hands over what holds turns.
struct Keeper(tokio::sync::mpsc::UnboundedSender<Responder>);

impl Handler for Keeper {
    fn handle(&self, _request: Command, responder: Responder) {
        let _ = self.0.send(responder);
    }
}

#[tokio::test]
async fn a_connection_has_so_many_turns_and_waits_for_more_until_its_end() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let (sender, mut kept) = tokio::sync::mpsc::unbounded_channel();
    let limits = Limits { turns: 2, deferred: 3, ..Limits::default() };
    let counters = Arc::<Counters>::default();
    let reactors = Arc::new(Reactors::start(&Arc::default()).unwrap());
    tokio::spawn(serve(listener, reactors, Arc::new(Keeper(sender)), limits, Arc::clone(&counters), stop.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&frame_of("a")).await.unwrap();
    let responder = tokio::time::timeout(DEADLINE, kept.recv()).await.unwrap().unwrap();
    let (one, two) = (responder.try_turn().unwrap(), responder.try_turn().unwrap());
    assert!(responder.try_turn().is_none());
    let mut third = Box::pin(responder.turn());
    assert!(futures::poll!(&mut third).is_pending());
    stream.write_all(&frame_of("a")).await.unwrap();
    until("it is held back", || counters.held_back_for_requests.load(Relaxed) == 1).await;
    drop(one);
    let third = tokio::time::timeout(DEADLINE, third).await.unwrap();
    assert!(third.is_some());
    until("it is read from again", || counters.held_back.load(Relaxed) == 0).await;
    let fourth = tokio::spawn(responder.turn());
    drop(stream);
    assert!(tokio::time::timeout(DEADLINE, fourth).await.unwrap().unwrap().is_none(), "a turn after the end");
    drop((two, third));
    stop.cancel();
}

/// Defers all requests and hands them over; only sends have bodies.
struct Deferring(tokio::sync::mpsc::UnboundedSender<(Command, Deferred, Responder)>);

impl Handler for Deferring {
    fn handle(&self, request: Command, responder: Responder) {
        let _ = self.0.send((request, responder.defer(), responder));
    }

    fn has_body(&self, code: i32) -> bool {
        code == RequestCode::SendMessageV2.number()
    }
}

/// 1,000 requests of 16 MiB each might have waited for threads on one connection, and no limit
/// counted their bodies.
#[tokio::test]
async fn bodies_of_requests_that_wait_are_limited_and_counted() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let (sender, mut waiting) = tokio::sync::mpsc::unbounded_channel();
    let limits = Limits { deferred_bytes: 1 << 20, ..Limits::default() };
    let counters = Arc::new(Counters::with_budget(Arc::new(wide())));
    let reactors = Arc::new(Reactors::start(&Arc::default()).unwrap());
    tokio::spawn(serve(listener, reactors, Arc::new(Deferring(sender)), limits, Arc::clone(&counters), stop.clone()));
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let (count, body) = (40, 100 << 10);
    let frames = move |code, count| {
        let mut frame = Vec::new();
        Command::request(code, &header::Empty {}).with_body(vec![1; body]).encode(&mut frame);
        frame.repeat(count)
    };
    let writing = tokio::spawn(async move {
        writer.write_all(&frames(RequestCode::SendMessageV2, count)).await.unwrap();
        // These bodies are not needed by the handler.
        writer.write_all(&frames(RequestCode::HeartBeat, count)).await.unwrap();
        writer
    });
    until("it is held back", || counters.held_back_for_requests.load(Relaxed) == 1).await;
    let bytes = counters.deferred_bytes.load(Relaxed);
    assert!((1 << 20..(1 << 20) + 2 * body).contains(&bytes), "{bytes} bytes wait");
    assert_eq!(counters.budget.used(), bytes + counters.input_bytes.load(Relaxed));
    for _ in 0..count {
        let (request, deferred, responder) = tokio::time::timeout(DEADLINE, waiting.recv()).await.unwrap().unwrap();
        assert_eq!(request.body.len(), body);
        responder.reply(&Reply::ok());
        drop(deferred);
    }
    until("all others wait", || waiting.len() == count).await;
    let bytes = counters.deferred_bytes.load(Relaxed);
    assert!(bytes < body, "{bytes} bytes wait without a body");
    let mut parked = Vec::new();
    while let Ok((request, deferred, mut responder)) = waiting.try_recv() {
        assert!(request.body.is_empty());
        drop(deferred);
        responder.park();
        parked.push(responder);
    }
    assert_eq!(counters.deferred_bytes.load(Relaxed), 0);
    assert_eq!(counters.budget.used(), bytes + counters.input_bytes.load(Relaxed), "parked requests count");
    drop((parked, writing.await.unwrap()));
    let mut rest = Vec::new();
    tokio::time::timeout(DEADLINE, reader.read_to_end(&mut rest)).await.unwrap().unwrap();
    until("nothing is counted any more", || counters.budget.used() == 0).await;
    stop.cancel();
}

/// A turn waits for the peer to read, also if the pending response is not its own.
#[tokio::test]
async fn a_turn_begins_when_the_peer_has_read() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let (sender, mut kept) = tokio::sync::mpsc::unbounded_channel();
    let limits = Limits { outbox: 1 << 20, ..Limits::default() };
    let counters = Arc::new(Counters::with_budget(Arc::new(wide())));
    let reactors = Arc::new(Reactors::start(&Arc::default()).unwrap());
    tokio::spawn(serve(listener, reactors, Arc::new(Keeper(sender)), limits, Arc::clone(&counters), stop.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&frame_of("a").repeat(2)).await.unwrap();
    let mut next = async || tokio::time::timeout(DEADLINE, kept.recv()).await.unwrap().unwrap();
    let (first, second) = (next().await, next().await);
    let size = 64 << 20;
    first.reply(&Reply::body(vec![7; size]));
    let turn = tokio::spawn(second.turn());
    until("it waits", || counters.outbox_bytes.load(Relaxed) > 1 << 20).await;
    assert!(second.try_turn().is_none() && !turn.is_finished());
    let mut read = vec![0; size];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut read)).await.unwrap().unwrap();
    assert!(tokio::time::timeout(DEADLINE, turn).await.unwrap().unwrap().is_some());
    stop.cancel();
}
