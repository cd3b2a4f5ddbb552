//! `rocketmq operator`.

use crate::{settings, shutdown};
use anyhow::Context;
use rmq_operator::{
    api::cluster::Image,
    brokers::remote::Remote,
    process::{Options, lease::Identity},
    run,
};
use std::net::SocketAddr;

#[derive(clap::Args)]
#[command(after_help = "It runs in a pod of its own: see charts/rocketmq-operator. Outside of one it \
     takes the cluster of your kubeconfig.")]
pub(crate) struct Arguments {
    /// A namespace to watch; may be given several times (default: all)
    #[arg(long = "watch-namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// The image of clusters that name none
    #[arg(long, value_name = "REPOSITORY:TAG")]
    default_image: Image,
    /// The DNS domain of the Kubernetes cluster
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// The Lease that the working one of several replicas holds (default: there is only this one)
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = lease, requires = "identity")]
    lease: Option<(String, String)>,
    /// The name of this replica in the Lease
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// Where probes and scrapers are answered
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8088")]
    http: SocketAddr,
}

fn lease(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("write it as NAMESPACE/NAME".to_owned()),
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let lease =
        arguments.lease.zip(arguments.identity).map(|((namespace, name), holder)| Identity { namespace, name, holder });
    let options = Options {
        namespaces: arguments.namespaces,
        default_image: arguments.default_image,
        domain: arguments.cluster_domain,
        readers: settings::READERS,
        lease,
        http: arguments.http,
    };
    let stop = async {
        if let Err(error) = shutdown::wanted(false).await {
            tracing::error!(%error, "signals cannot be received; stopping");
        }
    };
    run::run::<Remote>(options, stop).await.context("the operator")
}
