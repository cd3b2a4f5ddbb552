//! Which cluster an object means, and whether that cluster admits the object's namespace.

use super::{ClusterRef, RocketMQCluster};

/// Namespace and name of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterKey {
    /// Namespace of the RocketMQCluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ClusterKey {
    /// The cluster that an object in `namespace` means by `reference`.
    pub fn of(reference: &ClusterRef, namespace: &str) -> Self {
        let home = reference.namespace.as_deref().unwrap_or(namespace);
        Self { namespace: home.to_owned(), name: reference.name.clone() }
    }
}

impl std::fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Whether a cluster that lives in `home` admits objects of `namespace`.
pub fn admits(cluster: &RocketMQCluster, home: &str, namespace: &str) -> bool {
    home == namespace
        || cluster.spec.topics.allowed_namespaces.iter().any(|allowed| allowed == "*" || allowed == namespace)
}

/// The sentence for a namespace that is not admitted.
pub fn not_admitted(cluster: &str, home: &str, namespace: &str) -> String {
    format!(
        "RocketMQCluster {home}/{cluster} does not admit namespace {namespace}: add it to its \
         spec.topics.allowedNamespaces"
    )
}
