//! `rocketmq admin topic`.

use super::{Context, output, target::Target, time};
use anyhow::Context as _;
use rmq_protocol::{
    body::{TopicConfig, TopicRoute, perm},
    names,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// The topics of applications
    List {
        /// Only those of this cluster
        #[arg(short, long)]
        cluster: Option<String>,
        /// Also topics of the system, of retries and of dead letters
        #[arg(short, long)]
        all: bool,
    },
    /// The settings of a topic on each broker, and the groups that consume it
    Describe {
        /// The topic
        topic: String,
    },
    /// Create a topic, or change those of its settings that are given
    #[command(visible_alias = "update")]
    Create(Create),
    /// Delete a topic and its messages, on brokers and namesrvs
    Delete {
        /// The topic
        topic: String,
        /// Only on the brokers of this cluster
        #[arg(short, long)]
        cluster: Option<String>,
        /// The messages may be lost
        #[arg(long, required = true)]
        yes: bool,
    },
    /// The brokers and queues in a topic's route
    Route {
        /// The topic
        topic: String,
    },
    /// The ends of each queue, and when it was written last
    #[command(visible_alias = "status")]
    Stats {
        /// The topic
        topic: String,
    },
}

#[derive(clap::Args)]
pub(super) struct Create {
    /// The topic
    topic: String,
    #[command(flatten)]
    target: Target,
    /// Queues a broker, for reading and writing; 8 by default for a new topic
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..=65_536))]
    queues: Option<i32>,
    /// Queues that are read, if not the same
    #[arg(short, long, value_name = "QUEUES", value_parser = clap::value_parser!(i32).range(0..=65_536))]
    read_queues: Option<i32>,
    /// Queues that are written, if not the same
    #[arg(short, long, value_name = "QUEUES", value_parser = clap::value_parser!(i32).range(0..=65_536))]
    write_queues: Option<i32>,
    /// What clients may do: r, w or rw; both by default for a new topic
    #[arg(short, long, value_parser = permission)]
    perm: Option<i32>,
    /// Producers and consumers are to use the same brokers and queues even when some are down
    #[arg(long)]
    order: bool,
    /// An attribute such as message.type=FIFO; may be given several times
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::List { cluster, all } => list(context, cluster.as_deref(), all).await,
            Self::Describe { topic } => describe(context, &topic).await,
            Self::Create(create) => create.run(context).await,
            Self::Delete { topic, cluster, .. } => {
                context.admin.delete_topic(&topic, cluster.as_deref()).await?;
                context.output.done(&format!("topic {topic} is deleted"))
            }
            Self::Route { topic } => route(context, &topic).await,
            Self::Stats { topic } => stats(context, &topic).await,
        }
    }
}

#[derive(Serialize)]
struct Listed {
    topic: String,
    kind: &'static str,
}

async fn list(context: &Context, cluster: Option<&str>, all: bool) -> anyhow::Result<()> {
    let topics = match cluster {
        Some(cluster) => context.admin.topics_of_cluster(cluster).await?,
        None => context.admin.topic_list().await?,
    };
    // Namesrvs list each cluster and broker group as a topic too.
    let info = context.admin.cluster_info().await?;
    let is_server =
        |name: &str| info.cluster_addr_table.contains_key(name) || info.broker_addr_table.contains_key(name);
    let rows: Vec<_> = topics
        .into_iter()
        .map(|topic| Listed { kind: if is_server(&topic) { "system" } else { kind(&topic) }, topic })
        .filter(|row| all || row.kind == "normal")
        .collect();
    context.output.list(["TOPIC", "KIND"], &rows, |row| [row.topic.clone(), row.kind.to_owned()])
}

fn kind(topic: &str) -> &'static str {
    match topic {
        _ if names::is_retry_topic(topic) => "retry",
        _ if names::is_dead_letter_topic(topic) => "dead-letter",
        _ if names::is_system_topic(topic) || topic.ends_with("_REPLY_TOPIC") || topic.starts_with("RMQ_SYS_") => {
            "system"
        }
        _ => "normal",
    }
}

async fn route_of(context: &Context, topic: &str) -> anyhow::Result<TopicRoute> {
    let route = context.admin.topic_route(topic).await?;
    Ok(route.ok_or_else(|| rmq_client::Error::NoRoute { topic: topic.to_owned() })?)
}

/// The masters of a topic.
fn masters(route: &TopicRoute) -> BTreeMap<&str, &str> {
    route
        .broker_datas
        .iter()
        .filter_map(|group| Some((group.broker_name.as_str(), group.broker_addrs.get(&0)?.as_str())))
        .collect()
}

#[derive(Serialize)]
struct Described {
    topic: String,
    kind: &'static str,
    clusters: BTreeSet<String>,
    groups: BTreeSet<String>,
    brokers: BTreeMap<String, Option<TopicConfig>>,
}

async fn describe(context: &Context, topic: &str) -> anyhow::Result<()> {
    let route = route_of(context, topic).await?;
    let mut brokers = BTreeMap::new();
    for (name, address) in masters(&route) {
        brokers.insert(name.to_owned(), context.admin.topic_config(address, topic).await?);
    }
    let described = Described {
        topic: topic.to_owned(),
        kind: kind(topic),
        clusters: route.broker_datas.iter().map(|group| group.cluster.clone()).collect(),
        groups: context.admin.groups_of_topic(topic).await?,
        brokers,
    };
    let mut pairs = output::pairs([
        ("topic", described.topic.clone()),
        ("kind", described.kind.to_owned()),
        ("clusters", joined(&described.clusters)),
        ("consumed by", joined(&described.groups)),
    ]);
    pairs.extend(
        described
            .brokers
            .iter()
            .map(|(name, config)| (name.clone(), config.as_ref().map_or_else(|| "missing".to_owned(), settings))),
    );
    context.output.properties(&described, pairs)
}

fn settings(config: &TopicConfig) -> String {
    let mut text =
        format!("read {} write {} perm {}", config.read_queue_nums, config.write_queue_nums, perm_text(config.perm));
    if config.order {
        text.push_str(" ordered");
    }
    for (key, value) in &config.attributes {
        text.push_str(&format!(" {key}={value}"));
    }
    text
}

fn joined(names: &BTreeSet<String>) -> String {
    if names.is_empty() { "-".to_owned() } else { names.iter().map(String::as_str).collect::<Vec<_>>().join(", ") }
}

impl Create {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        names::check_topic(&self.topic).with_context(|| format!("{:?} cannot be the name of a topic", self.topic))?;
        let masters = self.target.masters(context).await?;
        let mut queues = Vec::new();
        for master in &masters {
            let on_broker = || format!("broker {}", master.name);
            let known = context.admin.topic_config(&master.address, &self.topic).await.with_context(on_broker)?;
            let config = self.settings(known);
            context.admin.put_topic(&master.address, &config).await.with_context(on_broker)?;
            queues.push(format!("{}:{}", master.name, config.write_queue_nums));
        }
        if self.order {
            context.admin.put_kv(names::ORDER_TOPIC_NAMESPACE, &self.topic, &queues.join(";")).await?;
        }
        let on: Vec<_> = masters.iter().map(|master| master.name.as_str()).collect();
        context.output.done(&format!("topic {} is on {}", self.topic, on.join(", ")))
    }

    /// What a broker is to have that has `known`: what is not given stays as it is.
    fn settings(&self, known: Option<TopicConfig>) -> TopicConfig {
        let known = known.unwrap_or_else(|| TopicConfig::new(self.topic.clone(), 8, 8, perm::READ | perm::WRITE));
        TopicConfig {
            read_queue_nums: self.read_queues.or(self.queues).unwrap_or(known.read_queue_nums),
            write_queue_nums: self.write_queues.or(self.queues).unwrap_or(known.write_queue_nums),
            perm: self.perm.unwrap_or(known.perm),
            order: self.order || known.order,
            attributes: self.attributes.iter().cloned().collect(),
            ..known
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Routed {
    broker: String,
    cluster: String,
    addresses: BTreeMap<i64, String>,
    read_queues: i32,
    write_queues: i32,
    perm: String,
}

async fn route(context: &Context, topic: &str) -> anyhow::Result<()> {
    let route = route_of(context, topic).await?;
    let rows: Vec<_> = route
        .queue_datas
        .iter()
        .map(|queues| {
            let group = route.broker_datas.iter().find(|group| group.broker_name == queues.broker_name);
            Routed {
                broker: queues.broker_name.clone(),
                cluster: group.map_or_else(String::new, |group| group.cluster.clone()),
                addresses: group.map_or_else(BTreeMap::new, |group| group.broker_addrs.clone()),
                read_queues: queues.read_queue_nums,
                write_queues: queues.write_queue_nums,
                perm: perm_text(queues.perm),
            }
        })
        .collect();
    context.output.list(["BROKER", "CLUSTER", "READ", "WRITE", "PERM", "ADDRESSES"], &rows, |row| {
        let addresses: Vec<_> = row.addresses.iter().map(|(id, address)| format!("{id}={address}")).collect();
        [
            row.broker.clone(),
            row.cluster.clone(),
            row.read_queues.to_string(),
            row.write_queues.to_string(),
            row.perm.clone(),
            addresses.join(" "),
        ]
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueStats {
    broker: String,
    queue: i32,
    min_offset: i64,
    max_offset: i64,
    messages: i64,
    last_update: i64,
}

async fn stats(context: &Context, topic: &str) -> anyhow::Result<()> {
    let route = route_of(context, topic).await?;
    let mut rows = Vec::new();
    for address in masters(&route).values() {
        let stats = context.admin.topic_stats(address, topic).await?;
        rows.extend(stats.offset_table.0.into_iter().map(|(queue, offset)| QueueStats {
            broker: queue.broker_name,
            queue: queue.queue_id,
            min_offset: offset.min_offset,
            max_offset: offset.max_offset,
            messages: offset.max_offset - offset.min_offset,
            last_update: offset.last_update_timestamp,
        }));
    }
    context.output.list(["BROKER", "QUEUE", "MIN", "MAX", "MESSAGES", "LAST WRITTEN"], &rows, |row| {
        [
            row.broker.clone(),
            row.queue.to_string(),
            row.min_offset.to_string(),
            row.max_offset.to_string(),
            row.messages.to_string(),
            time::text(row.last_update),
        ]
    })
}

fn perm_text(bits: i32) -> String {
    [(perm::is_readable(bits), 'r'), (perm::is_writable(bits), 'w'), (perm::is_inherited(bits), 'x')]
        .into_iter()
        .map(|(is, letter)| if is { letter } else { '-' })
        .collect()
}

fn permission(text: &str) -> Result<i32, String> {
    match text {
        "r" | "4" => Ok(perm::READ),
        "w" | "2" => Ok(perm::WRITE),
        "rw" | "6" => Ok(perm::READ | perm::WRITE),
        _ => Err("write r, w or rw".to_owned()),
    }
}

fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_written_as_letters_and_read_as_letters_or_numbers() {
        assert_eq!([6, 4, 2, 7, 0].map(perm_text), ["rw-", "r--", "-w-", "rwx", "---"]);
        assert_eq!((permission("rw"), permission("4")), (Ok(6), Ok(4)));
        assert!(permission("rwx").is_err());
    }

    #[test]
    fn topics_are_classified_by_their_names() {
        let kinds = ["orders", "%RETRY%g", "%DLQ%g", "TBW102", "rmq_sys_x", "c_REPLY_TOPIC"].map(kind);
        assert_eq!(kinds, ["normal", "retry", "dead-letter", "system", "system", "system"]);
    }
}
