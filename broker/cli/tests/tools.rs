//! `rocketmq admin`, `rocketmq bench` and `--check` as people call them, on processes of the same
//! binary.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test, and says where")]

#[allow(dead_code, reason = "shared with the other tests of this folder")]
mod process;

use process::{Process, command, ports::free_port, text, until};
use serde_json::Value;
use std::process::{Output, Stdio};
use tempfile::TempDir;

/// A namesrv and a broker.
struct Cluster {
    namesrv: String,
    processes: [Process; 2],
    _folder: TempDir,
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let namesrv = format!("127.0.0.1:{}", free_port());
        let port = namesrv.rsplit_once(':').unwrap().1;
        let servers = [
            vec![
                "namesrv".to_owned(),
                "--set=bindAddress=127.0.0.1".to_owned(),
                format!("--set=listenPort={port}"),
                format!("--set=kvConfigPath={}", path("kvConfig.json")),
                format!("--set=configStorePath={}", path("namesrv.properties")),
            ],
            vec![
                "broker".to_owned(),
                format!("--namesrv={namesrv}"),
                "--set=bindAddress=127.0.0.1".to_owned(),
                "--set=brokerIP1=127.0.0.1".to_owned(),
                "--set=brokerName=broker-a".to_owned(),
                "--set=listenPort=0".to_owned(),
                "--set=haListenPort=0".to_owned(),
                "--set=mappedFileSizeCommitLog=67108864".to_owned(),
                format!("--set=storePathRootDir={}", path("store")),
            ],
        ];
        let processes = servers.map(|arguments| {
            Process(command(&[]).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        });
        let cluster = Self { namesrv, processes, _folder: folder };
        until("the broker is registered", || {
            cluster.admin(&["cluster", "list"]).ok().filter(|text| text.contains("broker-a"))
        });
        cluster
    }

    fn run(&self, arguments: &[&str]) -> Output {
        command(arguments).env("NAMESRV_ADDR", &self.namesrv).output().unwrap()
    }

    /// What it printed, or what it complained of.
    fn admin(&self, arguments: &[&str]) -> Result<String, String> {
        outcome(&self.run(&[&["admin"], arguments].concat()))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.admin(&[&["-o", "json"], arguments].concat()).unwrap()).unwrap()
    }

    fn bench(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[&["bench"], arguments, &["-o", "json", "--warm-up", "0.1"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// What a process printed, or what it complained of.
fn outcome(output: &Output) -> Result<String, String> {
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn topics_groups_messages_and_offsets_are_made_seen_and_deleted() {
    let cluster = Cluster::start();
    let admin = |arguments: &[&str]| cluster.admin(arguments).unwrap();

    assert_eq!(admin(&["topic", "create", "orders", "-q", "4", "--perm", "rw"]), "topic orders is on broker-a\n");
    until("the topic has a route", || cluster.admin(&["topic", "route", "orders"]).ok());
    assert_eq!(admin(&["topic", "list"]), "TOPIC   KIND\norders  normal\n");
    assert!(admin(&["topic", "list", "--all"]).contains("system"));
    assert!(admin(&["topic", "describe", "orders"]).contains("broker-a     read 4 write 4 perm rw-"));
    assert_eq!(cluster.json(&["topic", "route", "orders"])[0]["writeQueues"], 4);
    // What is not given stays as it is.
    admin(&["topic", "update", "orders", "--perm", "r"]);
    assert!(admin(&["topic", "describe", "orders"]).contains("broker-a     read 4 write 4 perm r--"));
    admin(&["topic", "update", "orders", "--perm", "rw"]);

    let sent = cluster.json(&["message", "send", "orders", "hello", "--tags", "paid", "--keys", "k1 k2"]);
    let id = sent["messageId"].as_str().unwrap();
    let by_key = until("it is in the index", || {
        let found = cluster.json(&["message", "key", "orders", "k2"]);
        found.get(0).cloned()
    });
    assert_eq!((by_key["messageId"].as_str(), by_key["body"].as_str()), (Some(id), Some("hello")));
    assert!(admin(&["message", "unique-key", "orders", id]).contains("property TAGS"));
    assert!(admin(&["message", "id", sent["offsetMessageId"].as_str().unwrap()]).contains("hello"));
    let queue = sent["queue"].as_str().unwrap();
    assert!(admin(&["message", "read", "orders", "--broker", "broker-a", "--queue", queue]).contains("hello"));
    let stats = cluster.json(&["topic", "stats", "orders"]);
    assert_eq!(stats.as_array().unwrap().iter().map(|row| row["messages"].as_i64().unwrap()).sum::<i64>(), 1);

    assert_eq!(admin(&["group", "create", "shipping", "--retry-max-times", "3"]), "group shipping is on broker-a\n");
    assert_eq!(
        admin(&["group", "list"]),
        "GROUP     ENABLED  RETRIES  BROKERS\nshipping  yes      3        broker-a\n"
    );
    assert!(admin(&["group", "describe", "shipping"]).contains("retries 3"));
    assert_eq!(
        cluster.json(&["offset", "reset", "shipping", "orders", "--to", "earliest"]).as_array().unwrap().len(),
        4
    );
    assert!(admin(&["consumer", "progress", "shipping", "--topic", "orders"]).ends_with("lag in all: 1\n"));
    assert!(admin(&["consumer", "progress"]).contains("shipping"));

    assert!(admin(&["group", "delete", "shipping", "--yes"]).contains("deleted"));
    assert!(admin(&["topic", "delete", "orders", "--yes"]).contains("deleted"));
    assert_eq!(admin(&["topic", "list"]), "TOPIC  KIND\n");
}

#[test]
fn settings_are_read_and_changed_and_errors_say_what_to_do() {
    let cluster = Cluster::start();
    let admin = |arguments: &[&str]| cluster.admin(arguments).unwrap();
    let error_output = |arguments: &[&str]| cluster.admin(arguments).unwrap_err();

    assert!(admin(&["broker", "status", "broker-a"]).contains("brokerVersionDesc"));
    assert_eq!(
        admin(&["broker", "config", "get", "broker-a", "brokerName"]),
        "NAME        VALUE\nbrokerName  broker-a\n"
    );
    admin(&["broker", "config", "set", "broker-a", "slaveTimeout=2500"]);
    assert_eq!(cluster.json(&["broker", "config", "get", "broker-a", "slaveTimeout"])["slaveTimeout"], "2500");
    assert!(admin(&["broker", "ha", "broker-a"]).contains("master"));
    assert!(admin(&["namesrv", "list"]).contains("serves"));
    admin(&["namesrv", "kv-put", "space", "key", "value"]);
    assert_eq!(cluster.json(&["namesrv", "kv-get", "space"])["key"], "value");
    admin(&["namesrv", "kv-delete", "space", "key"]);

    assert!(error_output(&["broker", "config", "get", "broker-a", "brokerNam"]).contains("did you mean brokerName?"));
    assert!(error_output(&["broker", "status", "broker-z"]).contains("known: broker-a"));
    assert!(error_output(&["topic", "route", "nothing"]).contains("create the topic"));
    assert!(error_output(&["topic", "create", "no blanks"]).contains("letters, digits"));
    assert!(error_output(&["topic", "delete", "orders"]).contains("--yes"));
    assert!(error_output(&["-n", "127.0.0.1:1", "topic", "list"]).contains("check the namesrv addresses"));
    assert!(error_output(&["consumer", "progress", "nobody"]).contains("no broker knows the group"));
}

#[test]
fn loads_are_put_on_a_broker_and_measured() {
    let cluster = Cluster::start();
    let broker = cluster.processes[1].0.id().to_string();
    let produced = cluster.bench(&[
        "produce",
        "--size",
        "100",
        "--senders",
        "8",
        "--count",
        "2000",
        "-d",
        "30",
        "--broker-pid",
        &broker,
    ]);
    assert!(produced["messages"].as_u64().unwrap() >= 2000, "{produced}");
    assert_eq!(produced["failed"], 0);
    assert!(produced["times"]["p99.9"].as_f64().unwrap() >= produced["times"]["p50"].as_f64().unwrap());
    assert!(produced["brokerCpuSecondsPerMillion"].is_number());
    let batches = cluster.bench(&["produce", "--batch", "32", "--keys", "2", "-d", "0.3", "--rate", "5000"]);
    assert!(batches["messages"].as_u64().unwrap() >= 32 && batches["unit"] == "batch", "{batches}");
    // The second key of the last of 32 messages, and of no other.
    until("it is in the index", || cluster.json(&["message", "key", "bench", "key63"]).get(0).cloned());
    assert_eq!(cluster.json(&["message", "key", "bench", "key63"]).as_array().map(Vec::len), Some(1));

    let consumed = cluster.bench(&["consume", "-d", "30"]);
    assert!(consumed["messages"].as_u64() >= produced["messages"].as_u64(), "{consumed}");
    let paced = cluster.bench(&["consume", "-d", "1", "--again", "--rate", "1000"]);
    assert!((1..1500).contains(&paced["messages"].as_u64().unwrap()), "{paced}");
    let latency = cluster.bench(&["latency", "-t", "bench-latency", "--rate", "200", "-d", "1"]);
    assert!(latency["messages"].as_u64().unwrap() > 100, "{latency}");
    assert_eq!(latency["failed"], 0);
}

/// What `rocketmq broker` or `namesrv` prints of a file with these settings, or what it complains
/// of.
fn check(server: &str, settings: &str, option: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.conf");
    std::fs::write(&file, settings).unwrap();
    outcome(&command(&[server, "-c"]).arg(&file).arg(option).env("COLUMNS", "300").output().unwrap())
}

#[test]
fn settings_are_checked_without_a_start() {
    let valid = check("broker", "brokerName=broker-q\nfileReservedTime=48\n", "--check").unwrap();
    for word in ["brokerName", "broker-q", "fileReservedTime", "48", "72", "serverChannelMaxIdleTimeSeconds"] {
        assert!(valid.contains(word), "{word}: {valid}");
    }
    let as_in_java = check("broker", "brokerName=broker-q\n", "-p").unwrap();
    assert!(as_in_java.contains("broker-q") && as_in_java.contains("serverChannelMaxIdleTimeSeconds"), "{as_in_java}");
    let important = check("broker", "brokerName=broker-q\n", "-m").unwrap();
    assert!(important.contains("broker-q") && !important.contains("serverChannelMaxIdleTimeSeconds"), "{important}");

    let typo = check("broker", "fileReservedTim=48\n", "--check").unwrap_err();
    assert!(typo.contains("server.conf") && typo.contains("did you mean \"fileReservedTime\"?"), "{typo}");
    let contradiction = check("broker", "brokerRole=SLAVE\n", "--check").unwrap_err();
    assert!(contradiction.contains("give the slave a brokerId above 0"), "{contradiction}");
    let all = check("broker", "fileReservedTim=48\nflushDiskType=SYNC\nbrokerNme=a\n", "--check").unwrap_err();
    assert!(["fileReservedTime", "SYNC_FLUSH", "brokerName"].iter().all(|word| all.contains(word)), "{all}");
    let all = check("broker", "brokerRole=SLAVE\nminInSyncReplicas=2\nlistenPort=2\n", "--check").unwrap_err();
    assert_eq!(all.lines().filter(|line| line.starts_with("  ")).count(), 3, "{all}");
}

#[test]
fn settings_of_a_namesrv_are_checked_without_a_start() {
    let valid = check("namesrv", "listenPort=19876\nserverWorkerThreads=8\n", "--check").unwrap();
    assert!(valid.contains("19876") && valid.contains("9876") && valid.contains("kvConfigPath"), "{valid}");
    for option in ["-p", "-m"] {
        assert!(check("namesrv", "listenPort=19876\n", option).unwrap().contains("19876"));
    }
    let all = check("namesrv", "listnPort=1\norderMessageEnable=maybe\n", "--check").unwrap_err();
    assert!(all.contains("did you mean listenPort?") && all.contains("true or false"), "{all}");
}

/// What prints, with a reader that goes away before the first word.
fn unread(arguments: &[&str]) -> Output {
    let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.wait_with_output().unwrap()
}

/// `rocketmq broker --check | head` ended with a back trace.
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let root = format!("--set=storePathRootDir={}", folder.path().display());
    for arguments in [
        &["broker", "--check", &root][..],
        &["broker", "-m", &root],
        &["namesrv", "--check"],
        &["crds"],
        &["--help"],
        &["admin", "-o", "json", "store", "check", &folder.path().display().to_string()],
    ] {
        let output = unread(arguments);
        let error_output = text(&output.stderr);
        assert!(!error_output.contains("panicked"), "{arguments:?}: {error_output}");
        assert!(output.status.success() || arguments.contains(&"store"), "{arguments:?}: {error_output}");
    }
}

/// Each line that could not be logged was told on the same closed pipe, by a panic: a server lost
/// the thread that had something to say.
#[test]
fn a_server_whose_log_is_not_read_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let settings = [
        "--set=bindAddress=127.0.0.1".to_owned(),
        "--set=listenPort=0".to_owned(),
        format!("--set=kvConfigPath={}", path("kvConfig.json")),
        format!("--set=configStorePath={}", path("namesrv.properties")),
    ];
    let mut server = command(&["namesrv", "--stop-with-stdin", "--log=debug"]);
    server.args(settings).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = server.spawn().unwrap();
    drop(child.stderr.take());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

/// There is no terminal whose width lines could have.
#[test]
fn settings_are_plain_columns_where_no_terminal_is() {
    let printed = check("broker", "brokerName=broker-q\n", "--check").unwrap();
    assert!(!printed.contains(['─', '═', '│', '┆', '╌']), "{printed}");
    assert!(printed.lines().all(|line| line == line.trim_end()), "{printed}");
    let name: Vec<_> = printed.lines().filter(|line| line.starts_with("brokerName ")).collect();
    assert!(name.len() == 1 && name[0].contains("broker-q") && name[0].contains("the broker group"), "{printed}");
}

#[test]
fn a_file_with_a_byte_order_mark_is_read() {
    assert!(check("broker", "\u{feff}brokerName=broker-q\n", "--check").unwrap().contains("broker-q"));
    assert!(check("namesrv", "\u{feff}listenPort=19876\n", "--check").unwrap().contains("19876"));
}
