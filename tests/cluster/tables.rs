//! The tables of a broker damaged on the disk: each one's backup is used, and where that is damaged
//! too the start is refused with words.

use crate::servers::{folder, namesrv, try_broker, wait_for_masters};
use rmq_client::{Admin, Message, MessageQueue, Producer, producer::Options, topic};
use rmq_protocol::{body::SubscriptionGroup, message::properties};
use std::{fs, time::Duration};

const TABLES: [&str; 4] = ["topics.json", "subscriptionGroup.json", "consumerOffset.json", "delayOffset.json"];
const NAME: &str = "tables";
const DEADLINE: Duration = Duration::from_secs(60);

fn queue() -> MessageQueue {
    MessageQueue { broker_name: NAME.into(), queue_id: 0, topic: NAME.into() }
}

/// Sends a message with a delay of a second and waits until it is in its queue, as the first of
/// `count`.
async fn send_later(namesrvs: &str, admin: &Admin, address: &str, count: i64) {
    let producer = Producer::start(Options::new(namesrvs, "tables-p")).await.unwrap();
    let mut message = Message::new(NAME, "later");
    message.properties.set(properties::DELAY, "1");
    producer.send_to(&queue(), message).await.unwrap();
    producer.stop().await;
    let delivered = async {
        while admin.max_offset(address, NAME, 0).await.unwrap() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, delivered).await.expect("the delayed message comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_table_comes_from_its_backup_and_two_damaged_ones_stop_the_start() {
    let root = folder(NAME);
    let names = namesrv(&root).await;
    let namesrvs = names.local_addr().to_string();
    let start = |port| try_broker(&root, NAME, &namesrvs, port, &[]);
    let broker = start(0).await.unwrap();
    let (port, address) = (broker.address().port(), broker.address().to_string());
    wait_for_masters(&namesrvs, 1).await;
    let admin = Admin::new(&namesrvs).unwrap();
    admin.put_topic(&address, &topic::Config::new(NAME, 1, 1, topic::READ_WRITE)).await.unwrap();
    let group = SubscriptionGroup { retry_max_times: 5, ..SubscriptionGroup::new("tables-g") };
    admin.put_consumer_group(&address, &group).await.unwrap();
    send_later(&namesrvs, &admin, &address, 1).await;
    admin.set_consumer_offset(&address, "tables-g", &queue(), 1).await.unwrap();
    broker.stop().await.unwrap();

    for (table, delivered) in TABLES.iter().zip(2..) {
        let path = root.join(NAME).join("config").join(table);
        let backup = path.with_extension("json.bak");
        let whole = fs::read(&path).unwrap();
        let torn = &whole[..whole.len() / 2];
        fs::write(&path, torn).unwrap();
        fs::write(&backup, torn).unwrap();
        let refused = start(port).await.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains(&path.display().to_string()), "{table}: {refused:?}");
        assert_eq!(fs::read(&path).unwrap(), torn, "{table} is left for whoever looks into it");

        fs::write(&backup, &whole).unwrap();
        let broker = start(port).await.unwrap();
        wait_for_masters(&namesrvs, 1).await;
        let topic = admin.topic_config(&address, NAME).await.unwrap().unwrap();
        assert_eq!((topic.read_queue_nums, topic.write_queue_nums), (1, 1), "{table}");
        assert_eq!(admin.consumer_group(&address, "tables-g").await.unwrap().unwrap().retry_max_times, 5, "{table}");
        assert_eq!(admin.consumer_offset(&address, "tables-g", &queue()).await.unwrap(), Some(1), "{table}");
        // Had the positions of delayed messages been lost, all would be delivered again before it.
        send_later(&namesrvs, &admin, &address, delivered).await;
        assert_eq!(admin.max_offset(&address, NAME, 0).await.unwrap(), delivered, "{table}");
        broker.stop().await.unwrap();
    }
    admin.close().await;
    names.stop().await;
}
