//! Processes in pods, found and killed from outside: they learn nothing of it, as in a crash.

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Kills the product's process in the pod of this uid.
pub(crate) fn kill_in_pod(uid: &str) -> Result<()> {
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(number) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while it is looked at.
        let Ok(groups) = std::fs::read_to_string(path.join("cgroup")) else { continue };
        let command = std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
        if groups.contains(uid)
            && command.starts_with("/rocketmq")
            && let Some(pid) = Pid::from_raw(number)
        {
            return Ok(kill_process(pid, Signal::KILL)?);
        }
    }
    bail!("no process belongs to pod {uid}")
}
