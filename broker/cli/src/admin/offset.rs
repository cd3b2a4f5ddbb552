//! `rocketmq admin offset`.

use super::{Context, time};
use serde::Serialize;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Move a group to other messages of a topic. Consumers that run follow
    #[command(after_help = "Examples:
  rocketmq admin offset reset shipping orders --to earliest
  rocketmq admin offset reset shipping orders --to 2026-11-23T04:00:00Z")]
    Reset {
        /// The group
        group: String,
        /// The topic
        topic: String,
        /// earliest, latest, or a time: milliseconds since 1970, or a date such as
        /// 2026-11-23T04:00:00Z
        #[arg(long, value_parser = destination, allow_hyphen_values = true)]
        to: i64,
        /// Only move queues back, never forward over messages that were not consumed
        #[arg(long)]
        only_back: bool,
    },
    /// Give a group the offsets that another group has in a topic
    Clone {
        /// The group whose offsets are taken
        #[arg(value_name = "FROM-GROUP")]
        from: String,
        /// The group that gets them
        #[arg(value_name = "TO-GROUP")]
        to: String,
        /// The topic
        topic: String,
    },
}

#[derive(Serialize)]
struct Moved {
    broker: String,
    queue: i32,
    offset: i64,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Reset { group, topic, to, only_back } => {
                let moved = context.admin.reset_offset(&topic, &group, to, !only_back).await?;
                let rows: Vec<_> = moved
                    .into_iter()
                    .map(|(queue, offset)| Moved { broker: queue.broker_name, queue: queue.queue_id, offset })
                    .collect();
                context.output.list(["BROKER", "QUEUE", "OFFSET"], &rows, |row| {
                    [row.broker.clone(), row.queue.to_string(), row.offset.to_string()]
                })
            }
            Self::Clone { from, to, topic } => {
                context.admin.clone_group_offset(&from, &to, &topic).await?;
                context.output.done(&format!("{to} has the offsets of {from} in {topic}"))
            }
        }
    }
}

/// The wire's notation of a place: milliseconds, or -1 for the end.
fn destination(text: &str) -> Result<i64, String> {
    match text {
        "earliest" => Ok(0),
        "latest" => Ok(-1),
        time => time::parse(time),
    }
}
