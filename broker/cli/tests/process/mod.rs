//! Processes of the binary, and waiting for what they do.

#[path = "../../../../tests/ports.rs"]
pub(crate) mod ports;

use rmq_namesrv::{Config, Namesrv, Overrides};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

/// How long anything may take that is waited for.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(90);

/// A process that is killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A broker with its store in a folder's `store`; in a failing test it tells what it logged in all
/// its lives.
pub(crate) struct Broker {
    pub(crate) process: Process,
    log: PathBuf,
}

impl Broker {
    pub(crate) fn start(folder: &Path, namesrvs: &str, settings: &[(&str, &str)]) -> Self {
        let log = folder.join("log");
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let store = folder.join("store").display().to_string();
        let own = [("bindAddress", "127.0.0.1"), ("brokerIP1", "127.0.0.1"), ("storePathRootDir", &store)];
        let mut command = command(&["broker", "--namesrv", namesrvs]);
        command.args(own.iter().chain(settings).map(|(key, value)| format!("--set={key}={value}")));
        let child = command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
        Self { process: Process(child), log }
    }

    /// SIGTERM, and the end that follows.
    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.process.0), Signal::TERM).unwrap();
        let status = until("the broker has ended", || self.process.0.try_wait().unwrap());
        assert!(status.success(), "the broker could not stop as it should");
    }

    /// SIGKILL; it must not have ended by itself before.
    pub(crate) fn kill(mut self) {
        assert_eq!(self.process.0.try_wait().unwrap(), None, "the broker has ended by itself");
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }
}

#[expect(clippy::print_stdout, reason = "what a failed test shows")]
impl Drop for Broker {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// A namesrv in this process.
pub(crate) async fn namesrv(folder: &Path) -> Namesrv {
    let path = |name: &str| folder.join(name).display().to_string();
    let settings = [
        ("bindAddress", "127.0.0.1".to_owned()),
        ("kvConfigPath", path("kvConfig.json")),
        ("configStorePath", path("namesrv.properties")),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value)).into();
    let (config, _) = Config::from_properties(settings).unwrap();
    Namesrv::start(config, Overrides { listen_port: Some(0), ..Overrides::default() }).await.unwrap()
}

/// A number from the environment.
pub(crate) fn given<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().ok().unwrap_or_else(|| panic!("{name}={text} is no number")))
}

/// The binary, without what the environment says to it.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rocketmq"));
    command.args(arguments).env_remove("NAMESRV_ADDR").env_remove("RUST_BACKTRACE");
    command
}

/// Waits until `found` is some.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < TIMEOUT, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for at most `limit` until `reached` says so.
pub(crate) async fn until_async(limit: Duration, what: &str, reached: impl AsyncFn() -> bool) {
    let waiting = async {
        while !reached().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(limit, waiting).await.is_ok(), "waited in vain until {what}");
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
