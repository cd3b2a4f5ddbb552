//! Configuration files, and the addresses for applications.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::{Groups, config_file, metadata, namesrv_addrs};
use crate::cluster::{
    topology::{Kind, Set},
    validate::Validated,
};

/// Readable, not writable: how a group boots that has not been given its topics yet.
const READ_ONLY: &str = "brokerPermission=4\n";

/// How a group boots that may have messages: a master with a new store, or with less than a slave,
/// has lost some.
fn checked(set: &Set) -> String {
    format!("checkLogBeforeWrites=true\nexpectedSlaves={}\n", set.members - 1)
}

/// The configuration file of a set.
///
/// The permission of a group that is not open yet, and whether its log is checked, stand in the
/// file and not in its fingerprint: opening a group must not restart it, and a pod that restarts
/// afterwards must come up writable without anybody's help.
pub(super) fn of_set(cluster: &Validated, set: &Set, groups: &Groups<'_>) -> ConfigMap {
    let mut text = set.config.to_string();
    if set.kind == Kind::Broker {
        if !groups.open.contains(&set.name) {
            text.push_str(READ_ONLY);
        }
        if groups.stored.contains(&set.name) {
            text.push_str(&checked(set));
        }
    }
    ConfigMap {
        metadata: metadata(cluster, &set.name, Some(set)),
        data: Some(BTreeMap::from([(config_file(set.kind).to_owned(), text)])),
        ..ConfigMap::default()
    }
}

/// What an application needs to connect, in the form of environment variables (`envFrom`).
pub(super) fn discovery(cluster: &Validated) -> ConfigMap {
    let data = [("NAMESRV_ADDR", namesrv_addrs(cluster)), ("clusterName", cluster.topology.cluster_name.clone())];
    ConfigMap {
        metadata: metadata(cluster, &format!("{}-discovery", cluster.name), None),
        data: Some(data.map(|(key, value)| (key.to_owned(), value)).into()),
        ..ConfigMap::default()
    }
}
