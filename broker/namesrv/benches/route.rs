//! The costs of a namesrv with 10,000 topics on 4 brokers: `cargo bench -p rmq-namesrv`.
//!
//! The namesrv is a process of its own (this program, started again), so that its memory and CPU
//! can be measured; brokers and clients run in this process. Both share the machine, so rates are
//! lower bounds, and CPU per million lookups is the number to compare.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use rmq_namesrv::{Config, Namesrv, Overrides};
use rmq_protocol::{
    Command, RequestCode,
    body::{DataVersion, RegisterBrokerBody, TopicConfig},
    header::{RegisterBroker, TopicRequest},
    version,
};
use rmq_remoting::{Client, Limits};
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command as Program, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

const TOPICS: usize = 10_000;
const BROKERS: usize = 4;
/// Lookups for the rate, and for each latency.
const LOOKUPS: usize = 400_000;
const PROBES: usize = 50_000;
const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(30);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if std::env::args().any(|argument| argument == "serve") {
        return runtime.block_on(serve());
    }
    runtime.block_on(measure())
}

/// The child: serves until its input is closed.
async fn serve() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = Config { kv_config_path: folder.path().join("kv.json"), ..Config::default() };
    let overrides =
        Overrides { bind_address: Some("127.0.0.1".parse()?), listen_port: Some(0), ..Overrides::default() };
    let namesrv = Namesrv::start(config, overrides).await?;
    println!("{}", namesrv.local_addr());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    namesrv.stop().await;
    Ok(())
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start() -> Result<Self> {
        let mut child =
            Program::new(std::env::current_exe()?).arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut address)?;
        Ok(Self { child, address: address.trim().to_owned() })
    }

    fn memory_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
    }

    /// User and system time, from ticks of 10 ms.
    fn cpu_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().ok_or("no stat")?.split_whitespace().collect();
        Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
    }

    fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        self.child.wait()?;
        Ok(())
    }
}

fn client() -> Client {
    Client::new(Arc::new(()), Limits::default())
}

fn registration(broker: usize, counter: i64, queues: i32) -> Command {
    let mut body = RegisterBrokerBody::default();
    let table = &mut body.topic_config_serialize_wrapper;
    table.data_version = DataVersion { counter, ..DataVersion::default() };
    table.topic_config_table = (0..TOPICS)
        .map(|topic| {
            // Only the first topic differs between versions.
            let queues = if topic == 0 { queues } else { 8 };
            (
                format!("application_topic_{topic:05}"),
                TopicConfig::new(format!("application_topic_{topic:05}"), queues, queues, 6),
            )
        })
        .collect();
    let (name, address) = (format!("broker-{broker}"), format!("10.0.0.{broker}:10911"));
    let header = RegisterBroker {
        broker_name: &name,
        broker_address: &address,
        cluster_name: "DefaultCluster",
        ha_server_address: &address,
        ..RegisterBroker::default()
    };
    Command::request(RequestCode::RegisterBroker, &header).with_body(body.to_plain())
}

async fn register(client: &Client, server: &Server, command: Command) -> Result<f64> {
    let started = Instant::now();
    let answer = client.request(&server.address, command, TIMEOUT).await?;
    if answer.code != 0 {
        return Err(format!("refused: {:?}", answer.remark).into());
    }
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}

fn lookup(topic: usize, client_version: i32) -> Command {
    let topic = format!("application_topic_{topic:05}");
    Command {
        version: client_version,
        ..Command::request(RequestCode::RouteInfoByTopic, &TopicRequest { topic: &topic })
    }
}

/// Lookups per second over some connections with many requests in flight on each, and bytes of a
/// response.
async fn rate(server: &Server, client_version: i32) -> Result<(f64, f64, usize)> {
    let (next, cpu, started) = (Arc::new(AtomicUsize::new(0)), server.cpu_seconds()?, Instant::now());
    let mut tasks = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = client().connection(&server.address).await?;
        for _ in 0..IN_FLIGHT {
            let (connection, next) = (connection.clone(), Arc::clone(&next));
            tasks.push(tokio::spawn(async move {
                let mut bytes = 0;
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= LOOKUPS {
                        return Ok::<usize, rmq_remoting::Error>(bytes);
                    }
                    bytes =
                        connection.request(lookup(number * 7919 % TOPICS, client_version), TIMEOUT).await?.body.len();
                }
            }));
        }
    }
    let mut bytes = 0;
    for task in tasks {
        bytes = bytes.max(task.await??);
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu = (server.cpu_seconds()? - cpu) / LOOKUPS as f64 * 1e6;
    Ok((LOOKUPS as f64 / seconds, cpu, bytes))
}

/// Sequential lookups: the median, the 99th percentile and the maximum, in microseconds.
async fn latency(server: &Server) -> Result<[f64; 3]> {
    let connection = client().connection(&server.address).await?;
    let mut times = Vec::with_capacity(PROBES);
    for number in 0..PROBES {
        let started = Instant::now();
        connection.request(lookup(number % TOPICS, version::CURRENT), TIMEOUT).await?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok([times[PROBES / 2], times[PROBES * 99 / 100], times[PROBES - 1]])
}

async fn measure() -> Result<()> {
    let server = Server::start()?;
    let brokers: Vec<Client> = (0..BROKERS).map(|_| client()).collect();
    let empty = server.memory_mib()?;
    row("", &["broker 0", "broker 1", "broker 2", "broker 3"].map(str::to_owned));
    for (what, counter, queues) in [
        ("first registration, ms", 1, 8),
        ("same version again, ms", 1, 8),
        ("same version, known as whole, ms", 1, 8),
        ("new version, one topic changed, ms", 2, 16),
    ] {
        let mut times = Vec::new();
        for (number, broker) in brokers.iter().enumerate() {
            times.push(format!("{:.1}", register(broker, &server, registration(number, counter, queues)).await?));
        }
        row(what, &times);
    }
    let single = single_topic(&brokers[0], &server).await?;
    row("new version, one topic sent, ms", &[format!("{single:.2}")]);
    row("memory of the process, MiB: empty, full", &[format!("{empty:.1}"), format!("{:.1}", server.memory_mib()?)]);

    println!();
    row("", &["per second", "CPU s / million", "bytes"].map(str::to_owned));
    for (what, client_version) in
        [("lookups, standard JSON", version::CURRENT), ("lookups, bare keys", version::V4_9_3)]
    {
        let (rate, cpu, bytes) = rate(&server, client_version).await?;
        row(what, &[format!("{rate:.0}"), format!("{cpu:.2}"), bytes.to_string()]);
    }

    println!();
    row("", &["p50 us", "p99 us", "max us"].map(str::to_owned));
    row("one lookup, quiet", &latency(&server).await?.map(|time| format!("{time:.0}")));
    row(
        "one lookup while brokers register",
        &while_registering(&server, brokers).await?.map(|time| format!("{time:.0}")),
    );
    row("memory of the process after all, MiB", &[format!("{:.1}", server.memory_mib()?)]);
    server.stop()
}

async fn single_topic(broker: &Client, server: &Server) -> Result<f64> {
    let mut command = registration(0, 3, 8);
    let mut body = RegisterBrokerBody::default();
    body.topic_config_serialize_wrapper.data_version.counter = 3;
    let topic = TopicConfig::new("application_topic_00000", 8, 8, 6);
    body.topic_config_serialize_wrapper.topic_config_table.insert(topic.topic_name.clone(), topic);
    command.body = body.to_plain().into();
    register(broker, server, command).await
}

/// The latency of lookups while one broker repeatedly registers all its topics as changed.
async fn while_registering(server: &Server, brokers: Vec<Client>) -> Result<[f64; 3]> {
    let commands = [registration(0, 100, 8), registration(0, 101, 16)];
    let (done, address) = (Arc::new(AtomicBool::new(false)), server.address.clone());
    let registering = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            let mut count = 0;
            while !done.load(Relaxed) {
                brokers[0].request(&address, commands[count % 2].clone(), TIMEOUT).await?;
                count += 1;
            }
            Ok::<usize, rmq_remoting::Error>(count)
        }
    });
    let latency = latency(server).await;
    done.store(true, Relaxed);
    let count = registering.await??;
    row("registrations of 10,000 topics meanwhile", &[count.to_string()]);
    latency
}

fn row(what: &str, cells: &[String]) {
    let cells: String = cells.iter().map(|cell| format!("{cell:>17}")).collect();
    println!("{what:<40}{cells}");
}
