//! `rocketmq admin broker`.

use super::{Context, output, target};
use rmq_protocol::body::{HaRuntimeInfo, runtime_info};
use std::{collections::BTreeMap, time::Duration};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// What a broker says of itself
    Status {
        /// The name of its group (its master then), or its address
        broker: String,
    },
    /// Settings
    #[command(subcommand)]
    Config(Config),
    /// The state of replication
    Ha {
        /// The name of its group (its master then), or its address
        broker: String,
    },
    /// Decide about a master that takes no writes, as its log is empty or shorter than a slave's
    #[command(group = clap::ArgGroup::new("decision").required(true))]
    Recover {
        /// The address of the master, as host:port: it is not registered until it takes writes
        #[arg(value_parser = address)]
        master: String,
        /// Copy log, topics, groups and offsets of the slave with the longest log, then take writes
        #[arg(long, group = "decision")]
        copy: bool,
        /// The same from the member that answers at this address
        #[arg(long, group = "decision", value_name = "HOST:PORT", value_parser = address)]
        copy_from: Option<String>,
        /// Take writes with the log as it is; what only slaves have is out of reach from then on
        #[arg(long, group = "decision")]
        accept_loss: bool,
    },
}

#[derive(clap::Subcommand)]
pub(super) enum Config {
    /// Print the settings in force: all, or these
    Get {
        /// The name of its group (its master then), or its address
        broker: String,
        /// Keys of settings; all without any
        keys: Vec<String>,
    },
    /// Change settings of a running broker
    Set {
        /// The name of its group (its master then), or its address
        broker: String,
        /// Settings that may change while a broker runs, as `rocketmq broker --check` shows them
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = setting)]
        settings: Vec<(String, String)>,
    },
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Status { broker } => {
                let address = target::one(context, &broker).await?.address;
                map(context, &context.admin.runtime_info(&address).await?)
            }
            Self::Config(Config::Get { broker, keys }) => {
                let address = target::one(context, &broker).await?.address;
                map(context, &chosen(context.admin.broker_config(&address).await?, &keys)?)
            }
            Self::Config(Config::Set { broker, settings }) => {
                let broker = target::one(context, &broker).await?;
                context.admin.update_broker_config(&broker.address, &settings.into_iter().collect()).await?;
                context.output.done(&format!("{} has the new settings", broker.name))
            }
            Self::Ha { broker } => {
                let address = target::one(context, &broker).await?.address;
                let status = context.admin.ha_status(&address).await?;
                context.output.properties(&status, ha(&status))
            }
            Self::Recover { master, copy_from, accept_loss, .. } => {
                match accept_loss {
                    true => context.admin.accept_loss(&master).await?,
                    false => context.admin.recover_master_from(&master, copy_from.as_deref()).await?,
                }
                wait_until_open(context, &master).await
            }
        }
    }
}

/// Shows how far a master has got with a decision, until it takes writes.
async fn wait_until_open(context: &Context, master: &str) -> anyhow::Result<()> {
    let mut shown = String::new();
    loop {
        let mut status = context.admin.runtime_info(master).await?;
        let check = status.remove(runtime_info::LOG_CHECK).unwrap_or_default();
        let end = status.remove("commitLogMaxOffset").unwrap_or_default();
        match check.split(':').next().unwrap_or_default() {
            "open" => return context.output.done(&format!("{master} takes writes; its log ends at {end}")),
            // The decision is carried out a moment after it was taken; a failure is shown with it.
            "closed" if check.contains("copying failed") => anyhow::bail!("{master}: {check}"),
            _ => {}
        }
        let progress = format!("{check}; {end} bytes are here");
        if progress != shown {
            tracing::info!("{progress}");
            shown = progress;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn ha(status: &HaRuntimeInfo) -> Vec<(String, String)> {
    if !status.master {
        let slave = &status.ha_client_runtime_info;
        return output::pairs([
            ("role", "slave".to_owned()),
            ("master", slave.master_addr.clone()),
            ("own end", slave.max_offset.to_string()),
            ("master has flushed", slave.master_flush_offset.to_string()),
            ("bytes a second", slave.transferred_byte_in_second.to_string()),
        ]);
    }
    let mut pairs = output::pairs([
        ("role", "master".to_owned()),
        ("end of the log", status.master_commit_log_max_offset.to_string()),
        ("slaves in sync", status.in_sync_slave_nums.to_string()),
    ]);
    for slave in &status.ha_connection_info {
        let sync = if slave.in_sync { "in sync" } else { "behind" };
        pairs.push((
            format!("slave {}", slave.addr),
            format!(
                "{sync}, has {}, lacks {} bytes, {} bytes a second",
                slave.slave_ack_offset, slave.diff, slave.transferred_byte_in_second
            ),
        ));
    }
    pairs
}

/// Prints names and values.
pub(super) fn map(context: &Context, values: &BTreeMap<String, String>) -> anyhow::Result<()> {
    context.output.properties(values, values.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// Only these settings, if some are named.
pub(super) fn chosen(mut all: BTreeMap<String, String>, keys: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    if keys.is_empty() {
        return Ok(all);
    }
    keys.iter()
        .map(|key| match all.remove_entry(key) {
            Some(found) => Ok(found),
            None => {
                let like = rmq_protocol::java_properties::nearest(key, all.keys().map(String::as_str));
                let like = like.map_or_else(String::new, |like| format!("; did you mean {like}?"));
                anyhow::bail!("there is no setting {key}{like}")
            }
        })
        .collect()
}

/// `KEY=VALUE`.
pub(super) fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

/// `HOST:PORT`.
fn address(text: &str) -> Result<String, String> {
    rmq_protocol::address::check(text)
        .map(|()| text.to_owned())
        .map_err(|error| format!("{error}; write it as host:port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group's name in its place was "invalid socket address: invalid socket address".
    #[test]
    fn a_name_in_place_of_an_address_is_recognised() {
        assert_eq!(address("b1-0.mq:10911"), Ok("b1-0.mq:10911".to_owned()));
        assert_eq!(address("b1"), Err("\"b1\" has no port; write it as host:port".to_owned()));
    }

    #[test]
    fn chosen_settings_are_printed_and_a_misspelt_one_is_reported() {
        let all: BTreeMap<_, _> =
            [("brokerName", "a"), ("flushDiskType", "ASYNC_FLUSH")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(chosen(all.clone(), &["brokerName".to_owned()]).unwrap().len(), 1);
        assert_eq!(chosen(all.clone(), &[]).unwrap().len(), 2);
        let error = chosen(all, &["flushDiskTyp".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "there is no setting flushDiskTyp; did you mean flushDiskType?");
        assert_eq!(setting("a = b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(setting("=b").is_err());
    }
}
