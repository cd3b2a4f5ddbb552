//! What was found, as a status: conditions, counts, one line a group. Pure.
//!
//! | condition | true when |
//! |---|---|
//! | SpecValid | the spec passes the checks that need the whole object or the world |
//! | NamesrvReady | every namesrv pod is ready |
//! | BrokersReady | every broker pod is ready and runs the wanted template |
//! | ReplicasInSync | every slave follows its master and keeps up, by its own report |
//! | LogsComplete | no master takes no writes because its log is empty or shorter than a slave's |
//! | StorageHealthy | every volume has the size asked for |
//! | Available | a namesrv is ready and a group takes writes |
//! | Progressing | the operator still has steps to take |
//! | Ready | all of the above, and the groups are as many as asked for |
//! | ScaleDownRefused, Paused | only present while they hold |

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::{
    build::{Plan, TEMPLATE_HASH, labels, namesrv_addrs},
    claims::Growth,
    log_conditions::{logs_complete, replicas_in_sync},
    members::{Member, State},
    observe::{Observed, SetState},
    open::Stage,
    recover::Outcome,
    topology::Set,
    validate::{Validated, Violation, scale_down_refused},
};
use crate::{
    api::{
        cluster::{ClusterStatus, GroupStatus},
        condition::{Judgement, Kind, Status},
    },
    brokers::admin::Broker,
};

/// All that a status is made of.
pub(crate) struct Findings<'a> {
    pub(crate) cluster: &'a Validated,
    pub(crate) plan: &'a Plan,
    pub(crate) observed: &'a Observed,
    pub(crate) growth: &'a Growth,
    /// Groups that could be observed.
    pub(crate) stages: &'a BTreeMap<String, Stage>,
    /// What came of what an administrator decided about logs.
    pub(crate) recovery: &'a Outcome,
    pub(crate) previous: &'a ClusterStatus,
}

/// A status without conditions, and the conditions to write into it.
pub(crate) fn judge(findings: &Findings<'_>) -> (ClusterStatus, Vec<Judgement>) {
    let Findings { cluster, observed, previous, .. } = findings;
    let groups: Vec<GroupStatus> = cluster.topology.groups.iter().map(|set| group(findings, set)).collect();
    let writable = groups.iter().filter(|group| group.writable).count();
    let namesrv = &cluster.topology.namesrv;
    let ready = ready_pods(observed, namesrv);
    let judgements = conditions(findings, &groups);
    let existing = cluster.topology.groups.iter().filter(|set| observed.sets.contains_key(&set.name)).count();
    let status = ClusterStatus {
        observed_generation: previous.observed_generation,
        phase: Some(phase(findings, &groups, &judgements).to_owned()),
        image: Some(cluster.image.reference()),
        namesrv_addrs: Some(namesrv_addrs(cluster)),
        namesrv_ready: Some(format!("{ready}/{}", namesrv.members)),
        groups_ready: Some(format!(
            "{writable}/{}",
            cluster.scale_down_refused.unwrap_or(count(&cluster.topology.groups))
        )),
        // Topics count on every group that this names, so a group is named once its StatefulSet
        // exists, and stays named while that is made anew.
        broker_groups: i32::try_from(existing).ok().max(previous.broker_groups),
        selector: Some(labels::broker_pods(&cluster.name)),
        groups,
        conditions: Vec::new(),
    };
    (status, judgements)
}

/// What is judged of a cluster whose spec is not valid. Everything else stays as it was: so does
/// the cluster.
pub(crate) fn invalid(wrong: &[Violation]) -> Vec<Judgement> {
    let text = wrong.iter().map(|(field, message)| format!("{field}: {message}")).collect::<Vec<_>>().join("; ");
    vec![
        Judgement::new(Kind::SpecValid, false, "Invalid", text.clone()),
        Judgement::new(Kind::Ready, false, "SpecInvalid", format!("nothing is changed: {text}")),
        Judgement::new(Kind::Progressing, false, "SpecInvalid", "no step is taken before the spec is valid"),
    ]
}

fn group(findings: &Findings<'_>, set: &Set) -> GroupStatus {
    let registered = registered(findings.cluster, findings.observed, set);
    let open = findings.stages.get(&set.name) == Some(&Stage::Open);
    let before = findings.previous.groups.iter().any(|group| group.name == set.name && group.open);
    GroupStatus {
        name: set.name.clone(),
        master: Some(format!("{}-0", set.name)),
        writable: open && registered.is_some_and(|broker| broker.master.is_some()),
        in_sync: Some(format!("{}/{}", following(findings.observed, set), set.members - 1)),
        open: open || before,
    }
}

/// Slaves of a group that follow its master and keep up, by their own report.
fn following(observed: &Observed, set: &Set) -> usize {
    let members = observed.members.get(&set.name).map(Vec::as_slice).unwrap_or_default();
    let follows = |member: &&Member| {
        member.ordinal > 0 && member.report.as_ref().is_ok_and(|report| report.state == State::InSync)
    };
    members.iter().filter(follows).count()
}

pub(super) fn registered<'a>(cluster: &Validated, observed: &'a Observed, set: &Set) -> Option<&'a Broker> {
    let cluster_name = &cluster.topology.cluster_name;
    observed.brokers.as_ref()?.as_ref().ok()?.iter().find(|broker| broker.is_of(cluster_name, &set.name))
}

fn ready_pods(observed: &Observed, set: &Set) -> i32 {
    observed.sets.get(&set.name).map_or(0, |state| state.ready)
}

/// Every condition in the order of the table above; the last two follow from the others.
fn conditions(findings: &Findings<'_>, groups: &[GroupStatus]) -> Vec<Judgement> {
    let mut judgements = vec![
        spec_valid(&findings.cluster.notes),
        namesrv_ready(findings),
        brokers_ready(findings),
        replicas_in_sync(findings),
        logs_complete(findings),
        storage_healthy(findings.growth),
        available(findings, groups),
    ];
    judgements.extend(findings.cluster.scale_down_refused.map(|asked| not_scaled_down(groups.len(), asked)));
    let overall = overall(&judgements, findings.stages, findings.observed);
    judgements.push(progressing(&overall));
    judgements.push(overall);
    judgements
}

fn spec_valid(notes: &[String]) -> Judgement {
    let text = match notes {
        [] => "the spec is valid".to_owned(),
        notes => format!("the spec is valid; of its settings: {}", notes.join("; ")),
    };
    Judgement::new(Kind::SpecValid, true, "Valid", text)
}

fn namesrv_ready(findings: &Findings<'_>) -> Judgement {
    let observed = findings.observed;
    let namesrv = &findings.cluster.topology.namesrv;
    let text = format!("{} of {} namesrvs are ready", ready_pods(observed, namesrv), namesrv.members);
    if settled(observed, namesrv, None) {
        return Judgement::new(Kind::NamesrvReady, true, "AllReady", text);
    }
    let text = format!("{text}{}", problems(observed, &[namesrv.name.as_str()]));
    Judgement::new(Kind::NamesrvReady, false, "PodNotReady", text)
}

fn brokers_ready(findings: &Findings<'_>) -> Judgement {
    let Findings { cluster, plan, observed, .. } = findings;
    let planned = cluster.topology.groups.iter().zip(&plan.groups);
    let unsettled: Vec<&str> = planned
        .filter(|(set, planned)| !settled(observed, set, planned.annotations().get(TEMPLATE_HASH)))
        .map(|(set, _)| set.name.as_str())
        .collect();
    if unsettled.is_empty() {
        return Judgement::new(Kind::BrokersReady, true, "AllReady", "every broker pod is ready and up to date");
    }
    let text = format!("not ready or not up to date: {}{}", unsettled.join(", "), problems(observed, &unsettled));
    Judgement::new(Kind::BrokersReady, false, "PodNotReady", text)
}

fn storage_healthy(growth: &Growth) -> Judgement {
    if !growth.refused.is_empty() {
        let text =
            format!("volumes cannot grow, choose a storage class that allows expansion: {}", growth.refused.join("; "));
        return Judgement::new(Kind::StorageHealthy, false, "ExpansionRefused", text);
    }
    if !growth.growing.is_empty() {
        let text = format!("volumes are growing: {}", growth.growing.join(", "));
        return Judgement::new(Kind::StorageHealthy, false, "Expanding", text);
    }
    Judgement::new(Kind::StorageHealthy, true, "AsSpecified", "every volume has the size asked for")
}

fn available(findings: &Findings<'_>, groups: &[GroupStatus]) -> Judgement {
    let ready = ready_pods(findings.observed, &findings.cluster.topology.namesrv);
    let writable = groups.iter().filter(|group| group.writable).count();
    let available = ready > 0 && writable > 0;
    let text = format!("{ready} namesrvs and {writable} of {} groups serve", groups.len());
    Judgement::new(Kind::Available, available, if available { "Serving" } else { "NotServing" }, text)
}

fn not_scaled_down(existing: usize, asked: u32) -> Judgement {
    Judgement::new(Kind::ScaleDownRefused, true, "DrainNotServed", scale_down_refused(existing, asked))
}

/// A scale-down that was refused leaves no step to take.
fn progressing(overall: &Judgement) -> Judgement {
    let moving = overall.status != Status::True && overall.reason != "ScaleDownRefused";
    let reason = if moving { "StepsToTake" } else { "Settled" };
    Judgement::new(Kind::Progressing, moving, reason, overall.message.clone())
}

/// Why pods of these sets are not ready; the first few, as one cause often has many pods.
fn problems(observed: &Observed, sets: &[&str]) -> String {
    const SHOWN: usize = 3;
    let of_sets = |problem: &&String| sets.iter().any(|set| problem.starts_with(&format!("{set}-")));
    let all: Vec<&str> = observed.problems.iter().filter(of_sets).map(String::as_str).collect();
    match all.as_slice() {
        [] => String::new(),
        few if few.len() <= SHOWN => format!(": {}", few.join("; ")),
        many => format!(": {}; and {} more", many[..SHOWN].join("; "), many.len() - SHOWN),
    }
}

/// The first thing that keeps the cluster from being ready, in the order in which a person would
/// ask.
fn overall(judgements: &[Judgement], stages: &BTreeMap<String, Stage>, observed: &Observed) -> Judgement {
    let failing =
        |kind: Kind| judgements.iter().find(|judgement| judgement.kind == kind && judgement.status != Status::True);
    let closed: Vec<&str> = stages
        .values()
        .filter_map(|stage| match stage {
            Stage::Closed(why) => Some(why.as_str()),
            Stage::Open => None,
        })
        .collect();
    let undecided = failing(Kind::LogsComplete)
        .filter(|judgement| matches!(judgement.reason, "DecisionNeeded" | "DecisionRefused"));
    if let Some(first) = undecided {
        return Judgement::new(Kind::Ready, false, first.reason, first.message.clone());
    }
    if let Some(first) = [Kind::NamesrvReady, Kind::BrokersReady].into_iter().find_map(failing) {
        return Judgement::new(Kind::Ready, false, first.reason, first.message.clone());
    }
    if let Some(Err(error)) = &observed.brokers {
        return Judgement::new(
            Kind::Ready,
            Status::Unknown,
            "Unreachable",
            format!("brokers cannot be asked: {error}"),
        );
    }
    if !closed.is_empty() || stages.is_empty() {
        let text = if closed.is_empty() { "no group was observed yet".to_owned() } else { closed.join("; ") };
        return Judgement::new(Kind::Ready, false, "GroupNotOpen", text);
    }
    if let Some(first) = [Kind::LogsComplete, Kind::ReplicasInSync, Kind::StorageHealthy].into_iter().find_map(failing)
    {
        return Judgement::new(Kind::Ready, false, first.reason, first.message.clone());
    }
    if let Some(refused) = judgements.iter().find(|judgement| judgement.kind == Kind::ScaleDownRefused) {
        return Judgement::new(Kind::Ready, false, "ScaleDownRefused", refused.message.clone());
    }
    Judgement::new(Kind::Ready, true, "Running", "every namesrv and every group works")
}

fn settled(observed: &Observed, set: &Set, template: Option<&String>) -> bool {
    let as_wanted = |state: &SetState| {
        u32::try_from(state.replicas) == Ok(set.members)
            && template.is_none_or(|hash| state.template_hash.as_ref() == Some(hash))
    };
    observed.sets.get(&set.name).is_some_and(|state| state.settled() && as_wanted(state))
}

fn phase(findings: &Findings<'_>, groups: &[GroupStatus], judgements: &[Judgement]) -> &'static str {
    let Findings { plan, observed, .. } = findings;
    let holds =
        |kind: Kind| judgements.iter().any(|judgement| judgement.kind == kind && judgement.status == Status::True);
    let rolling = plan.groups.iter().chain([&plan.namesrv]).any(|set| {
        observed.sets.get(&set.name_any()).is_some_and(|state| {
            let current = state.template_hash.as_ref() == set.annotations().get(TEMPLATE_HASH);
            !current || !state.observed || state.updated < state.replicas
        })
    });
    if observed.sets.is_empty() {
        "Pending"
    } else if groups.iter().all(|group| !group.open) {
        "Creating"
    } else if groups.iter().any(|group| !group.open) {
        "Scaling"
    } else if rolling {
        "RollingOut"
    } else if holds(Kind::Ready) || holds(Kind::ScaleDownRefused) && !holds(Kind::Progressing) {
        "Running"
    } else {
        // Until it was ready once, what is not there yet is on its way and not lost.
        match findings.previous.phase.as_deref() {
            Some("Pending" | "Creating") => "Creating",
            Some("Scaling") => "Scaling",
            _ => "Degraded",
        }
    }
}

fn count<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::cluster::{
        build::{Groups, build},
        fixtures::validated,
        members::Report,
        topology::Process,
    };

    struct World {
        cluster: Validated,
        plan: Plan,
        observed: Observed,
        growth: Growth,
        stages: BTreeMap<String, Stage>,
        recovery: Outcome,
        previous: ClusterStatus,
    }

    /// All of a group, and nothing wrong.
    fn members(set: &Set) -> Vec<Member> {
        let member = |process: Process| Member {
            address: format!("{}:10911", process.name),
            name: process.name,
            ordinal: process.ordinal,
            report: Ok(Report { log_end: 1000, ..Report::default() }),
        };
        set.processes().map(member).collect()
    }

    impl World {
        /// Two groups with a slave each, all well.
        fn well() -> Self {
            let cluster = validated(json!({"brokers": {"groups": 2}}));
            let plan = build(&cluster, &Groups { open: &BTreeSet::new(), stored: &BTreeSet::new() });
            let state = |set: &k8s_openapi::api::apps::v1::StatefulSet| SetState {
                template_hash: set.annotations().get(TEMPLATE_HASH).cloned(),
                replicas: 2,
                ready: 2,
                updated: 2,
                observed: true,
                ..SetState::default()
            };
            let sets = plan.groups.iter().chain([&plan.namesrv]).map(|set| (set.name_any(), state(set))).collect();
            let broker = |set: &Set| Broker {
                name: set.name.clone(),
                cluster: "prod".into(),
                master: Some("a".into()),
                slaves: 1,
            };
            let brokers = cluster.topology.groups.iter().map(broker).collect();
            let stages = cluster.topology.groups.iter().map(|set| (set.name.clone(), Stage::Open)).collect();
            let observed = Observed {
                children: BTreeMap::new(),
                sets,
                claims: Vec::new(),
                problems: Vec::new(),
                brokers: Some(Ok(brokers)),
                members: cluster.topology.groups.iter().map(|set| (set.name.clone(), members(set))).collect(),
            };
            let (growth, recovery, previous) = Default::default();
            Self { cluster, plan, observed, growth, stages, recovery, previous }
        }

        fn judge(&self) -> (ClusterStatus, Vec<Judgement>) {
            judge(&Findings {
                cluster: &self.cluster,
                plan: &self.plan,
                observed: &self.observed,
                growth: &self.growth,
                stages: &self.stages,
                recovery: &self.recovery,
                previous: &self.previous,
            })
        }

        #[track_caller]
        fn ready(&self, reason: &str, phase: &str) -> String {
            let (status, judgements) = self.judge();
            let ready = judgements.iter().find(|judgement| judgement.kind == Kind::Ready).unwrap();
            assert_eq!((ready.reason, status.phase.as_deref()), (reason, Some(phase)), "{judgements:#?}");
            ready.message.clone()
        }

        fn report(&mut self, group: &str, ordinal: usize) -> &mut Report {
            self.observed.members.get_mut(group).unwrap()[ordinal].report.as_mut().unwrap()
        }

        fn set(&mut self, name: &str) -> &mut SetState {
            self.observed.sets.get_mut(name).unwrap()
        }
    }

    #[test]
    fn all_well_is_ready_and_counts_everything() {
        let world = World::well();
        world.ready("Running", "Running");
        let (status, judgements) = world.judge();
        assert_eq!((status.groups_ready.as_deref(), status.namesrv_ready.as_deref()), (Some("2/2"), Some("2/2")));
        assert_eq!(status.broker_groups, Some(2));
        assert!(
            status.groups.iter().all(|group| group.open && group.writable && group.in_sync.as_deref() == Some("1/1"))
        );
        assert!(
            judgements.iter().all(|judgement| judgement.kind == Kind::Progressing || judgement.status == Status::True)
        );
        assert_eq!(
            status.namesrv_addrs.as_deref(),
            Some(
                "prod-namesrv-0.prod-namesrv.mq.svc.cluster.local:9876;prod-namesrv-1.prod-namesrv.mq.svc.cluster.local:9876"
            )
        );
    }

    #[test]
    fn each_thing_that_can_fail_is_the_reason_of_not_ready() {
        let mut world = World::well();
        world.set("prod-namesrv").ready = 1;
        world.observed.problems = (0..5).map(|i| format!("prod-namesrv-{i}: ImagePullBackOff")).collect();
        world.observed.problems.push("prod-broker-0-0: elsewhere".to_owned());
        let message = world.ready("PodNotReady", "Degraded");
        assert!(message.ends_with("prod-namesrv-2: ImagePullBackOff; and 2 more"), "{message}");

        let mut world = World::well();
        world.set("prod-broker-1").ready = 1;
        world.observed.problems = vec!["prod-broker-1-0: exited with 1 (no space left)".to_owned()];
        assert!(world.ready("PodNotReady", "Degraded").contains("no space left"));

        let mut world = World::well();
        world.set("prod-broker-0").template_hash = Some("old".to_owned());
        world.ready("PodNotReady", "RollingOut");

        let mut world = World::well();
        world.observed.brokers = Some(Ok(vec![Broker {
            name: "prod-broker-0".into(),
            master: Some("a".into()),
            slaves: 1,
            cluster: "prod".into(),
        }]));
        world.stages.insert(
            "prod-broker-1".to_owned(),
            Stage::Closed("prod-broker-1: its master is not registered".to_owned()),
        );
        assert!(world.ready("GroupNotOpen", "Scaling").contains("not registered"));

        let mut world = World::well();
        if let Some(Ok(brokers)) = &mut world.observed.brokers {
            brokers[1].slaves = 0;
        }
        assert!(world.ready("SlaveMissing", "Degraded").contains("prod-broker-1 has 0 of 1 slaves"));
        world.previous.phase = Some("Creating".to_owned());
        world.ready("SlaveMissing", "Creating");

        let mut world = World::well();
        if let Some(Ok(brokers)) = &mut world.observed.brokers {
            brokers[1].cluster = "theirs".into();
        }
        assert!(world.ready("SlaveMissing", "Degraded").contains("prod-broker-1 has 0 of 1 slaves"));
        let (status, _) = world.judge();
        assert!(!status.groups[1].writable, "a broker of another cluster takes them");

        let mut world = World::well();
        world.growth.refused = vec!["data-prod-broker-0-0: only dynamically provisioned".to_owned()];
        world.ready("ExpansionRefused", "Degraded");
    }

    /// It stayed ReplicasInSync=True while a new and empty master took writes and its slave was
    /// refused.
    #[test]
    fn a_master_that_lost_its_log_is_reported_with_the_bytes_of_each_member_and_how_to_decide() {
        let mut world = World::well();
        *world.report("prod-broker-1", 0) = Report {
            log_end: 0,
            state: State::Undecided("the log of this master is empty".into()),
            ..Report::default()
        };
        // It is not ready, and that is not the sentence that helps.
        world.set("prod-broker-1").ready = 1;
        let message = world.ready("DecisionNeeded", "Degraded");
        for part in [
            "prod-broker-1 takes no writes: the log of this master is empty",
            "prod-broker-1-0 holds 0 bytes, prod-broker-1-1 holds 1000 bytes",
            "rocketmq.rs/recover=prod-broker-1=copy",
            "rocketmq.rs/recover=prod-broker-1=accept-loss",
        ] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
        let mut world = World::well();
        world.report("prod-broker-1", 0).state = State::CatchingUp("copying: the log of a:1".into());
        assert!(world.ready("Checking", "Degraded").contains("prod-broker-1-0: copying: the log of a:1"));
    }

    #[test]
    fn slaves_that_are_registered_and_do_not_follow_are_not_in_sync() {
        let mut world = World::well();
        world.report("prod-broker-0", 1).state = State::Mismatch("the logs differ".into());
        let message = world.ready("LogsDiffer", "Degraded");
        assert!(message.contains("prod-broker-0-1: the logs differ"), "{message}");
        assert!(message.contains("rocketmq.rs/recover=prod-broker-0=replace-slave"), "{message}");
        world.recovery.replaced = vec!["prod-broker-0-1 begins anew: 7 bytes go".to_owned()];
        assert!(world.ready("SlaveReplaced", "Degraded").contains("7 bytes go"));
        world.recovery.replaced.clear();
        let (status, _) = world.judge();
        assert_eq!(status.groups[0].in_sync.as_deref(), Some("0/1"));
        let mut world = World::well();
        world.report("prod-broker-0", 1).state = State::CatchingUp("behind: 300 bytes".into());
        assert!(world.ready("NotFollowing", "Degraded").contains("prod-broker-0-1: behind: 300 bytes"));
        let mut world = World::well();
        world.observed.members.get_mut("prod-broker-0").unwrap()[1].report =
            Err(crate::error::AdminError::Unreachable { target: "a".into(), why: "refused".into() });
        assert!(world.ready("Unreachable", "Degraded").contains("prod-broker-0-1 does not answer"));
    }

    #[test]
    fn a_refused_scale_down_is_reported_and_the_rest_goes_on() {
        let mut world = World::well();
        world.cluster.scale_down_refused = Some(1);
        assert!(world.ready("ScaleDownRefused", "Running").contains("write groups: 2"));
        let (status, judgements) = world.judge();
        assert_eq!(status.broker_groups, Some(2), "the scale subresource shows what exists");
        assert!(judgements.iter().any(|judgement| judgement.kind == Kind::ScaleDownRefused));
    }

    #[test]
    fn a_group_that_was_open_stays_so_when_it_is_away() {
        let mut world = World::well();
        world.previous.groups =
            vec![GroupStatus { name: "prod-broker-1".into(), open: true, ..GroupStatus::default() }];
        world.stages.insert("prod-broker-1".to_owned(), Stage::Closed("away".to_owned()));
        let (status, _) = world.judge();
        assert_eq!((status.groups[1].open, status.groups[1].writable), (true, false));
        world.ready("GroupNotOpen", "Degraded");
    }

    #[test]
    fn what_was_not_asked_is_unknown() {
        let mut world = World::well();
        world.observed.brokers =
            Some(Err(crate::error::AdminError::Unreachable { target: "namesrv".into(), why: "refused".into() }));
        world.stages.clear();
        let message = world.ready("Unreachable", "Creating");
        assert!(message.contains("refused"));
    }
}
