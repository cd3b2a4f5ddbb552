//! What a manifest means: which processes, with which configuration, names, ports and disks.
//!
//! Pure, and free of Kubernetes: `build` renders a topology to StatefulSets, `rocketmq up` renders
//! the same one to local child processes. So what runs on a laptop is what runs in a cluster, less
//! the addresses.
//!
//! Configuration stands under RocketMQ's own keys, in a fixed order: the keys that the operator
//! owns first, then the user's in order of name. Addresses are not in it: a renderer knows where
//! its processes are and adds `brokerId`, `brokerIP1`, `brokerIP2` and the list of namesrvs.

use std::{collections::BTreeMap, fmt};

use rmq_protocol::java_properties;

use crate::api::cluster::{Advertise, Brokers, ClusterSpec, Flush, Replication, group_name};

/// Port of a namesrv.
pub const NAMESRV_PORT: u16 = 9876;
/// Port of a broker for clients.
pub const BROKER_PORT: u16 = 10911;
/// RocketMQ's second port of a broker: always the first less 2.
pub const BROKER_VIP_PORT: u16 = BROKER_PORT - 2;
/// Port of a master for its slaves.
pub const BROKER_HA_PORT: u16 = 10912;
/// Port of every process for `/healthz`, `/readyz` and `/metrics`.
pub const HTTP_PORT: u16 = 8088;
/// The most broker groups of a cluster, as in the rule of `spec.brokers.groups`.
pub const MAX_GROUPS: u32 = 64;
/// Folder of every process that it may write to.
pub const DATA_PATH: &str = "/data";

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name server.
    Namesrv,
    /// A broker, master or slave.
    Broker,
}

impl Kind {
    /// The subcommand of `rocketmq` that runs it; also the name of its container and its component
    /// label.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Namesrv => "namesrv",
            Kind::Broker => "broker",
        }
    }
}

/// Where a process listens inside its own network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The remoting protocol.
    pub listen: u16,
    /// The second remoting port; brokers only.
    pub vip: Option<u16>,
    /// Replication; brokers only.
    pub ha: Option<u16>,
    /// Health and metrics.
    pub http: u16,
}

/// The folder a process writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// Where it is mounted.
    pub path: &'static str,
    /// Size of the disk it must have; `None`: it may be lost at any restart.
    pub disk: Option<String>,
}

/// A configuration file: keys in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    /// Adds a key, or replaces its value where it stands.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn extend_sorted(&mut self, more: &BTreeMap<String, String>) {
        for (key, value) in more {
            self.set(key, value);
        }
    }
}

impl fmt::Display for Properties {
    /// As a Java properties file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&java_properties::to_text(self.iter()))
    }
}

/// Processes that are alike: all namesrvs, or the members of one broker group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// What they are.
    pub kind: Kind,
    /// Name of the set; for brokers also RocketMQ's broker name. Member i is called `<name>-<i>`.
    pub name: String,
    /// Index of the broker group.
    pub group: Option<u32>,
    /// How many.
    pub members: u32,
    /// Where each listens.
    pub ports: Ports,
    /// What all of them share.
    pub config: Properties,
    /// Where each writes.
    pub data: Data,
}

/// What a broker group has been through. It stands in no manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// It was opened for writes: it has been given its topics.
    pub opened: bool,
    /// It may have messages.
    pub stored: bool,
}

impl Set {
    /// Keys that the history of a broker group adds to its file.
    ///
    /// A group that was not opened starts readable and not writable: its topics are not there yet.
    /// In a group that may have messages a master with a new store, or with less than a slave, has
    /// lost some: it takes no writes before its log was checked.
    ///
    /// These keys are no reason to restart a broker: opening a group must not disturb it, and a
    /// broker that restarts afterwards must come up writable by itself.
    pub fn history_config(&self, history: History) -> Properties {
        let mut config = Properties::default();
        if self.kind == Kind::Broker && !history.opened {
            config.set("brokerPermission", "4");
        }
        if self.kind == Kind::Broker && history.stored {
            config.set("checkLogBeforeWrites", "true");
            config.set("expectedSlaves", self.members.saturating_sub(1).to_string());
        }
        config
    }

    /// The members, each with its own configuration.
    pub fn processes(&self) -> impl Iterator<Item = Process> {
        (0..self.members).map(|ordinal| {
            let mut config = self.config.clone();
            if self.kind == Kind::Broker {
                config.set("brokerId", ordinal.to_string());
                if ordinal > 0 {
                    config.set("brokerRole", "SLAVE");
                }
            }
            Process {
                kind: self.kind,
                name: format!("{}-{ordinal}", self.name),
                group: self.group,
                ordinal,
                ports: self.ports,
                config,
                data: self.data.clone(),
            }
        })
    }
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// What it is.
    pub kind: Kind,
    /// Its name, unique in the cluster.
    pub name: String,
    /// Index of its broker group.
    pub group: Option<u32>,
    /// Its number within its set; for brokers also brokerId, so 0 is the master.
    pub ordinal: u32,
    /// Where it listens.
    pub ports: Ports,
    /// All of its configuration but addresses.
    pub config: Properties,
    /// Where it writes.
    pub data: Data,
}

/// All processes of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Name of the manifest; every other name begins with it.
    pub name: String,
    /// RocketMQ's name of the cluster.
    pub cluster_name: String,
    /// What brokers register as their address.
    pub advertise: Advertise,
    /// The name servers.
    pub namesrv: Set,
    /// The broker groups by index.
    pub groups: Vec<Set>,
}

impl Topology {
    /// Every process, namesrvs first: brokers register with them.
    pub fn processes(&self) -> impl Iterator<Item = Process> {
        std::iter::once(&self.namesrv).chain(&self.groups).flat_map(Set::processes)
    }
}

/// The topology of a spec. The schema's bounds are taken for granted; values outside of them are
/// brought to the nearest bound rather than trusted, so nothing here can fail.
pub fn plan(name: &str, spec: &ClusterSpec) -> Topology {
    let cluster_name = spec.cluster_name.clone().unwrap_or_else(|| name.to_owned());
    let groups = (0..bounded(spec.brokers.groups, 1, MAX_GROUPS))
        .map(|group| broker_group(name, &cluster_name, group, spec))
        .collect();
    Topology {
        name: name.to_owned(),
        namesrv: namesrvs(name, spec),
        groups,
        cluster_name,
        advertise: spec.access.internal.advertise,
    }
}

fn namesrvs(name: &str, spec: &ClusterSpec) -> Set {
    let mut config = Properties::default();
    config.set("listenPort", NAMESRV_PORT.to_string());
    config.set("httpPort", HTTP_PORT.to_string());
    config.set("kvConfigPath", format!("{DATA_PATH}/kvConfig.json"));
    config.set("configStorePath", format!("{DATA_PATH}/namesrv.properties"));
    config.extend_sorted(&spec.namesrv.config);
    Set {
        kind: Kind::Namesrv,
        name: format!("{name}-namesrv"),
        group: None,
        members: bounded(spec.namesrv.replicas, 1, 9),
        ports: Ports { listen: NAMESRV_PORT, vip: None, ha: None, http: HTTP_PORT },
        config,
        data: Data { path: DATA_PATH, disk: None },
    }
}

fn broker_group(name: &str, cluster_name: &str, group: u32, spec: &ClusterSpec) -> Set {
    let brokers = &spec.brokers;
    let set_name = group_name(name, group);
    let mut config = Properties::default();
    config.set("brokerClusterName", cluster_name);
    config.set("brokerName", &set_name);
    match brokers.replication {
        Replication::Async => config.set("brokerRole", "ASYNC_MASTER"),
        Replication::Sync => {
            config.set("brokerRole", "SYNC_MASTER");
            // The count includes the master; with RocketMQ's default of 1 a SYNC_MASTER waits for
            // no slave.
            config.set("inSyncReplicas", "2");
        }
    }
    config.set("flushDiskType", if brokers.flush == Flush::Sync { "SYNC_FLUSH" } else { "ASYNC_FLUSH" });
    config.set("listenPort", BROKER_PORT.to_string());
    config.set("haListenPort", BROKER_HA_PORT.to_string());
    config.set("httpPort", HTTP_PORT.to_string());
    config.set("storePathRootDir", format!("{DATA_PATH}/store"));
    config.set("autoCreateTopicEnable", spec.topics.auto_create.to_string());
    config.set("autoCreateSubscriptionGroup", spec.topics.auto_create_groups.to_string());
    config.extend_sorted(&brokers.config);
    Set {
        kind: Kind::Broker,
        name: set_name,
        group: Some(group),
        members: members(brokers),
        ports: Ports { listen: BROKER_PORT, vip: Some(BROKER_VIP_PORT), ha: Some(BROKER_HA_PORT), http: HTTP_PORT },
        config,
        data: Data { path: DATA_PATH, disk: Some(brokers.storage.size.clone()) },
    }
}

/// Processes of one broker group.
pub(crate) fn members(brokers: &Brokers) -> u32 {
    1 + bounded(brokers.slaves_per_group, 0, 4)
}

/// A count of the API (signed there) as an unsigned one.
pub(crate) fn bounded(count: i32, least: u32, most: u32) -> u32 {
    u32::try_from(count).unwrap_or(0).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(groups: i32, slaves: i32) -> ClusterSpec {
        let mut spec = ClusterSpec::default();
        (spec.brokers.groups, spec.brokers.slaves_per_group) = (groups, slaves);
        spec
    }

    #[test]
    fn a_manifest_of_two_groups_with_a_slave_is_six_processes() {
        let topology = plan("prod", &spec(2, 1));
        let names: Vec<String> = topology.processes().map(|process| process.name).collect();
        assert_eq!(
            names,
            [
                "prod-namesrv-0",
                "prod-namesrv-1",
                "prod-broker-0-0",
                "prod-broker-0-1",
                "prod-broker-1-0",
                "prod-broker-1-1"
            ]
        );
    }

    #[test]
    fn members_differ_in_id_and_role_only() {
        let group = &plan("prod", &spec(1, 1)).groups[0];
        let [master, slave] = [0, 1].map(|ordinal| group.processes().nth(ordinal).unwrap().config);
        assert_eq!((master.value("brokerId"), master.value("brokerRole")), (Some("0"), Some("ASYNC_MASTER")));
        assert_eq!((slave.value("brokerId"), slave.value("brokerRole")), (Some("1"), Some("SLAVE")));
        assert_eq!(master.value("brokerName"), Some("prod-broker-0"));
        let differing = master.iter().zip(slave.iter()).filter(|(left, right)| left != right).count();
        assert_eq!(differing, 2);
    }

    #[test]
    fn sync_replication_waits_for_one_slave() {
        let mut sync = spec(1, 1);
        sync.brokers.replication = Replication::Sync;
        sync.brokers.flush = Flush::Sync;
        let config = &plan("prod", &sync).groups[0].config;
        assert_eq!(config.value("brokerRole"), Some("SYNC_MASTER"));
        assert_eq!(config.value("inSyncReplicas"), Some("2"));
        assert_eq!(config.value("flushDiskType"), Some("SYNC_FLUSH"));
    }

    #[test]
    fn cluster_name_is_rocketmqs_and_the_manifests_name_is_kubernetes() {
        let mut named = spec(1, 0);
        named.cluster_name = Some("DefaultCluster".to_owned());
        let topology = plan("prod", &named);
        assert_eq!(topology.groups[0].config.value("brokerClusterName"), Some("DefaultCluster"));
        assert_eq!(topology.groups[0].name, "prod-broker-0");
    }

    #[test]
    fn the_users_keys_follow_the_operators_in_order_of_name() {
        let mut tuned = spec(1, 0);
        tuned.brokers.config =
            [("fileReservedTime", "48"), ("deleteWhen", "04")].map(|(k, v)| (k.into(), v.into())).into();
        let text = plan("prod", &tuned).groups[0].config.to_string();
        assert!(text.ends_with("autoCreateSubscriptionGroup=false\ndeleteWhen=04\nfileReservedTime=48\n"), "{text}");
    }

    #[test]
    fn values_survive_the_properties_form() {
        let mut config = Properties::default();
        for (key, value) in [("a", "c:\\temp"), ("b", " led by a space"), ("c", "two\nbrokerRole=SLAVE"), ("a", "d:\\")]
        {
            config.set(key, value);
        }
        let back = java_properties::parse(&config.to_string());
        assert_eq!(
            back,
            [("a", "d:\\"), ("b", " led by a space"), ("c", "two\nbrokerRole=SLAVE")]
                .map(|(k, v)| (k.into(), v.into()))
        );
    }

    #[test]
    fn counts_outside_the_schema_are_brought_back() {
        let topology = plan("prod", &spec(-3, 99));
        assert_eq!((topology.groups.len(), topology.groups[0].members), (1, 5));
    }
}
