//! What a broker tells probes and scrapers over HTTP.

use crate::servers::{self, ask};
use rmq_client::{
    Consumer, Message, Producer,
    consumer::{FromWhere, Options, Outcome},
    producer,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpStream, sync::Notify};

/// What any of these conditions may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The names of the page, and the labels of each besides `cluster`, `node_type` and `node_id`,
/// which all have. Where a name is Java's, it is spelt as a broker 5.5.0 with
/// `metricsExporterType=PROM` spells it.
const FIGURES: &[(&str, &str)] = &[
    ("rocketmq_broker_contested_namesrvs", ""),
    ("rocketmq_broker_displaced_pulls_total", ""),
    ("rocketmq_broker_ended_threads_total", ""),
    ("rocketmq_broker_filters", ""),
    ("rocketmq_broker_group_notices_total", ""),
    ("rocketmq_broker_in_sync_members", ""),
    ("rocketmq_broker_log_checked", ""),
    ("rocketmq_broker_parked_pulls", ""),
    ("rocketmq_broker_permission", ""),
    ("rocketmq_broker_slave_lag_bytes", ""),
    ("rocketmq_broker_stalled_send_bytes", ""),
    ("rocketmq_broker_transaction_checks_total", ""),
    ("rocketmq_broker_given_up_transactions_total", ""),
    ("rocketmq_broker_lost_transactions_total", ""),
    ("rocketmq_broker_unproven_transactions", ""),
    ("rocketmq_broker_undeliverable_delayed_total", ""),
    ("rocketmq_broker_failing_delay_levels", ""),
    ("rocketmq_broker_unknown_requests_total", ""),
    ("rocketmq_broker_unregistered_namesrvs", ""),
    ("rocketmq_consumer_connections", "consume_mode consumer_group is_system language protocol_type version"),
    ("rocketmq_consumer_group_number", ""),
    ("rocketmq_consumer_inflight_messages", "consumer_group is_retry is_system topic"),
    ("rocketmq_consumer_lag_latency_milliseconds", "consumer_group is_retry is_system topic"),
    ("rocketmq_consumer_lag_messages", "consumer_group is_retry is_system topic"),
    ("rocketmq_consumer_queueing_latency_milliseconds", "consumer_group is_retry is_system topic"),
    ("rocketmq_consumer_ready_messages", "consumer_group is_retry is_system topic"),
    ("rocketmq_http_closed_for_others_total", ""),
    ("rocketmq_http_connections", ""),
    ("rocketmq_messages_in_total", "is_system topic"),
    ("rocketmq_messages_out_total", "consumer_group is_system topic"),
    ("rocketmq_messages_sent_back_total", "consumer_group is_system topic"),
    ("rocketmq_processor_watermark", "processor"),
    ("rocketmq_producer_connections", "language protocol_type version"),
    ("rocketmq_remoting_accepted_total", "side"),
    ("rocketmq_remoting_bytes_in_total", "side"),
    ("rocketmq_remoting_bytes_out_total", "side"),
    ("rocketmq_remoting_buffer_bytes", "side"),
    ("rocketmq_remoting_buffer_limit_bytes", "side"),
    ("rocketmq_remoting_closed_for_memory_total", "side"),
    ("rocketmq_remoting_connections", "side"),
    ("rocketmq_remoting_frames_in_total", "side"),
    ("rocketmq_remoting_frames_out_total", "side"),
    ("rocketmq_remoting_handler_panics_total", "side"),
    ("rocketmq_remoting_held_back_connections", "side"),
    ("rocketmq_remoting_held_back_for_memory_total", "side"),
    ("rocketmq_remoting_held_back_for_outbox_total", "side"),
    ("rocketmq_remoting_held_back_for_requests_total", "side"),
    ("rocketmq_remoting_idle_closed_total", "side"),
    ("rocketmq_remoting_input_bytes", "side"),
    ("rocketmq_remoting_malformed_total", "side"),
    ("rocketmq_remoting_outbox_bytes", "side"),
    ("rocketmq_remoting_pauses_total", "side"),
    ("rocketmq_remoting_pushes_dropped_total", "side"),
    ("rocketmq_remoting_refused_total", "side"),
    ("rocketmq_remoting_requests_refused_total", "side"),
    ("rocketmq_remoting_waiting_request_bytes", "side"),
    ("rocketmq_rpc_latency_milliseconds", "protocol_type request_code"),
    ("rocketmq_send_to_dlq_messages_total", "consumer_group is_system topic"),
    ("rocketmq_storage_dispatch_behind_bytes", "storage_medium storage_type"),
    ("rocketmq_storage_flush_behind_bytes", "storage_medium storage_type"),
    ("rocketmq_storage_message_reserve_time_milliseconds", "storage_medium storage_type"),
    ("rocketmq_storage_size_bytes", "storage_medium storage_type"),
    ("rocketmq_store_append_lock_seconds", ""),
    ("rocketmq_store_appended_offset", ""),
    ("rocketmq_store_cold_reads_total", ""),
    ("rocketmq_store_confirmed_offset", ""),
    ("rocketmq_store_damages_passed_over_total", ""),
    ("rocketmq_store_directory_disk_used_ratio", "directory"),
    ("rocketmq_store_disk_used_ratio", ""),
    ("rocketmq_store_dispatched_offset", ""),
    ("rocketmq_store_flush_seconds", ""),
    ("rocketmq_store_flushed_offset", ""),
    ("rocketmq_store_get_seconds", ""),
    ("rocketmq_store_held_bytes", ""),
    ("rocketmq_store_index_behind_bytes", ""),
    ("rocketmq_store_index_files", ""),
    ("rocketmq_store_late_blocks_total", ""),
    ("rocketmq_store_mapped_bytes", ""),
    ("rocketmq_store_open_files", ""),
    ("rocketmq_store_put_bytes_total", ""),
    ("rocketmq_store_put_failures_total", ""),
    ("rocketmq_store_put_messages_total", ""),
    ("rocketmq_store_put_seconds", ""),
    ("rocketmq_store_queue_buffer_bytes", ""),
    ("rocketmq_store_queue_memory_bytes", ""),
    ("rocketmq_store_queues", ""),
    ("rocketmq_store_refuses_writes", ""),
    ("rocketmq_throughput_in_total", "is_system topic"),
    ("rocketmq_throughput_out_total", "consumer_group is_system topic"),
    ("rocketmq_topic_number", ""),
];

/// Asks until `valid` says yes to the answer, which is returned.
async fn until(address: SocketAddr, path: &str, valid: impl Fn(u16, &str) -> bool) -> String {
    let end = tokio::time::Instant::now() + DEADLINE;
    loop {
        let (status, body) = ask(address, path).await;
        if valid(status, &body) {
            return body;
        }
        assert!(tokio::time::Instant::now() < end, "waited in vain; the last answer was {status} {body}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_ready_once_its_namesrv_knows_it() {
    let root = servers::folder("health");
    let namesrv_port = servers::free_port();
    let (namesrvs, http_port) = (format!("127.0.0.1:{namesrv_port}"), servers::free_port().to_string());
    let broker = servers::broker_with(&root, "broker-a", &namesrvs, 0, &[("httpPort", &http_port)]).await;
    let http = broker.http_address().unwrap();
    assert_eq!(ask(http, "/healthz").await, (200, "ok\n".to_owned()));
    let (status, reason) = ask(http, "/readyz").await;
    assert_eq!((status, reason), (503, format!("not registered with {namesrvs}\n")));
    let unregistered =
        r#"rocketmq_broker_unregistered_namesrvs{cluster="TestCluster",node_type="broker",node_id="broker-a"} "#;
    assert!(ask(http, "/metrics").await.1.contains(&format!("{unregistered}1\n")));

    let namesrv = servers::namesrv_at(&root, namesrv_port).await;
    assert_eq!(until(http, "/readyz", |status, _| status == 200).await, "ok\n");
    assert!(ask(http, "/metrics").await.1.contains(&format!("{unregistered}0\n")));
    broker.stop().await.unwrap();
    namesrv.stop().await;
    assert!(TcpStream::connect(http).await.is_err());
}

/// Names and their labels, of a page in Prometheus' text form.
fn labels_by_metric(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut labels_of = BTreeMap::<_, BTreeSet<_>>::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once('{').unwrap_or_else(|| panic!("a metric without labels: {line}"));
        let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let (labels, _) = labels.rsplit_once('}').unwrap();
        let names =
            labels.split("\",").map(|pair| pair.split_once('=').unwrap().0.to_owned()).filter(|name| name != "le");
        labels_of.entry(parts.unwrap_or(name).to_owned()).or_default().extend(names);
    }
    labels_of
}

/// What the page says of its figures. Who is on call reads that first, so it has to be more than
/// the name again.
fn helped(page: &str) -> BTreeSet<String> {
    let reported = page.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    let reported = reported.inspect(|(name, help)| {
        assert!(help.split_whitespace().count() >= 4 && help.ends_with('.'), "{name} says only: {help}");
    });
    reported.map(|(name, _)| name.to_owned()).collect()
}

/// A figure's value: of the line that begins with the name and has all the labels.
fn value(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let wanted =
        |line: &&str| line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label));
    page.lines().find(wanted)?.rsplit_once(' ')?.1.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_has_javas_names_and_labels() {
    let root = servers::folder("figures");
    let namesrv = servers::namesrv(&root).await;
    let namesrvs = namesrv.local_addr().to_string();
    let http_port = servers::free_port().to_string();
    let broker = servers::broker_with(&root, "broker-a", &namesrvs, 0, &[("httpPort", &http_port)]).await;
    servers::wait_for_masters(&namesrvs, 1).await;
    let http = broker.http_address().unwrap();

    let producer = Producer::start(producer::Options::new(&namesrvs, "makers")).await.unwrap();
    for body in ["good", "bad", "slow"] {
        producer.send(Message::new("figures", body)).await.unwrap();
    }
    let mut options = Options::new(&namesrvs, "readers").subscribe("figures", "*");
    options.from = FromWhere::First;
    let finish = Arc::new(Notify::new());
    let wait = Arc::clone(&finish);
    let consumer = Consumer::start(options, move |delivery| {
        let wait = Arc::clone(&wait);
        async move {
            match &delivery[0].message.body[..] {
                b"bad" => return Outcome::Dead,
                b"slow" => wait.notified().await,
                _ => {}
            }
            Outcome::Done
        }
    })
    .await
    .unwrap();

    let row = [r#"topic="figures""#, r#"consumer_group="readers""#, r#"is_system="false""#];
    let dead = |page: &str| value(page, "rocketmq_send_to_dlq_messages_total", &row) == Some(1.0);
    let inflight = |page: &str| value(page, "rocketmq_consumer_inflight_messages", &row) == Some(1.0);
    let page = until(http, "/metrics", |status, page| {
        let here = page.contains("rocketmq_producer_connections{");
        status == 200 && dead(page) && inflight(page) && here
    })
    .await;
    assert_eq!(value(&page, "rocketmq_consumer_lag_messages", &row), Some(1.0), "{page}");
    assert_eq!(value(&page, "rocketmq_consumer_ready_messages", &row), Some(0.0), "{page}");
    assert!(value(&page, "rocketmq_consumer_lag_latency_milliseconds", &row).unwrap() > 0.0, "{page}");
    assert_eq!(value(&page, "rocketmq_consumer_queueing_latency_milliseconds", &row), Some(0.0), "{page}");
    let sends = value(&page, "rocketmq_rpc_latency_milliseconds_count", &[r#"request_code="send_message_v2""#]);
    assert_eq!(sends, Some(3.0), "{page}");
    let clients = [r#"consumer_group="readers""#, r#"consume_mode="push""#, r#"version="v5_5_0""#];
    assert_eq!(value(&page, "rocketmq_consumer_connections", &clients), Some(1.0), "{page}");

    let wanted: BTreeMap<_, _> = FIGURES
        .iter()
        .map(|(name, labels)| {
            let all = labels.split_whitespace().chain(["cluster", "node_type", "node_id"]);
            ((*name).to_owned(), all.map(str::to_owned).collect::<BTreeSet<_>>())
        })
        .collect();
    assert_eq!(labels_by_metric(&page), wanted);
    assert_eq!(helped(&page), wanted.into_keys().collect());
    let confirmed = value(&page, "rocketmq_store_confirmed_offset", &[]);
    assert!(confirmed > Some(0.0), "a master without slaves has confirmed nothing: {page}");
    assert_eq!(value(&page, "rocketmq_store_damages_passed_over_total", &[]), Some(0.0), "{page}");
    finish.notify_one();
    consumer.stop().await;
    producer.stop().await;
    broker.stop().await.unwrap();
    namesrv.stop().await;
}
