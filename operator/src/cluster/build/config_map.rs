//! Configuration files, and the addresses for applications.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::{Groups, config_file, metadata, namesrv_addrs};
use crate::cluster::{
    topology::{History, Set},
    validate::Validated,
};

/// The configuration file of a set. What the history of a group adds stands in the file and not in
/// its fingerprint.
pub(super) fn of_set(cluster: &Validated, set: &Set, groups: &Groups<'_>) -> ConfigMap {
    let history = History { opened: groups.open.contains(&set.name), stored: groups.stored.contains(&set.name) };
    let text = format!("{}{}", set.config, set.history_config(history));
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
