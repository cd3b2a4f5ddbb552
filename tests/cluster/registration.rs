//! How a broker gets along with namesrvs that do not.

use crate::servers::{ask, broker, broker_with, folder, free_port, namesrv};
use rmq_client::{Admin, topic};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// A namesrv that took the connection and said nothing kept every new topic from the one that
/// worked, and the broker from its end, for 24 s.
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
    broker.stop().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// While one of several namesrvs was away all brokers were unready, though they served: nothing
/// might be evicted any more, and a rollout that broke one namesrv stopped all brokers.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_ready_with_one_namesrv_and_names_those_that_are_missing() {
    let root = folder("missing-namesrv");
    let namesrv = namesrv(&root).await;
    // Nobody can listen there while it is bound and not listened on.
    let away = tokio::net::TcpSocket::new_v4().unwrap();
    away.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let away = (away.local_addr().unwrap().to_string(), away);
    let namesrvs = format!("{};{}", away.0, namesrv.local_addr());
    let broker = broker_with(&root, "broker-a", &namesrvs, 0, &[("httpPort", &free_port().to_string())]).await;
    let http = broker.http_address().unwrap();
    let ready = async {
        loop {
            match ask(http, "/readyz").await {
                (200, text) => break text,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(60), ready).await.expect("a broker that is ready");
    assert_eq!(text, format!("ok\nnot registered with {}\n", away.0));
    broker.ready().unwrap();
    let page = ask(http, "/metrics").await.1;
    let missing = page.lines().find(|line| line.starts_with("rocketmq_broker_unregistered_namesrvs{")).unwrap();
    assert!(missing.ends_with(" 1"), "{missing}");
    let admin = Admin::new(&namesrv.local_addr().to_string()).unwrap();
    let status = admin.runtime_info(&broker.address().to_string()).await.unwrap();
    assert_eq!(status["unregisteredNamesrvs"], away.0);
    admin.close().await;

    // With none it is not.
    namesrv.stop().await;
    let unready = async {
        loop {
            match ask(http, "/readyz").await {
                (503, text) => break text,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(60), unready).await.expect("a broker that nobody knows");
    assert!(text.starts_with("not registered with ") && text.contains(&away.0), "{text}");
    broker.stop().await.unwrap();
}

/// A second broker with one name and id took the first one's place in all routes; neither of them
/// nor the namesrv told anybody, and after its end the first was in no route for up to 30 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_reports_another_of_its_name_and_is_back_in_routes_when_that_goes() {
    let roots = [folder("contested-first"), folder("contested-second")];
    let namesrv = namesrv(&roots[0]).await;
    let namesrvs = namesrv.local_addr().to_string();
    let port = free_port().to_string();
    let first = broker_with(&roots[0], "broker-a", &namesrvs, 0, &[("httpPort", &port)]).await;
    let second = broker_with(&roots[1], "broker-a", &namesrvs, 0, &[]).await;
    let admin = Admin::new(&namesrvs).unwrap();
    // A new topic is registered at once, and with it its broker.
    let register = async |broker: &rmq_server::Broker, name: &str| {
        let config = topic::Config::new(name, 1, 1, topic::READ_WRITE);
        admin.put_topic(&broker.address().to_string(), &config).await.unwrap();
    };
    register(&second, "t0").await;
    register(&first, "t1").await;
    let http = first.http_address().unwrap();
    let text = ask(http, "/readyz").await.1;
    let reported = format!("namesrv {namesrvs} routes clients to {}, too", second.address());
    assert!(text.contains(&reported), "{text}");
    let page = ask(http, "/metrics").await.1;
    let contested = page.lines().find(|line| line.starts_with("rocketmq_broker_contested_namesrvs{")).unwrap();
    assert!(contested.ends_with(" 1"), "{contested}");

    register(&second, "t2").await;
    second.stop().await.unwrap();
    let back = async {
        while admin.topic_route("t1").await.unwrap().is_none() || ask(http, "/readyz").await.1 != "ok\n" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // The next regular registration is due 30 s after the last one.
    tokio::time::timeout(Duration::from_secs(15), back).await.expect("back in routes in time");
    first.stop().await.unwrap();
    admin.close().await;
    namesrv.stop().await;
}
