//! One cluster on this machine: which of its processes are started, restarted and stopped, and in
//! which order.
//!
//! ```text
//! namesrvs -> masters -> their slaves -> restarts -> processes that are not wanted any more
//! ```
//!
//! In a group that may have messages master and slaves start together, as the master asks them
//! whether it has all of them. Where a person has to decide about its log, the group is not waited
//! for: everything else goes on, and `converge` comes again when all processes are ready.
//!
//! Each arrow waits until what stands before it is ready: a broker that finds its namesrvs, and a
//! slave that finds its master, is ready at once. Restarts are those of processes whose
//! configuration changed: one at a time, slaves before their master, as Kubernetes does it. What is
//! interrupted in the middle is taken up by the next [`Cluster::converge`], which starts from what
//! is there.

use super::{
    child::Child,
    decision,
    opened::Opened,
    place::{self, AllocatedPorts, ClusterFolder, Group, Launch, Plan},
    screen::{Screen, Tone},
};
use rmq_operator::{
    api::{RocketMQCluster, reference::ClusterKey},
    brokers::{admin::Admin, remote::Remote},
    cluster::{
        topology::{self, Kind},
        validate,
    },
    kubernetes::context,
};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

/// Between two questions whether a master waits for a decision.
const ASK: Duration = Duration::from_secs(2);

/// A cluster and its processes.
pub(super) struct Cluster {
    pub(super) key: ClusterKey,
    pub(super) place: ClusterFolder,
    /// What was asked for last.
    wanted: RocketMQCluster,
    /// What follows from it; None: nothing was started yet.
    pub(super) plan: Option<Plan>,
    /// By name of the process.
    children: BTreeMap<String, Child>,
    pub(super) opened: Arc<Opened>,
    /// Whether everything runs as the plan says.
    pub(super) settled: bool,
    timeout: Duration,
    screen: Screen,
}

impl Cluster {
    /// Takes the folder of a cluster; nothing runs yet.
    ///
    /// # Errors
    /// The folder cannot be made or read, or another process holds it.
    pub(super) fn new(wanted: RocketMQCluster, root: &Path, timeout: Duration, screen: Screen) -> anyhow::Result<Self> {
        let key = context::key(&wanted);
        let place = ClusterFolder::take(root, &key)?;
        let opened = Opened::load(place.folder(), place.groups_with_a_log(&key.name))?;
        screen.event(Tone::Plain, &key.name, &format!("lives in {}", place::short(place.folder())));
        Ok(Self { key, place, wanted, plan: None, children: BTreeMap::new(), opened, settled: false, timeout, screen })
    }

    /// Takes a changed object; `converge` makes it true. Returns whether anything is to be done.
    pub(super) fn change(&mut self, wanted: &RocketMQCluster) -> bool {
        let changed = self.wanted.spec != wanted.spec || self.paused() != paused(wanted);
        self.wanted = wanted.clone();
        if changed {
            self.settled = false;
        }
        changed
    }

    /// Whether the manifest says that everything is to stay as it is.
    pub(super) fn paused(&self) -> bool {
        paused(&self.wanted)
    }

    /// Every process beside its child, in the order of the plan.
    pub(super) fn processes(&self) -> impl Iterator<Item = (&Arc<Launch>, &Child)> {
        let launches = self.plan.iter().flat_map(Plan::launches);
        launches.filter_map(|launch| Some((launch, self.children.get(&launch.name)?)))
    }

    /// Whether every process is ready now.
    pub(super) fn ready(&self) -> bool {
        self.children.values().all(|child| child.state().ready.is_ok())
    }

    /// Makes the processes those of the manifest.
    ///
    /// # Errors
    /// No free port, or a process that is not ready in time; what was not reached yet stays as it
    /// was.
    pub(super) async fn converge(&mut self, given: &mut AllocatedPorts) -> anyhow::Result<()> {
        if self.paused() {
            let text = "is paused by its manifest: its processes stay as they are";
            self.screen.event(Tone::Plain, &self.key.name, text);
            self.settled = true;
            return Ok(());
        }
        let plan = self.make_plan(given)?;
        self.plan = Some(plan.clone());
        self.start(&plan.namesrvs);
        self.first_ready(&plan.namesrvs).await?;
        for group in &plan.groups {
            let together = self.opened.history(&group.name).stored;
            self.start(if together { &group.members } else { &group.members[..1] });
        }
        let masters: Vec<_> = plan.groups.iter().filter_map(|group| group.members.first().cloned()).collect();
        self.first_ready(&masters).await?;
        for group in &plan.groups {
            self.start(&group.members);
        }
        let all: Vec<_> = plan.launches().cloned().collect();
        self.first_ready(&all).await?;
        self.roll(&plan).await?;
        self.stop_surplus(&plan).await;
        // A group that waits for a decision was passed over.
        self.settled = self.ready();
        Ok(())
    }

    fn make_plan(&mut self, given: &mut AllocatedPorts) -> anyhow::Result<Plan> {
        let name = self.key.name.clone();
        let mut spec = self.wanted.spec.clone();
        let asked = topology::plan(&name, &spec).groups.len();
        let existing = self.place.existing_groups(&name);
        let existing = usize::try_from(existing)?.max(self.plan.as_ref().map_or(0, |plan| plan.groups.len()));
        if asked < existing {
            self.screen.event(Tone::Bad, &name, &validate::scale_down_refused(existing, u32::try_from(asked)?));
            spec.brokers.groups = i32::try_from(existing)?;
        }
        let topology = topology::plan(&name, &spec);
        self.opened.plan(&topology.groups);
        self.place.plan(&topology, given)
    }

    /// Starts those that are not there.
    fn start(&mut self, launches: &[Arc<Launch>]) {
        for launch in launches {
            if !self.children.contains_key(&launch.name) {
                let (role, address) = (launch.role(), launch.address);
                self.screen.event(Tone::Plain, &launch.name, &format!("starts as {role} on {address}"));
                let child = Child::start(Arc::clone(launch), Arc::clone(&self.opened), self.screen);
                self.children.insert(launch.name.clone(), child);
            }
        }
    }

    /// Restarts what runs with something else, one at a time. A group that is not ready goes first:
    /// if what it runs with is the reason, what corrects it must not wait for it.
    async fn roll(&self, plan: &Plan) -> anyhow::Result<()> {
        let troubled = |group: &&Group| {
            let child = |launch: &Arc<Launch>| self.children.get(&launch.name);
            group.members.iter().filter_map(child).any(|child| child.state().ready.is_err())
        };
        let (first, then): (Vec<_>, Vec<_>) = plan.groups.iter().partition(troubled);
        let members = first.into_iter().chain(then).flat_map(|group| group.members.iter().rev());
        for launch in plan.namesrvs.iter().chain(members) {
            let Some(child) = self.children.get(&launch.name) else { continue };
            if child.state().launch != *launch {
                self.screen.event(Tone::Plain, &launch.name, "is restarted with its new configuration");
                child.replace(launch);
            }
            self.all_ready(std::slice::from_ref(launch)).await?;
        }
        Ok(())
    }

    /// Waits for processes that just started; those that are to be restarted are waited for then.
    async fn first_ready(&self, launches: &[Arc<Launch>]) -> anyhow::Result<()> {
        let current = |launch: &&Arc<Launch>| {
            self.children.get(&launch.name).is_some_and(|child| child.state().launch == **launch)
        };
        self.all_ready(&launches.iter().filter(current).cloned().collect::<Vec<_>>()).await
    }

    async fn all_ready(&self, launches: &[Arc<Launch>]) -> anyhow::Result<()> {
        let child = |launch: &Arc<Launch>| self.children.get(&launch.name);
        let waits = launches.iter().filter_map(|launch| {
            let child = child(launch)?;
            Some(async {
                tokio::select! {
                    () = child.ready(launch) => {}
                    () = self.undecided(&launch.set) => {}
                }
            })
        });
        if tokio::time::timeout(self.timeout, futures::future::join_all(waits)).await.is_ok() {
            return Ok(());
        }
        let reason = |launch: &Arc<Launch>| {
            let why = child(launch)?.state().ready.err()?;
            Some(format!("{}: {why} (its log: {})", launch.name, place::short(&launch.log())))
        };
        let reasons: Vec<_> = launches.iter().filter_map(reason).collect();
        anyhow::bail!("not ready within {} s: {}", self.timeout.as_secs(), reasons.join("; "))
    }

    /// Returns when the master of a group waits for a decision; never for one that cannot.
    async fn undecided(&self, group: &str) {
        let plan = self.plan.as_ref().filter(|_| self.opened.history(group).stored);
        let found = plan.and_then(|plan| Some((plan, plan.groups.iter().find(|known| known.name == group)?)));
        let Some((plan, group)) = found else { return std::future::pending().await };
        let admin = Remote::connect(std::slice::from_ref(&plan.namesrv_addrs));
        // The first pause is for the slaves: they start with their master, and it asks each of
        // them.
        loop {
            tokio::time::sleep(ASK).await;
            if decision::needed(&admin, group).await.is_some() {
                return;
            }
        }
    }

    /// Stops what the plan does not have. What it keeps stays on disk.
    async fn stop_surplus(&mut self, plan: &Plan) {
        let wanted = |name: &String| plan.launches().any(|launch| launch.name == *name);
        let surplus: Vec<String> = self.children.keys().filter(|name| !wanted(name)).cloned().collect();
        for name in surplus {
            let Some(child) = self.children.get_mut(&name) else { continue };
            self.screen.event(Tone::Plain, &name, "is no longer in the manifest and stops; its folder stays");
            child.stop();
            child.ended().await;
            self.children.remove(&name);
        }
    }

    /// Stops everything: brokers, then the namesrvs that they say goodbye to.
    pub(super) async fn stop(&mut self) {
        let namesrv = |child: &Child| child.state().launch.kind == Kind::Namesrv;
        for last in [false, true] {
            let mut ending: Vec<&mut Child> =
                self.children.values_mut().filter(|child| namesrv(child) == last).collect();
            ending.iter().for_each(|child| child.stop());
            futures::future::join_all(ending.iter_mut().map(|child| child.ended())).await;
            drop(ending);
            self.children.retain(|_, child| namesrv(child) != last);
        }
    }

    /// Ends everything at once.
    pub(super) async fn kill(&mut self) {
        self.children.values().for_each(Child::kill);
        futures::future::join_all(self.children.values_mut().map(Child::ended)).await;
        self.children.clear();
    }
}

fn paused(cluster: &RocketMQCluster) -> bool {
    context::paused(cluster) || cluster.spec.operation.paused
}
