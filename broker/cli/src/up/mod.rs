//! `rocketmq up`: a manifest on this machine, without Kubernetes.
//!
//! The same files, the same judgement, the same topology and the same decisions about topics and
//! groups as the operator's; only what carries them out differs. Processes are children of this
//! one, on loopback, below one data folder.
//!
//! | file | what |
//! |---|---|
//! | `files.rs` | manifests are read, judged, and followed |
//! | `place.rs` | folder, ports, and the configuration of each process |
//! | `cluster.rs` | which process is started, restarted and stopped, in which order |
//! | `child.rs`, `probe.rs` | one process that is kept running |
//! | `objects.rs` | topics and consumer groups |
//! | `opened.rs` | which groups were opened for writes, kept in the folder |
//! | `decision.rs` | a master that waits until a person decides about its log |
//! | `screen.rs` | what a person sees |
//!
//! One task decides, in the order in which things come ([`Session::serve`]); it is dropped wherever
//! it stands when a signal comes. A task for each child keeps that running meanwhile. Nothing is
//! remembered between runs but what the brokers keep, the ports in the configuration files, and
//! which groups were opened; so what stands on brokers is taken over (as with `adoption: Always`),
//! and an object that left the files while nothing ran stays.
//!
//! Of a manifest these mean nothing here: image, podTemplate, storage, antiAffinity, access. Roles
//! are fixed: no slave becomes a master.

mod child;
mod cluster;
mod decision;
mod files;
mod objects;
mod opened;
mod place;
mod probe;
mod screen;

use anyhow::Context;
use cluster::Cluster;
use files::{Files, Reading};
use objects::Objects;
use place::AllocatedPorts;
use rmq_operator::{
    api::reference::ClusterKey,
    kubernetes::context,
    manifest::{Manifest, Problem},
};
use screen::{Screen, Tone};
use std::{
    fs::{File, TryLockError},
    path::PathBuf,
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

/// Between two reconciles: when all is well (a tool may have changed a topic), and when
/// it is not.
const STEADY: Duration = Duration::from_secs(60);
const MOVING: Duration = Duration::from_secs(3);
/// Between two tries to be the one that chooses ports.
const TURN: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
#[command(after_help = "Example: rocketmq up examples/quickstart.yaml

Edits of the files are followed while it runs. Of a manifest these mean nothing here: image, podTemplate, storage, \
antiAffinity, access. Roles are fixed: no slave becomes a master. RUST_LOG reaches the processes.")]
pub(crate) struct Arguments {
    /// Manifests of RocketMQCluster, RocketMQTopic and RocketMQConsumerGroup, or folders of them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    files: Vec<PathBuf>,
    /// Where data, configuration and logs are kept, in a folder for each cluster
    #[arg(long, value_name = "FOLDER", default_value = ".rocketmq")]
    data: PathBuf,
    /// How long a process may take to be ready, in seconds
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Say what is wrong with the files, and end
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let screen = Screen::new();
    let mut files = Files::new(arguments.files)?;
    let Reading { manifest, notes } = files.read(None).map_err(|problems| refusal(&problems))?;
    for note in &notes {
        screen.print(note);
    }
    if arguments.check {
        screen.print(&format!("{}: {}: nothing is wrong", files.names(), count(&manifest)));
        return Ok(());
    }
    anyhow::ensure!(
        !manifest.clusters.is_empty(),
        "{} holds no RocketMQCluster: there is nothing to start",
        files.names()
    );
    let mut signals = Signals::new()?;
    let mut session = Session {
        files,
        manifest,
        clusters: Vec::new(),
        objects: Objects::new(screen)?,
        given: AllocatedPorts::default(),
        data: arguments.data,
        timeout: Duration::from_secs(arguments.timeout),
        screen,
    };
    let outcome = tokio::select! {
        biased;
        () = signals.next() => Ok(()),
        outcome = session.serve() => outcome,
    };
    session.stop(&mut signals).await?;
    outcome
}

/// SIGTERM, Ctrl-C, and the end of the terminal.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?]))
    }

    async fn next(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

struct Session {
    files: Files,
    /// The last valid one.
    manifest: Manifest,
    clusters: Vec<Cluster>,
    objects: Objects,
    given: AllocatedPorts,
    data: PathBuf,
    timeout: Duration,
    screen: Screen,
}

impl Session {
    /// Starts everything, then follows edits and reconciles objects until it is dropped.
    async fn serve(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        let turn = turn(&self.screen).await;
        for cluster in self.manifest.clusters.clone() {
            let cluster = Cluster::new(cluster, &self.data, self.timeout, self.screen)?;
            self.clusters.push(cluster);
        }
        for cluster in &mut self.clusters {
            cluster.converge(&mut self.given).await.with_context(|| format!("cluster {}", cluster.key.name))?;
        }
        drop(turn);
        let mut well = self.reconcile_objects().await;
        let took = began.elapsed().as_secs_f64();
        for cluster in &self.clusters {
            let (tone, text) = match well {
                true => (Tone::Good, format!("is up after {took:.1} s")),
                false => (Tone::Bad, format!("runs after {took:.1} s, and not all of it is as it should be")),
            };
            self.screen.event(tone, &cluster.key.name, &text);
            self.summary(cluster);
        }
        self.screen.print(&format!("Edits of {} are followed; Ctrl-C stops everything.\n", self.files.names()));
        loop {
            let changed = tokio::select! {
                () = self.files.edited() => self.edit().await,
                () = self.due(well) => Vec::new(),
            };
            for cluster in &mut self.clusters {
                if !cluster.settled && cluster.ready() {
                    converge(cluster, &mut self.given, &self.screen).await;
                }
            }
            well = self.reconcile_objects().await;
            for cluster in self.clusters.iter().filter(|cluster| changed.contains(&cluster.key)) {
                self.summary(cluster);
            }
        }
    }

    /// Returns when objects are to be reconciled again: soon where something is not as it should
    /// be.
    async fn due(&self, well: bool) {
        let began = Instant::now();
        loop {
            tokio::time::sleep(MOVING).await;
            if !well || began.elapsed() >= STEADY || !self.clusters.iter().all(Cluster::ready) {
                return;
            }
        }
    }

    /// Reconciles the objects of every cluster; true if all is well.
    async fn reconcile_objects(&mut self) -> bool {
        let mut well = true;
        for cluster in &self.clusters {
            well &= self.objects.pass(cluster, &self.manifest).await && cluster.settled;
        }
        well
    }

    /// Takes an edit if it is valid, and says so if it is not. Returns the clusters whose processes
    /// changed.
    async fn edit(&mut self) -> Vec<ClusterKey> {
        let Reading { manifest, notes } = match self.files.read(Some(&self.manifest)) {
            Ok(reading) => reading,
            Err(problems) => {
                let text = format!("the edit is not taken, everything stays as it was:\n{}", list(&problems));
                self.screen.event(Tone::Bad, "manifest", &text);
                return Vec::new();
            }
        };
        self.screen.event(Tone::Plain, "manifest", &format!("was edited: {}", count(&manifest)));
        for note in notes {
            self.screen.event(Tone::Plain, "manifest", &note);
        }
        let old = std::mem::replace(&mut self.manifest, manifest);
        self.objects.removed(&old, &self.manifest);
        let turn = turn(&self.screen).await;
        self.drop_clusters().await;
        let mut changed = Vec::new();
        for wanted in self.manifest.clusters.clone() {
            let key = context::key(&wanted);
            let known = self.clusters.iter().position(|cluster| cluster.key == key);
            let index = match known {
                Some(index) if !self.clusters[index].change(&wanted) => continue,
                Some(index) => index,
                None => match Cluster::new(wanted, &self.data, self.timeout, self.screen) {
                    Ok(cluster) => {
                        self.clusters.push(cluster);
                        self.clusters.len() - 1
                    }
                    Err(error) => {
                        self.screen.event(
                            Tone::Bad,
                            &key.name,
                            &format!("cannot be started: {}", crate::error_text(&error)),
                        );
                        continue;
                    }
                },
            };
            converge(&mut self.clusters[index], &mut self.given, &self.screen).await;
            changed.push(key);
        }
        drop(turn);
        changed
    }

    /// Stops clusters that the manifest does not hold any more.
    async fn drop_clusters(&mut self) {
        let wanted: Vec<ClusterKey> = self.manifest.clusters.iter().map(context::key).collect();
        for cluster in self.clusters.iter_mut().filter(|cluster| !wanted.contains(&cluster.key)) {
            let folder = place::short(cluster.place.folder());
            self.screen.event(
                Tone::Plain,
                &cluster.key.name,
                &format!("is gone from the manifest and stops; {folder} stays"),
            );
            cluster.stop().await;
            self.objects.drop_cluster(&cluster.key);
        }
        self.clusters.retain(|cluster| wanted.contains(&cluster.key));
    }

    /// What runs, where it is reached, and what it holds.
    fn summary(&self, cluster: &Cluster) {
        let processes = cluster.processes().map(|(launch, child)| {
            let state = child.state();
            let pid = state.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            let ready = if state.ready.is_ok() { "yes" } else { "no" };
            let (address, http) = (launch.address.to_string(), launch.http.to_string());
            let (name, role, ready) = (launch.name.clone(), launch.role().to_owned(), ready.to_owned());
            [name, role, address, http, ready, pid, place::short(&launch.log())]
        });
        self.screen.table(["PROCESS", "ROLE", "ADDRESS", "HTTP", "READY", "PID", "LOG"], processes.collect());
        let rows: Vec<_> = self.objects.rows(&cluster.key).map(|row| row.clone().into()).collect();
        if !rows.is_empty() {
            self.screen.table(["KIND", "NAME", "STATE", "MESSAGE"], rows);
        }
        if let Some(plan) = &cluster.plan {
            self.screen.print(&format!("\n    export NAMESRV_ADDR='{}'\n", plan.namesrv_addrs));
        }
    }

    /// Stops everything in order; a second signal ends it at once.
    async fn stop(&mut self, signals: &mut Signals) -> anyhow::Result<()> {
        if self.clusters.iter().all(|cluster| cluster.processes().next().is_none()) {
            // Nothing was started: the reason is the result.
            futures::future::join_all(self.clusters.iter_mut().map(Cluster::stop)).await;
            return Ok(());
        }
        self.screen.event(Tone::Plain, "rocketmq", "stops everything; another Ctrl-C ends it at once");
        let stopped = tokio::select! {
            biased;
            _ = futures::future::join_all(self.clusters.iter_mut().map(Cluster::stop)) => true,
            () = signals.next() => false,
        };
        if stopped {
            self.screen.event(Tone::Plain, "rocketmq", "everything is stopped");
            return Ok(());
        }
        futures::future::join_all(self.clusters.iter_mut().map(Cluster::kill)).await;
        anyhow::bail!("stopped in the middle; the next start recovers as after a crash")
    }
}

async fn converge(cluster: &mut Cluster, given: &mut AllocatedPorts, screen: &Screen) {
    if let Err(error) = cluster.converge(given).await {
        screen.event(Tone::Bad, &cluster.key.name, &crate::error_text(&error));
    }
}

/// One `rocketmq up` after the other chooses ports and starts what listens on them: a port that is
/// free for two would be taken by one.
async fn turn(screen: &Screen) -> Option<File> {
    let user = rustix::process::getuid().as_raw();
    let path = std::env::temp_dir().join(format!("rocketmq-up-{user}.lock"));
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path).ok()?;
    let mut reported = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Some(file),
            // Where files cannot be locked there is no turn to wait for.
            Err(TryLockError::Error(_)) => return None,
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut reported, true) {
                    screen.event(Tone::Plain, "rocketmq", "waits for another `rocketmq up` that is starting");
                }
                tokio::time::sleep(TURN).await;
            }
        }
    }
}

/// All that is wrong, as the last output of this process.
fn refusal(problems: &[Problem]) -> anyhow::Error {
    anyhow::anyhow!("nothing is started:\n{}", list(problems))
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

fn count(manifest: &Manifest) -> String {
    let of = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let Manifest { clusters, topics, consumer_groups, .. } = manifest;
    [of(clusters.len(), "cluster"), of(topics.len(), "topic"), of(consumer_groups.len(), "consumer group")].join(", ")
}
