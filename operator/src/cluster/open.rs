//! Opening groups for writes: a group that is new boots readable and not writable, is given the
//! topics and consumer groups that the others have and those of the objects, and only then takes
//! writes. So no producer ever reaches a group whose consumers would be refused.
//!
//! ```text
//! not registered -> provision (put what lacks) -> read back -> brokerPermission=6 -> read back
//!   -> open
//! ```
//!
//! Every step is derived from what brokers say, so the operator may die after any of them. `open`
//! in the status only remembers that the last was reached once; from then on a broker that is found
//! not writable is opened again at once.
//!
//! Messages do not need to be waited for: a new queue begins at offset 0 and consumers that have no
//! offset for it begin there.

use std::collections::{BTreeMap, BTreeSet};

use rmq_protocol::{
    body::{SubscriptionGroup, TopicConfig, perm},
    names,
};

use crate::{
    api::{Management, RocketMQConsumerGroup, RocketMQTopic, cluster::group_name},
    brokers::{
        admin::{self, Admin, Broker},
        pool::{self, Tables},
    },
    provision::{Provisioned, topic::is_system},
};

/// Readable and writable.
const READ_WRITE: i32 = perm::READ | perm::WRITE;

/// How far a group has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Takes writes.
    Open,
    /// Does not, and why.
    Closed(String),
}

/// The objects that a new group must have before it opens.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Topics, of which `placement` may leave a group out.
    pub topics: Vec<RocketMQTopic>,
    /// Consumer groups.
    pub consumer_groups: Vec<RocketMQConsumerGroup>,
}

/// One pass over all groups: opens what can be opened. `cluster` is its name in Kubernetes and in
/// RocketMQ, `opened` are the groups that were open before. The answer has an entry for each of the
/// `count` groups.
pub async fn pass<A: Admin>(
    admin: &A,
    cluster: (&str, &str),
    count: u32,
    opened: &BTreeSet<String>,
    brokers: &[Broker],
    objects: &Objects,
) -> BTreeMap<String, Stage> {
    let (name, cluster_name) = cluster;
    let mut stages = BTreeMap::new();
    for index in 0..count {
        let group = group_name(name, index);
        let stage = match address(brokers, cluster_name, &group) {
            None if let Some(other) =
                brokers.iter().find(|broker| broker.name == group && broker.cluster != cluster_name) =>
            {
                Stage::Closed(format!(
                    "{group}: a broker of this name is registered under the cluster name {} and not {cluster_name}: \
                     stop it, or give it another brokerName",
                    other.cluster
                ))
            }
            None => Stage::Closed(format!("{group}: its master is not registered")),
            Some(master) if opened.contains(&group) => {
                ensure_writable(admin, master).await.unwrap_or_else(closed(&group))
            }
            Some(master) => {
                let sources: Vec<(&str, Option<&str>)> =
                    opened.iter().map(|open| (open.as_str(), address(brokers, cluster_name, open))).collect();
                let job = Job { admin, master, index, cluster_name, objects };
                job.open(&group, &sources).await.unwrap_or_else(closed(&group))
            }
        };
        stages.insert(group, stage);
    }
    stages
}

fn closed(group: &str) -> impl Fn(crate::error::AdminError) -> Stage {
    move |error| Stage::Closed(format!("{group}: {error}"))
}

fn address<'a>(brokers: &'a [Broker], cluster_name: &str, name: &str) -> Option<&'a str> {
    brokers.iter().find(|broker| broker.is_of(cluster_name, name)).and_then(|broker| broker.master.as_deref())
}

async fn ensure_writable<A: Admin>(admin: &A, master: &str) -> admin::Result<Stage> {
    if admin.permission(master).await? & READ_WRITE != READ_WRITE {
        admin.set_permission(master, READ_WRITE).await?;
    }
    Ok(match admin.permission(master).await? & READ_WRITE {
        READ_WRITE => Stage::Open,
        bits => Stage::Closed(format!("{master} was set to take writes and still has brokerPermission {bits}")),
    })
}

struct Job<'a, A> {
    admin: &'a A,
    master: &'a str,
    index: u32,
    cluster_name: &'a str,
    objects: &'a Objects,
}

impl<A: Admin> Job<'_, A> {
    async fn open(&self, group: &str, sources: &[(&str, Option<&str>)]) -> admin::Result<Stage> {
        let mut others = Vec::new();
        for (name, master) in sources {
            match master {
                // What it holds cannot be known, so nothing can be called complete.
                None => return Ok(Stage::Closed(format!("{group} waits for {name}, whose topics it must have too"))),
                Some(master) => others.push(pool::tables(self.admin, master).await?),
            }
        }
        let missing = lacking(
            &others,
            &pool::tables(self.admin, self.master).await?,
            self.index,
            self.cluster_name,
            self.objects,
        );
        for topic in &missing.topics {
            self.admin.put_topic(self.master, topic).await?;
        }
        for consumer_group in &missing.consumer_groups {
            self.admin.put_consumer_group(self.master, consumer_group).await?;
        }
        if !missing.is_empty() {
            let again = pool::tables(self.admin, self.master).await?;
            let still = lacking(&others, &again, self.index, self.cluster_name, self.objects);
            if !still.is_empty() {
                let (topics, groups) = (still.topics.len(), still.consumer_groups.len());
                return Ok(Stage::Closed(format!(
                    "{group} accepted and still lacks {topics} topics and {groups} consumer groups"
                )));
            }
        }
        ensure_writable(self.admin, self.master).await
    }
}

/// What a group must be given.
#[derive(Debug, Default, PartialEq)]
struct Missing {
    topics: Vec<TopicConfig>,
    consumer_groups: Vec<SubscriptionGroup>,
}

impl Missing {
    fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.consumer_groups.is_empty()
    }
}

/// The union of what the open groups hold and the objects ask for, less what is there. An object's
/// placement has the last word; system topics are each broker's own, and dead-letter topics come
/// into being when they are needed.
fn lacking(others: &[Tables], have: &Tables, index: u32, cluster_name: &str, objects: &Objects) -> Missing {
    let mut topics: BTreeMap<&str, TopicConfig> = BTreeMap::new();
    let mut groups: BTreeMap<&str, SubscriptionGroup> = BTreeMap::new();
    for tables in others {
        for (name, topic) in &tables.topics {
            let copied =
                names::is_retry_topic(name) || !is_system(name, cluster_name) && !is_broker_topic(name, others);
            let known = topics.get(name.as_str()).map_or(0, |known| known.write_queue_nums);
            if copied && topic.write_queue_nums >= known {
                topics.insert(name, topic.clone());
            }
        }
        for (name, group) in tables.consumer_groups.iter().filter(|(name, _)| !names::is_system_group(name)) {
            groups.entry(name).or_insert_with(|| group.clone());
        }
    }
    for object in &objects.topics {
        let name = object.remote_name();
        if !object.placed_on(index) {
            topics.remove(name);
        } else if object.management() != Management::Observe {
            topics.insert(name, object.desired(topics.get(name)));
        }
    }
    for object in objects.consumer_groups.iter().filter(|object| object.management() != Management::Observe) {
        let name = object.remote_name();
        groups.insert(name, object.desired(groups.get(name)));
    }
    Missing {
        topics: topics
            .into_iter()
            .filter(|(name, _)| !have.topics.contains_key(*name))
            .map(|(_, topic)| topic)
            .collect(),
        consumer_groups: groups
            .into_iter()
            .filter(|(name, _)| !have.consumer_groups.contains_key(*name))
            .map(|(_, group)| group)
            .collect(),
    }
}

/// Each broker keeps a topic named after itself.
fn is_broker_topic(topic: &str, others: &[Tables]) -> bool {
    let inherits = |tables: &Tables| tables.topics.get(topic).is_some_and(|topic| perm::is_inherited(topic.perm));
    others.iter().any(inherits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::brokers::fake::{Fake, Master};

    fn topic(name: &str, queues: i32) -> (String, TopicConfig) {
        (name.to_owned(), TopicConfig::new(name, queues, queues, 6))
    }

    fn master(topics: &[(&str, i32)], groups: &[&str]) -> Master {
        Master {
            topics: topics.iter().map(|(name, queues)| topic(name, *queues)).collect(),
            groups: groups.iter().map(|name| ((*name).to_owned(), SubscriptionGroup::new(*name))).collect(),
            ..Master::default()
        }
    }

    fn objects(specs: &[(&str, serde_json::Value)]) -> Objects {
        let topic = |(name, spec): &(&str, serde_json::Value)| {
            let mut spec = spec.clone();
            spec["clusterRef"] = json!({"name": "prod"});
            serde_json::from_value(json!({"apiVersion": "rocketmq.rs/v1alpha1", "kind": "RocketMQTopic", "metadata": {"name": name}, "spec": spec})).unwrap()
        };
        Objects { topics: specs.iter().map(topic).collect(), consumer_groups: Vec::new() }
    }

    async fn run(fake: &Fake, count: u32, opened: &[&str], objects: &Objects) -> BTreeMap<String, Stage> {
        let opened: BTreeSet<String> = opened.iter().map(|name| (*name).to_owned()).collect();
        let brokers = fake.brokers().await.unwrap();
        pass(fake, ("prod", "prod"), count, &opened, &brokers, objects).await
    }

    #[tokio::test]
    async fn a_new_group_gets_topics_and_groups_before_it_takes_writes() {
        let old = master(
            &[("orders", 8), ("%RETRY%billing", 1), ("%DLQ%billing", 1), ("TBW102", 8), ("prod", 16)],
            &["billing", "TOOLS_CONSUMER"],
        );
        let new = Master { permission: 4, ..master(&[("TBW102", 8)], &[]) };
        let fake = Fake::new(&[("prod-broker-0", old), ("prod-broker-1", new)]);
        let stages = run(&fake, 2, &["prod-broker-0"], &objects(&[("fresh", json!({"queues": 3}))])).await;
        assert_eq!(stages["prod-broker-1"], Stage::Open);
        assert_eq!(
            fake.writes(),
            [
                "put prod-broker-1 %RETRY%billing",
                "put prod-broker-1 fresh",
                "put prod-broker-1 orders",
                "put prod-broker-1 billing",
                "permit prod-broker-1 6",
            ]
        );
    }

    /// Its permission was set, and topics were written to it.
    #[tokio::test]
    async fn a_broker_of_our_name_under_another_cluster_name_is_not_ours() {
        let foreign = || Master { permission: 4, cluster: "theirs".into(), ..Master::default() };
        let fake = Fake::new(&[("prod-broker-0", foreign()), ("prod-broker-1", foreign())]);
        let stages = run(&fake, 2, &["prod-broker-0"], &objects(&[("orders", json!({}))])).await;
        for group in ["prod-broker-0", "prod-broker-1"] {
            assert!(
                matches!(&stages[group], Stage::Closed(why) if why.contains("under the cluster name theirs and not prod")),
                "{stages:?}"
            );
        }
        assert!(fake.writes().is_empty());
    }

    #[tokio::test]
    async fn placement_keeps_a_topic_off_a_new_group() {
        let fake = Fake::new(&[
            ("prod-broker-0", master(&[("pinned", 8)], &[])),
            ("prod-broker-1", Master { permission: 4, ..Master::default() }),
        ]);
        run(&fake, 2, &["prod-broker-0"], &objects(&[("pinned", json!({"queues": 8, "placement": {"groups": [0]}}))]))
            .await;
        assert_eq!(fake.writes(), ["permit prod-broker-1 6"]);
    }

    #[tokio::test]
    async fn a_group_does_not_open_while_another_cannot_be_asked() {
        let down = Master { down: true, ..Master::default() };
        let fake =
            Fake::new(&[("prod-broker-0", down), ("prod-broker-1", Master { permission: 4, ..Master::default() })]);
        let stages = run(&fake, 2, &["prod-broker-0"], &Objects::default()).await;
        assert!(
            matches!(&stages["prod-broker-1"], Stage::Closed(why) if why.contains("waits for prod-broker-0")),
            "{stages:?}"
        );
        assert!(fake.writes().is_empty());
    }

    #[tokio::test]
    async fn a_broker_that_says_yes_and_does_nothing_stays_closed() {
        let deaf = Master { permission: 4, deaf: true, ..Master::default() };
        let fake = Fake::new(&[("prod-broker-0", master(&[("orders", 8)], &[])), ("prod-broker-1", deaf)]);
        let stages = run(&fake, 2, &["prod-broker-0"], &Objects::default()).await;
        assert!(
            matches!(&stages["prod-broker-1"], Stage::Closed(why) if why.contains("still lacks 1 topics")),
            "{stages:?}"
        );
        assert_eq!(fake.writes(), ["put prod-broker-1 orders"], "and is not opened");
    }

    #[tokio::test]
    async fn an_open_group_that_lost_its_permission_is_opened_again_and_nothing_else_is_written() {
        let fake = Fake::new(&[
            ("prod-broker-0", Master { permission: 4, ..master(&[("a", 1)], &[]) }),
            ("prod-broker-1", Master::default()),
        ]);
        let both = ["prod-broker-0", "prod-broker-1"];
        run(&fake, 2, &both, &Objects::default()).await;
        assert_eq!(fake.writes(), ["permit prod-broker-0 6"]);
        run(&fake, 2, &both, &Objects::default()).await;
        assert!(fake.writes().is_empty(), "the second pass has nothing to do");
    }

    #[tokio::test]
    async fn a_pass_after_a_death_at_any_step_ends_the_same() {
        let old = master(&[("orders", 8)], &["billing"]);
        for done in 0..3 {
            let mut new = Master { permission: 4, ..Master::default() };
            if done > 0 {
                new.topics = old.topics.clone();
            }
            if done > 1 {
                new.groups = old.groups.clone();
            }
            let fake = Fake::new(&[("prod-broker-0", old.clone()), ("prod-broker-1", new)]);
            let stages = run(&fake, 2, &["prod-broker-0"], &Objects::default()).await;
            assert_eq!(stages["prod-broker-1"], Stage::Open);
            let state = fake.0.lock();
            let new = &state.masters["prod-broker-1"];
            assert_eq!((&new.topics, &new.groups, new.permission), (&old.topics, &old.groups, 6), "after {done} steps");
        }
    }
}
