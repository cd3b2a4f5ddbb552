//! `rocketmq admin group`.

use super::{Context, output, target::Target};
use anyhow::Context as _;
use rmq_protocol::{body::SubscriptionGroup, names};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// The consumer groups of applications
    List {
        /// Only those of this cluster
        #[arg(short, long)]
        cluster: Option<String>,
        /// Also groups of the system
        #[arg(short, long)]
        all: bool,
    },
    /// The settings of a group on each broker
    Describe {
        /// The group
        group: String,
    },
    /// Create a group, or change its settings
    #[command(visible_alias = "update")]
    Create(Create),
    /// Delete a group with its retries and dead letters
    Delete {
        /// The group
        group: String,
        #[command(flatten)]
        target: Target,
        /// Keep how far the group has come
        #[arg(long)]
        keep_offsets: bool,
        /// The messages of the retry and dead-letter topics may be lost
        #[arg(long, required = true)]
        yes: bool,
    },
}

#[derive(clap::Args)]
pub(super) struct Create {
    /// The group
    group: String,
    #[command(flatten)]
    target: Target,
    /// Tries before a message is a dead letter
    #[arg(long, default_value = "16", value_parser = clap::value_parser!(i32).range(0..))]
    retry_max_times: i32,
    /// Queues of the retry topic
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(i32).range(0..=256))]
    retry_queues: i32,
    /// The group may not consume
    #[arg(long)]
    disable: bool,
    /// Members may not ask for every message each
    #[arg(long)]
    no_broadcast: bool,
    /// Messages popped by clients of release 5 come in order
    #[arg(long)]
    orderly: bool,
    /// Minutes until an unanswered message comes again
    #[arg(long, default_value = "15", value_parser = clap::value_parser!(i32).range(1..))]
    consume_timeout_minutes: i32,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::List { cluster, all } => list(context, cluster.as_deref(), all).await,
            Self::Describe { group } => describe(context, &group).await,
            Self::Create(create) => create.run(context).await,
            Self::Delete { group, target, keep_offsets, .. } => delete(context, &group, &target, keep_offsets).await,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    group: String,
    brokers: Vec<String>,
    enabled: bool,
    retry_max_times: i32,
    /// Not the same on all brokers.
    differs: bool,
}

async fn list(context: &Context, cluster: Option<&str>, all: bool) -> anyhow::Result<()> {
    let mut groups: BTreeMap<String, Vec<(String, SubscriptionGroup)>> = BTreeMap::new();
    for master in context.admin.masters(cluster).await? {
        let (table, _) = context.admin.consumer_groups(&master.address).await?;
        for (name, config) in table {
            groups.entry(name).or_default().push((master.name.clone(), config));
        }
    }
    let rows: Vec<_> = groups
        .into_iter()
        .filter(|(name, _)| all || !names::is_system_group(name))
        .map(|(group, configs)| Listed {
            group,
            enabled: configs.iter().all(|(_, config)| config.consume_enable),
            retry_max_times: configs[0].1.retry_max_times,
            differs: configs.iter().any(|(_, config)| *config != configs[0].1),
            brokers: configs.into_iter().map(|(broker, _)| broker).collect(),
        })
        .collect();
    context.output.list(["GROUP", "ENABLED", "RETRIES", "BROKERS"], &rows, |row| {
        let differs = if row.differs { " (settings differ)" } else { "" };
        [
            row.group.clone(),
            if row.enabled { "yes" } else { "no" }.to_owned(),
            row.retry_max_times.to_string(),
            format!("{}{differs}", row.brokers.join(", ")),
        ]
    })
}

async fn describe(context: &Context, group: &str) -> anyhow::Result<()> {
    let mut brokers = BTreeMap::new();
    for master in context.admin.masters(None).await? {
        // Asked for by name, a broker might create it.
        let (mut table, _) = context.admin.consumer_groups(&master.address).await?;
        brokers.extend(table.remove(group).map(|config| (master.name, config)));
    }
    anyhow::ensure!(
        !brokers.is_empty(),
        "no broker has a group {group}; create it with: rocketmq admin group create {group}"
    );
    let mut pairs = output::pairs([("group", group.to_owned())]);
    for (broker, config) in &brokers {
        pairs.push((
            broker.clone(),
            format!(
                "{} retries {} retry queues {} broadcast {} orderly {} timeout {} min",
                if config.consume_enable { "enabled" } else { "disabled" },
                config.retry_max_times,
                config.retry_queue_nums,
                config.consume_broadcast_enable,
                config.consume_message_orderly,
                config.consume_timeout_minute
            ),
        ));
    }
    context.output.properties(&brokers, pairs)
}

impl Create {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        names::check_group(&self.group).with_context(|| format!("{:?} cannot be the name of a group", self.group))?;
        let config = SubscriptionGroup {
            retry_max_times: self.retry_max_times,
            retry_queue_nums: self.retry_queues,
            consume_enable: !self.disable,
            consume_broadcast_enable: !self.no_broadcast,
            consume_message_orderly: self.orderly,
            consume_timeout_minute: self.consume_timeout_minutes,
            ..SubscriptionGroup::new(self.group.clone())
        };
        let masters = self.target.masters(context).await?;
        for master in &masters {
            context
                .admin
                .put_consumer_group(&master.address, &config)
                .await
                .with_context(|| format!("broker {}", master.name))?;
        }
        let on: Vec<_> = masters.iter().map(|master| master.name.as_str()).collect();
        context.output.done(&format!("group {} is on {}", self.group, on.join(", ")))
    }
}

async fn delete(context: &Context, group: &str, target: &Target, keep_offsets: bool) -> anyhow::Result<()> {
    let masters = target.masters(context).await?;
    for master in &masters {
        context
            .admin
            .delete_consumer_group(&master.address, group, !keep_offsets)
            .await
            .with_context(|| format!("broker {}", master.name))?;
    }
    for topic in [names::retry_topic(group), names::dead_letter_topic(group)] {
        for master in &masters {
            context
                .admin
                .delete_topic_in_broker(&master.address, &topic)
                .await
                .with_context(|| format!("broker {}", master.name))?;
        }
        if target.is_cluster_wide() {
            context.admin.delete_topic_in_namesrvs(&topic, target.cluster.as_deref()).await?;
        }
    }
    context.output.done(&format!("group {group} is deleted"))
}
