//! DNS names: one for each pod, and one address for clients.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{labels, metadata};
use crate::cluster::{
    topology::{Ports, Set},
    validate::Validated,
};

/// Gives each pod of a set a name, ready or not: a slave looks for its master, and a broker for its
/// namesrvs, before either is ready, and a registered address must not stop resolving because a
/// probe failed once.
pub(super) fn headless(cluster: &Validated, set: &Set) -> Service {
    Service {
        metadata: metadata(cluster, &set.name, Some(set)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(labels::selector(&cluster.name, set)),
            ports: Some(ports(&set.ports).into_iter().map(|(name, number)| port(name, number)).collect()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// One address for clients that take only one; it reaches any namesrv that is ready.
pub(super) fn namesrv_client(cluster: &Validated) -> Service {
    let set = &cluster.topology.namesrv;
    Service {
        metadata: metadata(cluster, &format!("{}-client", set.name), Some(set)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(labels::selector(&cluster.name, set)),
            ports: Some(vec![port("remoting", set.ports.listen)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Names and numbers of a set's ports.
pub(super) fn ports(ports: &Ports) -> Vec<(&'static str, u16)> {
    [("remoting", Some(ports.listen)), ("vip", ports.vip), ("ha", ports.ha), ("http", Some(ports.http))]
        .into_iter()
        .filter_map(|(name, number)| Some((name, number?)))
        .collect()
}

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
