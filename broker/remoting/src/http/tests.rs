use super::*;
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// Ready, and failed.
struct Process(AtomicBool, AtomicBool);

impl Health for Process {
    fn live(&self) -> Result<(), String> {
        if self.1.load(Relaxed) { Err("a sync has failed".to_owned()) } else { Ok(()) }
    }

    fn ready(&self) -> Result<String, String> {
        if self.0.load(Relaxed) {
            Ok("one of two is away".to_owned())
        } else {
            Err("recovering the commit log".to_owned())
        }
    }

    fn metrics(&self) -> String {
        "up 1\n".to_owned()
    }
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    let read = stream.read_to_string(&mut response);
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("a response in time").unwrap();
    response
}

#[tokio::test]
async fn probes_and_scrapers_are_answered_until_the_stop() {
    let listener = crate::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (process, stop) = (Arc::new(Process(AtomicBool::new(false), AtomicBool::new(false))), CancellationToken::new());
    let server = tokio::spawn(serve(listener, Arc::clone(&process) as Arc<dyn Health>, places(), stop.clone()));
    let get =
        async |path: &str| ask(address, &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
    let live = get("/healthz").await;
    assert!(live.starts_with("HTTP/1.1 200") && live.ends_with("\r\n\r\nok\n"), "{live}");
    let early = get("/readyz").await;
    assert!(early.starts_with("HTTP/1.1 503") && early.ends_with("recovering the commit log\n"), "{early}");
    process.0.store(true, Relaxed);
    let degraded = get("/readyz").await;
    assert!(
        degraded.starts_with("HTTP/1.1 200") && degraded.ends_with("\r\n\r\nok\none of two is away\n"),
        "{degraded}"
    );
    process.1.store(true, Relaxed);
    let failed = get("/healthz").await;
    assert!(failed.starts_with("HTTP/1.1 503") && failed.ends_with("a sync has failed\n"), "{failed}");
    let metrics = get("/metrics").await;
    assert!(
        metrics.contains("content-type: text/plain; version=0.0.4\r\n") && metrics.ends_with("up 1\n"),
        "{metrics}"
    );
    let unknown = get("/metric").await;
    assert!(unknown.starts_with("HTTP/1.1 404") && unknown.ends_with(PATHS), "{unknown}");
    assert!(ask(address, "nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));

    let mut idle = TcpStream::connect(address).await.unwrap();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), server).await.expect("ends in time").unwrap().unwrap();
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest).await;
    assert!(rest.is_empty() && TcpStream::connect(address).await.is_err());
}

const DEADLINE: Duration = Duration::from_secs(10);
/// More connections than the port has places.
const MANY: u8 = 70;

fn places() -> Arc<Places> {
    Arc::new(Places::new().unwrap())
}

async fn start() -> (SocketAddr, Arc<Places>) {
    let listener = crate::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let process = Arc::new(Process(AtomicBool::new(true), AtomicBool::new(false)));
    let places = places();
    tokio::spawn(serve(listener, process, Arc::clone(&places), CancellationToken::new()));
    (address, places)
}

/// A connection from 127.0.0.`host`.
async fn from_host(host: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
    socket.connect(to).await.unwrap()
}

async fn probe(address: SocketAddr) {
    let begun = Instant::now();
    let response = ask(address, "GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(begun.elapsed() < Duration::from_secs(4), "after {:?}: only when the others timed out", begun.elapsed());
}

/// Silent connections held all places for 30 s, and the kubelet killed the process.
#[tokio::test]
async fn connections_that_ask_nothing_do_not_keep_probes_out() {
    const WHOLE: &str = "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
    const UNREAD: &str = "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n";
    for sent in ["", "GET /healthz HTTP/1.1\r\nx: ", WHOLE, UNREAD] {
        for one_address in [true, false] {
            let (address, _) = start().await;
            let mut others = Vec::new();
            for host in 1..=MANY {
                let mut stream = from_host(if one_address { 1 } else { host }, address).await;
                stream.write_all(sent.as_bytes()).await.unwrap();
                others.push(stream);
            }
            probe(address).await;
            probe(address).await;
        }
    }
}

/// One address took all places, and each new connection of it took one from another address.
#[tokio::test]
async fn one_address_closes_its_own_connections_first() {
    let (address, places) = start().await;
    let mut scraper = from_host(2, address).await;
    let mut others = Vec::new();
    for _ in 0..3 * u32::from(MANY) {
        others.push(from_host(1, address).await);
    }
    // They are accepted in order, so this comes after all of them.
    probe(address).await;
    scraper.write_all(b"GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut response = String::new();
    tokio::time::timeout(DEADLINE, scraper.read_to_string(&mut response)).await.unwrap().unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let registry = prometheus::Registry::new();
    places.register(&registry).unwrap();
    let text = crate::metrics::text(&registry);
    let closed = text.lines().find_map(|line| line.strip_prefix("rocketmq_http_closed_for_others_total "));
    assert!(closed.unwrap().parse::<u32>().unwrap() >= 2 * u32::from(MANY), "{text}");
}
