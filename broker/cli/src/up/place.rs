//! Where a cluster lives on this machine: a folder, ports on loopback, and for each process what it
//! is started with.
//!
//! ```text
//! <data>/<cluster>/lock                      held while `rocketmq up` runs it; names that process
//!                 /opened                    groups that were opened for writes, see `opened.rs`
//!                 /<process>/<kind>.conf     its configuration, written anew at each start
//!                           /log, log.old    what it said
//!                           /store, ...      what it keeps
//! ```
//!
//! A process keeps the ports that it had last time, as long as they are free: addresses stand in
//! clients' configuration and in message ids.

use anyhow::Context;
use rmq_operator::{
    api::reference::ClusterKey,
    cluster::topology::{DATA_PATH, Kind, Process, Properties, Set, Topology},
};
use rmq_protocol::java_properties;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Only this machine is served.
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// From one broker's port to the next one's: room for the ports beside it.
const BROKER_STEP: u16 = 10;
/// Folder of the messages within a broker's folder, as the topology has it.
const STORE: &str = "store";
/// How many ports are tried for a process.
const TRIES: u16 = 2_000;

/// The address, port by port, and the folder of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Local {
    folder: PathBuf,
    listen: u16,
    http: u16,
}

impl Local {
    /// Anything that a configuration can be read with.
    pub(super) fn example() -> Self {
        Self { folder: PathBuf::from(DATA_PATH), listen: 10, http: 20 }
    }
}

/// All that it takes to start one process. Two that are equal need no restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Launch {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Those that are like it: the namesrvs, or a broker group.
    pub(super) set: String,
    /// Its number among them.
    pub(super) ordinal: u32,
    /// Where clients find it.
    pub(super) address: SocketAddr,
    /// Where probes find it.
    pub(super) http: SocketAddr,
    /// What it may write to.
    pub(super) folder: PathBuf,
    /// The text of its configuration file.
    pub(super) config: String,
}

impl Launch {
    /// What it is to people.
    pub(super) fn role(&self) -> &'static str {
        match (self.kind, self.ordinal) {
            (Kind::Namesrv, _) => "namesrv",
            (Kind::Broker, 0) => "master",
            (Kind::Broker, _) => "slave",
        }
    }

    pub(super) fn config_file(&self) -> PathBuf {
        config_file(&self.folder, self.kind)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

/// Every process of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) namesrvs: Vec<Arc<Launch>>,
    /// The members of each group by number, so the master first.
    pub(super) groups: Vec<Group>,
    /// Addresses of all namesrvs as clients take them.
    pub(super) namesrv_addrs: String,
    /// RocketMQ's name of the cluster.
    pub(super) cluster_name: String,
}

/// A broker group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) members: Vec<Arc<Launch>>,
}

impl Plan {
    pub(super) fn launches(&self) -> impl Iterator<Item = &Arc<Launch>> {
        self.namesrvs.iter().chain(self.groups.iter().flat_map(|group| &group.members))
    }
}

/// A cluster's folder, ours as long as this value lives.
#[derive(Debug)]
pub(super) struct ClusterFolder {
    folder: PathBuf,
    ports: BTreeMap<String, (u16, u16)>,
    _lock: File,
}

impl ClusterFolder {
    /// Takes the folder of a cluster below `root`, and makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be made, or another process has it.
    pub(super) fn take(root: &Path, key: &ClusterKey) -> anyhow::Result<Self> {
        // Neither part can hold a dot.
        let name = match key.namespace.as_str() {
            "default" => key.name.clone(),
            namespace => format!("{namespace}.{}", key.name),
        };
        let folder = std::path::absolute(root)?.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let path = folder.join("lock");
        let mut lock = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                lock.read_to_string(&mut holder)?;
                anyhow::bail!(
                    "{} is in use by another `rocketmq up` (pid {}): stop that one, or choose \
                     another folder with --data",
                    folder.display(),
                    holder.trim()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        lock.set_len(0)?;
        writeln!(lock, "{}", std::process::id())?;
        Ok(Self { folder, ports: BTreeMap::new(), _lock: lock })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Groups that have a store here, as highest index + 1: they may hold messages.
    pub(super) fn existing_groups(&self, cluster: &str) -> u32 {
        let prefix = format!("{cluster}-broker-");
        let group = |entry: fs::DirEntry| {
            entry.path().join(STORE).is_dir().then_some(())?;
            let name = entry.file_name().into_string().ok()?;
            let (group, _member) = name.strip_prefix(&prefix)?.split_once('-')?;
            group.parse::<u32>().ok()
        };
        let folders = fs::read_dir(&self.folder).into_iter().flatten().filter_map(Result::ok);
        folders.filter_map(group).max().map_or(0, |highest| highest.saturating_add(1))
    }

    /// Groups with a commit log in any member's folder here: they may have messages.
    pub(super) fn groups_with_a_log(&self, cluster: &str) -> BTreeSet<String> {
        let prefix = format!("{cluster}-broker-");
        let group = |entry: fs::DirEntry| {
            fs::read_dir(entry.path().join(STORE).join("commitlog")).ok()?.next()?.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let (index, _member) = name.strip_prefix(&prefix)?.split_once('-')?;
            Some(format!("{prefix}{index}"))
        };
        let folders = fs::read_dir(&self.folder).into_iter().flatten().filter_map(Result::ok);
        folders.filter_map(group).collect()
    }

    /// Gives every process of a topology its folder and its ports. A process that has ports keeps
    /// them.
    ///
    /// # Errors
    /// No free ports.
    pub(super) fn plan(&mut self, topology: &Topology, given: &mut AllocatedPorts) -> anyhow::Result<Plan> {
        for process in topology.processes() {
            if !self.ports.contains_key(&process.name) {
                let last = remembered(&self.folder.join(&process.name), process.kind);
                self.ports.insert(process.name.clone(), given.choose(&process, last)?);
            }
        }
        let namesrv_addrs: Vec<String> =
            topology.namesrv.processes().map(|process| self.address(&process).to_string()).collect();
        let namesrv_addrs = namesrv_addrs.join(";");
        let members = |set: &Set| {
            let launch = |process| Arc::new(self.launch(&set.name, process, &namesrv_addrs));
            set.processes().map(launch).collect()
        };
        let group = |set: &Set| Group { name: set.name.clone(), members: members(set) };
        Ok(Plan {
            namesrvs: members(&topology.namesrv),
            groups: topology.groups.iter().map(group).collect(),
            cluster_name: topology.cluster_name.clone(),
            namesrv_addrs,
        })
    }

    fn local(&self, process: &Process) -> Local {
        let (listen, http) = self.ports.get(&process.name).copied().unwrap_or_default();
        Local { folder: self.folder.join(&process.name), listen, http }
    }

    fn address(&self, process: &Process) -> SocketAddr {
        SocketAddr::from((LOOPBACK, self.local(process).listen))
    }

    fn launch(&self, set: &str, process: Process, namesrv_addrs: &str) -> Launch {
        let local = self.local(&process);
        let mut pairs = pairs(&process.config, &local);
        if process.kind == Kind::Broker {
            let own = [("brokerIP1", LOOPBACK.to_string()), ("brokerIP2", LOOPBACK.to_string())];
            let addresses = ("namesrvAddr", namesrv_addrs.to_owned());
            pairs.extend(own.into_iter().chain([addresses]).map(|(key, value)| (key.to_owned(), value)));
        }
        Launch {
            kind: process.kind,
            set: set.to_owned(),
            ordinal: process.ordinal,
            address: SocketAddr::from((LOOPBACK, local.listen)),
            http: SocketAddr::from((LOOPBACK, local.http)),
            config: java_properties::to_text(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))),
            folder: local.folder,
            name: process.name,
        }
    }
}

/// A configuration with what is different here: folders, ports, and that only loopback is served.
pub(super) fn pairs(config: &Properties, local: &Local) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = config
        .iter()
        .filter(|(key, _)| *key != "bindAddress")
        .map(|(key, value)| {
            let value = match (key, value.strip_prefix(DATA_PATH).and_then(|below| below.strip_prefix('/'))) {
                ("listenPort", _) => local.listen.to_string(),
                ("haListenPort", _) => local.listen.saturating_add(1).to_string(),
                ("httpPort", _) => local.http.to_string(),
                (_, Some(below)) => local.folder.join(below).display().to_string(),
                (_, None) => value.to_owned(),
            };
            (key.to_owned(), value)
        })
        .collect();
    pairs.push(("bindAddress".to_owned(), LOOPBACK.to_string()));
    pairs
}

/// A path as a person would write it here.
pub(super) fn short(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    below.as_deref().filter(|below| !below.as_os_str().is_empty()).unwrap_or(path).display().to_string()
}

fn config_file(folder: &Path, kind: Kind) -> PathBuf {
    folder.join(format!("{}.conf", kind.as_str()))
}

/// The ports that a process had when it ran here last.
fn remembered(folder: &Path, kind: Kind) -> Option<(u16, u16)> {
    let pairs = java_properties::parse(&fs::read_to_string(config_file(folder, kind)).ok()?);
    let port = |key: &str| pairs.iter().find(|(known, _)| known == key)?.1.parse().ok();
    Some((port("listenPort")?, port("httpPort")?))
}

/// Ports that this process gave out. A process that was given one may not be listening yet.
#[derive(Debug, Default)]
pub(super) struct AllocatedPorts(BTreeSet<u16>);

impl AllocatedPorts {
    /// A port for clients with all that lie beside it, and one for probes: those of last time, else
    /// those of the topology, else the next ones.
    fn choose(&mut self, process: &Process, last: Option<(u16, u16)>) -> anyhow::Result<(u16, u16)> {
        let beside = |listen: u16| -> Option<Vec<u16>> {
            let distance = |port: Option<u16>| port.map(|port| i32::from(port) - i32::from(process.ports.listen));
            [Some(0), distance(process.ports.vip), distance(process.ports.ha)]
                .into_iter()
                .flatten()
                .map(|distance| u16::try_from(i32::from(listen) + distance).ok().filter(|port| *port > 0))
                .collect()
        };
        let step = if process.kind == Kind::Broker { BROKER_STEP } else { 1 };
        let first = candidates(last.map(|(listen, _)| listen), process.ports.listen, step)
            .find(|listen| beside(*listen).is_some_and(|ports| ports.iter().all(|port| self.is_free(*port))));
        let listen = first.with_context(|| format!("no port is free from {} on", process.ports.listen))?;
        self.0.extend(beside(listen).unwrap_or_default());
        let first = candidates(last.map(|(_, http)| http), process.ports.http, 1).find(|http| self.is_free(*http));
        let http = first.with_context(|| format!("no port is free from {} on", process.ports.http))?;
        self.0.insert(http);
        Ok((listen, http))
    }

    fn is_free(&self, port: u16) -> bool {
        !self.0.contains(&port) && TcpListener::bind((LOOPBACK, port)).is_ok()
    }
}

fn candidates(last: Option<u16>, first: u16, step: u16) -> impl Iterator<Item = u16> {
    let on = (0..TRIES).map_while(move |number| first.checked_add(number.checked_mul(step)?));
    last.into_iter().chain(on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmq_operator::{api::cluster::ClusterSpec, cluster::topology};

    fn spec(groups: i32, slaves: i32) -> ClusterSpec {
        let mut spec = ClusterSpec::default();
        (spec.brokers.groups, spec.brokers.slaves_per_group) = (groups, slaves);
        spec
    }

    fn take(root: &Path) -> anyhow::Result<ClusterFolder> {
        ClusterFolder::take(root, &ClusterKey { namespace: "default".to_owned(), name: "prod".to_owned() })
    }

    fn setting(launch: &Launch, key: &str) -> Option<String> {
        java_properties::parse(&launch.config).into_iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    #[test]
    fn no_two_processes_share_a_port_and_all_find_the_namesrvs() {
        let root = tempfile::tempdir().unwrap();
        let plan = take(root.path())
            .unwrap()
            .plan(&topology::plan("prod", &spec(3, 1)), &mut AllocatedPorts::default())
            .unwrap();
        let mut ports = BTreeSet::new();
        for launch in plan.launches() {
            let listen = launch.address.port();
            let beside = if launch.kind == Kind::Broker { vec![listen - 2, listen, listen + 1] } else { vec![listen] };
            for port in beside.into_iter().chain([launch.http.port()]) {
                assert!(ports.insert(port), "{port} twice");
            }
            assert_eq!(setting(launch, "bindAddress").as_deref(), Some("127.0.0.1"));
            if launch.kind == Kind::Broker {
                assert_eq!(setting(launch, "namesrvAddr").as_ref(), Some(&plan.namesrv_addrs));
                assert_eq!(setting(launch, "haListenPort"), Some((listen + 1).to_string()));
                assert_eq!(
                    setting(launch, "storePathRootDir"),
                    Some(launch.folder.join("store").display().to_string())
                );
            }
        }
        assert_eq!(plan.namesrv_addrs.split(';').count(), 2);
    }

    #[test]
    fn a_port_in_use_is_not_taken() {
        let topology = topology::plan("prod", &spec(1, 0));
        let master = topology.groups[0].processes().next().unwrap();
        let (listen, _) = AllocatedPorts::default().choose(&master, None).unwrap();
        let taken = TcpListener::bind((LOOPBACK, listen + 1)).unwrap();
        let (next, _) = AllocatedPorts::default().choose(&master, None).unwrap();
        assert!(next > listen, "replication could not have had its port");
        drop(taken);
    }

    #[test]
    fn ports_of_last_time_are_kept_also_in_another_order() {
        let root = tempfile::tempdir().unwrap();
        let topology = topology::plan("prod", &spec(2, 0));
        let first = take(root.path()).unwrap().plan(&topology, &mut AllocatedPorts::default()).unwrap();
        for launch in first.launches() {
            fs::create_dir_all(&launch.folder).unwrap();
            fs::write(launch.config_file(), &launch.config).unwrap();
        }
        // Without its file the first broker would take the first port that is free: the second
        // one's, were that not known.
        fs::remove_file(first.groups[1].members[0].config_file()).unwrap();
        let again = take(root.path()).unwrap().plan(&topology, &mut AllocatedPorts::default()).unwrap();
        assert_eq!(first.groups[0].members, again.groups[0].members);
        assert_eq!(first.namesrv_addrs, again.namesrv_addrs);
    }

    #[test]
    fn one_folder_belongs_to_one_and_groups_with_messages_count() {
        let root = tempfile::tempdir().unwrap();
        let place = take(root.path()).unwrap();
        let error = take(root.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        assert_eq!(place.existing_groups("prod"), 0);
        for folder in ["prod-broker-0-0/store", "prod-broker-3-1/store", "prod-broker-7-0", "prod-namesrv-9/store"] {
            fs::create_dir_all(place.folder().join(folder)).unwrap();
        }
        assert_eq!(place.existing_groups("prod"), 4, "one without a store holds nothing");
        assert_eq!(place.groups_with_a_log("prod"), BTreeSet::new());
        let log = place.folder().join("prod-broker-3-1/store/commitlog");
        fs::create_dir(&log).unwrap();
        fs::write(log.join("00000000000000000000"), "").unwrap();
        assert_eq!(place.groups_with_a_log("prod"), BTreeSet::from(["prod-broker-3".to_owned()]));
        drop(place);
        take(root.path()).unwrap();
    }

    #[test]
    fn only_paths_below_the_data_folder_are_moved() {
        let mut config = Properties::default();
        for (key, value) in
            [("kvConfigPath", "/data/a/b.json"), ("x", "/database"), ("y", "/data"), ("bindAddress", "::")]
        {
            config.set(key, value);
        }
        let local = Local { folder: PathBuf::from("/home/me"), listen: 1, http: 2 };
        let expected =
            [("kvConfigPath", "/home/me/a/b.json"), ("x", "/database"), ("y", "/data"), ("bindAddress", "127.0.0.1")];
        assert_eq!(pairs(&config, &local), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
