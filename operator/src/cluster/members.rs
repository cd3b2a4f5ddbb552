//! What each broker process of a cluster says of itself. Reads only.
//!
//! Readiness says whether clients may be sent to a pod. It does not say whether the next group may
//! be restarted, or whether the copies of a group agree; only the processes know that. They are
//! asked by the DNS names of their pods, not through a namesrv: a master that waits for a decision
//! about its log is not registered.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use futures::stream::{self, StreamExt};
use rmq_protocol::body::runtime_info;

use super::{
    build::service_domain,
    observe::Observed,
    topology::{Process, Set},
    validate::Validated,
};
use crate::brokers::admin::{self, Admin};

/// Processes asked at the same time: a cluster may have 320 of them.
const AT_ONCE: usize = 64;

/// One broker process.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Name of its pod.
    pub(crate) name: String,
    /// Where it answers requests.
    pub(crate) address: String,
    /// 0 is the master.
    pub(crate) ordinal: u32,
    /// What it says; the error when it could not be asked.
    pub(crate) report: admin::Result<Report>,
}

/// What a broker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// End of its commit log, in bytes.
    pub log_end: u64,
    /// Whether a master takes writes, or what a slave follows.
    pub state: State,
    /// Namesrvs it is not registered with.
    pub unregistered: Vec<String>,
}

/// The state of a member, with its own text where something is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// A master that takes writes, or a slave that follows its master and keeps up.
    #[default]
    InSync,
    /// On its way there by itself.
    CatchingUp(String),
    /// A master that takes no writes until an administrator decides about its log.
    Undecided(String),
    /// A slave whose log does not go together with its master's.
    Mismatch(String),
}

impl Report {
    /// Asks the broker at an address.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn of<A: Admin>(admin: &A, address: &str) -> admin::Result<Self> {
        admin.status(address).await.map(|rows| Self::read(&rows))
    }

    /// Reads the rows of `brokerStatus`. A broker of another version may lack those that are ours;
    /// nothing is said against it then.
    fn read(rows: &BTreeMap<String, String>) -> Self {
        let row = |name: &str| rows.get(name).map(String::as_str).unwrap_or_default();
        let check = row(runtime_info::LOG_CHECK);
        let slave = row(runtime_info::SLAVE_STATE);
        let state = match (first_word(check), first_word(slave)) {
            ("closed", _) => State::Undecided(rest(check)),
            ("asking" | "copying", _) => State::CatchingUp(check.to_owned()),
            (_, "mismatch") => State::Mismatch(rest(slave)),
            (_, "connecting" | "behind") => State::CatchingUp(slave.to_owned()),
            _ => State::InSync,
        };
        Self {
            log_end: row("commitLogMaxOffset").parse().unwrap_or(0),
            state,
            unregistered: row(runtime_info::UNREGISTERED)
                .split(';')
                .filter(|a| !a.is_empty())
                .map(Into::into)
                .collect(),
        }
    }
}

fn first_word(text: &str) -> &str {
    text.split(':').next().unwrap_or_default()
}

fn rest(text: &str) -> String {
    text.split_once(": ").map_or(text, |(_, rest)| rest).to_owned()
}

impl Member {
    /// Why a rollout has to wait for it; `None` when it need not.
    pub(crate) fn holds_up(&self) -> Option<String> {
        let why = match &self.report {
            Err(error) => error.to_string(),
            Ok(Report { state: State::CatchingUp(why) | State::Undecided(why) | State::Mismatch(why), .. }) => {
                why.clone()
            }
            Ok(report) if !report.unregistered.is_empty() => {
                format!("not registered with {}", report.unregistered.join(", "))
            }
            Ok(_) => return None,
        };
        Some(format!("{}: {why}", self.name))
    }
}

impl Member {
    /// How the log of a slave differs from its master's; `None` when it is not known to.
    pub(crate) fn mismatch(&self) -> Option<&str> {
        match &self.report.as_ref().ok()?.state {
            State::Mismatch(message) if self.ordinal > 0 => Some(message),
            _ => None,
        }
    }
}

impl fmt::Display for Member {
    /// With the bytes it holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.report {
            Ok(report) => write!(f, "{} holds {} bytes", self.name, report.log_end),
            Err(_) => write!(f, "{} does not answer", self.name),
        }
    }
}

/// Asks every process of the groups that may have one running: those with messages, and those with
/// a ready pod. Others are being made, and to ask them would only wait for names that do not exist
/// yet.
pub(crate) async fn ask<A: Admin>(
    admin: &A,
    cluster: &Validated,
    observed: &Observed,
    stored: &BTreeSet<String>,
) -> BTreeMap<String, Vec<Member>> {
    let runs = |set: &&Set| {
        let ready = observed.sets.get(&set.name).is_some_and(|state| state.ready > 0);
        ready || observed.sets.contains_key(&set.name) && stored.contains(&set.name)
    };
    let mut processes = Vec::new();
    for set in cluster.topology.groups.iter().filter(runs) {
        processes.extend(set.processes().map(|process| (set.name.clone(), address(cluster, set, &process), process)));
    }
    let asked = stream::iter(processes).map(|(group, address, process)| async move {
        let report = Report::of(admin, &address).await;
        (group, Member { name: process.name, address, ordinal: process.ordinal, report })
    });
    let mut members: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    for (group, member) in asked.buffered(AT_ONCE).collect::<Vec<_>>().await {
        members.entry(group).or_default().push(member);
    }
    members
}

fn address(cluster: &Validated, set: &Set, process: &Process) -> String {
    format!("{}.{}:{}", process.name, service_domain(cluster, set), process.ports.listen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_member_says_is_read_and_what_it_does_not_say_is_no_fault() {
        let report = |rows: &[(&str, &str)]| {
            Report::read(&rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(report(&[]), Report::default(), "Java's broker");
        assert_eq!(
            report(&[("logCheck", "open"), ("commitLogMaxOffset", "7")]),
            Report { log_end: 7, ..Report::default() }
        );
        let table = [
            ("logCheck", "closed: the log is empty", State::Undecided("the log is empty".to_owned())),
            ("logCheck", "copying: the log of a:1", State::CatchingUp("copying: the log of a:1".to_owned())),
            ("slaveState", "following: 3 bytes behind the master", State::InSync),
            ("slaveState", "mismatch: the logs differ: at 7", State::Mismatch("the logs differ: at 7".to_owned())),
            ("slaveState", "connecting: no master", State::CatchingUp("connecting: no master".to_owned())),
        ];
        for (row, text, state) in table {
            assert_eq!(report(&[(row, text)]).state, state);
        }
        assert_eq!(report(&[("unregisteredNamesrvs", "a:1;b:1")]).unregistered, ["a:1", "b:1"]);
    }
}
