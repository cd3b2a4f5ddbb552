//! `rocketmq admin`: what `mqadmin` is for a cluster, for people (tables) and for programs
//! (`-o json`).
//!
//! One file a family of commands. A command asks through [`rmq_client::Admin`], makes rows of the
//! answers, and leaves printing to [`output`]. Which brokers a change concerns is said with
//! `--broker` or `--cluster` ([`target`]); without either, it is every master that is registered.
//! Only [`store`] sends no requests: it reads the files of a broker that does not run.

mod broker;
mod cluster;
mod consumer;
mod group;
mod message;
mod namesrv;
mod offset;
mod store;
mod target;
mod time;
mod topic;

use crate::output::{self, Format, Output};
use rmq_client::Admin;
use std::time::Duration;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rocketmq admin -n 127.0.0.1:9876 cluster list
  rocketmq admin topic create orders --queues 8
  rocketmq admin consumer progress shipping
  rocketmq admin -o json topic stats orders
  rocketmq admin store check /var/lib/rocketmq/store")]
pub(crate) struct Arguments {
    /// The namesrvs, joined by ';'
    #[arg(
        short,
        long,
        alias = "namesrvAddr",
        env = "NAMESRV_ADDR",
        default_value = "127.0.0.1:9876",
        value_name = "ADDRESSES",
        global = true,
        help_heading = "Options of all commands"
    )]
    namesrv: String,
    /// Tables for people, or JSON for programs
    #[arg(short, long, value_enum, default_value = "table", global = true, help_heading = "Options of all commands")]
    output: Format,
    /// How long a server may take to answer, in seconds
    #[arg(
        long,
        default_value = "5",
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=600),
        global = true,
        help_heading = "Options of all commands"
    )]
    timeout: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Remote(Remote),
    /// The files of a broker that does not run: check, print, repair
    #[command(subcommand)]
    Store(store::Command),
}

/// What servers are asked.
#[derive(clap::Subcommand)]
enum Remote {
    /// Brokers and clusters
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Topics: their queues, routes and settings
    #[command(subcommand)]
    Topic(topic::Command),
    /// Consumer groups: their settings
    #[command(subcommand)]
    Group(group::Command),
    /// Consumers that run, and how far their groups are
    #[command(subcommand)]
    Consumer(consumer::Command),
    /// Move or copy the offsets of groups
    #[command(subcommand)]
    Offset(offset::Command),
    /// Find, read and send messages
    #[command(subcommand)]
    Message(message::Command),
    /// One broker: metrics, settings, replication
    #[command(subcommand)]
    Broker(broker::Command),
    /// Namesrvs: values, settings, write permission of broker groups
    #[command(subcommand)]
    Namesrv(namesrv::Command),
}

/// What every command has at hand.
struct Context {
    admin: Admin,
    namesrvs: String,
    output: Output,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let output = Output::new(arguments.output);
    let command = match arguments.command {
        Command::Remote(command) => command,
        // Nothing else runs in this process that it could hold up.
        Command::Store(command) => return command.run(&output),
    };
    let admin = Admin::new(&arguments.namesrv)?.with_timeout(Duration::from_secs(arguments.timeout));
    let context = Context { admin, output, namesrvs: arguments.namesrv };
    let done = match command {
        Remote::Cluster(command) => command.run(&context).await,
        Remote::Topic(command) => command.run(&context).await,
        Remote::Group(command) => command.run(&context).await,
        Remote::Consumer(command) => command.run(&context).await,
        Remote::Offset(command) => command.run(&context).await,
        Remote::Message(command) => command.run(&context).await,
        Remote::Broker(command) => command.run(&context).await,
        Remote::Namesrv(command) => command.run(&context).await,
    };
    context.admin.close().await;
    done.map_err(with_remedy)
}

/// An error says what to do about it.
fn with_remedy(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<rmq_client::Error>() {
        Some(cause) => {
            let remedy = cause.remedy();
            anyhow::anyhow!("{}\n  {remedy}", crate::error_text(&error))
        }
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Connection refused (os error 111): Connection refused (os error 111)".
    #[test]
    fn a_refused_connection_is_reported_once_and_with_its_remedy() {
        let source = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let refused = rmq_remoting::Error::Connect { address: "127.0.0.1:1".to_owned(), source };
        let message = with_remedy(rmq_client::Error::from(refused).into()).to_string();
        assert_eq!(message.matches("connection refused").count(), 1, "{message}");
        assert!(message.contains("127.0.0.1:1") && message.lines().count() == 2, "{message}");
    }
}
