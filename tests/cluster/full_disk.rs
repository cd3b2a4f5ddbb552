//! A broker on a disk that fills up: what producers are told, that consumers notice nothing, and
//! that room is all it needs.

use crate::servers::{broker_with, folder, namesrv, wait_for_masters};
use rmq_client::{Admin, Message, MessageQueue, Producer, PullConsumer, producer::Options, topic};
use rmq_protocol::ResponseCode;
use rmq_server::{Broker, Error};
use std::{fs, path::Path, process::Command, time::Duration};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);
/// Bytes of the volume, and of the file on it that makes room.
const VOLUME: usize = 8 << 20;
const BALLAST: usize = 3 << 20;

/// A small file system of its own, unmounted at the end.
struct Volume(TempDir);

impl Volume {
    /// `None` where this process may not mount one.
    #[expect(clippy::print_stdout, reason = "whoever reads the output should know what was not tested")]
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={VOLUME}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "this process may not mount a file system: run it as root"
        );
        println!("skipped: this process may not mount a file system");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn queue() -> MessageQueue {
    MessageQueue { broker_name: "full".into(), queue_id: 0, topic: "full".into() }
}

/// A producer that asks once.
async fn producer(namesrvs: &str) -> Producer {
    let mut options = Options::new(namesrvs, "full-p");
    options.retries = 0;
    options.timeout = DEADLINE;
    Producer::start(options).await.unwrap()
}

async fn send(producer: &Producer, number: u32) -> Result<(), rmq_client::Error> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(3000, 1);
    producer.send_to(&queue(), Message::new("full", body)).await.map(drop)
}

/// Sends numbers from `first` on until the disk is full; returns the first that was not taken.
async fn fill(producer: &Producer, first: u32) -> u32 {
    for number in first..first + (VOLUME / 3000) as u32 {
        if let Err(refused) = send(producer, number).await {
            assert!(refused.is(ResponseCode::ServiceNotAvailable), "{refused}");
            return number;
        }
    }
    panic!("more than the volume can hold was acknowledged");
}

/// All numbers that consumers get, at least `count`.
async fn numbers(reader: &PullConsumer, count: u32) -> Vec<u32> {
    let mut numbers = Vec::new();
    let all = async {
        while numbers.len() < count as usize {
            let pulled = reader.pull(&queue(), numbers.len() as i64, 32, true).await.unwrap();
            let messages = pulled.messages().unwrap();
            numbers.extend(messages.iter().map(|message| {
                let number = message.message.body.first_chunk().unwrap();
                u32::from_be_bytes(*number)
            }));
        }
    };
    assert!(tokio::time::timeout(DEADLINE, all).await.is_ok(), "not {count} but {} messages", numbers.len());
    numbers
}

/// Stops a broker that may have no room for what it still has in memory.
async fn stop(broker: Broker) {
    if let Err(error) = broker.stop().await {
        assert!(matches!(error, Error::Store(rmq_store::Error::Full { .. })), "{error}");
    }
}

async fn fill_and_make_room(name: &str, settings: &[(&str, &str)]) {
    let Some(volume) = Volume::mount() else { return };
    let root = folder(name);
    let names = namesrv(&root).await;
    let namesrvs = names.local_addr().to_string();
    let store = volume.path().join("store").display().to_string();
    let own = [
        ("storePathRootDir", store.as_str()),
        ("mappedFileSizeCommitLog", "1048576"),
        ("maxMessageSize", "65536"),
        // Refusing is the subject here, not making room.
        ("cleanFileForciblyEnable", "false"),
        ("maxHashSlotNum", "1000"),
        ("maxIndexNum", "10000"),
    ];
    let settings = [&own, settings].concat();
    let broker = broker_with(&root, "full", &namesrvs, 0, &settings).await;
    wait_for_masters(&namesrvs, 1).await;
    let admin = Admin::new(&namesrvs).unwrap();
    let address = broker.address().to_string();
    admin.put_topic(&address, &topic::Config::new("full", 1, 1, topic::READ_WRITE)).await.unwrap();
    let (producer, reader) = (producer(&namesrvs).await, PullConsumer::start(&namesrvs, "full-g").await.unwrap());

    let ballast = volume.path().join("ballast");
    fs::write(&ballast, vec![1; BALLAST]).unwrap();
    let mut first = fill(&producer, 0).await;
    assert!(first > 100, "{first} messages fit");
    // Again and again an answer and nothing else; a page that some other file gave back may still
    // be used.
    for _ in 0..20 {
        first = fill(&producer, first).await;
    }
    assert!(numbers(&reader, first).await.into_iter().eq(0..first));
    reader.commit(&queue(), i64::from(first)).await.unwrap();
    assert_eq!(reader.committed(&queue()).await.unwrap(), Some(i64::from(first)));

    fs::remove_file(ballast).unwrap();
    let taken = async { while send(&producer, first).await.is_err() {} };
    assert!(tokio::time::timeout(DEADLINE, taken).await.is_ok(), "there is room and no message is taken");
    let second = fill(&producer, first + 1).await;
    assert!(second > first + 100, "{second} messages fit after {first}");
    assert!(numbers(&reader, second).await.into_iter().eq(0..second));

    // It comes back on the full disk as it was.
    let port = broker.address().port();
    stop(broker).await;
    let broker = broker_with(&root, "full", &namesrvs, port, &settings).await;
    wait_for_masters(&namesrvs, 1).await;
    assert!(numbers(&reader, second).await.into_iter().eq(0..second));
    producer.stop().await;
    reader.stop().await;
    stop(broker).await;
    names.stop().await;
}

/// Above `diskSpaceWarningLevelRatio` nothing is taken, long before there is no block left.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_above_its_limit_refuses_messages_until_there_is_room() {
    fill_and_make_room("full-limit", &[("cleanResourceInterval", "10")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_a_free_block_refuses_messages_until_there_is_room() {
    let limits = [("diskSpaceWarningLevelRatio", "100"), ("diskSpaceCleanForciblyRatio", "100")];
    fill_and_make_room("full-blocks", &limits).await;
}
