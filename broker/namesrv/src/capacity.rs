//! The limits of a namesrv.
//!
//! Any peer that can connect can register, so the data of registrations is limited. Limits in bytes
//! follow from the memory of the process's control group, or of the machine; the others are far
//! above what real clusters have.
//!
//! | data | limit |
//! |---|---|
//! | routes | an eighth of the memory (`maxRouteTableBytes`), see [`crate::route_table::size`] |
//! | a compressed registration, inflated | a sixteenth, 4 to 64 MiB |
//! | bodies of queued requests | a sixteenth, 4 to 256 MiB; one is always accepted |
//! | KV table as JSON | a thirty-second, 1 to 8 MiB |
//! | living brokers | [`MAX_BROKERS`] |
//! | members of a broker group | [`MAX_MEMBERS`] |
//! | topics of a broker group | [`MAX_TOPICS_OF_GROUP`] |
//! | names and addresses | [`MAX_NAME`] bytes |
//!
//! Queued requests also count in the budget of connections, which is a quarter of the memory.
//!
//! A registration that exceeds a limit is refused as a whole. If its broker is registered already,
//! it still counts as a heartbeat: the broker's routes stay as they are.

use crate::{Error, route_table::size};
use rmq_protocol::body::ReadLimits;

/// Brokers that are alive at a time.
pub(crate) const MAX_BROKERS: usize = 10_000;
/// Masters and slaves of one name. Real groups have a handful.
pub(crate) const MAX_MEMBERS: usize = 128;
/// Topics of one broker group, retry topics among them. A broker of this project has 100,000 topics
/// and groups at most.
pub(crate) const MAX_TOPICS_OF_GROUP: usize = 200_000;
/// Bytes of a name or an address. The longest name that clients make is a retry topic of a group
/// and a topic, of 391.
pub(crate) const MAX_NAME: usize = 512;

const MIB: u64 = 1 << 20;

/// The limits in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) routes: usize,
    pub(crate) inflated: u64,
    pub(crate) waiting: usize,
    pub(crate) kv: usize,
}

impl Capacity {
    /// The limits of a process with this much memory, and with `maxRouteTableBytes` unless that is
    /// 0.
    pub(crate) fn of(memory: u64, routes: u64) -> Self {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            routes: bytes(if routes == 0 { (memory / 8).max(4 * MIB) } else { routes }),
            inflated: (memory / 16).clamp(4 * MIB, 64 * MIB),
            waiting: bytes((memory / 16).clamp(4 * MIB, 256 * MIB)),
            kv: bytes((memory / 32).clamp(MIB, 8 * MIB)),
        }
    }

    /// For bodies of registrations. They may name no more topics than would fit into the routes.
    pub(crate) fn of_bodies(&self) -> ReadLimits {
        let topics = (self.routes / (size::TOPIC + size::ROW)).min(MAX_TOPICS_OF_GROUP);
        ReadLimits { topics, inflated: self.inflated, routes_only: true }
    }
}

/// # Errors
/// [`Error::TooLong`].
pub(crate) fn check_length(what: &'static str, name: &str) -> Result<(), Error> {
    if name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(Error::TooLong { what, begin: name.chars().take(32).collect(), bytes: name.len(), most: MAX_NAME })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_process_takes_in_less_and_a_large_one_no_more_than_makes_sense() {
        let quickstart = Capacity::of(64 * MIB, 0);
        let mib = MIB as usize;
        assert_eq!((quickstart.routes, quickstart.waiting, quickstart.kv), (8 * mib, 4 * mib, 2 * mib));
        assert!((30_000..50_000).contains(&quickstart.of_bodies().topics), "{quickstart:?}");
        let large = Capacity::of(1 << 40, 0);
        assert_eq!((large.inflated, large.waiting, large.kv), (64 * MIB, 256 * mib, 8 * mib));
        assert_eq!(large.of_bodies().topics, MAX_TOPICS_OF_GROUP);
        assert_eq!(Capacity::of(64 * MIB, 1 << 30).routes, 1 << 30);
    }
}
