//! Admission of new connections.
//!
//! While fewer than seven eighths of the limit are open, every connection is accepted. Of the
//! remaining places one address may have a sixteenth, so the share of an address shrinks as the
//! remainder fills, and there is room for an address that comes later: `n` addresses that take all
//! they get leave 16 / (16 + n) of the limit free. The price: clients behind one address, such as a
//! NAT gateway, have seven eighths of the limit together.

use crate::{Counters, log_limit};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// The part of the limit that is shared out.
const SHARED_PART: usize = 8;
/// The part of the free places that one address may have then.
const ADDRESS_PART: usize = 16;

/// The number of open connections of each address.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Mutex<HashMap<IpAddr, usize>>);

impl Addresses {
    fn count(&self, address: IpAddr) -> usize {
        self.0.lock().get(&address).copied().unwrap_or(0)
    }
}

/// Counts as an open connection until it is dropped, also if a handler panics.
pub(crate) struct Open {
    counters: Arc<Counters>,
    address: IpAddr,
}

impl Open {
    pub(crate) fn new(counters: &Arc<Counters>, address: IpAddr) -> Self {
        counters.connections.fetch_add(1, Relaxed);
        *counters.addresses.0.lock().entry(address).or_default() += 1;
        Self { counters: Arc::clone(counters), address }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut addresses = self.counters.addresses.0.lock();
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
        drop(addresses);
        self.counters.connections.fetch_sub(1, Relaxed);
    }
}

/// Decides which new connections of a listener are accepted.
pub(crate) struct Admission {
    limit: usize,
}

impl Admission {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit }
    }

    /// Whether a connection from `address` is accepted. A refused connection is counted; the log
    /// line about it is rate-limited.
    pub(crate) fn takes(&self, address: IpAddr, counters: &Counters) -> bool {
        let address = address.to_canonical();
        // The listeners of a process share these metrics, so they share the limit.
        let (open, of_address) = (counters.connections.load(Relaxed), counters.addresses.count(address));
        if is_taken(open, of_address, self.limit) {
            return true;
        }
        Counters::add(&counters.refused, 1);
        if log_limit::TOO_MANY.admits() {
            tracing::warn!(
                %address,
                open,
                of_address,
                limit = self.limit,
                refused = counters.refused.load(Relaxed),
                "too many connections, in all or from this address; closing new ones"
            );
        }
        false
    }
}

/// Whether one more connection is taken, when `open` of `limit` are open and `of_address` of them
/// come from its address.
fn is_taken(open: usize, of_address: usize, limit: usize) -> bool {
    let free = limit.saturating_sub(open);
    free > limit / SHARED_PART || (free > 0 && of_address < (free / ADDRESS_PART).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_take_all_they_get_leave_room_for_others() {
        let limit = 19_232;
        for addresses in [1, 2, 249, 1000] {
            let mut counts = vec![0; addresses];
            let open = |counts: &[usize]| counts.iter().sum::<usize>();
            let mut taken = true;
            while taken {
                taken = false;
                for at in 0..addresses {
                    if is_taken(open(&counts), counts[at], limit) {
                        counts[at] += 1;
                        taken = true;
                    }
                }
            }
            let open = open(&counts);
            assert!(open >= limit / SHARED_PART * 7, "{addresses} addresses have {open}");
            let mut other = 0;
            while is_taken(open + other, other, limit) {
                other += 1;
            }
            assert!(other >= 10, "beside {addresses} addresses, {open} connections, another one has {other}");
        }
    }

    #[test]
    fn all_are_taken_while_there_is_room_and_none_over_the_limit() {
        assert!(is_taken(17_000, 17_000, 20_000));
        assert!(!is_taken(17_500, 17_500, 20_000));
        assert!(is_taken(19_999, 0, 20_000) && !is_taken(20_000, 0, 20_000) && !is_taken(20_001, 0, 20_000));
        assert!(is_taken(0, 0, 1) && !is_taken(1, 0, 1) && !is_taken(0, 0, 0));
    }
}
