//! Which brokers a command is about.

use super::Context;
use rmq_client::admin::BrokerAddress;

/// Options that choose brokers.
#[derive(clap::Args)]
#[group(skip)]
pub(super) struct Target {
    /// Only this broker: the name of its group (its master then), or an address
    #[arg(short, long, value_name = "NAME|ADDRESS", conflicts_with = "cluster")]
    broker: Option<String>,
    /// Only the brokers of this cluster
    #[arg(short, long)]
    pub(super) cluster: Option<String>,
}

impl Target {
    /// The masters that are meant.
    pub(super) async fn masters(&self, context: &Context) -> anyhow::Result<Vec<BrokerAddress>> {
        let found = match &self.broker {
            Some(broker) => vec![one(context, broker).await?],
            None => context.admin.masters(self.cluster.as_deref()).await?,
        };
        anyhow::ensure!(!found.is_empty(), "no master is registered at {}", context.namesrvs);
        Ok(found)
    }

    /// True unless a single broker is meant.
    pub(super) fn is_cluster_wide(&self) -> bool {
        self.broker.is_none()
    }
}

/// A broker by the name of its group, or by its address, which need not be registered.
pub(super) async fn one(context: &Context, broker: &str) -> anyhow::Result<BrokerAddress> {
    if broker.contains(':') {
        rmq_protocol::address::check(broker)?;
        let known =
            context.admin.brokers(None).await.unwrap_or_default().into_iter().find(|known| known.address == broker);
        let unknown =
            || BrokerAddress { cluster: String::new(), name: broker.to_owned(), id: 0, address: broker.to_owned() };
        return Ok(known.unwrap_or_else(unknown));
    }
    let masters = context.admin.masters(None).await?;
    let names: Vec<_> = masters.iter().map(|master| master.name.clone()).collect();
    masters
        .into_iter()
        .find(|master| master.name == broker)
        .ok_or_else(|| anyhow::anyhow!("no broker group {broker} has a master; known: {}", names.join(", ")))
}
