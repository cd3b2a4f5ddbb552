//! What is due for one object: pure, and the same for both kinds.
//!
//! | known as | on brokers | Enforce | CreateOnly | Observe |
//! |---|---|---|---|---|
//! | new | nowhere | create | create | tell |
//! | new | somewhere | adopt by policy, or refuse | the same | tell |
//! | ours | missing | create | create | tell |
//! | ours | differs | write back | tell | tell |
//!
//! A broker that could not be asked is never taken to lack anything.

use super::{Change, Provisioned};
use crate::{
    api::{
        Adoption, Management, Origin,
        condition::{Judgement, Kind, Status},
    },
    brokers::pool::{Inventory, MasterTables},
};

/// The object on one broker.
#[derive(Clone, Debug)]
pub struct OnBroker<C> {
    /// Broker name.
    pub broker: String,
    /// Its settings there; `None`: not there, or not known.
    pub have: Option<C>,
    /// Whether they equal the spec.
    pub synced: bool,
}

/// A write that is due.
#[derive(Clone, Debug)]
pub(crate) struct Write<C> {
    /// Broker name.
    pub broker: String,
    /// Its master's address.
    pub address: String,
    /// What to write.
    pub config: C,
    /// What it changes; empty: it creates.
    pub changes: Vec<Change>,
}

/// What holds, as of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Conditions.
    pub judgements: Vec<Judgement>,
    /// Whether the object is on every broker as it should be.
    pub ready: bool,
}

/// All that follows from an inventory.
#[derive(Clone, Debug)]
pub(crate) struct Decision<C> {
    /// Whether and why the object may be written from now on.
    pub origin: Option<Origin>,
    /// What to write.
    pub writes: Vec<Write<C>>,
    /// The object on each broker that should have it.
    pub brokers: Vec<OnBroker<C>>,
    /// What holds before the writes.
    pub verdict: Verdict,
}

/// Sentences gathered on the way; the first kind that is not empty becomes the reason.
#[derive(Default)]
struct Findings {
    unknown: Vec<String>,
    refused: Vec<String>,
    differing: Vec<String>,
    missing: Vec<String>,
    elsewhere: Vec<String>,
}

/// Decides. `groups` are the broker names of the cluster by index; other brokers on the same
/// namesrvs are none of ours.
pub(crate) fn decide<K: Provisioned>(
    object: &K,
    origin: Option<Origin>,
    groups: &[String],
    inventory: &Inventory,
) -> Decision<K::Config> {
    let name = object.remote_name();
    let mut found = Findings::default();
    let mut brokers = Vec::new();
    let mut writes = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let placed = u32::try_from(index).is_ok_and(|index| object.placed_on(index));
        let (master, tables) = match inventory_of(inventory, group) {
            Ok(seen) => seen,
            Err(why) => {
                if placed {
                    found.unknown.push(why);
                    brokers.push(OnBroker { broker: group.clone(), have: None, synced: false });
                }
                continue;
            }
        };
        let have = K::found(tables, name);
        if !placed {
            found.elsewhere.extend(have.map(|_| group.clone()));
            continue;
        }
        let comparison = have.map(|have| object.compare(have)).unwrap_or_default();
        let synced = have.is_some() && comparison.changes.is_empty() && comparison.refused.is_none();
        found.refused.extend(comparison.refused.map(|why| format!("{group}: {why}")));
        if have.is_none() {
            found.missing.push(group.clone());
        }
        if !comparison.changes.is_empty() {
            found.differing.push(format!("{group}: {}", list(&comparison.changes)));
        }
        if have.is_none() || !comparison.changes.is_empty() {
            writes.push(Write {
                broker: group.clone(),
                address: master.to_owned(),
                config: object.desired(have),
                changes: comparison.changes,
            });
        }
        brokers.push(OnBroker { broker: group.clone(), have: have.cloned(), synced });
    }
    let exists = brokers.iter().any(|broker| broker.have.is_some());
    let (origin, adoption_refused) = claim(object, origin, exists, &found);
    permit(object.management(), origin, &mut writes);
    let verdict = verdict::<K>(object, &found, adoption_refused, brokers.is_empty());
    Decision { origin, writes, brokers, verdict }
}

/// Address and tables of a group's master, or why they are not known.
fn inventory_of<'a>(inventory: &'a Inventory, group: &str) -> Result<(&'a str, &'a MasterTables), String> {
    let entry = inventory.brokers.iter().find(|entry| entry.broker.name == *group);
    let entry = entry.ok_or_else(|| format!("{group} is not registered"))?;
    let tables = entry.tables.as_ref().map_err(|error| format!("{group}: {error}"))?;
    let master = entry.broker.master.as_deref().ok_or_else(|| format!("{group} has no master"))?;
    Ok((master, tables))
}

/// Whether the object may be written: it is ours, it is new, or it may be adopted. Nothing is
/// claimed while a broker is silent, for it may be there.
fn claim<K: Provisioned>(
    object: &K,
    origin: Option<Origin>,
    exists: bool,
    found: &Findings,
) -> (Option<Origin>, Option<String>) {
    if origin.is_some() || object.management() == Management::Observe {
        return (origin, None);
    }
    if !exists {
        return (found.unknown.is_empty().then_some(Origin::Created), None);
    }
    let differs: Vec<&str> = found.differing.iter().chain(&found.refused).map(String::as_str).collect();
    match object.adoption() {
        Adoption::Always => (Some(Origin::Adopted), None),
        Adoption::IfMatches if differs.is_empty() => (found.unknown.is_empty().then_some(Origin::Adopted), None),
        Adoption::IfMatches => {
            let differs = differs.join("; ");
            (
                None,
                Some(format!(
                    "exists and differs ({differs}): make the spec equal, or write adoption: Always to change it"
                )),
            )
        }
        Adoption::Never => (None, Some("exists already: write adoption: IfMatches to take it over".to_owned())),
    }
}

fn permit<C>(management: Management, origin: Option<Origin>, writes: &mut Vec<Write<C>>) {
    match (management, origin) {
        (Management::Observe, _) | (_, None) => writes.clear(),
        (Management::CreateOnly, Some(_)) => writes.retain(|write| write.changes.is_empty()),
        (Management::Enforce, Some(_)) => {}
    }
}

fn verdict<K: Provisioned>(object: &K, found: &Findings, adoption_refused: Option<String>, nowhere: bool) -> Verdict {
    let what = K::WHAT;
    let name = object.remote_name();
    let sentence = |status: Status, reason, text: String| (status, reason, format!("{what} {name} {text}"));
    let (status, reason, message) = if let Some(why) = adoption_refused {
        sentence(Status::False, "AdoptionRefused", why)
    } else if nowhere {
        sentence(Status::False, "NoSuchGroup", "has a placement that names no existing group".to_owned())
    } else if !found.unknown.is_empty() {
        sentence(Status::Unknown, "BrokerUnavailable", format!("cannot be checked: {}", found.unknown.join("; ")))
    } else if !found.refused.is_empty() {
        sentence(Status::False, "ChangeRefused", format!("stays as it is: {}", found.refused.join("; ")))
    } else if !found.missing.is_empty() {
        sentence(Status::False, "Missing", format!("is not on {}", found.missing.join(", ")))
    } else if !found.differing.is_empty() {
        sentence(Status::False, "Differs", format!("differs: {}", found.differing.join("; ")))
    } else {
        sentence(Status::True, "InSync", "is as the spec says on every broker".to_owned())
    };
    let mut judgements = vec![Judgement::new(Kind::Ready, status, reason, message)];
    let reports_drift =
        object.management() != Management::Enforce && !(found.differing.is_empty() && found.missing.is_empty());
    if reports_drift {
        let differs: Vec<String> = found
            .missing
            .iter()
            .map(|broker| format!("{broker}: missing"))
            .chain(found.differing.iter().cloned())
            .collect();
        judgements.push(Judgement::new(Kind::Drifted, true, "NotEnforced", differs.join("; ")));
    } else if !found.elsewhere.is_empty() {
        let text = format!("is also on {}, which placement leaves out; it stays there", found.elsewhere.join(", "));
        judgements.push(Judgement::new(Kind::Drifted, true, "OnOtherGroups", text));
    }
    Verdict { ready: status == Status::True, judgements }
}

/// Changes in one line.
pub(super) fn list(changes: &[Change]) -> String {
    changes.iter().map(Change::to_string).collect::<Vec<_>>().join(", ")
}
