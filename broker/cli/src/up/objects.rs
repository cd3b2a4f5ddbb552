//! Topics and consumer groups of a cluster: the operator's own decisions, carried out on the
//! brokers of this machine and told on its screen.
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
    /// What was told last, by cluster, kind and name.
    told: BTreeMap<(ClusterKey, &'static str, String), Row>,
    /// What is wrong with a cluster or a group of brokers of it, as told last.
    troubles: BTreeMap<(ClusterKey, String), String>,
    screen: Screen,
}

/// A cluster as its objects need it.
struct Home<'a> {
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
            told: BTreeMap::new(),
            troubles: BTreeMap::new(),
            screen,
        })
    }

    /// Everything told last about a cluster.
    pub(super) fn rows<'a>(&'a self, key: &'a ClusterKey) -> impl Iterator<Item = &'a Row> {
        self.told.iter().filter(move |((cluster, ..), _)| cluster == key).map(|(_, row)| row)
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
            self.told.remove(&(home(&object), K::WHAT, name.clone()));
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
            self.screen.tell(Tone::Plain, &home(&object).name, &format!("{} {name} {stays}", K::WHAT));
        }
    }

    /// Forgets a cluster that is gone; its objects went with it.
    pub(super) fn drop_cluster(&mut self, key: &ClusterKey) {
        self.pool.forget(key);
        self.told.retain(|(cluster, ..), _| cluster != key);
        self.troubles.retain(|(cluster, _), _| cluster != key);
        self.leaving.topics.retain(|topic| home(topic) != *key);
        self.leaving.consumer_groups.retain(|group| home(group) != *key);
    }

    /// Opens groups, reconciles every object, and prints what is new. True if all is well.
    pub(super) async fn pass(&mut self, cluster: &Cluster, manifest: &Manifest) -> bool {
        let Some(plan) = &cluster.plan else { return true };
        let home = Home {
            key: &cluster.key,
            namesrvs: &plan.namesrv_addrs,
            cluster_name: &plan.cluster_name,
            groups: plan.groups.iter().map(|group| group.name.clone()).collect(),
            admin: self.pool.admin(&cluster.key, &plan.namesrv_addrs),
        };
        let open = self.open(&home, cluster, manifest).await;
        let rows = match self.pool.inventory(home.key, home.namesrvs, Instant::now()).await {
            Ok(inventory) => {
                self.trouble(&home, &home.key.name, None);
                self.objects(&home, manifest, &inventory).await
            }
            Err(unavailable) => {
                self.trouble(&home, &home.key.name, Some(format!("cannot be asked: {}", unavailable.error)));
                return false;
            }
        };
        self.leave(&home).await && open && rows
    }

    /// Opens groups that do not take writes yet.
    async fn open(&mut self, home: &Home<'_>, cluster: &Cluster, manifest: &Manifest) -> bool {
        let opened = cluster.opened.groups();
        let objects = open::Objects {
            topics: active(&manifest.topics, home).cloned().collect(),
            consumer_groups: active(&manifest.consumer_groups, home).cloned().collect(),
        };
        // Without an answer no group has a master, which is what each is told to wait for.
        let brokers = home.admin.brokers().await.unwrap_or_default();
        let count = u32::try_from(home.groups.len()).unwrap_or(u32::MAX);
        let names = (home.key.name.as_str(), home.cluster_name);
        let stages = open::pass(&home.admin, names, count, &opened, &brokers, &objects).await;
        for (group, stage) in &stages {
            match stage {
                Stage::Open => match cluster.opened.insert(group) {
                    Ok(new) => {
                        if self.trouble(home, group, None) || new {
                            self.screen.tell(Tone::Good, group, "takes messages");
                        }
                    }
                    Err(error) => drop(self.trouble(home, group, Some(format!("{error:#}")))),
                },
                Stage::Closed(why) => {
                    let waits =
                        match cluster.plan.iter().flat_map(|plan| &plan.groups).find(|known| known.name == *group) {
                            Some(known) => decision::needed(&home.admin, known).await,
                            None => None,
                        };
                    let why = waits.as_ref().unwrap_or(why);
                    self.trouble(home, group, Some(format!("takes no messages: {why}")));
                }
            }
        }
        stages.values().all(|stage| *stage == Stage::Open)
    }

    /// Says what is wrong with a cluster or a group when it is new; true if something else was
    /// wrong before.
    fn trouble(&mut self, home: &Home<'_>, name: &str, text: Option<String>) -> bool {
        let id = (home.key.clone(), name.to_owned());
        match text {
            None => self.troubles.remove(&id).is_some(),
            Some(text) if self.troubles.get(&id) == Some(&text) => false,
            Some(text) => {
                self.screen.tell(Tone::Bad, name, &text);
                self.troubles.insert(id, text).is_some()
            }
        }
    }

    async fn objects(&mut self, home: &Home<'_>, manifest: &Manifest, inventory: &Arc<Inventory>) -> bool {
        let topics = self.kind(home, &manifest.topics, inventory).await;
        let groups = self.kind(home, &manifest.consumer_groups, inventory).await;
        topics && groups
    }

    async fn kind<K: Provisioned>(&mut self, home: &Home<'_>, objects: &[K], inventory: &Arc<Inventory>) -> bool {
        let mut later: Option<Arc<Inventory>> = None;
        let mut well = true;
        for object in objects.iter().filter(|object| self::home(*object) == *home.key) {
            let mut row = self.reconcile(home, object, inventory).await;
            let before = row.message.clone();
            if !row.well && !context::paused(object) {
                // Something was written, or a broker was silent: only a new look tells.
                if later.is_none() {
                    later = self.pool.inventory(home.key, home.namesrvs, Instant::now()).await.ok();
                }
                if let Some(later) = &later {
                    row = self.reconcile(home, object, later).await;
                }
            }
            well &= row.well;
            self.tell(home, row, &before);
        }
        well
    }

    /// Says what is new about an object; `before` is what was found before anything was written.
    fn tell(&mut self, home: &Home<'_>, row: Row, before: &str) {
        let id = (home.key.clone(), row.what, row.name.clone());
        let known = self.told.insert(id, row.clone());
        match (row.well, before.is_empty()) {
            (true, false) => self.screen.tell(Tone::Good, &home.key.name, &format!("{before}; written")),
            (true, true) if known.as_ref().is_some_and(|known| !known.well) => {
                self.screen.tell(Tone::Good, &home.key.name, &format!("{} {} is as it should be", row.what, row.name));
            }
            (false, _) if known.as_ref() != Some(&row) => self.screen.tell(Tone::Bad, &home.key.name, &row.message),
            _ => {}
        }
    }

    async fn reconcile<K: Provisioned>(&self, home: &Home<'_>, object: &K, inventory: &Inventory) -> Row {
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
        if K::is_system(&name, home.cluster_name) {
            let text = format!("{} {name} belongs to RocketMQ itself: write another name", K::WHAT);
            return row("SystemName", text, false);
        }
        match provision::once(object, &home.admin, &home.groups, inventory).await {
            Ok(verdict) => {
                let (state, message) = words(&verdict);
                row(state, if verdict.ready { String::new() } else { message }, verdict.ready)
            }
            Err(error) => row("NotWritten", format!("{} {name}: {error}", K::WHAT), false),
        }
    }

    async fn leave(&mut self, home: &Home<'_>) -> bool {
        let Leaving { mut topics, mut consumer_groups } = std::mem::take(&mut self.leaving);
        self.remove(home, &mut topics).await;
        self.remove(home, &mut consumer_groups).await;
        let done = topics.is_empty() && consumer_groups.is_empty();
        self.leaving = Leaving { topics, consumer_groups };
        done
    }

    /// Removes what can be removed from the list and from the brokers.
    async fn remove<K: Provisioned>(&mut self, home: &Home<'_>, list: &mut Vec<K>) {
        let mut kept = Vec::new();
        for object in list.drain(..) {
            if self::home(&object) != *home.key {
                kept.push(object);
                continue;
            }
            let (what, name) = (K::WHAT, object.remote_name().to_owned());
            let removed = match self.pool.inventory(home.key, home.namesrvs, Instant::now()).await {
                Ok(inventory) => {
                    provision::remove(&object, &home.admin, &home.groups, home.cluster_name, &inventory).await
                }
                Err(unavailable) => Err(unavailable.error),
            };
            let (tone, text) = match removed {
                Ok(Removal::Gone) => (Tone::Good, format!("{what} {name} is deleted")),
                Ok(Removal::Told) => {
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
            let id = (home.key.clone(), what, name.clone());
            if tone == Tone::Good {
                self.told.remove(&id);
            } else {
                kept.push(object);
            }
            let row = Row { what, name, state: "Leaving".to_owned(), message: text.clone(), well: false };
            if tone == Tone::Good || self.told.insert(id, row.clone()).as_ref() != Some(&row) {
                self.screen.tell(tone, &home.key.name, &text);
            }
        }
        *list = kept;
    }
}

/// Objects of a cluster that are not switched off and name nothing that is RocketMQ's own.
fn active<'a, K: Provisioned>(objects: &'a [K], home: &'a Home<'_>) -> impl Iterator<Item = &'a K> {
    objects.iter().filter(|object| {
        self::home(*object) == *home.key
            && !context::paused(*object)
            && !K::is_system(object.remote_name(), home.cluster_name)
    })
}

/// The cluster of an object.
fn home<K: Provisioned>(object: &K) -> ClusterKey {
    ClusterKey::of(object.cluster_ref(), &context::key(object).namespace)
}

fn holds<K: Provisioned>(objects: &[K], one: &K) -> bool {
    objects.iter().any(|other| other.remote_name() == one.remote_name() && home(other) == home(one))
}

fn gone<K: Provisioned>(old: &[K], new: &[K]) -> Vec<K> {
    old.iter().filter(|object| !holds(new, object)).cloned().collect()
}

/// Reason and message of the condition Ready.
fn words(verdict: &Verdict) -> (&'static str, String) {
    let ready = verdict.judgements.iter().find(|judgement| judgement.kind == condition::Kind::Ready);
    ready.map_or(("Unknown", String::new()), |ready| (ready.reason, ready.message.clone()))
}
