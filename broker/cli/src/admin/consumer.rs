//! `rocketmq admin consumer`.

use super::{Context, time};
use rmq_protocol::{ResponseCode, message::MessageQueue, names};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// How far groups are: all of them, or one by queue
    Progress {
        /// The group; without it all are summed up
        group: Option<String>,
        /// Only this topic
        #[arg(short, long)]
        topic: Option<String>,
    },
    /// The consumers of a group that are connected, and what they have subscribed
    Connections {
        /// The group
        group: String,
    },
    /// What a connected consumer is doing
    Info {
        /// The group
        group: String,
        /// The client's id, as `connections` lists it
        client_id: String,
    },
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Progress { group: Some(group), topic } => progress(context, &group, topic.as_deref()).await,
            Self::Progress { group: None, topic } => all_progress(context, topic.as_deref()).await,
            Self::Connections { group } => connections(context, &group).await,
            Self::Info { group, client_id } => info(context, &group, &client_id).await,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueProgress {
    topic: String,
    broker: String,
    queue: i32,
    broker_offset: i64,
    consumer_offset: i64,
    lag: i64,
    in_flight: i64,
    /// Store time of the last consumed message.
    last_consumed: i64,
    client: Option<String>,
}

async fn progress(context: &Context, group: &str, topic: Option<&str>) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut clients: BTreeMap<MessageQueue, String> = BTreeMap::new();
    let mut known = false;
    for master in context.admin.masters(None).await? {
        let stats = match context.admin.consume_stats(&master.address, group, topic).await {
            Ok(stats) => stats,
            Err(error)
                if error.is(ResponseCode::SubscriptionGroupNotExist) || error.is(ResponseCode::TopicNotExist) =>
            {
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        // Of a group that was not created, a broker says that it has consumed nothing.
        known |= !stats.offset_table.0.is_empty()
            || context.admin.consumer_groups(&master.address).await?.0.contains_key(group);
        clients.extend(queues_of_clients(context, &master.address, group).await);
        rows.extend(stats.offset_table.0.into_iter().map(|(queue, offset)| QueueProgress {
            lag: offset.broker_offset - offset.consumer_offset,
            in_flight: (offset.pull_offset - offset.consumer_offset).max(0),
            broker_offset: offset.broker_offset,
            consumer_offset: offset.consumer_offset,
            last_consumed: offset.last_timestamp,
            client: None,
            topic: queue.topic,
            broker: queue.broker_name,
            queue: queue.queue_id,
        }));
    }
    anyhow::ensure!(known, "no broker knows the group {group}: check its name, or start a consumer of it");
    for row in &mut rows {
        let queue = MessageQueue { broker_name: row.broker.clone(), queue_id: row.queue, topic: row.topic.clone() };
        row.client = clients.remove(&queue);
    }
    rows.sort_by(|one, other| (&one.topic, &one.broker, one.queue).cmp(&(&other.topic, &other.broker, other.queue)));
    let header = ["TOPIC", "BROKER", "QUEUE", "END", "CONSUMED", "LAG", "IN FLIGHT", "LAST CONSUMED", "CLIENT"];
    context.output.list(header, &rows, |row| {
        [
            row.topic.clone(),
            row.broker.clone(),
            row.queue.to_string(),
            row.broker_offset.to_string(),
            row.consumer_offset.to_string(),
            row.lag.to_string(),
            row.in_flight.to_string(),
            time::text(row.last_consumed),
            row.client.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    })?;
    context.output.done(&format!("lag in all: {}", rows.iter().map(|row| row.lag).sum::<i64>()))
}

/// Which connected client has which queue, as far as the clients say.
async fn queues_of_clients(context: &Context, address: &str, group: &str) -> BTreeMap<MessageQueue, String> {
    let mut owners = BTreeMap::new();
    let Ok(Some(connected)) = context.admin.consumer_connections(address, group).await else { return owners };
    for connection in connected.connection_set {
        if let Ok(info) = context.admin.consumer_running_info(address, group, &connection.client_id).await {
            owners.extend(info.mq_table.0.into_keys().map(|queue| (queue, connection.client_id.clone())));
        }
    }
    owners
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct GroupProgress {
    group: String,
    clients: usize,
    consume_tps: f64,
    lag: i64,
}

async fn all_progress(context: &Context, topic: Option<&str>) -> anyhow::Result<()> {
    let mut groups: BTreeMap<String, GroupProgress> = BTreeMap::new();
    for master in context.admin.masters(None).await? {
        let (table, _) = context.admin.consumer_groups(&master.address).await?;
        for group in table.into_keys().filter(|group| !names::is_system_group(group)) {
            let Ok(stats) = context.admin.consume_stats(&master.address, &group, topic).await else { continue };
            let connected = context.admin.consumer_connections(&master.address, &group).await?;
            let clients = connected.map_or(0, |connected| connected.connection_set.len());
            let row =
                groups.entry(group.clone()).or_insert_with(|| GroupProgress { group, ..GroupProgress::default() });
            row.clients = row.clients.max(clients);
            row.consume_tps += stats.consume_tps;
            row.lag +=
                stats.offset_table.0.values().map(|offset| offset.broker_offset - offset.consumer_offset).sum::<i64>();
        }
    }
    let rows: Vec<_> = groups.into_values().collect();
    context.output.list(["GROUP", "CLIENTS", "CONSUMED/S", "LAG"], &rows, |row| {
        [row.group.clone(), row.clients.to_string(), format!("{:.1}", row.consume_tps), row.lag.to_string()]
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    broker: String,
    client_id: String,
    address: String,
    language: String,
    version: i32,
    model: String,
    subscriptions: BTreeMap<String, String>,
}

async fn connections(context: &Context, group: &str) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for master in context.admin.masters(None).await? {
        let Some(connected) = context.admin.consumer_connections(&master.address, group).await? else { continue };
        let subscriptions: BTreeMap<_, _> = connected
            .subscription_table
            .iter()
            .map(|(topic, subscription)| (topic.clone(), subscription.sub_string.clone()))
            .collect();
        rows.extend(connected.connection_set.into_iter().map(|connection| Client {
            broker: master.name.clone(),
            client_id: connection.client_id,
            address: connection.client_addr,
            language: connection.language,
            version: connection.version,
            model: format!("{:?}", connected.message_model).to_lowercase(),
            subscriptions: subscriptions.clone(),
        }));
    }
    anyhow::ensure!(!rows.is_empty(), "no consumer of the group {group} is connected");
    context.output.list(["CLIENT", "BROKER", "ADDRESS", "LANGUAGE", "MODEL", "SUBSCRIPTIONS"], &rows, |row| {
        let subscriptions: Vec<_> =
            row.subscriptions.iter().map(|(topic, filter)| format!("{topic} ({filter})")).collect();
        [
            row.client_id.clone(),
            row.broker.clone(),
            row.address.clone(),
            row.language.clone(),
            row.model.clone(),
            subscriptions.join(", "),
        ]
    })
}

async fn info(context: &Context, group: &str, client_id: &str) -> anyhow::Result<()> {
    let mut last = anyhow::anyhow!("no master is registered");
    for master in context.admin.masters(None).await? {
        match context.admin.consumer_running_info(&master.address, group, client_id).await {
            Ok(info) => {
                let mut pairs: Vec<_> =
                    info.properties.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
                for (topic, status) in &info.status_table {
                    pairs.push((
                        topic.clone(),
                        format!(
                            "{:.1}/s consumed in {:.1} ms, {:.1}/s failed, {:.1}/s pulled in {:.1} ms",
                            status.consume_ok_tps,
                            status.consume_rt,
                            status.consume_failed_tps,
                            status.pull_tps,
                            status.pull_rt
                        ),
                    ));
                }
                for (queue, state) in &info.mq_table.0 {
                    pairs.push((
                        format!("{} {}/{}", queue.topic, queue.broker_name, queue.queue_id),
                        format!("at {}, {} messages held", state.commit_offset, state.cached_msg_count),
                    ));
                }
                return context.output.properties(&info, pairs);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}
