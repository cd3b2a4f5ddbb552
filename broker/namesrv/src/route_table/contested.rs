//! Two living brokers with one name and id.
//!
//! An id that is in use goes to the new broker, as in Java's namesrv. That is right for a broker
//! that returns with another address, such as the pod of a lost node, and wrong if two brokers have
//! the same configuration: they then replace each other with each registration, and producers write
//! to two stores. One replacement does not distinguish the cases, as the former holder's connection
//! may stay open for as long as its node is unreachable. A second registration of the former holder
//! does: it is alive, and so is the broker that replaced it.
//!
//! A holder that was replaced is remembered with its connection. When the broker that replaced it
//! goes, that connection is closed, and a broker of this project then registers at once; otherwise
//! its topics would be in no route until its next regular registration, up to 30 s later.

use super::RouteTable;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

/// A contest ends when the place was not taken back for this long: brokers register at least once a
/// minute.
const OVER: Duration = Duration::from_secs(150);

/// A broker name and id.
pub(super) type Place = (Arc<str>, i64);

/// A broker that another one replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replaced {
    address: String,
    connection: u64,
}

/// Two addresses that replace each other in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contest {
    /// In sorted order.
    addresses: [String; 2],
    last: Duration,
}

/// The state of replaced brokers and contests. An entry is removed with the member that holds the
/// place, so there are never more of them than members.
#[derive(Debug, Default)]
pub(super) struct Contested {
    replaced: BTreeMap<Place, Replaced>,
    contests: BTreeMap<Place, Contest>,
    /// Connections of brokers whose place has become free.
    freed: Vec<u64>,
}

impl Contested {
    /// Records that `newcomer` has replaced `holder`, which registered over `connection`. True if
    /// that shows a contest between two addresses that was not known before.
    pub(super) fn replace(
        &mut self,
        now: Duration,
        place: Place,
        newcomer: &str,
        holder: &str,
        connection: u64,
    ) -> bool {
        let replaced = Replaced { address: holder.to_owned(), connection };
        let before = self.replaced.insert(place.clone(), replaced);
        if before.is_none_or(|before| before.address != newcomer) {
            return false;
        }
        let mut addresses = [newcomer.to_owned(), holder.to_owned()];
        addresses.sort();
        let contest = Contest { addresses, last: now };
        match self.contests.entry(place) {
            Entry::Occupied(mut known) => known.insert(contest.clone()).addresses != contest.addresses,
            Entry::Vacant(free) => {
                free.insert(contest);
                true
            }
        }
    }

    /// The other address in a contest for the place of `address`.
    pub(super) fn other_address(&self, place: &Place, address: &str) -> Option<String> {
        let contest = self.contests.get(place)?;
        contest.addresses.iter().find(|other| *other != address).cloned()
    }

    /// Records that the holder of a place is gone, without a successor.
    pub(super) fn free(&mut self, place: &Place) {
        self.freed.extend(self.replaced.remove(place).map(|replaced| replaced.connection));
        self.end(place);
    }

    /// Records that a connection is closed: the brokers that registered over it cannot take a place
    /// back.
    pub(super) fn connection_closed(&mut self, connection: u64) {
        let gone = |replaced: &Replaced| replaced.connection == connection;
        let places: Vec<Place> =
            self.replaced.extract_if(.., |_, replaced| gone(replaced)).map(|(place, _)| place).collect();
        places.iter().for_each(|place| self.end(place));
    }

    fn end(&mut self, place: &Place) {
        if let Some(contest) = self.contests.remove(place) {
            let (broker, id) = place;
            tracing::info!(%broker, id, addresses = ?contest.addresses, "two brokers no longer register with one name and id");
        }
    }
}

impl RouteTable {
    /// Connections of replaced brokers whose place has become free since the last call. The caller
    /// closes them, so that those brokers register again.
    pub(crate) fn freed_connections(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.contested.freed)
    }

    /// Removes contests in which the place was not taken back for the time limit.
    pub(crate) fn end_contests(&mut self, now: Duration) {
        let contests = self.contested.contests.iter();
        let over = contests.filter(|(_, contest)| contest.last.saturating_add(OVER) < now);
        let over: Vec<Place> = over.map(|(place, _)| place.clone()).collect();
        over.iter().for_each(|place| self.contested.end(place));
    }

    /// The number of contested places.
    pub(crate) fn contests(&self) -> usize {
        self.contested.contests.len()
    }
}
