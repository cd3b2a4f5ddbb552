//! Topics and consumer groups of a cluster: the operator's own decisions, carried out on the
//! brokers of this machine and reported on its screen.
//!
//! A group of brokers that was just started is given what it must have and then opened for writes
//! ([`open::pass`]); every object is reconciled ([`provision::once`]) and checked again; one that
//! is gone from the files goes as its deletion policy says ([`provision::remove`]).

use super::{
    cluster::Cluster,
    decision,
    screen::{Screen, Tone},
};
use rmq_operator::{
    api::{DeletionPolicy, Management, RocketMQConsumerGroup, RocketMQTopic, condition, reference::ClusterKey},
    brokers::{
        admin::Admin,
        pool::{Inventory, Pool},
        remote::Remote,
    },
    cluster::open::{self, Stage},
    kubernetes::context,
    manifest::Manifest,
    process::metrics::Metrics,
    provision::{self, Provisioned, Removal, Verdict},
};
use std::{collections::BTreeMap, sync::Arc, time::Instant};

/// How one object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) name: String,
    /// One word.
    pub(super) state: String,
    /// A sentence; empty when all is well.
    pub(super) message: String,
    pub(super) well: bool,
}

impl From<Row> for [String; 4] {
    fn from(row: Row) -> Self {
        [row.what.to_owned(), row.name, row.state, row.message]
    }
}

/// Objects that are gone from the files and not yet from the brokers.
#[derive(Default)]
struct Leaving {
    topics: Vec<RocketMQTopic>,
    consumer_groups: Vec<RocketMQConsumerGroup>,
}

/// What is known of all objects.
pub(super) struct Objects {
    pool: Pool<Remote>,
    leaving: Leaving,
    /// What was reported last, by cluster, kind and name.
    reported: BTreeMap<(ClusterKey, &'static str, String), Row>,
    /// What is wrong with a cluster or a group of brokers of it, as reported last.
    problems: BTreeMap<(ClusterKey, String), String>,
    screen: Screen,
}

/// A cluster as its objects need it.
struct TargetCluster<'a> {
    key: &'a ClusterKey,
    namesrvs: &'a str,
    cluster_name: &'a str,
    /// Broker names by index.
    groups: Vec<String>,
    admin: Remote,
}

impl Objects {
    pub(super) fn new(screen: Screen) -> anyhow::Result<Self> {
        Ok(Self {
            pool: Pool::new(Metrics::new()?),
            leaving: Leaving::default(),
            reported: BTreeMap::new(),
            problems: BTreeMap::new(),
            screen,
        })
    }

    /// Everything reported last about a cluster.
    pub(super) fn rows<'a>(&'a self, key: &'a ClusterKey) -> impl Iterator<Item = &'a Row> {
        self.reported.iter().filter(move |((cluster, ..), _)| cluster == key).map(|(_, row)| row)
    }

    /// Takes note of objects that an edit removed.
    pub(super) fn removed(&mut self, old: &Manifest, new: &Manifest) {
        let topics = gone(&old.topics, &new.topics);
        let consumer_groups = gone(&old.consumer_groups, &new.consumer_groups);
        self.leaving.topics.retain(|leaving| !holds(&new.topics, leaving));
        self.leaving.consumer_groups.retain(|leaving| !holds(&new.consumer_groups, leaving));
        self.forget(topics, |leaving| &mut leaving.topics);
        self.forget(consumer_groups, |leaving| &mut leaving.consumer_groups);
    }

    fn forget<K: Provisioned>(&mut self, gone: Vec<K>, list: impl Fn(&mut Leaving) -> &mut Vec<K>) {
        for object in gone {
            let name = object.remote_name().to_owned();
            self.reported.remove(&(cluster_of(&object), K::WHAT, name.clone()));
            let stays = match (object.deletion_policy(), object.management()) {
                (DeletionPolicy::Retain, _) => {
                    "is gone from the manifest and stays on the brokers (deletionPolicy: Retain)"
                }
                (_, Management::Observe) => "is gone from the manifest and stays on the brokers (management: Observe)",
                _ => {
                    list(&mut self.leaving).push(object);
                    continue;
                }
            };
            self.screen.event(Tone::Plain, &cluster_of(&object).name, &format!("{} {name} {stays}", K::WHAT));
        }
    }

    /// Forgets a cluster that is gone; its objects went with it.
    pub(super) fn drop_cluster(&mut self, key: &ClusterKey) {
        self.pool.forget(key);
        self.reported.retain(|(cluster, ..), _| cluster != key);
        self.problems.retain(|(cluster, _), _| cluster != key);
        self.leaving.topics.retain(|topic| cluster_of(topic) != *key);
        self.leaving.consumer_groups.retain(|group| cluster_of(group) != *key);
    }

    /// Opens groups, reconciles every object, and prints what is new. True if all is well.
    pub(super) async fn pass(&mut self, cluster: &Cluster, manifest: &Manifest) -> bool {
        let Some(plan) = &cluster.plan else { return true };
        let target = TargetCluster {
            key: &cluster.key,
            namesrvs: &plan.namesrv_addrs,
            cluster_name: &plan.cluster_name,
            groups: plan.groups.iter().map(|group| group.name.clone()).collect(),
            admin: self.pool.admin(&cluster.key, &plan.namesrv_addrs),
        };
        let open = self.open(&target, cluster, manifest).await;
        let rows = match self.pool.inventory(target.key, target.namesrvs, Instant::now()).await {
            Ok(inventory) => {
                self.set_problem(&target, &target.key.name, None);
                self.objects(&target, manifest, &inventory).await
            }
            Err(unavailable) => {
                self.set_problem(&target, &target.key.name, Some(format!("cannot be asked: {}", unavailable.error)));
                return false;
            }
        };
        self.leave(&target).await && open && rows
    }

    /// Opens groups that do not take writes yet.
    async fn open(&mut self, target: &TargetCluster<'_>, cluster: &Cluster, manifest: &Manifest) -> bool {
        let opened = cluster.opened.groups();
        let objects = open::Objects {
            topics: active(&manifest.topics, target).cloned().collect(),
            consumer_groups: active(&manifest.consumer_groups, target).cloned().collect(),
        };
        // Without an answer no group has a master, which is what each waits for.
        let brokers = target.admin.brokers().await.unwrap_or_default();
        let count = u32::try_from(target.groups.len()).unwrap_or(u32::MAX);
        let names = (target.key.name.as_str(), target.cluster_name);
        let stages = open::pass(&target.admin, names, count, &opened, &brokers, &objects).await;
        for (group, stage) in &stages {
            match stage {
                Stage::Open => match cluster.opened.insert(group) {
                    Ok(new) => {
                        if self.set_problem(target, group, None) || new {
                            self.screen.event(Tone::Good, group, "takes messages");
                        }
                    }
                    Err(error) => drop(self.set_problem(target, group, Some(format!("{error:#}")))),
                },
                Stage::Closed(why) => {
                    let waits =
                        match cluster.plan.iter().flat_map(|plan| &plan.groups).find(|known| known.name == *group) {
                            Some(known) => decision::needed(&target.admin, known).await,
                            None => None,
                        };
                    let why = waits.as_ref().unwrap_or(why);
                    self.set_problem(target, group, Some(format!("takes no messages: {why}")));
                }
            }
        }
        stages.values().all(|stage| *stage == Stage::Open)
    }

    /// Says what is wrong with a cluster or a group when it is new; true if something else was
    /// wrong before.
    fn set_problem(&mut self, target: &TargetCluster<'_>, name: &str, text: Option<String>) -> bool {
        let id = (target.key.clone(), name.to_owned());
        match text {
            None => self.problems.remove(&id).is_some(),
            Some(text) if self.problems.get(&id) == Some(&text) => false,
            Some(text) => {
                self.screen.event(Tone::Bad, name, &text);
                self.problems.insert(id, text).is_some()
            }
        }
    }

    async fn objects(&mut self, target: &TargetCluster<'_>, manifest: &Manifest, inventory: &Arc<Inventory>) -> bool {
        let topics = self.kind(target, &manifest.topics, inventory).await;
        let groups = self.kind(target, &manifest.consumer_groups, inventory).await;
        topics && groups
    }

    async fn kind<K: Provisioned>(
        &mut self,
        target: &TargetCluster<'_>,
        objects: &[K],
        inventory: &Arc<Inventory>,
    ) -> bool {
        let mut later: Option<Arc<Inventory>> = None;
        let mut well = true;
        for object in objects.iter().filter(|object| cluster_of(*object) == *target.key) {
            let mut row = self.reconcile(target, object, inventory).await;
            let before = row.message.clone();
            if !row.well && !context::paused(object) {
                // Something was written, or a broker did not respond: only a new inventory shows
                // it.
                if later.is_none() {
                    later = self.pool.inventory(target.key, target.namesrvs, Instant::now()).await.ok();
                }
                if let Some(later) = &later {
                    row = self.reconcile(target, object, later).await;
                }
            }
            well &= row.well;
            self.report(target, row, &before);
        }
        well
    }

    /// Says what is new about an object; `before` is what was found before anything was written.
    fn report(&mut self, target: &TargetCluster<'_>, row: Row, before: &str) {
        let id = (target.key.clone(), row.what, row.name.clone());
        let known = self.reported.insert(id, row.clone());
        match (row.well, before.is_empty()) {
            (true, false) => self.screen.event(Tone::Good, &target.key.name, &format!("{before}; written")),
            (true, true) if known.as_ref().is_some_and(|known| !known.well) => {
                self.screen.event(
                    Tone::Good,
                    &target.key.name,
                    &format!("{} {} is as it should be", row.what, row.name),
                );
            }
            (false, _) if known.as_ref() != Some(&row) => self.screen.event(Tone::Bad, &target.key.name, &row.message),
            _ => {}
        }
    }

    async fn reconcile<K: Provisioned>(&self, target: &TargetCluster<'_>, object: &K, inventory: &Inventory) -> Row {
        let name = object.remote_name().to_owned();
        let row = |state: &str, message: String, well| Row {
            what: K::WHAT,
            name: name.clone(),
            state: state.to_owned(),
            message,
            well,
        };
        if context::paused(object) {
            return row("Paused", String::new(), true);
        }
        if K::is_system(&name, target.cluster_name) {
            let text = format!("{} {name} belongs to RocketMQ itself: write another name", K::WHAT);
            return row("SystemName", text, false);
        }
        match provision::once(object, &target.admin, &target.groups, inventory).await {
            Ok(verdict) => {
                let (state, message) = ready_condition(&verdict);
                row(state, if verdict.ready { String::new() } else { message }, verdict.ready)
            }
            Err(error) => row("NotWritten", format!("{} {name}: {error}", K::WHAT), false),
        }
    }

    async fn leave(&mut self, target: &TargetCluster<'_>) -> bool {
        let Leaving { mut topics, mut consumer_groups } = std::mem::take(&mut self.leaving);
        self.remove(target, &mut topics).await;
        self.remove(target, &mut consumer_groups).await;
        let done = topics.is_empty() && consumer_groups.is_empty();
        self.leaving = Leaving { topics, consumer_groups };
        done
    }

    /// Removes what can be removed from the list and from the brokers.
    async fn remove<K: Provisioned>(&mut self, target: &TargetCluster<'_>, list: &mut Vec<K>) {
        let mut kept = Vec::new();
        for object in list.drain(..) {
            if cluster_of(&object) != *target.key {
                kept.push(object);
                continue;
            }
            let (what, name) = (K::WHAT, object.remote_name().to_owned());
            let removed = match self.pool.inventory(target.key, target.namesrvs, Instant::now()).await {
                Ok(inventory) => {
                    provision::remove(&object, &target.admin, &target.groups, target.cluster_name, &inventory).await
                }
                Err(unavailable) => Err(unavailable.error),
            };
            let (tone, text) = match removed {
                Ok(Removal::Gone) => (Tone::Good, format!("{what} {name} is deleted")),
                Ok(Removal::Requested) => {
                    kept.push(object);
                    continue;
                }
                Ok(Removal::Holds(why)) => {
                    (Tone::Plain, format!("{what} {name} is not empty, so it is not deleted: {why}"))
                }
                Ok(Removal::Unknown(group)) => {
                    (Tone::Bad, format!("{what} {name} is not deleted: {group} cannot be asked"))
                }
                Err(error) => (Tone::Bad, format!("{what} {name} is not deleted: {error}")),
            };
            let id = (target.key.clone(), what, name.clone());
            if tone == Tone::Good {
                self.reported.remove(&id);
            } else {
                kept.push(object);
            }
            let row = Row { what, name, state: "Leaving".to_owned(), message: text.clone(), well: false };
            if tone == Tone::Good || self.reported.insert(id, row.clone()).as_ref() != Some(&row) {
                self.screen.event(tone, &target.key.name, &text);
            }
        }
        *list = kept;
    }
}

/// Objects of a cluster that are not switched off and name nothing that is RocketMQ's own.
fn active<'a, K: Provisioned>(objects: &'a [K], target: &'a TargetCluster<'_>) -> impl Iterator<Item = &'a K> {
    objects.iter().filter(|object| {
        cluster_of(*object) == *target.key
            && !context::paused(*object)
            && !K::is_system(object.remote_name(), target.cluster_name)
    })
}

/// The cluster of an object.
fn cluster_of<K: Provisioned>(object: &K) -> ClusterKey {
    ClusterKey::of(object.cluster_ref(), &context::key(object).namespace)
}

fn holds<K: Provisioned>(objects: &[K], one: &K) -> bool {
    objects.iter().any(|other| other.remote_name() == one.remote_name() && cluster_of(other) == cluster_of(one))
}

fn gone<K: Provisioned>(old: &[K], new: &[K]) -> Vec<K> {
    old.iter().filter(|object| !holds(new, object)).cloned().collect()
}

/// Reason and message of the condition Ready.
fn ready_condition(verdict: &Verdict) -> (&'static str, String) {
    let ready = verdict.judgements.iter().find(|judgement| judgement.kind == condition::Kind::Ready);
    ready.map_or(("Unknown", String::new()), |ready| (ready.reason, ready.message.clone()))
}
