//! The conditions that tell whether the logs of a group go together, and how to decide where they
//! do not. Pure. Their tests are those of `status.rs`.

use super::{
    members::{Member, State},
    observe::Observed,
    recover::ANNOTATION,
    status::{Findings, registered},
};
use crate::api::condition::{Judgement, Kind, Status};

pub(super) fn in_sync(findings: &Findings<'_>) -> Judgement {
    let Findings { cluster, observed, recovery, .. } = findings;
    match &observed.brokers {
        None => Judgement::new(Kind::ReplicasInSync, Status::Unknown, "NamesrvNotReady", "no namesrv can be asked yet"),
        Some(Err(error)) => Judgement::new(Kind::ReplicasInSync, Status::Unknown, "Unreachable", error.to_string()),
        Some(Ok(_)) if !recovery.replaced.is_empty() => {
            Judgement::new(Kind::ReplicasInSync, false, "SlaveReplaced", recovery.replaced.join("; "))
        }
        Some(Ok(_)) => {
            let lacking: Vec<String> = cluster
                .topology
                .groups
                .iter()
                .map(|set| (set, registered(cluster, observed, set).map_or(0, |broker| broker.slaves)))
                .filter(|(set, slaves)| slaves + 1 < set.members)
                .map(|(set, slaves)| format!("{} has {slaves} of {} slaves", set.name, set.members - 1))
                .collect();
            if !lacking.is_empty() {
                return Judgement::new(Kind::ReplicasInSync, false, "SlaveMissing", lacking.join("; "));
            }
            let slaves = || observed.members.values().flatten().filter(|member| member.ordinal > 0);
            let of = |state: fn(&State) -> Option<&String>| -> Vec<String> {
                let words = slaves().filter_map(|slave| Some((slave, state(&slave.report.as_ref().ok()?.state)?)));
                words.map(|(slave, words)| format!("{}: {words}", slave.name)).collect()
            };
            if let Some(text) = differing(observed) {
                return Judgement::new(Kind::ReplicasInSync, false, "LogsDiffer", text);
            }
            let moving = of(|state| if let State::CatchingUp(words) = state { Some(words) } else { None });
            if !moving.is_empty() {
                return Judgement::new(Kind::ReplicasInSync, false, "NotFollowing", moving.join("; "));
            }
            let silent: Vec<String> = slaves().filter(|slave| slave.report.is_err()).map(ToString::to_string).collect();
            match silent.is_empty() {
                true => Judgement::new(Kind::ReplicasInSync, true, "AllFollow", "every slave follows its master"),
                false => Judgement::new(Kind::ReplicasInSync, Status::Unknown, "Unreachable", silent.join("; ")),
            }
        }
    }
}

/// Slaves whose log differs from their master's, and what can be done; `None` when there are none.
fn differing(observed: &Observed) -> Option<String> {
    let words = |member: &Member| Some(format!("{}: {}", member.name, member.mismatch()?));
    let differing: Vec<String> = observed.members.values().flatten().filter_map(words).collect();
    let differs = |members: &[Member]| members.iter().any(|member| member.mismatch().is_some());
    let groups = observed.members.iter().filter(|(_, members)| differs(members));
    let decisions: Vec<String> = groups.map(|(group, _)| format!("{group}=replace-slave")).collect();
    (!differing.is_empty()).then(|| {
        format!(
            "{}. Once nothing that only such a slave has is needed, annotate the cluster with {ANNOTATION}={}: \
             its claim and its pod are deleted, and it copies its master",
            differing.join("; "),
            decisions.join(",")
        )
    })
}

pub(super) fn logs_complete(findings: &Findings<'_>) -> Judgement {
    let Findings { observed, recovery, .. } = findings;
    let waiting: Vec<String> =
        observed.members.iter().filter_map(|(group, members)| undecided(group, members)).collect();
    if !recovery.refused.is_empty() {
        let text: Vec<&str> = recovery.refused.iter().chain(&waiting).map(String::as_str).collect();
        return Judgement::new(Kind::LogsComplete, false, "DecisionRefused", text.join("; "));
    }
    if !waiting.is_empty() || !recovery.failed.is_empty() {
        let text: Vec<&str> = waiting.iter().chain(&recovery.failed).map(String::as_str).collect();
        return Judgement::new(Kind::LogsComplete, false, "DecisionNeeded", text.join("; "));
    }
    let masters = || observed.members.values().flatten().filter(|member| member.ordinal == 0);
    let moving: Vec<String> = masters()
        .filter_map(|master| match &master.report.as_ref().ok()?.state {
            State::CatchingUp(words) => Some(format!("{}: {words}", master.name)),
            _ => None,
        })
        .collect();
    if !moving.is_empty() {
        return Judgement::new(Kind::LogsComplete, false, "Checking", moving.join("; "));
    }
    let silent: Vec<String> = masters().filter(|master| master.report.is_err()).map(ToString::to_string).collect();
    match silent.is_empty() {
        true => Judgement::new(Kind::LogsComplete, true, "Checked", "no master has less than its slaves"),
        false => Judgement::new(Kind::LogsComplete, Status::Unknown, "Unreachable", silent.join("; ")),
    }
}

/// What a group's master lacks, what each member holds, and how to decide.
fn undecided(group: &str, members: &[Member]) -> Option<String> {
    let master = members.iter().find(|member| member.ordinal == 0)?;
    let State::Undecided(words) = &master.report.as_ref().ok()?.state else { return None };
    let held: Vec<String> = members.iter().map(ToString::to_string).collect();
    Some(format!(
        "{group} takes no writes: {words} ({}). Annotate the cluster with {ANNOTATION}={group}=copy to copy the log of the slave that has \
         most to the master, or with {ANNOTATION}={group}=accept-loss to go on without what only slaves have",
        held.join(", ")
    ))
}
