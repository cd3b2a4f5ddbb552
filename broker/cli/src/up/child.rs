//! One process that is kept running: started, asked whether it is ready, started again when it
//! dies, replaced when it is to run with something else, stopped.
//!
//! A task owns the process. It takes orders from one channel and reports the state of the process
//! in another; the owner of the [`Child`] waits on the latter.
//!
//! **It ends with this process.** Its standard input is a pipe that only this process holds open;
//! when that ends, however this process ended, the child stops as at a signal. It is in a process
//! group of its own, so that Ctrl-C at a terminal reaches `rocketmq up` alone, which stops
//! everything in order.

use super::{
    opened::Opened,
    place::Launch,
    probe,
    screen::{Screen, Tone},
};
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{process, sync::watch, task::JoinHandle};

/// Between the death of a process and its next start: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// One that lived so long is started again after the first pause.
const LONG_LIFE: Duration = Duration::from_secs(30);
/// Between two questions whether it is ready, until it is and from then on.
const EAGER: Duration = Duration::from_millis(50);
const STEADY: Duration = Duration::from_secs(1);
/// A reason not to be ready that lasts so long is printed.
const REPORT_AFTER: Duration = Duration::from_secs(2);
/// How long a process may take to stop.
const GRACE: Duration = Duration::from_secs(60);
/// A log that is longer when a process starts is put aside, in place of the one that was put aside
/// before.
const LOG_BYTES: u64 = 16 << 20;
/// Lines and bytes of a log's end that are printed after an exit.
const LAST_LINES: usize = 5;
const LAST_BYTES: u64 = 4 * 1024;

/// What a process is to do.
#[derive(Debug, Clone)]
enum Order {
    Run(Arc<Launch>),
    Stop,
    Kill,
}

/// How a process does.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// What it runs, or ran last.
    pub(super) launch: Arc<Launch>,
    /// None: it does not run.
    pub(super) pid: Option<u32>,
    /// Or why not.
    pub(super) ready: Result<(), String>,
}

/// A process and the task that keeps it running.
#[derive(Debug)]
pub(super) struct Child {
    orders: watch::Sender<Order>,
    states: watch::Receiver<State>,
    task: JoinHandle<()>,
}

impl Child {
    /// Starts a process. What `opened` says of a broker's group at each start is in its
    /// configuration.
    pub(super) fn start(launch: Arc<Launch>, opened: Arc<Opened>, screen: Screen) -> Self {
        let state = State { launch: Arc::clone(&launch), pid: None, ready: Err("starting".to_owned()) };
        let (orders, received) = watch::channel(Order::Run(launch));
        let (reported, states) = watch::channel(state);
        let supervisor = Supervisor { orders: received, states: reported, opened, screen };
        Self { orders, states, task: tokio::spawn(supervisor.keep()) }
    }

    pub(super) fn state(&self) -> State {
        self.states.borrow().clone()
    }

    /// Restarts it with something else. Nothing happens if it is equal to what it has.
    pub(super) fn replace(&self, launch: &Arc<Launch>) {
        self.orders.send_if_modified(|order| {
            let same = matches!(order, Order::Run(old) if old == launch);
            if !same {
                *order = Order::Run(Arc::clone(launch));
            }
            !same
        });
    }

    /// Waits until it runs this and is ready.
    pub(super) async fn ready(&self, launch: &Launch) {
        let mut states = self.states.clone();
        // An error: its task has ended, so it will never be.
        if states.wait_for(|state| *state.launch == *launch && state.ready.is_ok()).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Lets it end as at SIGTERM.
    pub(super) fn stop(&self) {
        self.orders.send_replace(Order::Stop);
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        self.orders.send_replace(Order::Kill);
    }

    /// Waits until it has ended and is not restarted.
    pub(super) async fn ended(&mut self) {
        // A panic of the task was printed when it happened, and has closed the pipe.
        let _ = (&mut self.task).await;
    }
}

/// How one life of a process ended.
enum End {
    /// By itself, and how.
    Died(String),
    /// It was asked to.
    Ordered,
}

struct Supervisor {
    orders: watch::Receiver<Order>,
    states: watch::Sender<State>,
    opened: Arc<Opened>,
    screen: Screen,
}

impl Supervisor {
    async fn keep(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            if self.orders.has_changed().is_err() {
                // The `Child` was dropped: no further order can come.
                return;
            }
            let launch = match &*self.orders.borrow_and_update() {
                Order::Run(launch) => Arc::clone(launch),
                Order::Stop | Order::Kill => return,
            };
            let began = Instant::now();
            let log = fs::metadata(launch.log()).map_or(0, |log| log.len());
            let end = self
                .life(&launch)
                .await
                .unwrap_or_else(|error| End::Died(format!("cannot be started: {}", crate::error_text(&error))));
            self.states.send_modify(|state| state.pid = None);
            let End::Died(how) = end else { continue };
            if began.elapsed() > LONG_LIFE {
                pause = FIRST_PAUSE;
            }
            let again = format!("{how}; starting it again in {} s", pause.as_secs());
            self.states.send_modify(|state| state.ready = Err(how));
            self.screen.event(Tone::Bad, &launch.name, &format!("{again}\n{}", log_tail(&launch.log(), log)));
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LAST_PAUSE),
                // Whatever the order is, it is not to wait.
                _ = self.orders.changed() => pause = FIRST_PAUSE,
            }
        }
    }

    async fn life(&mut self, launch: &Arc<Launch>) -> anyhow::Result<End> {
        let began = Instant::now();
        let mut child = self.spawn(launch)?;
        let pid = child.id();
        // Waiting for a child closes its input, unless that is elsewhere.
        let _alive = child.stdin.take();
        self.states.send_replace(State { launch: Arc::clone(launch), pid, ready: Err("starting".to_owned()) });
        let (mut ever, mut reason, mut since, mut reported) = (false, String::new(), began, false);
        loop {
            let pause = if ever { STEADY } else { EAGER };
            let ready = tokio::select! {
                status = child.wait() => return Ok(End::Died(death(status?, pid))),
                _ = self.orders.changed() => {
                    self.end(&mut child).await?;
                    return Ok(End::Ordered);
                }
                ready = async { tokio::time::sleep(pause).await; probe::ready(launch.http).await } => ready,
            };
            match &ready {
                Ok(()) if !ever || reported => {
                    let took =
                        if ever { String::new() } else { format!(" after {:.1} s", began.elapsed().as_secs_f64()) };
                    self.screen.event(
                        Tone::Good,
                        &launch.name,
                        &format!("ready{took}, pid {}", pid.unwrap_or_default()),
                    );
                    (ever, reported) = (true, false);
                    reason.clear();
                }
                Ok(()) => reason.clear(),
                Err(why) if *why != reason => {
                    reason.clone_from(why);
                    (since, reported) = (Instant::now(), false);
                }
                Err(why) if !reported && since.elapsed() > REPORT_AFTER => {
                    self.screen.event(Tone::Plain, &launch.name, &format!("not ready: {why}"));
                    reported = true;
                }
                Err(_) => {}
            }
            self.states.send_if_modified(|state| {
                let changed = state.ready != ready;
                state.ready = ready;
                changed
            });
        }
    }

    fn spawn(&self, launch: &Launch) -> anyhow::Result<process::Child> {
        fs::create_dir_all(&launch.folder).with_context(|| format!("cannot make {}", launch.folder.display()))?;
        let (file, log) = (launch.config_file(), launch.log());
        let config = format!("{}{}", launch.config, self.opened.config(&launch.set));
        fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        if fs::metadata(&log).is_ok_and(|log| log.len() > LOG_BYTES) {
            fs::rename(&log, launch.folder.join("log.old"))
                .with_context(|| format!("cannot rename {}", log.display()))?;
        }
        let open = File::options().append(true).create(true).open(&log);
        let out = open.with_context(|| format!("cannot write {}", log.display()))?;
        let binary = std::env::current_exe().context("cannot find this program's own file")?;
        process::Command::new(binary)
            .args([launch.kind.as_str(), "--stop-with-stdin", "-c"])
            .arg(file)
            // It would stand above the file.
            .env_remove("NAMESRV_ADDR")
            .env("NO_COLOR", "1")
            .current_dir(&launch.folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stderr(out.try_clone()?)
            .stdout(out)
            .spawn()
            .context("cannot be run")
    }

    /// Ends a process as the order is; a kill may overtake a stop.
    async fn end(&mut self, child: &mut process::Child) -> anyhow::Result<()> {
        let Some(pid) = child.id() else { return Ok(()) };
        if !matches!(*self.orders.borrow(), Order::Kill) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It is not waited for yet, so the number is still its own.
                kill_process(pid, Signal::TERM).with_context(|| format!("cannot stop pid {pid:?}"))?;
            }
            let killed = async {
                if self.orders.wait_for(|order| matches!(order, Order::Kill)).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                status = child.wait() => {
                    status?;
                    return Ok(());
                }
                () = killed => {}
                () = tokio::time::sleep(GRACE) => {
                    let name = &self.states.borrow().launch.name;
                    self.screen.event(Tone::Bad, name, &format!("did not stop within {} s and is killed", GRACE.as_secs()));
                }
            }
        }
        child.kill().await.with_context(|| format!("cannot kill pid {pid}"))
    }
}

fn death(status: ExitStatus, pid: Option<u32>) -> String {
    let pid = pid.unwrap_or_default();
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code} (pid {pid})"),
        (None, Some(signal)) => format!("was ended by signal {signal} (pid {pid})"),
        (None, None) => format!("ended (pid {pid})"),
    }
}

/// The end of a log, of what was written after its first `from` bytes.
fn log_tail(log: &Path, from: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        // A log that was put aside begins anew.
        let from = if length < from { 0 } else { from };
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(LAST_BYTES))))?;
        let mut end = Vec::new();
        file.take(LAST_BYTES).read_to_end(&mut end)?;
        Ok(end)
    };
    let end = read().unwrap_or_default();
    let end = String::from_utf8_lossy(&end);
    let lines: Vec<&str> = end.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tail_of_a_run_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(log_tail(&log, 0), "", "no log");
        let before = "an earlier life\n";
        let lines: String = (0..9).map(|line| format!("line {line}\n\n")).collect();
        fs::write(&log, format!("{before}{lines}")).unwrap();
        assert_eq!(log_tail(&log, before.len() as u64), "line 4\nline 5\nline 6\nline 7\nline 8");
        fs::write(&log, format!("{before}end\n")).unwrap();
        assert_eq!(log_tail(&log, before.len() as u64), "end");
        assert_eq!(log_tail(&log, 1 << 40), "an earlier life\nend", "put aside meanwhile");
        fs::write(&log, "x".repeat(100_000)).unwrap();
        assert_eq!(log_tail(&log, 0).len() as u64, LAST_BYTES);
    }
}
