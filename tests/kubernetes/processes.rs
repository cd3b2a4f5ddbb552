//! Processes in pods, found from outside: killed without knowing of it, as in a crash, and weighed.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Kills the product's process in the pod of this uid.
pub(crate) fn kill_in_pod(uid: &str) -> Result<()> {
    Ok(kill_process(pid_in_pod(uid)?, Signal::KILL)?)
}

/// Resident memory of the product's process in the pod of this uid that no file backs, in KiB.
pub(crate) fn anonymous_memory_in_pod(uid: &str) -> Result<u64> {
    let pid = pid_in_pod(uid)?.as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    line.trim().trim_end_matches(" kB").parse().with_context(|| line.to_owned())
}

fn pid_in_pod(uid: &str) -> Result<Pid> {
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
            return Ok(pid);
        }
    }
    bail!("no process belongs to pod {uid}")
}
