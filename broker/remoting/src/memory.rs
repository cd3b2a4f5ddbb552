//! The memory that this process may use, including its share of the page cache. A process
//! determines it once and passes it to its modules.
//!
//! The rule: the machine's memory, or the lowest limit of the process's cgroup and its ancestors
//! where that is less. In a pod the page cache counts against the container's limit, so that limit
//! decides which pages of a file stay in memory.
//!
//! | | limits | where |
//! |---|---|---|
//! | cgroup v2 | `memory.max`, `memory.high` | `/sys/fs/cgroup`, path of `/proc/self/cgroup` |
//! | cgroup v1 | `memory.limit_in_bytes` | `/sys/fs/cgroup/memory`, likewise |
//!
//! A path that is not visible in a container is skipped, level by level; the limit of the root is
//! then the container's own limit.

use std::fs;
use std::path::{Path, PathBuf};

/// The current limit, in bytes.
pub fn usable() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = info.totalram.saturating_mul(u64::from(info.mem_unit));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    lowest_limit(&own, Path::new("/sys/fs/cgroup")).map_or(machine, |limit| limit.min(machine))
}

/// The lowest limit of the cgroups in `own`, the text of `/proc/self/cgroup`, and of their
/// ancestors.
fn lowest_limit(own: &str, mounted: &Path) -> Option<u64> {
    let of_line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (mounted, names): (PathBuf, &[&str]) = match controllers {
            "" => (mounted.to_owned(), &["memory.max", "memory.high"]),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (mounted.join("memory"), &["memory.limit_in_bytes"])
            }
            _ => return None,
        };
        // A path with `..` leads out of the cgroup namespace.
        let path = Path::new(path.trim_start_matches('/'));
        let path = if path.components().any(|part| part.as_os_str() == "..") { Path::new("") } else { path };
        let levels = path.ancestors().map(|level| mounted.join(level));
        levels.flat_map(|level| names.iter().map(move |name| level.join(name))).filter_map(|file| limit(&file)).min()
    };
    own.lines().filter_map(of_line).min()
}

/// `None` if there is no such file, or no limit: v2 then has `max`, and v1 a number above any
/// memory.
fn limit(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    /// In a pod of 512 MiB on a node of 256 GiB, 100 GiB of the log counted as being in memory.
    #[test]
    fn a_pod_has_the_memory_of_its_limit_and_not_of_its_node() {
        let v2 = mounted(&[
            ("pods/memory.max", "536870912\n"),
            ("pods/a/memory.max", "max\n"),
            ("pods/a/memory.high", "max\n"),
            ("pods/b/memory.max", "1073741824\n"),
            ("pods/c/memory.high", "268435456\n"),
        ]);
        let of = |own: &str| lowest_limit(own, v2.path());
        assert_eq!(of("0::/pods/a\n"), Some(512 << 20));
        assert_eq!(of("0::/pods/b\n"), Some(512 << 20));
        assert_eq!(of("0::/pods/c\n"), Some(256 << 20));
        assert_eq!((of("0::/\n"), of(""), of("nonsense\n0:")), (None, None, None));
        // A container whose own cgroup is its root, whatever path the file names.
        let own = mounted(&[("memory.max", "134217728\n")]);
        for path in ["0::/\n", "0::/kubepods/pod7/c\n", "0::/../x\n"] {
            assert_eq!(lowest_limit(path, own.path()), Some(128 << 20), "{path}");
        }
        let v1 = mounted(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/docker/x/memory.limit_in_bytes", "67108864\n"),
        ]);
        assert_eq!(
            lowest_limit("3:cpu:/docker/x\n5:rdma,memory:/docker/x\n1:name=systemd:/\n", v1.path()),
            Some(64 << 20)
        );
        assert_eq!(lowest_limit("5:memory:/\n", v1.path()), Some(9_223_372_036_854_771_712));
    }
}
