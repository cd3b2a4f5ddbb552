//! Replaces slaves whose log differs from their master's, as an administrator decided. Writes the
//! API server.
//!
//! After `accept-loss` such a slave has what its master has not, and can never follow it. Its claim
//! and then its pod are deleted; the StatefulSet controller makes both anew, and the new slave
//! copies its master. What only that claim held is lost, so these must hold:
//!
//! - the slave itself says that its log differs; one that does not answer is left alone,
//! - its master was asked, takes writes and waits for no decision, so it has the log that counts,
//! - the claim is the one that the planned StatefulSet binds to this ordinal, and the pod is owned
//!   by that StatefulSet; both are deleted by uid, so what was made anew meanwhile stays.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
};
use serde::de::DeserializeOwned;

use super::{
    apply::Target,
    build::{claim_name, labels},
    claims::is_gone,
    members::{Member, State},
    open::Stage,
    recover::{ANNOTATION, Outcome, Wanted},
    topology::Set,
};
use crate::error::Error;

/// What is to be done about a group.
#[derive(Debug)]
enum Step<'a> {
    /// Nothing differs.
    Nothing,
    /// These slaves of this master begin anew.
    Replace(&'a Member, Vec<&'a Member>),
    /// Not before this is over.
    Wait(String),
}

fn step<'a>(group: &str, members: &'a [Member], stage: Option<&Stage>) -> Step<'a> {
    let differing: Vec<&Member> = members.iter().filter(|member| member.mismatch().is_some()).collect();
    let silent: Vec<String> = members.iter().filter(|member| member.report.is_err()).map(ToString::to_string).collect();
    let Some(master) = members.iter().find(|member| member.ordinal == 0) else {
        return Step::Wait(format!("{group} cannot be asked yet, so no slave of it is replaced"));
    };
    if differing.is_empty() {
        return match silent.is_empty() {
            true => Step::Nothing,
            false => Step::Wait(format!("no slave of {group} says that its log differs, but {}", silent.join(", "))),
        };
    }
    let takes_writes = stage == Some(&Stage::Open);
    match master.report.as_ref().map(|report| &report.state) {
        Ok(State::InSync) if takes_writes => Step::Replace(master, differing),
        _ => Step::Wait(format!(
            "no slave of {group} is replaced while its master takes no writes: a slave may have the log that counts. \
             Write {ANNOTATION}={group}=copy or {ANNOTATION}={group}=accept-loss where the master waits for a decision"
        )),
    }
}

impl Target<'_> {
    /// Replaces the slaves that differ, in the groups where this is wanted.
    pub(crate) async fn replace_slaves(
        &self,
        wanted: &Wanted,
        stages: &BTreeMap<String, Stage>,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        for group in wanted.replacements() {
            let members = self.observed.members.get(group).map(Vec::as_slice).unwrap_or_default();
            match step(group, members, stages.get(group)) {
                Step::Nothing => {}
                Step::Wait(why) => {
                    outcome.done = false;
                    outcome.failed.push(why);
                }
                Step::Replace(master, slaves) => {
                    for slave in slaves {
                        match self.replace(group, master, slave).await? {
                            Ok(text) => outcome.replaced.push(text),
                            Err(why) => {
                                outcome.done = false;
                                outcome.failed.push(format!("{} is not replaced: {why}", slave.name));
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Deletes claim and pod of one slave. The result says what goes, or why nothing was done.
    async fn replace(&self, group: &str, master: &Member, slave: &Member) -> Result<Result<String, String>, Error> {
        let name = claim_name(group, slave.ordinal);
        let Some((set, claim)) = self.claims().find(|(_, claim)| claim.name == name) else {
            return Ok(Err(format!("its claim {name} is not there")));
        };
        let uid = match self.pod(set, &slave.name).await? {
            Ok(uid) => uid,
            Err(why) => return Ok(Err(why)),
        };
        // The claim first: it stays until the pod is gone, and the StatefulSet controller makes no
        // pod around a claim that is going.
        if let Err(why) = self.delete::<PersistentVolumeClaim>(&claim.name, claim.uid.clone()).await? {
            return Ok(Err(why));
        }
        if let Err(why) = self.delete::<Pod>(&slave.name, Some(uid)).await? {
            return Ok(Err(why));
        }
        let bytes = |member: &Member| member.report.as_ref().map_or(0, |report| report.log_end);
        let text = format!(
            "{} begins anew: its claim {name} and its log of {} bytes go ({}); it copies the {} bytes of {}",
            slave.name,
            bytes(slave),
            slave.mismatch().unwrap_or_default(),
            bytes(master),
            master.name
        );
        tracing::warn!(cluster = self.cluster.name, slave = slave.name, claim = name, "{text}");
        Ok(Ok(text))
    }

    /// The uid of a pod that the StatefulSet of this set owns.
    async fn pod(&self, set: &Set, name: &str) -> Result<Result<String, String>, Error> {
        let owner = self.observed.sets.get(&set.name).and_then(|state| state.uid.as_ref());
        let selector = labels::selector(&self.cluster.name, set);
        let selector: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let list = ListParams::default().labels(&selector.join(","));
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.cluster.namespace);
        let found = pods.list_metadata(&list).await?.items.into_iter().find(|pod| pod.name_any() == name);
        let owned = found.filter(|pod| pod.owner_references().iter().any(|owns| Some(&owns.uid) == owner));
        Ok(owned.and_then(|pod| pod.uid()).ok_or_else(|| format!("there is no pod {name} of its StatefulSet")))
    }

    /// Deletes the object of this uid. One that is gone already is deleted.
    async fn delete<K>(&self, name: &str, uid: Option<String>) -> Result<Result<(), String>, Error>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        // Without the uid another object of the name could be deleted.
        if uid.is_none() {
            return Ok(Err(format!("{} {name} has no uid", K::kind(&()))));
        }
        let delete = DeleteParams {
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        let objects: Api<K> = Api::namespaced(self.client.clone(), &self.cluster.namespace);
        match objects.delete(name, &delete).await {
            Ok(_) => Ok(Ok(())),
            Err(kube::Error::Api(status)) if is_gone(&status) => Ok(Ok(())),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                Ok(Err(format!("{}; upgrade the operator's chart, which grants this right", status.message)))
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::members::Report, error::AdminError};

    fn member(ordinal: u32, state: State) -> Member {
        let name = format!("prod-broker-0-{ordinal}");
        let report = Ok(Report { log_end: 7, state, unregistered: Vec::new() });
        Member { address: String::new(), name, ordinal, report }
    }

    fn silent(ordinal: u32) -> Member {
        let report = Err(AdminError::Unreachable { target: "a".into(), why: "refused".into() });
        Member { report, ..member(ordinal, State::InSync) }
    }

    #[test]
    fn a_slave_is_replaced_only_under_a_master_that_takes_writes() {
        let differs = || member(1, State::Mismatch("at 7".into()));
        let master = || member(0, State::InSync);
        let undecided = || member(0, State::Undecided("empty".into()));
        let open = Some(Stage::Open);
        let closed = Some(Stage::Closed("not registered".into()));
        let table = [
            ("it differs", vec![master(), differs(), member(2, State::InSync)], &open, "replace 1"),
            ("one does not answer", vec![master(), differs(), silent(2)], &open, "replace 1"),
            ("two differ", vec![master(), differs(), member(2, State::Mismatch("x".into()))], &open, "replace 2"),
            ("none differs", vec![master(), member(1, State::CatchingUp("x".into()))], &open, "nothing"),
            ("it does not answer", vec![master(), silent(1)], &open, "wait: no slave of g says"),
            ("the master waits", vec![undecided(), differs()], &open, "wait: no slave of g is replaced"),
            ("the master does not answer", vec![silent(0), differs()], &open, "wait: no slave of g is replaced"),
            ("the master is closed", vec![master(), differs()], &closed, "wait: no slave of g is replaced"),
            ("the group was not observed", vec![master(), differs()], &None, "wait: no slave of g is replaced"),
            ("no member was asked", vec![], &open, "wait: g cannot be asked"),
        ];
        for (what, members, stage, wanted) in table {
            let found = match step("g", &members, stage.as_ref()) {
                Step::Nothing => "nothing".to_owned(),
                Step::Replace(master, slaves) => {
                    assert_eq!(master.ordinal, 0);
                    format!("replace {}", slaves.len())
                }
                Step::Wait(why) => format!("wait: {why}"),
            };
            assert!(found.starts_with(wanted), "{what}: {found}");
        }
    }
}
