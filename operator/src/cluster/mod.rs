//! `RocketMQCluster`: from a manifest to running brokers.
//!
//! One reconcile is a list of short steps, each a file that says what it may touch:
//!
//! | step | file | touches |
//! |---|---|---|
//! | what is there | `observe.rs` | reads the API server and a namesrv |
//! | may it be built | `validate.rs` | nothing |
//! | which processes | `topology.rs` | nothing, not even Kubernetes types |
//! | which objects | `build/` | nothing |
//! | what brokers say of themselves | `members.rs` | asks brokers |
//! | which may change now | `rollout.rs` | nothing |
//! | write | `apply.rs`, `claims.rs` | writes the API server |
//! | open new groups | `open.rs` | writes brokers |
//! | decisions about logs | `recover.rs` | writes brokers |
//! | slaves that begin anew | `replace.rs` | writes the API server |
//! | tell | `status.rs`, `log_conditions.rs` | nothing |
//!
//! A step that waits does not wait here: the reconcile ends, says in a condition what it waits for,
//! and comes again. What it must remember stands in the status: which groups were opened. All else
//! is found anew each time.
//!
//! Roles are static: ordinal 0 of a group is its master. The brokers live without the operator;
//! only changes wait for it.

mod apply;
pub(crate) mod build;
mod claims;
#[cfg(test)]
pub(crate) mod fixtures;
mod log_conditions;
pub mod members;
mod observe;
pub mod open;
mod recover;
mod replace;
mod rollout;
mod status;
#[cfg(test)]
mod tests;
pub mod topology;
pub mod validate;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::DeserializeGuard,
    runtime::{controller::Action, events::EventType},
};
use serde_json::json;

use self::{
    apply::Target,
    build::Groups,
    observe::Observed,
    open::{Objects, Stage},
    recover::{Outcome, Wanted},
    status::Findings,
    topology::Topology,
    validate::{Environment, Validated, validate},
};
use crate::{
    api::{
        RocketMQCluster,
        cluster::{ClusterStatus, group_name},
        condition::{self, Judgement, Kind, Status},
        reference::{self, ClusterKey},
    },
    brokers::admin::{Admin, Broker},
    error::Error,
    kubernetes::context::{Context, FIELD_MANAGER, key, paused},
    process::jittered,
    provision::Provisioned,
};

/// Between reconciles of a cluster that has all it asked for: brokers are checked although no watch
/// tells of them.
const STEADY: Duration = Duration::from_secs(60);
/// Between reconciles of one that has not: no watch reports a registration with a namesrv.
const MOVING: Duration = Duration::from_secs(3);

/// Entry of the controller.
pub(crate) async fn reconcile<A: Admin>(
    object: Arc<DeserializeGuard<RocketMQCluster>>,
    context: Arc<Context<A>>,
) -> Result<Action, Error> {
    let cluster = match &object.0 {
        Ok(cluster) => cluster,
        Err(invalid) => {
            tracing::warn!(name = invalid.metadata.name, error = %invalid.error, "RocketMQCluster cannot be read");
            context.event(&*object, EventType::Warning, "Unreadable", &invalid.error).await;
            return Ok(Action::await_change());
        }
    };
    if cluster.meta().deletion_timestamp.is_some() {
        // Children go by their owner references, volumes by the reclaim policy, topics free
        // themselves.
        context.gone("RocketMQCluster", key(cluster));
        return Ok(Action::await_change());
    }
    let began = Instant::now();
    let run = Run { cluster, context: &context };
    match run.pass().await {
        Ok(action) => {
            context.succeeded(cluster, began);
            Ok(action)
        }
        // Its children go before it does, and cannot be made again.
        Err(error) if error.is_of_a_terminating_namespace() => {
            tracing::debug!(%error, "the namespace is being deleted");
            Ok(Action::await_change())
        }
        Err(error) => {
            run.report_error(&error).await?;
            Err(error)
        }
    }
}

struct Run<'a, A> {
    cluster: &'a RocketMQCluster,
    context: &'a Context<A>,
}

impl<A: Admin> Run<'_, A> {
    async fn pass(&self) -> Result<Action, Error> {
        if paused(self.cluster) || self.cluster.spec.operation.paused {
            return self.pause().await;
        }
        let uid = self.cluster.uid().ok_or(Error::Incomplete("uid"))?;
        let home = key(self.cluster);
        let mut observed = observe::kubernetes(&self.context.client, &home.namespace, &home.name, &uid).await?;
        let opened = self.opened();
        let members = topology::members(&self.cluster.spec.brokers);
        let existing_groups = existing_groups(&home.name, members, &observed, &self.previous());
        let environment = Environment {
            default_image: &self.context.settings.default_image,
            domain: &self.context.settings.domain,
            existing_groups,
            readers: self.context.settings.readers,
        };
        let valid = match validate(self.cluster, &environment) {
            Ok(valid) => valid,
            Err(wrong) => {
                let mut status = self.previous();
                status.phase = Some("Failed".to_owned());
                self.write_status(status, status::invalid(&wrong), condition::update).await?;
                return Ok(Action::requeue(jittered(STEADY)));
            }
        };
        let created = self.cluster.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let mut stored = claims::stored_before(&valid.topology.groups, &observed.claims, created);
        stored.extend(opened.iter().cloned());
        let plan = build::build(&valid, &Groups { open: &opened, stored: &stored });
        let admin = self.context.pool.admin(&home, &build::namesrv_addrs(&valid));
        observed.members = members::ask(&admin, &valid, &observed, &stored).await;
        let target = self.target(&valid, &observed);
        let growth = target.grow_volumes().await?;
        target.keep_claims().await?;
        let admitted = target.admitted(&plan, existing_groups, !opened.is_empty());
        target.small_children(&plan, &admitted).await?;
        target.sets(&plan, &admitted).await?;
        target.prune(&plan).await?;

        let stages = self.brokers(&home, &valid.topology, &admin, &mut observed, &opened).await;
        let recovery = self.recover(&self.target(&valid, &observed), &admin, &stages).await?;
        let previous = self.previous();
        let (status, judgements) = status::judge(&Findings {
            cluster: &valid,
            plan: &plan,
            observed: &observed,
            growth: &growth,
            stages: &stages,
            recovery: &recovery,
            previous: &previous,
        });
        let newly_open = status.groups.iter().any(|group| group.open && !opened.contains(&group.name));
        let moving =
            judgements.iter().any(|judgement| judgement.kind == Kind::Progressing && judgement.status == Status::True);
        self.write_status(status, judgements, condition::set).await?;
        // A group that was just opened must lose the key that closes it from its file, before a pod
        // of it restarts.
        let pause = if newly_open { Duration::ZERO } else { jittered(if moving { MOVING } else { STEADY }) };
        Ok(Action::requeue(pause))
    }

    fn target<'a>(&'a self, cluster: &'a Validated, observed: &'a Observed) -> Target<'a> {
        Target { client: &self.context.client, cluster, observed, metrics: &self.context.metrics }
    }

    /// Says in the status what only a person can put right; a passing fault is only logged and
    /// counted.
    async fn report_error(&self, error: &Error) -> Result<(), Error> {
        let reason = match error {
            Error::Foreign { .. } => "NameTaken",
            Error::Kubernetes(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => "ApiServerRefused",
            _ => return Ok(()),
        };
        let text = format!("not everything could be written: {error}");
        let mut status = self.previous();
        status.phase = Some("Degraded".to_owned());
        self.write_status(status, vec![Judgement::new(Kind::Ready, false, reason, text)], condition::update).await
    }

    /// Asks the brokers, and opens those that are new.
    async fn brokers(
        &self,
        home: &ClusterKey,
        topology: &Topology,
        admin: &A,
        observed: &mut Observed,
        opened: &BTreeSet<String>,
    ) -> BTreeMap<String, Stage> {
        if observed.sets.get(&topology.namesrv.name).is_none_or(|state| state.ready == 0) {
            return BTreeMap::new();
        }
        let began = Instant::now();
        let answer = admin.brokers().await;
        self.context.metrics.admin_call("brokers", answer.is_ok(), began.elapsed());
        let registered: Vec<Broker> = answer.as_ref().cloned().unwrap_or_default();
        let reached = answer.is_ok();
        observed.brokers = Some(answer);
        if !reached {
            return BTreeMap::new();
        }
        // One whose set is being made anew around its pods serves on.
        let there = |name: &String| observed.sets.contains_key(name) || opened.contains(name);
        let existing = topology.groups.iter().take_while(|set| there(&set.name)).count();
        let count = u32::try_from(existing).unwrap_or(u32::MAX);
        let names = (topology.name.as_str(), topology.cluster_name.as_str());
        // Copies of all of them, which only a group that is not open yet is compared with.
        let closed = topology.groups.iter().take(existing).any(|set| !opened.contains(&set.name));
        let objects = if closed { self.objects(home) } else { Objects::default() };
        open::pass(admin, names, count, opened, &registered, &objects).await
    }

    /// Carries out what the annotation says about logs that do not go together, and removes it once
    /// it has done its work.
    async fn recover(
        &self,
        target: &Target<'_>,
        admin: &A,
        stages: &BTreeMap<String, Stage>,
    ) -> Result<Outcome, Error> {
        let Some(text) = self.cluster.annotations().get(recover::ANNOTATION) else { return Ok(Outcome::default()) };
        let cluster = target.cluster;
        let groups: Vec<&str> = cluster.topology.groups.iter().map(|set| set.name.as_str()).collect();
        let wanted = Wanted::read(text, &groups);
        let mut outcome = wanted.carry_out(admin, &target.observed.members).await;
        let replaced = target.replace_slaves(&wanted, stages, &mut outcome).await;
        for text in &outcome.replaced {
            self.context.event(self.cluster, EventType::Warning, "SlaveReplaced", text).await;
        }
        replaced?;
        if outcome.done {
            let patch = json!({"metadata": {
                "annotations": {recover::ANNOTATION: null}, "resourceVersion": self.cluster.metadata.resource_version,
            }});
            let api: Api<RocketMQCluster> = Api::namespaced(self.context.client.clone(), &cluster.namespace);
            match api.patch_metadata(&cluster.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => tracing::info!(cluster = cluster.name, decision = text, "carried out and removed"),
                // Changed or deleted meanwhile: the next pass sees it.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(outcome)
    }

    /// The topics and consumer groups that name this cluster and may.
    fn objects(&self, home: &ClusterKey) -> Objects {
        let context = self.context;
        Objects {
            topics: context.topics.all(|topic| self.admitted(topic, home)),
            consumer_groups: context.consumer_groups.all(|group| self.admitted(group, home)),
        }
    }

    /// Objects that hold what they name in this cluster. One that does not yet is nowhere, so no
    /// group lacks it; making it here would take the decision about adoption out of its own
    /// reconcile.
    fn admitted<K: Provisioned>(&self, object: &K, home: &ClusterKey) -> bool {
        let namespace = object.namespace().unwrap_or_default();
        let record = object.record();
        let outdone = record.conditions.iter().any(|condition| condition.reason == "ResourceConflict");
        ClusterKey::of(object.cluster_ref(), &namespace) == *home
            && object.meta().deletion_timestamp.is_none()
            && reference::admits(self.cluster, &home.namespace, &namespace)
            && record.origin.is_some()
            && record.cluster_uid == self.cluster.metadata.uid
            && !outdone
    }

    async fn pause(&self) -> Result<Action, Error> {
        let mut status = self.previous();
        let text =
            "reconciling is switched off: remove the annotation rocketmq.rs/pause and spec.operation.paused to go on";
        let mut judgements = vec![
            Judgement::new(Kind::Paused, true, "AskedFor", text),
            Judgement::new(Kind::Progressing, false, "Paused", "no step is taken"),
        ];
        for kind in [Kind::Available, Kind::Ready] {
            if let Some(last) = condition::status_of(&status.conditions, kind) {
                judgements.push(Judgement::new(kind, last, "Paused", "as it was when reconciling was switched off"));
            }
        }
        status.phase = Some("Paused".to_owned());
        self.write_status(status, judgements, condition::update).await?;
        Ok(Action::await_change())
    }

    fn previous(&self) -> ClusterStatus {
        self.cluster.status.clone().unwrap_or_default()
    }

    fn opened(&self) -> BTreeSet<String> {
        let groups = self.cluster.status.iter().flat_map(|status| &status.groups);
        groups.filter(|group| group.open).map(|group| group.name.clone()).collect()
    }

    /// Writes the status if it changed, and one event for what is new. `conditions` says what
    /// becomes of those not judged.
    async fn write_status(
        &self,
        mut status: ClusterStatus,
        judgements: Vec<Judgement>,
        conditions: condition::Write,
    ) -> Result<(), Error> {
        let previous = self.previous();
        let generation = self.cluster.metadata.generation;
        let changes = condition::changes(&previous.conditions, &judgements);
        status.observed_generation = generation;
        status.conditions = conditions(&previous.conditions, &judgements, generation, Timestamp::now());
        if status == previous {
            return Ok(());
        }
        let name = self.cluster.name_any();
        let patch = json!({
            "apiVersion": RocketMQCluster::api_version(&()), "kind": "RocketMQCluster", "metadata": {"name": name}, "status": status,
        });
        let namespace = self.cluster.namespace().ok_or(Error::Incomplete("namespace"))?;
        let api: Api<RocketMQCluster> = Api::namespaced(self.context.client.clone(), &namespace);
        match api.patch_status(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&patch)).await {
            Ok(_) => self.context.publish_changes(self.cluster, &changes).await,
            // Deleted meanwhile: there is no status to write.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Groups that were ever made: highest index plus 1. A StatefulSet may be away for a moment,
/// deleted around its pods or by mistake; what the status said and the claims that hold messages
/// are still there. Were such a group not planned, its pods would lose their names and its messages
/// would be out of reach.
///
/// Only a claim that a pod of such a group would be bound to by its name counts, and only a
/// StatefulSet that this cluster owns: what another made with the same labels would make the
/// operator plan groups that the spec does not ask for.
fn existing_groups(cluster: &str, members: u32, observed: &Observed, status: &ClusterStatus) -> u32 {
    let prefix = format!("{cluster}-broker-");
    let index = |name: &String| name.strip_prefix(&prefix)?.parse::<u32>().ok();
    let opened = status.groups.iter().filter(|group| group.open).map(|group| &group.name);
    let named = observed.sets.keys().chain(opened).filter_map(index);
    let kept: BTreeSet<&str> =
        observed.claims.iter().filter(|claim| claim.kept).map(|claim| claim.name.as_str()).collect();
    let claimed = (0..topology::MAX_GROUPS).filter(|group| {
        let set = group_name(cluster, *group);
        (0..members).any(|ordinal| kept.contains(build::claim_name(&set, ordinal).as_str()))
    });
    let recorded = status.broker_groups.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    named.chain(claimed).map(|index| index.saturating_add(1)).fold(recorded, u32::max)
}
