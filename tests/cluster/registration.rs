//! How a broker gets along with namesrvs that do not.

use crate::servers::{broker, folder, namesrv};
use rmq_client::{Admin, topic};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// A namesrv that took the connection and said nothing kept every new topic from the one that worked, and the broker from its end, for 24 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_namesrv_holds_up_neither_topics_nor_the_end() {
    let root = folder("silent-namesrv");
    let namesrv = namesrv(&root).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let namesrvs = format!("{};{}", silent.local_addr().unwrap(), namesrv.local_addr());
    let broker = broker(&root, "broker-a", &namesrvs, 0).await;
    let admin = Admin::new(&namesrv.local_addr().to_string()).unwrap();
    let begun = Instant::now();
    let created = async {
        let config = topic::Config::new("t", 1, 1, topic::READ_WRITE);
        admin.put_topic(&broker.address().to_string(), &config).await.unwrap();
        while admin.topic_route("t").await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), created).await.expect("a route in time");
    assert!(broker.ready().unwrap_err().contains("not registered"), "one namesrv is missing");
    broker.stop().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
