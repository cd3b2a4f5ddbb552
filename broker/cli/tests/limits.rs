//! What stays within bounds while peers take all they can get: threads, memory and file descriptors
//! of a broker.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test, and says where")]

#[allow(dead_code, reason = "shared with the other tests of this folder")]
mod process;

use process::{Broker, Process, command, namesrv, ports::free_port, until};
use rmq_client::{Message, Producer, producer::Options};
use rmq_protocol::{Command, RequestCode, header::Empty};
use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command as Program,
    time::{Duration, Instant},
};
use tokio::net::TcpSocket;

/// Of the runtime, `rmq_server::BLOCKING_THREADS`.
const BLOCKING_THREADS: usize = 64;
/// What the network buffers of the broker may take.
const BUFFERS: usize = 16 << 20;
/// Anonymous memory that storms may take beside the buffers: answers in the making, one a thread,
/// and what the allocator keeps for each thread.
const WORK: usize = 112 << 20;
const STORM_CONNECTIONS: usize = 20;

/// A number of `/proc/<id>/status`.
fn status(id: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
}

/// The threads of a process that has started all that it runs: as many for half a second. It
/// answers before it has.
fn threads_at_rest(id: u32) -> usize {
    let (mut threads, mut equal) = (0, 0);
    until("all threads have started", || {
        let now = status(id, "Threads");
        equal = if now == threads { equal + 1 } else { 0 };
        threads = now;
        (equal >= 25).then_some(now)
    })
}

fn anonymous(id: u32) -> usize {
    status(id, "RssAnon") << 10
}

/// The answer, if there is one.
fn ask(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn alive(port: u16) -> Option<()> {
    ask(port, "/healthz").filter(|answer| answer.starts_with("HTTP/1.1 200")).map(|_| ())
}

/// Connections that send as many requests as the broker takes for some seconds, and read no answer.
/// Returns the most threads and bytes of anonymous memory that the broker had.
fn storm(id: u32, port: u16, code: RequestCode) -> (usize, usize) {
    let mut requests = Vec::new();
    for _ in 0..3000 {
        Command::request(code, &Empty {}).encode(&mut requests);
    }
    let connect = |_| {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nonblocking(true).unwrap();
        (stream, 0)
    };
    let mut connections: Vec<_> = (0..STORM_CONNECTIONS).map(connect).collect();
    let (mut threads, mut memory, begun) = (0, 0, Instant::now());
    while begun.elapsed() < Duration::from_secs(3) {
        for (stream, sent) in &mut connections {
            match stream.write(&requests[*sent..]) {
                Ok(bytes) => *sent = (*sent + bytes) % requests.len(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The broker closes peers that give no memory back.
                Err(_) => *sent = 0,
            }
        }
        threads = threads.max(status(id, "Threads"));
        memory = memory.max(anonymous(id));
        std::thread::yield_now();
    }
    (threads, memory)
}

/// Read-only requests from 20 connections made 512 threads with memory of their own: a pod with
/// 256Mi was killed.
#[test]
fn a_storm_of_requests_takes_a_bounded_number_of_threads_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (port, http) = (free_port(), free_port());
    let (port_text, http_text, buffers) = (port.to_string(), http.to_string(), BUFFERS.to_string());
    let settings = [("listenPort", &*port_text), ("httpPort", &http_text), ("maxNetworkBufferBytes", &buffers)];
    let broker = Broker::start(folder.path(), "127.0.0.1:1", &settings);
    until("the broker answers", || TcpStream::connect(("127.0.0.1", port)).ok().and_then(|_| alive(http)));
    let id = broker.process.0.id();
    let (threads, memory) = (threads_at_rest(id), anonymous(id));
    for code in [RequestCode::BrokerRuntimeInfo, RequestCode::AllTopicConfig, RequestCode::BrokerRuntimeInfo] {
        let (most_threads, most_memory) = storm(id, port, code);
        assert!(most_threads <= threads + BLOCKING_THREADS, "{most_threads} threads, {threads} at rest");
        until("the broker answers", || alive(http));
        assert!(most_memory <= memory + BUFFERS + WORK, "{most_memory} bytes, {memory} at rest");
    }
    broker.stop();
}

/// Connections took all descriptors: probes and new clients timed out, and the store could not
/// begin its next file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_leave_descriptors_to_files_probes_and_other_addresses() {
    const DESCRIPTORS: usize = 1100;
    const MESSAGE: usize = 100_000;
    rmq_remoting::connections_within_limit("connections of this test", 1, 0);
    let folder = tempfile::tempdir().unwrap();
    let names = namesrv(folder.path()).await;
    let (namesrvs, port, http) = (names.local_addr().to_string(), free_port(), free_port());
    let log = folder.path().join("log");
    let output = File::create(&log).unwrap();
    let mut program = Program::new("sh");
    program.args(["-c", &format!("ulimit -Sn 256 && ulimit -Hn {DESCRIPTORS} && exec \"$@\""), "sh"]);
    let broker = command(&["broker", "--namesrv", &namesrvs]);
    program.arg(broker.get_program()).args(broker.get_args());
    program.args([
        "--set=bindAddress=127.0.0.1",
        "--set=brokerIP1=127.0.0.1",
        "--set=mappedFileSizeCommitLog=1048576",
        "--set=maxMessageSize=400000",
    ]);
    program.args(["--set=diskSpaceWarningLevelRatio=100", "--set=cleanFileForciblyEnable=false"]);
    program.args([format!("--set=listenPort={port}"), format!("--set=httpPort={http}")]);
    program.arg(format!("--set=storePathRootDir={}", folder.path().join("store").display()));
    program.env_remove("NAMESRV_ADDR").stdout(output.try_clone().unwrap()).stderr(output);
    let broker = Process(program.spawn().unwrap());
    until("the broker is ready", || ask(http, "/readyz").filter(|answer| answer.starts_with("HTTP/1.1 200")));

    let mut hogs = Vec::new();
    for number in 0..DESCRIPTORS {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 1, (number % 200) as u8 + 1], 0))).unwrap();
        let connecting = tokio::time::timeout(Duration::from_secs(5), socket.connect(([127, 0, 0, 1], port).into()));
        // Without a reserve the last ones wait in the kernel for ever.
        let Ok(Ok(stream)) = connecting.await else { break };
        hogs.push(stream);
    }
    until("a probe is answered", || alive(http));
    let id = broker.0.id();
    let open = fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    assert!(open < DESCRIPTORS / 2, "{open} descriptors are open");
    let producer = Producer::start(Options::new(&namesrvs, "another")).await.unwrap();
    // Noise: clients compress what they can.
    let mut state = 1u64;
    let body: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(MESSAGE)
    .collect();
    for _ in 0..3 * (1 << 20) / MESSAGE {
        producer.send(Message::new("topic", body.clone())).await.unwrap();
    }
    producer.stop().await;
    let files = fs::read_dir(folder.path().join("store/commitlog")).unwrap().count();
    assert!(files >= 3, "the log has {files} files");
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("maxConnections is lowered from 20000 to 332"), "{said}");
    drop((hogs, broker));
    names.stop().await;
}
