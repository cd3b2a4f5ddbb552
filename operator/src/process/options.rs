//! What the operator is started with.

use std::net::SocketAddr;

use super::lease::Identity;
use crate::api::{cluster::Image, settings::Readers};

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespaces to watch; empty: all.
    pub namespaces: Vec<String>,
    /// Image of clusters whose spec names none; the operator's own.
    pub default_image: Image,
    /// DNS domain of the Kubernetes cluster, as `cluster.local`.
    pub domain: String,
    /// Readers of the settings of namesrvs and brokers.
    pub readers: Readers,
    /// The Lease to hold while reconciling; `None`: this is the only replica.
    pub lease: Option<Identity>,
    /// Where to serve health and metrics.
    pub http: SocketAddr,
}
