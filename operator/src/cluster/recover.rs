//! What somebody decided about a master that takes no writes, as its log is empty or shorter than a slave's.
//!
//! The decision is an annotation of the cluster, `rocketmq.rs/recover: <group>=copy` or
//! `<group>=accept-loss`, several separated by commas. It is carried out once and then removed: one
//! that stayed would also decide about the next loss, which nobody has looked at.

use std::collections::BTreeMap;

use super::members::{Member, State};
use crate::admin::{Admin, Recovery};

/// The annotation.
pub(crate) const ANNOTATION: &str = "rocketmq.rs/recover";

/// What the annotation asks for, by group, and what of it cannot be understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    decisions: BTreeMap<String, Choice>,
    pub(crate) wrong: Vec<String>,
}

/// One of the two decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Copy,
    AcceptLoss,
}

/// What came of the decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Why one could not be carried out.
    pub(crate) failed: Vec<String>,
    /// None is left to be carried out: the annotation has done its work.
    pub(crate) done: bool,
}

impl Wanted {
    /// Reads the annotation. `groups` are the broker groups there are.
    pub(crate) fn read(text: &str, groups: &[&str]) -> Self {
        let mut wanted = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (group, choice) = part.split_once('=').unwrap_or((part, ""));
            let choice = match choice.trim() {
                "copy" => Some(Choice::Copy),
                "accept-loss" => Some(Choice::AcceptLoss),
                _ => None,
            };
            match choice.filter(|_| groups.contains(&group.trim())) {
                Some(choice) => drop(wanted.decisions.insert(group.trim().to_owned(), choice)),
                None => wanted.wrong.push(format!(
                    "the annotation {ANNOTATION} says {part:?}: write <group>=copy or <group>=accept-loss, the group one of {}",
                    groups.join(", ")
                )),
            }
        }
        wanted
    }

    /// Carries out what is wanted for masters that wait for it. A master that does not wait needs nothing.
    pub(crate) async fn carry_out<A: Admin>(&self, admin: &A, members: &BTreeMap<String, Vec<Member>>) -> Outcome {
        let mut outcome = Outcome { failed: Vec::new(), done: self.wrong.is_empty() };
        for (group, choice) in &self.decisions {
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
        cluster::members::Report,
        error::AdminError,
        fake::{Fake, Master},
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
        let wanted = Wanted::read("prod-broker-0=copy, prod-broker-1=accept-loss,", &groups);
        assert_eq!(wanted.decisions.len(), 2);
        assert!(wanted.wrong.is_empty());
        for wrong in ["prod-broker-0", "prod-broker-0=yes", "prod-broker-2=copy", "=copy", "copy"] {
            let wanted = Wanted::read(wrong, &groups);
            assert!(wanted.decisions.is_empty() && wanted.wrong[0].contains(wrong), "{wanted:?}");
        }
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
        assert_eq!((outcome.done, fake.writes().len()), (false, 0), "it is told once");
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
