//! The memory that buffers of connections may take in this process.
//!
//! Each connection has limits of its own ([`Limits`](crate::Limits)): 16 MiB of a frame that is not complete, 8 MiB of answers that its peer does not read. Multiplied by 20,000
//! connections they limit nothing, so all connections count their buffers here as well, and the requests that wait.
//!
//! **Policy.** While the budget is used up, a connection with more than its share ([`Budget::share`]) is not read from; all others are served as usual, and
//! whatever waits to be written is written. Requests that have been read are handled, and room of an input buffer that
//! is not used is given back: neither is held against a peer. A connection that is held back so and has not given back half of what it holds within 10 s is closed: an incomplete frame
//! and a peer that does not read would otherwise keep the memory for as long as they like. So there is no deadlock, and the memory stays below the
//! limit plus, for each connection, one share, one read and one answer.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Part of the process's memory that its network buffers may take.
const PART: u64 = 4;
/// The least and the largest default limit, in bytes.
const DEFAULT: std::ops::RangeInclusive<u64> = (16 << 20)..=(4 << 30);
/// The least and the largest share of a connection, in bytes: the buffer of one small read, and that of a large one.
const SHARE: std::ops::RangeInclusive<usize> = (8 << 10)..=(64 << 10);

/// Bytes of buffers, and how many there may be. See the head of the file.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0) }
    }

    /// The budget of connections that are given no other one: a quarter of the memory that this process may use by its control group, or of the machine's.
    pub fn of_process() -> Arc<Self> {
        static BUDGET: LazyLock<Arc<Budget>> = LazyLock::new(|| {
            let limit = (memory_limit() / PART).clamp(*DEFAULT.start(), *DEFAULT.end());
            Arc::new(Budget::new(usize::try_from(limit).unwrap_or(usize::MAX)))
        });
        Arc::clone(&BUDGET)
    }

    /// Bytes there may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes there are.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.used() > self.limit
    }

    /// Bytes that each of so many connections may hold while the budget is exhausted.
    pub(crate) fn share(&self, connections: usize) -> usize {
        (self.limit / 2 / connections.max(1)).clamp(*SHARE.start(), *SHARE.end())
    }

    /// What was `before` bytes is `now` bytes.
    pub(crate) fn change(&self, before: usize, now: usize) {
        if now > before {
            self.used.fetch_add(now - before, Relaxed);
        } else if now < before {
            self.used.fetch_sub(before - now, Relaxed);
        }
    }
}

/// Bytes of memory that this process may use: the least limit of its control group and those above it, or the machine's memory.
fn memory_limit() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = info.totalram.saturating_mul(u64::from(info.mem_unit));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups.lines().filter_map(|line| limit_of(line, Path::new("/sys/fs/cgroup"))).fold(machine, u64::min)
}

/// The limit that a line of `/proc/self/cgroup` (`number:controllers:path`) leads to, for version 1 and 2 mounted at `root`.
fn limit_of(line: &str, root: &Path) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (root, file) = match controllers {
        "" => (root.to_owned(), "memory.max"),
        named if named.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
        _ => return None,
    };
    // In a container the path may be the host's, of which only the container's own group is mounted, at the root.
    let own = Path::new(path.trim_start_matches('/'));
    own.ancestors()
        .filter_map(|group| fs::read_to_string(root.join(group).join(file)).ok())
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_on_the_way_to_the_root_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let write = |file: &str, text: &str| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("pods/one/memory.max", "max\n");
        write("pods/memory.max", "300000\n");
        write("memory/docker/memory.limit_in_bytes", "500000\n");
        assert_eq!(limit_of("0::/pods/one", root), Some(300_000));
        assert_eq!(limit_of("0::/elsewhere", root), None);
        assert_eq!(limit_of("4:cpu,memory:/docker", root), Some(500_000));
        assert_eq!(limit_of("5:pids:/docker", root), None);
        assert!(memory_limit() > 0);
    }

    #[test]
    fn shares_are_smaller_the_more_connections_there_are() {
        let budget = Budget::new(1 << 20);
        assert_eq!(budget.share(1), 64 << 10);
        assert_eq!(budget.share(16), 32 << 10);
        assert_eq!(budget.share(20_000), 8 << 10);
        budget.change(0, 2 << 20);
        assert!(budget.is_exhausted());
        budget.change(2 << 20, 10);
        assert_eq!((budget.used(), budget.is_exhausted()), (10, false));
    }
}
