//! `rocketmq admin store` on the directory of a broker, as a person on call uses it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test, and says where")]

#[allow(dead_code, reason = "shared with the other tests of this folder")]
mod process;

use process::{Process, command, ports::free_port, text, until};
use serde_json::Value;
use std::{
    os::unix::fs::FileExt,
    path::Path,
    process::{Command, Output, Stdio},
};

/// Stops a broker as its service manager would: by closing its input, for which it was told to
/// look.
fn stop(mut process: Process) {
    drop(process.0.stdin.take());
    assert!(process.0.wait().unwrap().success());
}

fn broker(folder: &Path, port: u16) -> Command {
    let sets = [
        "bindAddress=127.0.0.1".to_owned(),
        "brokerIP1=127.0.0.1".to_owned(),
        "brokerName=broker-a".to_owned(),
        format!("listenPort={port}"),
        "haListenPort=0".to_owned(),
        "mappedFileSizeCommitLog=16777216".to_owned(),
        format!("storePathRootDir={}", folder.join("store").display()),
    ];
    let mut command = command(&["broker", "--stop-with-stdin"]);
    command.args(sets.iter().map(|set| format!("--set={set}"))).stdin(Stdio::piped());
    command
}

/// Starts a broker and waits until it serves.
fn serving(folder: &Path, port: u16) -> Process {
    let message = folder.join("words");
    let file = std::fs::File::create(&message).unwrap();
    let mut process = Process(broker(folder, port).stdout(Stdio::null()).stderr(file).spawn().unwrap());
    until("the broker serves", || {
        let message = std::fs::read_to_string(&message).unwrap();
        assert!(process.0.try_wait().unwrap().is_none(), "the broker ended: {message}");
        message.contains("the broker serves").then_some(())
    });
    process
}

fn store(folder: &Path, arguments: &[&str]) -> Output {
    let (verb, rest) = arguments.split_first().unwrap();
    let root = folder.join("store").display().to_string();
    command(&["admin", "store", verb, &root]).args(rest).output().unwrap()
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    serde_json::from_slice(&store(folder, &[arguments, &["-o", "json"]].concat()).stdout).unwrap()
}

/// A folder with the store of a broker that took so many messages and was stopped.
fn used(messages: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (port, namesrv_port) = (free_port(), free_port());
    let namesrv = format!("127.0.0.1:{namesrv_port}");
    let kv = format!("--set=kvConfigPath={}", folder.path().join("kv.json").display());
    let listen = format!("--set=listenPort={namesrv_port}");
    let mut names = command(&["namesrv", "--set=bindAddress=127.0.0.1", &listen, &kv]);
    let _namesrv = Process(names.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let mut running = broker(folder.path(), port);
    running.arg("-n").arg(&namesrv).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Process(running.spawn().unwrap());
    let done = |arguments: &[&str]| {
        let output = command(&["admin", "-n", &namesrv]).args(arguments).output().unwrap();
        output.status.success().then_some(())
    };
    until("the broker is registered", || done(&["topic", "create", "orders", "-q", "1"]));
    for n in 0..messages {
        let (body, key) = (format!("body {n}"), format!("key-{n}"));
        until("the message is sent", || done(&["message", "send", "orders", &body, "--keys", &key]));
    }
    stop(running);
    folder
}

#[test]
fn a_store_in_use_is_left_alone_by_a_second_broker_and_by_the_tools() {
    let folder = tempfile::tempdir().unwrap();
    let first = serving(folder.path(), 0);
    let second = broker(folder.path(), 0).stdin(Stdio::null()).output().unwrap();
    assert!(!second.status.success());
    let message = text(&second.stderr);
    assert!(message.contains("store/lock is in use by another broker; stop it first"), "{message}");
    for arguments in [&["check"][..], &["dump"], &["repair"], &["repair", "--cut"]] {
        let refused = store(folder.path(), arguments);
        let message = text(&refused.stderr);
        assert!(
            !refused.status.success() && message.contains("is in use: stop the broker"),
            "{arguments:?}: {message}"
        );
        assert!(!message.contains("directory of its own"), "{arguments:?}: {message}");
    }
    stop(first);
    let message = text(&store(folder.path(), &["check"]).stdout);
    assert!(message.contains("commit log                no files\n") && !message.contains("stored"), "{message}");
    assert_eq!(json(folder.path(), &["check"])["log"]["fileSize"], 0);
}

#[test]
fn damage_is_found_reported_by_the_start_shown_and_cut() {
    let folder = used(5);
    let root = folder.path().join("store");
    let valid = store(folder.path(), &["check"]);
    assert!(valid.status.success(), "{}", text(&valid.stderr));
    assert!(text(&valid.stdout).contains("in order"), "{}", text(&valid.stdout));
    let nothing = "nothing is damaged, so there is nothing to repair\n";
    assert_eq!(text(&store(folder.path(), &["repair", "--cut"]).stdout), nothing);
    assert_eq!(json(folder.path(), &["repair"])["steps"], Value::Array(Vec::new()));
    assert!(text(&valid.stdout).contains("in 1 file of 16777216 bytes"), "{}", text(&valid.stdout));

    let rows = json(folder.path(), &["dump", "--topic", "orders"]);
    let rows = rows.as_array().unwrap();
    let bodies: Vec<_> = rows.iter().map(|row| row["body"].as_str().unwrap()).collect();
    assert_eq!(bodies, ["body 0", "body 1", "body 2", "body 3", "body 4"]);
    assert_eq!((&rows[3]["topic"], &rows[3]["properties"]["KEYS"]), (&Value::from("orders"), &Value::from("key-3")));
    let victim = rows[2]["physicalOffset"].as_u64().unwrap();
    let from = victim.to_string();
    let part = json(folder.path(), &["dump", "--from", &from, "--limit", "2"]);
    assert_eq!(part.as_array().unwrap().len(), 2);
    assert_eq!(part[0]["physicalOffset"], victim);
    assert!(text(&store(folder.path(), &["dump"]).stdout).contains("key-4"));

    // A bit of the body flips.
    let log =
        std::fs::File::options().read(true).write(true).open(root.join("commitlog/00000000000000000000")).unwrap();
    let mut byte = [0];
    log.read_exact_at(&mut byte, victim + 90).unwrap();
    log.write_all_at(&[byte[0] ^ 1], victim + 90).unwrap();
    std::fs::remove_file(root.join("checkpoint")).unwrap();

    let refused = broker(folder.path(), 0).stdin(Stdio::null()).output().unwrap();
    let message = text(&refused.stderr);
    assert!(!refused.status.success());
    assert!(message.contains("commitlog/00000000000000000000 is damaged at physical offset"), "{message}");
    assert!(message.contains(&from) && message.contains("rocketmq admin store repair"), "{message}");

    let checked = store(folder.path(), &["check"]);
    assert!(!checked.status.success());
    assert!(text(&checked.stderr).contains("is damaged in 1 places"), "{}", text(&checked.stderr));
    assert!(text(&checked.stdout).contains("a good record follows at"), "{}", text(&checked.stdout));
    let checked = json(folder.path(), &["check"]);
    let damage: Vec<_> =
        checked["findings"].as_array().unwrap().iter().filter(|found| found["damage"] == true).collect();
    assert_eq!((damage.len(), &damage[0]["offset"], &damage[0]["part"]), (1, &victim.into(), &"commit log".into()));
    assert_eq!((&checked["damages"], &checked["log"]["ending"]), (&1.into(), &"corruption".into()));
    assert_eq!(checked["log"]["recordsBehindDamage"], 2);
    assert!(text(&store(folder.path(), &["dump"]).stdout).contains("(damage)"));

    let reported = store(folder.path(), &["repair"]);
    assert!(
        reported.status.success() && text(&reported.stdout).contains("add --cut to do it"),
        "{}",
        text(&reported.stdout)
    );
    assert!(text(&reported.stdout).contains(&format!("cut the log at {victim}")), "{}", text(&reported.stdout));
    let done = json(folder.path(), &["repair", "--cut"]);
    let kept = Path::new(done["kept"][0].as_str().unwrap());
    assert!(kept.join(format!("{victim:020}")).exists(), "{done}");
    stop(serving(folder.path(), 0));
    let checked = json(folder.path(), &["check"]);
    assert_eq!((&checked["damages"], &checked["log"]["ending"]), (&0.into(), &"end".into()));
    assert_eq!(json(folder.path(), &["dump", "-t", "orders"]).as_array().unwrap().len(), 2);
}
