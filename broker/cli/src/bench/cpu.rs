//! What a process has cost so far.

use anyhow::Context;
use std::fs;

/// The unit of `/proc/PID/stat`; the kernel has reported 100 a second to user space on every
/// architecture for decades.
const TICKS: f64 = 100.0;

/// Another process on this machine, as it was at some moment.
pub(super) struct Process {
    pid: u32,
    then: f64,
}

impl Process {
    pub(super) fn find(pid: u32) -> anyhow::Result<Self> {
        Ok(Self { pid, then: seconds(pid)? })
    }

    /// CPU seconds since then, of all its threads.
    pub(super) fn seconds_since(&self) -> anyhow::Result<f64> {
        Ok(seconds(self.pid)? - self.then)
    }
}

fn seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {path}: is {pid} the broker's process, on this machine?"))?;
    parse(&stat).with_context(|| format!("{path} is not as expected"))
}

/// User and system time: fields 14 and 15. The second field is the name in parentheses, which may
/// hold anything.
fn parse(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}

/// CPU seconds of this process.
pub(super) fn own_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194304 100 0 0 0 250 150 0 0 20 0 8 0 12345 1 2 3";
        assert_eq!(parse(stat), Some(4.0));
        assert_eq!(parse("42 (x"), None);
    }

    #[test]
    fn work_costs_time() {
        let before = own_seconds();
        let mut sum = 0u64;
        while own_seconds() - before < 0.001 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(own_seconds() > before);
        assert!(Process::find(std::process::id()).unwrap().seconds_since().unwrap() >= 0.0);
        assert!(Process::find(u32::MAX).is_err());
    }
}
