//! The conditions that tell whether the logs of a group go together, and how to decide where they
//! do not. Pure. Their tests are those of `status.rs`.

use super::{
    members::{Member, State},
    observe::Observed,
    recover::ANNOTATION,
    status::{Findings, registered},
    topology::Set,
};
use crate::api::condition::{Judgement, Kind, Status};

pub(super) fn replicas_in_sync(findings: &Findings<'_>) -> Judgement {
    let judged = |status: Status, reason, text| Judgement::new(Kind::ReplicasInSync, status, reason, text);
    let observed = findings.observed;
    match &observed.brokers {
        None => return judged(Status::Unknown, "NamesrvNotReady", "no namesrv can be asked yet".to_owned()),
        Some(Err(error)) => return judged(Status::Unknown, "Unreachable", error.to_string()),
        Some(Ok(_)) => {}
    }
    let replaced = &findings.recovery.replaced;
    if !replaced.is_empty() {
        return judged(Status::False, "SlaveReplaced", replaced.join("; "));
    }
    let lacking = lacking(findings);
    if !lacking.is_empty() {
        return judged(Status::False, "SlaveMissing", lacking.join("; "));
    }
    if let Some(text) = differing(observed) {
        return judged(Status::False, "LogsDiffer", text);
    }
    let slaves = || observed.members.values().flatten().filter(|member| member.ordinal > 0);
    let moving = catching_up(slaves());
    if !moving.is_empty() {
        return judged(Status::False, "NotFollowing", moving.join("; "));
    }
    let silent = silent(slaves());
    match silent.is_empty() {
        true => judged(Status::True, "AllFollow", "every slave follows its master".to_owned()),
        false => judged(Status::Unknown, "Unreachable", silent.join("; ")),
    }
}

/// Groups of which fewer slaves are registered than asked for.
fn lacking(findings: &Findings<'_>) -> Vec<String> {
    let Findings { cluster, observed, .. } = findings;
    let slaves = |set: &Set| registered(cluster, observed, set).map_or(0, |broker| broker.slaves);
    let groups = cluster.topology.groups.iter().map(|set| (set, slaves(set)));
    groups
        .filter(|(set, slaves)| slaves + 1 < set.members)
        .map(|(set, slaves)| format!("{} has {slaves} of {} slaves", set.name, set.members - 1))
        .collect()
}

/// Members that catch up, in their own text.
fn catching_up<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<String> {
    let text = |member: &Member| match &member.report.as_ref().ok()?.state {
        State::CatchingUp(text) => Some(format!("{}: {text}", member.name)),
        _ => None,
    };
    members.filter_map(text).collect()
}

/// Members that do not answer.
fn silent<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<String> {
    members.filter(|member| member.report.is_err()).map(ToString::to_string).collect()
}

/// Slaves whose log differs from their master's, and what can be done; `None` when there are none.
fn differing(observed: &Observed) -> Option<String> {
    let text = |member: &Member| Some(format!("{}: {}", member.name, member.mismatch()?));
    let differing: Vec<String> = observed.members.values().flatten().filter_map(text).collect();
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
    let moving = catching_up(masters());
    if !moving.is_empty() {
        return Judgement::new(Kind::LogsComplete, false, "Checking", moving.join("; "));
    }
    let silent = silent(masters());
    match silent.is_empty() {
        true => Judgement::new(Kind::LogsComplete, true, "Checked", "no master has less than its slaves"),
        false => Judgement::new(Kind::LogsComplete, Status::Unknown, "Unreachable", silent.join("; ")),
    }
}

/// What a group's master lacks, what each member holds, and how to decide.
fn undecided(group: &str, members: &[Member]) -> Option<String> {
    let master = members.iter().find(|member| member.ordinal == 0)?;
    let State::Undecided(text) = &master.report.as_ref().ok()?.state else { return None };
    let held: Vec<String> = members.iter().map(ToString::to_string).collect();
    Some(format!(
        "{group} takes no writes: {text} ({}). Annotate the cluster with \
         {ANNOTATION}={group}=copy to copy the log of the slave that has most to the master, or \
         with {ANNOTATION}={group}=accept-loss to go on without what only slaves have",
        held.join(", ")
    ))
}
