//! `rocketmq admin namesrv`.

use super::{
    Context,
    broker::{chosen, map, setting},
};
use serde::Serialize;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// The namesrvs, and whether they serve
    List,
    /// The settings of the first namesrv: all, or these
    ConfigGet {
        /// Keys of settings; all without any
        keys: Vec<String>,
    },
    /// Change settings on every namesrv
    ConfigSet {
        /// Settings that may change while a namesrv runs
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = setting)]
        settings: Vec<(String, String)>,
    },
    /// The values of a namespace, or one of them
    KvGet {
        /// The namespace, for example ORDER_TOPIC_CONFIG
        namespace: String,
        /// The key; all values without it
        key: Option<String>,
    },
    /// Set a value on every namesrv
    KvPut {
        /// The namespace, for example ORDER_TOPIC_CONFIG
        namespace: String,
        /// The key
        key: String,
        /// The value
        value: String,
    },
    /// Remove a value on every namesrv
    KvDelete {
        /// The namespace
        namespace: String,
        /// The key
        key: String,
    },
    /// Take a broker group out of all routes for writing: consumers can empty it meanwhile
    WipeWritePerm {
        /// The name of the group
        broker: String,
    },
    /// Put it back
    AddWritePerm {
        /// The name of the group
        broker: String,
    },
}

#[derive(Serialize)]
struct Namesrv {
    address: String,
    serves: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let admin = &context.admin;
        match self {
            Self::List => list(context).await,
            Self::ConfigGet { keys } => {
                map(context, &chosen(admin.namesrv_config(&admin.namesrvs()[0]).await?, &keys)?)
            }
            Self::ConfigSet { settings } => {
                let settings = settings.into_iter().collect();
                for address in admin.namesrvs() {
                    admin.update_namesrv_config(address, &settings).await?;
                }
                context.output.done("every namesrv has the new settings")
            }
            Self::KvGet { namespace, key: None } => map(context, &admin.kv_list(&namespace).await?),
            Self::KvGet { namespace, key: Some(key) } => {
                let value = admin.kv(&namespace, &key).await?;
                let value = value.ok_or_else(|| anyhow::anyhow!("{namespace} has no value {key}"))?;
                map(context, &[(key, value)].into_iter().collect())
            }
            Self::KvPut { namespace, key, value } => {
                admin.put_kv(&namespace, &key, &value).await?;
                context.output.done(&format!("{namespace} has {key}={value}"))
            }
            Self::KvDelete { namespace, key } => {
                admin.delete_kv(&namespace, &key).await?;
                context.output.done(&format!("{namespace} has no {key} any more"))
            }
            Self::WipeWritePerm { broker } => {
                let topics = admin.wipe_write_permission(&broker).await?;
                context.output.done(&format!("{topics} topics of {broker} are no longer written"))
            }
            Self::AddWritePerm { broker } => {
                let topics = admin.add_write_permission(&broker).await?;
                context.output.done(&format!("{topics} topics of {broker} are written again"))
            }
        }
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for address in context.admin.namesrvs() {
        let error = context.admin.probe_namesrv(address).await.err().map(|error| error.to_string());
        rows.push(Namesrv { address: address.clone(), serves: error.is_none(), error });
    }
    context.output.list(["ADDRESS", "STATE"], &rows, |row| {
        [row.address.clone(), row.error.clone().unwrap_or_else(|| "serves".to_owned())]
    })
}
