//! What an administrator decided about logs of a group that do not go together.
//!
//! The decision is an annotation of the cluster, `rocketmq.rs/recover: <group>=<decision>`, several
//! separated by commas:
//!
//! | decision | for | does |
//! |---|---|---|
//! | `copy` | a master that takes no writes: its log is too short | it copies the longest slave |
//! | `accept-loss` | the same | it takes writes without what only slaves have |
//! | `replace-slave` | slaves whose log differs from an open master's | they begin anew |
//!
//! It is carried out once and then removed: one that stayed would also decide about the next loss,
//! which the administrator has not seen. If a part of it cannot be understood, nothing of it is
//! carried out.

use std::collections::BTreeMap;

use super::members::{Member, State};
use crate::brokers::admin::{Admin, Recovery};

/// The annotation.
pub(crate) const ANNOTATION: &str = "rocketmq.rs/recover";

/// What the annotation asks for, by group, and what of it cannot be understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    decisions: BTreeMap<String, Choice>,
    wrong: Vec<String>,
}

/// One of the decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Copy,
    AcceptLoss,
    ReplaceSlave,
}

impl Choice {
    fn read(text: &str) -> Option<Self> {
        match text {
            "copy" => Some(Self::Copy),
            "accept-loss" => Some(Self::AcceptLoss),
            "replace-slave" => Some(Self::ReplaceSlave),
            _ => None,
        }
    }
}

/// What came of the decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What the annotation says that cannot be understood.
    pub(crate) refused: Vec<String>,
    /// Why one could not be carried out.
    pub(crate) failed: Vec<String>,
    /// Slaves that were replaced, and what goes with them.
    pub(crate) replaced: Vec<String>,
    /// None is left to be carried out: the annotation has done its work.
    pub(crate) done: bool,
}

impl Wanted {
    /// Reads the annotation. `groups` are the broker groups there are.
    pub(crate) fn read(text: &str, groups: &[&str]) -> Self {
        let mut wanted = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (group, choice) = part.split_once('=').unwrap_or((part, ""));
            let group = group.trim();
            if wanted.decisions.contains_key(group) {
                wanted
                    .wrong
                    .push(format!("the annotation {ANNOTATION} decides twice about {group}: write one decision"));
                continue;
            }
            match Choice::read(choice.trim()).filter(|_| groups.contains(&group)) {
                Some(choice) => drop(wanted.decisions.insert(group.to_owned(), choice)),
                None => wanted.wrong.push(format!(
                    "the annotation {ANNOTATION} says {part:?}: write <group>=copy, <group>=accept-loss or \
                     <group>=replace-slave, the group one of {}",
                    groups.join(", ")
                )),
            }
        }
        if !wanted.wrong.is_empty() {
            wanted.decisions.clear();
        }
        wanted
    }

    /// Groups whose slaves are to begin anew where they differ.
    pub(super) fn replacements(&self) -> impl Iterator<Item = &String> {
        self.decisions.iter().filter(|(_, choice)| **choice == Choice::ReplaceSlave).map(|(group, _)| group)
    }

    /// Carries out what is wanted for masters that wait for it. A master that does not wait needs
    /// nothing.
    pub(crate) async fn carry_out<A: Admin>(&self, admin: &A, members: &BTreeMap<String, Vec<Member>>) -> Outcome {
        let done = self.wrong.is_empty();
        let mut outcome = Outcome { refused: self.wrong.clone(), done, ..Outcome::default() };
        for (group, choice) in self.decisions.iter().filter(|(_, choice)| **choice != Choice::ReplaceSlave) {
            let of_group = members.get(group).map(Vec::as_slice).unwrap_or_default();
            let Some(master) = of_group.iter().find(|member| member.ordinal == 0) else {
                outcome.done = false;
                continue;
            };
            match master.report.as_ref().map(|report| &report.state) {
                Ok(State::Undecided(_)) => {
                    outcome.done = false;
                    let failed = match recovery(*choice, of_group) {
                        Ok(recovery) => admin.recover(&master.address, &recovery).await.err().map(|e| e.to_string()),
                        Err(why) => Some(why),
                    };
                    outcome.failed.extend(failed.map(|why| format!("{group}: {why}")));
                }
                Ok(State::InSync) => {}
                _ => outcome.done = false,
            }
        }
        outcome
    }
}

/// The slave with the longest log is the one to copy.
fn recovery(choice: Choice, members: &[Member]) -> Result<Recovery, String> {
    if choice == Choice::AcceptLoss {
        return Ok(Recovery::AcceptLoss);
    }
    let slaves = members.iter().filter(|member| member.ordinal > 0);
    let longest = slaves.filter_map(|slave| Some((slave.report.as_ref().ok()?.log_end, &slave.address))).max();
    match longest {
        Some((end, address)) if end > 0 => Ok(Recovery::CopyFrom(address.clone())),
        _ => Err("there is no log to copy: no slave answers that has one".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        brokers::fake::{Fake, Master},
        cluster::members::Report,
        error::AdminError,
    };

    fn member(ordinal: u32, log_end: u64, state: State) -> Member {
        let report = Ok(Report { log_end, state, unregistered: Vec::new() });
        let name = format!("prod-broker-0-{ordinal}");
        Member { address: format!("{name}.prod-broker-0.mq.svc.cluster.local:10911"), name, ordinal, report }
    }

    fn group(master: State) -> BTreeMap<String, Vec<Member>> {
        let mut away = member(3, 0, State::InSync);
        away.report = Err(AdminError::Unreachable { target: "a".into(), why: "refused".into() });
        let slaves = [member(1, 8, State::InSync), member(2, 9, State::InSync), away];
        let members = std::iter::once(member(0, 0, master)).chain(slaves).collect();
        BTreeMap::from([("prod-broker-0".to_owned(), members)])
    }

    #[test]
    fn the_annotation_is_read_strictly() {
        let groups = ["prod-broker-0", "prod-broker-1"];
        let wanted = Wanted::read("prod-broker-0=copy, prod-broker-1=replace-slave,", &groups);
        assert_eq!(wanted.decisions.len(), 2);
        assert_eq!(wanted.replacements().collect::<Vec<_>>(), ["prod-broker-1"]);
        assert!(wanted.wrong.is_empty());
        for wrong in
            ["prod-broker-0", "prod-broker-0=yes", "prod-broker-2=copy", "=copy", "copy", "prod-broker-0=Replace-Slave"]
        {
            let wanted = Wanted::read(&format!("prod-broker-1=copy,{wrong}"), &groups);
            assert!(wanted.decisions.is_empty() && wanted.wrong[0].contains(wrong), "{wanted:?}");
        }
        let twice = Wanted::read("prod-broker-0=copy,prod-broker-0=replace-slave", &groups);
        assert!(twice.decisions.is_empty() && twice.wrong[0].contains("decides twice"), "{twice:?}");
    }

    #[tokio::test]
    async fn the_longest_log_is_copied_to_a_master_that_waits() {
        let fake = Fake::new(&[("prod-broker-0", Master::default())]);
        let wanted = Wanted::read("prod-broker-0=copy", &["prod-broker-0"]);
        let outcome = wanted.carry_out(&fake, &group(State::Undecided("empty".into()))).await;
        assert_eq!(outcome, Outcome::default(), "not done before it takes writes");
        assert_eq!(
            fake.writes(),
            ["recover prod-broker-0 copy prod-broker-0-2.prod-broker-0.mq.svc.cluster.local:10911"]
        );
        let outcome = wanted.carry_out(&fake, &group(State::CatchingUp("copying".into()))).await;
        assert_eq!((outcome.done, fake.writes().len()), (false, 0), "it is sent once");
        let outcome = wanted.carry_out(&fake, &group(State::InSync)).await;
        assert_eq!((outcome.done, fake.writes().len()), (true, 0));
    }

    #[tokio::test]
    async fn without_a_slave_that_has_a_log_there_is_nothing_to_copy() {
        let fake = Fake::new(&[("prod-broker-0", Master::default())]);
        let mut alone = group(State::Undecided("empty".into()));
        alone.get_mut("prod-broker-0").unwrap().truncate(1);
        let outcome = Wanted::read("prod-broker-0=copy", &["prod-broker-0"]).carry_out(&fake, &alone).await;
        assert!(outcome.failed[0].contains("no log to copy") && !outcome.done, "{outcome:?}");
        let outcome = Wanted::read("prod-broker-0=accept-loss", &["prod-broker-0"]).carry_out(&fake, &alone).await;
        assert!(outcome.failed.is_empty());
        assert_eq!(fake.writes(), ["recover prod-broker-0 accept-loss"]);
    }
}
