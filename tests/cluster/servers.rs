//! Namesrvs and brokers on loopback, on ports that are kept free for them.

#[path = "../ports.rs"]
mod ports;

pub(crate) use ports::free_port;
use rmq_client::Admin;
use rmq_namesrv::{Namesrv, Overrides};
use rmq_server::Broker;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    sync::OnceCell,
};

/// What any condition may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// One namesrv and one broker that serve all tests of this process.
pub(crate) struct Servers {
    /// The address of the namesrv.
    pub(crate) namesrvs: String,
    /// They serve as long as the process lives.
    _running: Option<(Namesrv, Broker)>,
}

/// The servers for all, started when they are first asked for.
pub(crate) async fn servers() -> &'static Servers {
    static SERVERS: OnceCell<Servers> = OnceCell::const_new();
    // A test's own runtime ends with the test.
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    SERVERS
        .get_or_init(|| async {
            let runtime = RUNTIME.get_or_init(|| Runtime::new().expect("a runtime for the servers"));
            let servers = runtime.spawn(start()).await.expect("servers that start");
            wait_for_masters(&servers.namesrvs, 1).await;
            servers
        })
        .await
}

async fn start() -> Servers {
    if let Ok(elsewhere) = std::env::var("CLUSTER_NAMESRV") {
        return Servers { namesrvs: elsewhere, _running: None };
    }
    // Not a temporary folder: nobody would remove it, as these servers are never dropped.
    let root = folder("all");
    let namesrv = namesrv(&root).await;
    let namesrvs = namesrv.local_addr().to_string();
    let broker = broker_with(&root, "broker-a", &namesrvs, 0, &[("enablePropertyFilter", "true")]).await;
    Servers { namesrvs, _running: Some((namesrv, broker)) }
}

/// An empty folder of this name for servers of a test's own.
pub(crate) fn folder(name: &str) -> PathBuf {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster").join(name);
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(&root).expect("a folder for servers");
    root
}

/// Copies a folder with all below it; `file` copies a file.
pub(crate) fn copy_folder(from: &Path, to: &Path, file: fn(&Path, &Path)) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to, file),
            false => file(&entry.path(), &to),
        }
    }
}

/// A namesrv on a free port.
pub(crate) async fn namesrv(root: &Path) -> Namesrv {
    namesrv_at(root, 0).await
}

/// A namesrv on this port.
pub(crate) async fn namesrv_at(root: &Path, port: u16) -> Namesrv {
    let path = |name: &str| root.join(name).display().to_string();
    let settings = [
        ("bindAddress", "127.0.0.1".to_owned()),
        ("kvConfigPath", path("kvConfig.json")),
        ("configStorePath", path("namesrv.properties")),
    ];
    let settings = settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let (config, _) = rmq_namesrv::Config::from_properties(settings).expect("settings of a namesrv");
    let at = Overrides { listen_port: Some(port), ..Overrides::default() };
    Namesrv::start(config, at).await.expect("a namesrv")
}

/// A master with the store it had before, if there is one; port 0 is any free one.
pub(crate) async fn broker(root: &Path, name: &str, namesrvs: &str, port: u16) -> Broker {
    broker_with(root, name, namesrvs, port, &[]).await
}

/// The same with settings of its own.
pub(crate) async fn broker_with(root: &Path, name: &str, namesrvs: &str, port: u16, more: &[(&str, &str)]) -> Broker {
    try_broker(root, name, namesrvs, port, more).await.expect("a broker")
}

/// The same where the start may be refused.
pub(crate) async fn try_broker(
    root: &Path,
    name: &str,
    namesrvs: &str,
    port: u16,
    more: &[(&str, &str)],
) -> Result<Broker, rmq_server::Error> {
    let port = if port == 0 { free_port() } else { port };
    let (port, store) = (port.to_string(), root.join(name).display().to_string());
    let settings = [
        ("brokerClusterName", "TestCluster"),
        ("brokerName", name),
        ("brokerIP1", "127.0.0.1"),
        ("bindAddress", "127.0.0.1"),
        ("listenPort", &port),
        ("storePathRootDir", &store),
        ("mappedFileSizeCommitLog", "67108864"),
        ("namesrvAddr", namesrvs),
    ];
    let settings = settings.into_iter().chain(more.iter().copied());
    let (config, _) = rmq_server::Config::from_properties(settings).expect("settings of a broker");
    Broker::start(config, Some(root.join(format!("{name}.conf")))).await
}

/// Waits until so many masters are registered.
pub(crate) async fn wait_for_masters(namesrvs: &str, count: usize) {
    let admin = Admin::new(namesrvs).expect("an address");
    let registered = async {
        while !admin.masters(None).await.is_ok_and(|masters| masters.len() == count) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, registered).await.expect("masters that register");
    admin.close().await;
}

/// Status and body of what the HTTP port of a process answers.
pub(crate) async fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("an HTTP port");
    let request = format!("GET {path} HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a question that is sent");
    let mut answer = String::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("an answer in time");
    read.expect("an answer in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}
