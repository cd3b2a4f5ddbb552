//! Official clients as judges: the programs of `tests/interop`, run in the cluster's network.
//!
//! `tests/kubernetes/run` builds them and tells where they are. Without Java or Go a judge is
//! skipped, with a line that says so, and fails where `CI=true`.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::namespace::until;

/// An official client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// rocketmq-client-java 5.5.0.
    Java5,
    /// rocketmq-client 4.9.7.
    Java4,
    /// rocketmq-client-go v2.
    Go,
}

impl Client {
    /// The judge with this client, without arguments; `None` where it cannot run.
    pub(crate) fn judge(self) -> Result<Option<Command>> {
        let variable = match self {
            Self::Java5 => "ROCKETMQ_TEST_JUDGE_JAVA5",
            Self::Java4 => "ROCKETMQ_TEST_JUDGE_JAVA4",
            Self::Go => "ROCKETMQ_TEST_JUDGE_GO",
        };
        let Some(folder) = std::env::var(variable).ok().filter(|folder| !folder.is_empty()) else {
            ensure!(std::env::var("CI").as_deref() != Ok("true"), "{variable} is not set: use tests/kubernetes/run");
            println!("skipped: the judge {self:?} was not built, Java with Maven or Go is missing");
            return Ok(None);
        };
        if self == Self::Go {
            let mut judge = Command::new(format!("{folder}/judge"));
            judge.env("ROCKETMQ_GO_LOG_LEVEL", "error");
            return Ok(Some(judge));
        }
        let mut judge = Command::new("java");
        judge.args([
            "-Xmx384m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Drocketmq.client.logLevel=WARN",
            "-cp",
        ]);
        judge.args([&format!("{folder}/target/*:{folder}/target/lib/*"), "judge.Judge"]);
        Ok(Some(judge))
    }
}

/// Runs a judge to its end; prints what it says, which holds the figures.
pub(crate) fn pass(what: &str, judge: &mut Command) -> Result<String> {
    let output = judge.output().with_context(|| format!("{judge:?}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{what}: {}", said.trim());
    ensure!(output.status.success(), "{what}: {said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

/// A part of the ledger, which runs until it is told to stop.
pub(crate) struct Running {
    what: String,
    child: Child,
}

impl Running {
    /// Starts it; its output goes to a file beside its ledger.
    pub(crate) fn start(what: &str, judge: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log)?;
        let child = judge.stdout(file.try_clone()?).stderr(file).spawn().with_context(|| format!("{judge:?}"))?;
        Ok(Self { what: what.to_owned(), child })
    }

    /// Asks it to end in order and waits for that.
    pub(crate) fn stop(mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "{} has ended before", self.what);
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status: ExitStatus =
            until(&format!("{} to end", self.what), Duration::from_secs(40), || Ok(self.child.try_wait()?))?;
        if !status.success() {
            bail!("{} ended with {status}", self.what);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only after a failure is it still there; then there is nobody to tell.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
