//! Two living brokers with one name and id.
//!
//! An id that is taken goes to the newcomer, as in Java's namesrv. That is right for a broker that
//! comes back with another address, such as the pod of a node that was lost, and wrong where two
//! brokers are configured alike: they then take the place from each other with each registration,
//! and producers write to two stores. One replacement does not tell the cases apart, as the former
//! holder's connection may stay open for as long as its node is unreachable. What tells them apart
//! is the former holder registering again: it lives, and so does the one that took its place.
//!
//! A holder that was replaced is remembered with its connection. When the one that replaced it
//! goes, that connection is closed, and a broker of this project then registers at once; otherwise
//! its topics would be in no route until its next regular registration, up to 30 s later.

use super::RouteTable;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

/// A contest is over when no place was taken back for so long: brokers register at least once a
/// minute.
const OVER: Duration = Duration::from_secs(150);

/// A broker name and id.
pub(super) type Place = (Arc<str>, i64);

/// A broker whose place another one took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replaced {
    address: String,
    connection: u64,
}

/// Two addresses that take one place from each other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contest {
    /// In order.
    addresses: [String; 2],
    last: Duration,
}

/// What is known of places that were taken. Entries go with the member that holds the place, so
/// there are never more of them than members.
#[derive(Debug, Default)]
pub(super) struct Contested {
    replaced: BTreeMap<Place, Replaced>,
    contests: BTreeMap<Place, Contest>,
    /// Connections of brokers whose place has become free.
    freed: Vec<u64>,
}

impl Contested {
    /// `newcomer` has taken the place of `holder`, which registered over `connection`. True where
    /// that shows a contest between two addresses that were not known to be in one.
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

    /// Who else takes the place that `address` has.
    pub(super) fn rival(&self, place: &Place, address: &str) -> Option<String> {
        let contest = self.contests.get(place)?;
        contest.addresses.iter().find(|other| *other != address).cloned()
    }

    /// The holder of a place has gone, and nobody took it.
    pub(super) fn free(&mut self, place: &Place) {
        self.freed.extend(self.replaced.remove(place).map(|replaced| replaced.connection));
        self.end(place);
    }

    /// Whoever registered over a connection is no longer there to take a place back.
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
    /// Connections of replaced brokers whose place has become free since the last call: to be
    /// closed, so that those brokers register again.
    pub(crate) fn freed_connections(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.contested.freed)
    }

    /// Forgets contests in which nobody took the place back for long.
    pub(crate) fn end_contests(&mut self, now: Duration) {
        let contests = self.contested.contests.iter();
        let over = contests.filter(|(_, contest)| contest.last.saturating_add(OVER) < now);
        let over: Vec<Place> = over.map(|(place, _)| place.clone()).collect();
        over.iter().for_each(|place| self.contested.end(place));
    }

    /// How many places two brokers take from each other.
    pub(crate) fn contests(&self) -> usize {
        self.contested.contests.len()
    }
}
