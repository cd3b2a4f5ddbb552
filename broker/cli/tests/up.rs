//! `rocketmq up` as its user has it: the binary, manifests in files, signals, and clients on the
//! addresses that it prints.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failed unwrap is a failed test; helpers are tests too"
)]

#[allow(dead_code, reason = "shared with the other tests of this folder")]
mod process;

use parking_lot::{Condvar, Mutex};
use process::{Process, TIMEOUT, text, until};
use rmq_client::{
    Admin, Consumer, Message, Producer,
    consumer::{self, Delivery, FromWhere, Outcome},
    producer,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    thread,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

const QUICKSTART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/quickstart.yaml");

/// One namesrv, `groups` masters with `slaves` each, and a topic.
fn manifest(groups: u32, slaves: u32, further: &str) -> String {
    format!(
        "apiVersion: rocketmq.rs/v1alpha1
kind: RocketMQCluster
metadata: {{name: small}}
spec:
  namesrv: {{replicas: 1}}
  brokers:
    groups: {groups}
    slavesPerGroup: {slaves}
    config: {{mappedFileSizeCommitLog: '16777216', {further}}}
---
apiVersion: rocketmq.rs/v1alpha1
kind: RocketMQTopic
metadata: {{name: orders}}
spec: {{clusterRef: {{name: small}}, queues: 2}}
"
    )
}

/// What a process printed so far.
#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// A running `rocketmq up`. Dropped in a failing test, it is killed; its children then end by
/// themselves.
struct Up {
    process: Process,
    lines: Arc<Lines>,
}

impl Drop for Up {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.lines.lines.lock().join("\n"));
        }
    }
}

fn command(folder: &Path, file: &Path) -> Command {
    let mut command = process::command(&["up", "--data"]);
    command.arg(folder.join("data")).arg(file);
    command
}

impl Up {
    fn start(folder: &Path, file: &Path) -> Self {
        let mut child = command(folder, file).stdout(Stdio::piped()).spawn().unwrap();
        let lines = Arc::<Lines>::default();
        let (out, all) = (child.stdout.take().unwrap(), Arc::clone(&lines));
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                all.lines.lock().push(line);
                all.more.notify_all();
            }
        });
        Self { process: Process(child), lines }
    }

    /// How many lines there are: what comes after this is new.
    fn mark(&self) -> usize {
        self.lines.lines.lock().len()
    }

    /// Waits for a line with all these parts among those from `mark` on.
    #[track_caller]
    fn line(&self, mark: usize, parts: &[&str]) -> String {
        let wanted = |line: &&String| parts.iter().all(|part| line.contains(part));
        let mut lines = self.lines.lines.lock();
        let waiting = |lines: &mut Vec<String>| !lines[mark..].iter().any(|line| wanted(&line));
        let waited = self.lines.more.wait_while_for(&mut lines, waiting, TIMEOUT);
        assert!(!waited.timed_out(), "no line with {parts:?}");
        lines[mark..].iter().find(wanted).unwrap().clone()
    }

    /// Waits until it serves; the namesrvs.
    fn namesrvs(&self) -> String {
        self.line(0, &["Ctrl-C stops everything"]);
        let line = self.line(0, &["export NAMESRV_ADDR="]);
        line.split('\'').nth(1).unwrap().to_owned()
    }

    /// The process id from the line about a process that is ready.
    #[track_caller]
    fn pid(&self, mark: usize, process: &str) -> i32 {
        self.line(mark, &[process, "ready after", "pid "]).rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        send(i32::try_from(self.process.0.id()).unwrap(), signal);
    }

    /// Waits for its end; whether that was a success.
    fn end(&mut self) -> bool {
        until("the end of rocketmq up", || self.process.0.try_wait().unwrap()).success()
    }
}

fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn runs(pid: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // One that ended and was not asked about by its parent yet runs no more.
    state.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("manifest.yaml");
    (folder, file)
}

#[track_caller]
fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from} in\n{text}");
    fs::write(file, text.replace(from, to)).unwrap();
}

fn text_of(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quickstart_runs_follows_its_file_survives_a_crash_and_leaves_nothing_behind() {
    let (folder, file) = folder();
    fs::copy(QUICKSTART, &file).unwrap();
    let mut up = Up::start(folder.path(), &file);
    let namesrvs = up.namesrvs();
    let processes = ["quickstart-namesrv-0", "quickstart-broker-0-0", "quickstart-broker-0-1"];
    let mut pids: Vec<i32> = processes.iter().map(|process| up.pid(0, process)).collect();
    for (what, name) in [("topic", "orders"), ("topic", "Payments_v1"), ("consumer group", "billing")] {
        up.line(0, &[what, name, "InSync"]);
    }

    // What goes in comes out.
    let producer = Producer::start(producer::Options::new(&namesrvs, "test")).await.unwrap();
    let sent: BTreeSet<String> = (0..20).map(|number| format!("order {number}")).collect();
    for body in &sent {
        producer.send(Message::new("orders", body.clone())).await.unwrap();
    }
    let (received, mut bodies) = mpsc::unbounded_channel();
    let mut options = consumer::Options::new(&namesrvs, "billing").subscribe("orders", "*");
    options.from = FromWhere::First;
    let consumer = Consumer::start(options, move |delivery: Delivery| {
        let received = received.clone();
        async move {
            for message in delivery.iter() {
                let _ = received.send(String::from_utf8_lossy(&message.message.body).into_owned());
            }
            Outcome::Done
        }
    });
    let consumer = consumer.await.unwrap();
    let mut got = BTreeSet::new();
    while got != sent {
        got.insert(tokio::time::timeout(TIMEOUT, bodies.recv()).await.expect("every message").unwrap());
    }

    // A good edit is carried out, a bad one is told and changes nothing.
    let mark = up.mark();
    edit(&file, "queues: 8", "queues: 12");
    up.line(mark, &["topic orders", "is 8, wanted 12", "written"]);
    let admin = Admin::new(&namesrvs).unwrap();
    let master = admin.masters(None).await.unwrap().remove(0).address;
    let queues = async || admin.topic_config(&master, "orders").await.unwrap().unwrap().write_queue_nums;
    assert_eq!(queues().await, 12);
    let mark = up.mark();
    edit(&file, "queues: 12", "queues: 0");
    up.line(mark, &["the edit is not taken"]);
    let problem = up.line(mark, &["manifest.yaml, document 2, RocketMQTopic/orders, spec.queues"]);
    assert!(problem.contains("1 to 1024"), "it says what to write: {problem}");
    assert_eq!(queues().await, 12);
    edit(&file, "queues: 0", "queues: 12");

    // A crash.
    let mark = up.mark();
    send(pids[1], Signal::KILL);
    up.line(mark, &["quickstart-broker-0-0", "was ended by signal 9", "starting it again"]);
    pids.push(up.pid(mark, "quickstart-broker-0-0"));
    producer.send(Message::new("orders", "after the crash")).await.unwrap();
    let after = async { while bodies.recv().await.unwrap() != "after the crash" {} };
    tokio::time::timeout(TIMEOUT, after).await.expect("the message after the crash");
    consumer.stop().await;
    producer.stop().await;

    // The end.
    up.signal(Signal::INT);
    assert!(up.end());
    for pid in pids {
        assert!(!runs(pid), "{pid} is left behind");
    }
}

/// Messages of the topic that a broker can give out.
async fn readable(admin: &Admin, broker: &str) -> i64 {
    let mut count = 0;
    for queue in 0..2 {
        count += admin.max_offset(broker, "orders", queue).await.unwrap_or(0);
    }
    count
}

/// Runs a command as it was printed.
fn run_printed(line: &str) -> Output {
    let mut words = line.split_whitespace();
    Command::new(words.next().unwrap()).args(words).env_remove("NAMESRV_ADDR").output().unwrap()
}

/// It was ready and registered again after 2 s, took messages into the empty log, and left its
/// slave out of replication for ever with the only copy of the messages; `recover` had "nothing to
/// decide".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_whose_store_was_deleted_takes_no_messages_before_a_person_decides() {
    const COUNT: i64 = 50;
    let (folder, file) = folder();
    fs::write(&file, manifest(1, 1, "")).unwrap();
    let mut up = Up::start(folder.path(), &file);
    let namesrvs = up.namesrvs();
    up.line(0, &["topic", "orders", "InSync"]);
    let admin = Admin::new(&namesrvs).unwrap();
    let group = admin.cluster_info().await.unwrap().broker_addr_table.remove("small-broker-0").unwrap();
    let [master, slave] = [0, 1].map(|id| group.broker_addrs[&id].clone());
    let producer = Producer::start(producer::Options::new(&namesrvs, "test")).await.unwrap();
    for number in 0..COUNT {
        producer.send(Message::new("orders", format!("order {number}"))).await.unwrap();
    }
    let begun = std::time::Instant::now();
    while readable(&admin, &slave).await < COUNT {
        assert!(begun.elapsed() < TIMEOUT, "the slave has {}", readable(&admin, &slave).await);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    // Its store is gone before it can be started again.
    let store = folder.path().join("data/small/small-broker-0-0/store");
    let pid = up.pid(0, "small-broker-0-0");
    let mark = up.mark();
    send(pid, Signal::STOP);
    fs::remove_dir_all(&store).unwrap();
    send(pid, Signal::KILL);
    up.line(mark, &["small-broker-0", "takes no messages", "the store of this master is new and empty", &slave]);
    let copy = up.line(mark, &["admin broker recover", &master, "--copy"]);
    assert!(up.line(mark, &["admin broker recover", "--accept-loss"]).contains(&master));
    let refused = producer.send(Message::new("orders", "into an empty log")).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(admin.masters(None).await.unwrap().is_empty(), "it is not registered");

    let copied = run_printed(&copy);
    assert!(copied.status.success(), "{copied:?}");
    up.line(mark, &["small-broker-0", "takes messages"]);
    assert_eq!(readable(&admin, &master).await, COUNT);
    let again = run_printed(&copy);
    for part in ["nothing to decide", "checkLogBeforeWrites=true", "expectedSlaves=1"] {
        assert!(!again.status.success() && text_of(&again).contains(part), "{part} in {}", text_of(&again));
    }

    // The next run knows it from the folder, and does not end because a person has to decide.
    producer.stop().await;
    up.signal(Signal::INT);
    assert!(up.end());
    fs::remove_dir_all(&store).unwrap();
    let mut up = Up::start(folder.path(), &file);
    up.line(0, &["Ctrl-C stops everything"]);
    up.line(0, &["small-broker-0", "takes no messages", "the store of this master is new and empty", &slave]);
    let mark = up.mark();
    let copied = run_printed(&up.line(0, &["admin broker recover", &master, "--copy"]));
    assert!(copied.status.success(), "{copied:?}");
    up.line(mark, &["small-broker-0", "takes messages"]);
    assert_eq!(readable(&admin, &master).await, COUNT);
    up.signal(Signal::INT);
    assert!(up.end());
}

#[test]
fn killed_itself_it_leaves_nothing_behind_and_comes_back() {
    let (folder, file) = folder();
    fs::write(&file, manifest(1, 0, "")).unwrap();
    let mut up = Up::start(folder.path(), &file);
    up.namesrvs();
    let pids = ["small-namesrv-0", "small-broker-0-0"].map(|process| up.pid(0, process));
    up.signal(Signal::KILL);
    assert!(!up.end());
    for pid in pids {
        until("the end of an orphan", || (!runs(pid)).then_some(()));
    }
    let mut again = Up::start(folder.path(), &file);
    again.namesrvs();
    again.line(0, &["topic", "orders", "InSync"]);
    again.signal(Signal::TERM);
    assert!(again.end());
}

#[test]
fn groups_are_added_and_not_removed_and_a_new_setting_reaches_slaves_first() {
    let (folder, file) = folder();
    let passing = manifest(1, 1, "")
        + "---\napiVersion: rocketmq.rs/v1alpha1\nkind: RocketMQTopic\nmetadata: {name: passing}\n\
        spec: {clusterRef: {name: small}, deletionPolicy: Delete}\n";
    fs::write(&file, passing).unwrap();
    let mut up = Up::start(folder.path(), &file);
    up.namesrvs();
    up.line(0, &["topic", "passing", "InSync"]);

    let mark = up.mark();
    fs::write(&file, manifest(2, 1, "")).unwrap();
    up.line(mark, &["topic passing is deleted"]);
    up.line(mark, &["small-broker-1", "takes messages"]);
    up.line(mark, &["small-broker-1-1", "slave", "yes"]);
    let topics =
        fs::read_to_string(folder.path().join("data/small/small-broker-1-0/store/config/topics.json")).unwrap();
    assert!(topics.contains("\"orders\"") && !topics.contains("\"passing\""), "{topics}");

    let mark = up.mark();
    fs::write(&file, manifest(1, 1, "fileReservedTime: '48'")).unwrap();
    up.line(mark, &["2 groups exist", "write groups: 2"]);
    up.line(mark, &["PROCESS", "ROLE"]);
    let restarted = up.lines.lines.lock()[mark..]
        .iter()
        .filter(|line| line.contains("is restarted with its new configuration"))
        .map(|line| line.split_whitespace().nth(1).unwrap().to_owned())
        .collect::<Vec<_>>();
    assert_eq!(restarted, ["small-broker-0-1", "small-broker-0-0", "small-broker-1-1", "small-broker-1-0"]);
    let config = fs::read_to_string(folder.path().join("data/small/small-broker-1-0/broker.conf")).unwrap();
    assert!(config.contains("fileReservedTime=48") && !config.contains("brokerPermission=4"), "{config}");

    let mark = up.mark();
    fs::write(&file, manifest(3, 1, "").replace("spec:\n  namesrv", "spec:\n  operation: {paused: true}\n  namesrv"))
        .unwrap();
    up.line(mark, &["is paused by its manifest"]);
    assert!(!folder.path().join("data/small/small-broker-2-0").exists());
    up.signal(Signal::INT);
    assert!(up.end());
}

#[test]
fn clusters_run_side_by_side_and_one_folder_belongs_to_one() {
    let ((first, first_file), (second, second_file)) = (folder(), folder());
    fs::write(&first_file, manifest(1, 0, "")).unwrap();
    fs::write(&second_file, manifest(1, 0, "")).unwrap();
    let [mut one, mut two] =
        [(&first, &first_file), (&second, &second_file)].map(|(folder, file)| Up::start(folder.path(), file));
    assert_ne!(one.namesrvs(), two.namesrvs());

    let third = command(first.path(), &first_file).output().unwrap();
    assert!(!third.status.success());
    assert!(
        text_of(&third).contains(&format!("in use by another `rocketmq up` (pid {})", one.process.0.id())),
        "{third:?}"
    );
    let stop_is_printed =
        ["stops everything", "everything is stopped"].iter().any(|line| text_of(&third).contains(line));
    assert!(!stop_is_printed, "it has started nothing: {third:?}");
    for up in [&mut one, &mut two] {
        up.signal(Signal::INT);
    }
    assert!(one.end() && two.end());
}

#[test]
fn a_second_signal_ends_everything_at_once() {
    let (folder, file) = folder();
    fs::write(&file, manifest(1, 0, "")).unwrap();
    let mut up = Up::start(folder.path(), &file);
    up.namesrvs();
    let broker = up.pid(0, "small-broker-0-0");
    // One that hangs does not stop when it is told to.
    send(broker, Signal::STOP);
    let mark = up.mark();
    up.signal(Signal::INT);
    up.line(mark, &["another Ctrl-C ends it at once"]);
    up.signal(Signal::INT);
    assert!(!up.end());
    assert!(!runs(broker));
}

#[test]
fn a_process_that_cannot_start_is_reported_with_its_reason_and_nothing_is_left_behind() {
    let (folder, file) = folder();
    fs::write(&file, manifest(1, 0, "")).unwrap();
    let data = folder.path().join("data/small");
    fs::create_dir_all(data.join("small-broker-0-0")).unwrap();
    fs::write(data.join("small-broker-0-0/store"), "no folder").unwrap();
    let failed = command(folder.path(), &file).args(["--timeout", "2"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let words = text_of(&failed);
    for part in [
        "ended with code 1",
        "starting it again in 1 s",
        "not ready within 2 s: small-broker-0-0: ended",
        "everything is stopped",
    ] {
        assert!(words.contains(part), "{part} in {words}");
    }
    // The broker's own reason, from its log.
    assert!(words.contains("Not a directory") || words.contains("File exists"), "{words}");
    let namesrv = words.lines().find(|line| line.contains("small-namesrv-0") && line.contains("ready")).unwrap();
    assert!(!runs(namesrv.rsplit(' ').next().unwrap().parse().unwrap()));
}

#[test]
fn check_names_every_problem_and_starts_nothing() {
    let (folder, file) = folder();
    let text =
        manifest(1, 0, "flushDiskTyp: SYNC_FLUSH").replace("queues: 2", "queues: 2, placement: {groups: [1, 1]}");
    fs::write(&file, text.replace("replicas: 1", "replicas: 10")).unwrap();
    let check = |file: &Path| command(folder.path(), file).arg("--check").output().unwrap();
    let refused = check(&file);
    assert_eq!(refused.status.code(), Some(1));
    for part in [
        "document 1, RocketMQCluster/small, spec.namesrv.replicas: ",
        "document 2, RocketMQTopic/orders, spec.placement.groups: ",
    ] {
        assert!(text_of(&refused).contains(part), "{part} in {}", text_of(&refused));
    }

    // What only the broker knows is found too.
    fs::write(&file, manifest(1, 0, "fileReservdTime: '48'")).unwrap();
    let refused = text_of(&check(&file));
    assert!(refused.contains("document 1, RocketMQCluster/small, spec.brokers.config: "), "{refused}");
    assert!(refused.contains("fileReservedTime"), "it names the key that was meant: {refused}");

    fs::write(&file, manifest(1, 0, "")).unwrap();
    let valid = check(&file);
    assert!(valid.status.success() && text_of(&valid).contains("1 cluster, 1 topic, 0 consumer groups"), "{valid:?}");
    assert!(!folder.path().join("data").exists());
    assert!(text_of(&check(&folder.path().join("none.yaml"))).contains("none.yaml"));
}
