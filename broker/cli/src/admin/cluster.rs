//! `rocketmq admin cluster`.

use super::{Context, time};
use futures::future::join_all;
use rmq_client::admin::BrokerAddress;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// All brokers: where they are, what they run, how busy and how full they are
    List {
        /// Only this cluster
        #[arg(short, long)]
        cluster: Option<String>,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    cluster: String,
    broker: String,
    id: i64,
    address: String,
    version: String,
    in_tps: f64,
    out_tps: f64,
    disk_ratio: Option<f64>,
    messages_today: Option<i64>,
    started: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let Self::List { cluster } = self;
        let brokers = context.admin.brokers(cluster.as_deref()).await?;
        let rows = join_all(brokers.into_iter().map(|broker| row(context, broker))).await;
        context.output.list(
            ["CLUSTER", "BROKER", "ID", "ADDRESS", "VERSION", "IN/S", "OUT/S", "DISK", "TODAY", "STARTED"],
            &rows,
            |row| {
                [
                    row.cluster.clone(),
                    row.broker.clone(),
                    row.id.to_string(),
                    row.address.clone(),
                    row.error.clone().unwrap_or_else(|| row.version.clone()),
                    format!("{:.1}", row.in_tps),
                    format!("{:.1}", row.out_tps),
                    row.disk_ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.0}%", ratio * 100.0)),
                    row.messages_today.map_or_else(|| "-".to_owned(), |messages| messages.to_string()),
                    row.started.map_or_else(|| "-".to_owned(), time::text),
                ]
            },
        )
    }
}

async fn row(context: &Context, broker: BrokerAddress) -> Row {
    let (info, error) = match context.admin.runtime_info(&broker.address).await {
        Ok(info) => (info, None),
        Err(error) => (BTreeMap::new(), Some(error.to_string())),
    };
    let number = |key: &str| info.get(key).and_then(|text| text.trim().parse::<f64>().ok());
    let integer = |key: &str| info.get(key).and_then(|text| text.trim().parse::<i64>().ok());
    let morning = integer("msgPutTotalTodayMorning");
    Row {
        version: info.get("brokerVersionDesc").cloned().unwrap_or_default(),
        in_tps: recent(info.get("putTps")),
        out_tps: recent(info.get("getTransferredTps")),
        disk_ratio: number("commitLogDiskRatio"),
        messages_today: integer("msgPutTotalTodayNow").zip(morning).map(|(now, morning)| now - morning),
        started: integer("bootTimestamp"),
        cluster: broker.cluster,
        broker: broker.name,
        id: broker.id,
        address: broker.address,
        error,
    }
}

/// The first of a rate's averages, which is that of the last ten seconds.
fn recent(rates: Option<&String>) -> f64 {
    let rate: Option<f64> = rates.and_then(|rates| rates.split_whitespace().next()?.parse().ok());
    // Brokers before this one say -0 where nothing was counted yet.
    rate.unwrap_or(0.0) + 0.0
}
