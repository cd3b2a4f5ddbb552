//! File descriptors: how many this process may have, and how many of them are for connections.
//!
//! A process without free descriptors cannot open the next file of its store and cannot respond
//! probes. So connections get what is left after a reserve.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The part of the descriptors that connections get if the reserve would leave them less.
const LEAST_PART: usize = 4;

/// The number of connections a server may have: `wanted`, or what the limit on file descriptors
/// leaves beside `reserve` for everything else. The soft limit is raised to the hard limit first. A
/// lower number is logged with `setting`, the name of the setting that is lowered.
pub fn connections_within_limit(setting: &str, wanted: usize, reserve: usize) -> usize {
    let limit = raise();
    let most = most(limit, reserve);
    if wanted <= most {
        return wanted;
    }
    tracing::warn!(
        "{setting} is lowered from {wanted} to {most}: this process may have {limit} file descriptors, of which {} are \
         reserved for files, probes and other connections; to have more connections raise the hard limit \
         (RLIMIT_NOFILE, ulimit -Hn) to {}",
        limit - most,
        wanted.saturating_add(reserve)
    );
    most
}

fn most(limit: usize, reserve: usize) -> usize {
    limit.saturating_sub(reserve).max(limit / LEAST_PART).max(1)
}

/// Raises the soft limit to the hard limit and returns the resulting limit.
fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let (mut soft, hard) = (limit.current, limit.maximum);
    if soft != hard {
        match setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }) {
            Ok(()) => soft = hard,
            Err(error) => tracing::warn!(%error, ?soft, ?hard, "the soft limit on file descriptors cannot be raised"),
        }
    }
    soft.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_the_reserve_leaves_and_a_quarter_at_least() {
        assert_eq!(most(20_000, 768), 19_232);
        assert_eq!(most(1024, 768), 256);
        assert_eq!(most(1000, 768), 250);
        assert_eq!(most(2, 768), 1);
        assert_eq!(most(usize::MAX, 768), usize::MAX - 768);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        assert_eq!(connections_within_limit("maxConnections", 1, 768), 1);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
