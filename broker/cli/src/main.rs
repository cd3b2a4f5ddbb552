//! `rocketmq`: one binary for every process of a cluster and for the people who run it.
//!
//! This file knows the subcommands, [`logging`] and exit codes. Each subcommand reads its
//! arguments, calls a library and prints; what is worth a unit test lives in the libraries.

mod admin;
mod bench;
mod broker;
mod crds;
mod logging;
mod namesrv;
mod operator;
mod output;
mod settings;
mod shutdown;
mod up;

use clap::{Parser, Subcommand};
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// RocketMQ: message brokers, their name service, their Kubernetes operator, and the tools around
/// them.
#[derive(Parser)]
#[command(name = "rocketmq", version, propagate_version = true, max_term_width = 110)]
struct Arguments {
    #[command(flatten)]
    logging: logging::Arguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a namesrv: it tells clients which broker has which topic
    Namesrv(namesrv::Arguments),
    /// Run a broker: it stores messages and hands them out
    Broker(broker::Arguments),
    /// Administer a cluster: read and change what it holds
    Admin(admin::Arguments),
    /// Put a load on a broker and measure it
    Bench(bench::Arguments),
    /// Run the Kubernetes operator: it turns manifests into clusters
    Operator(operator::Arguments),
    /// Run a manifest on this machine, without Kubernetes
    Up(up::Arguments),
    /// Print the CustomResourceDefinitions as YAML
    Crds(crds::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(&arguments.logging);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(rmq_server::BLOCKING_THREADS)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("cannot start the runtime")),
    };
    let outcome = runtime.block_on(run(arguments.command));
    // What still runs then is a blocking call that outlived its request; the process does not wait
    // for it.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Namesrv(arguments) => namesrv::run(arguments).await,
        Command::Broker(arguments) => broker::run(arguments).await,
        Command::Admin(arguments) => admin::run(arguments).await,
        Command::Bench(arguments) => bench::run(arguments).await,
        Command::Operator(arguments) => operator::run(arguments).await,
        Command::Up(arguments) => up::run(arguments).await,
        Command::Crds(arguments) => crds::run(&arguments),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // Where nobody reads it there is nobody to tell.
    let _ = writeln!(io::stderr(), "rocketmq: {}", error_text(error));
    ExitCode::FAILURE
}

/// The error and its causes; a cause that the words before it quote already is not said again, as
/// `{:#}` would.
pub(crate) fn error_text(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text.as_str() {
            "" => cause,
            before if before.contains(&cause) => text,
            before => format!("{before}: {cause}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn a_cause_is_printed_once() {
        let cause = std::io::Error::other("disk on fire");
        let error = anyhow::Error::new(cause).context("cannot write: disk on fire").context("stopping");
        assert_eq!(error_text(&error), "stopping: cannot write: disk on fire");
    }

    /// Arguments stood in the help with a name and nothing beside it.
    #[test]
    fn every_argument_says_what_it_is() {
        fn walk(command: &clap::Command, path: &str, silent: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            let has_words =
                |text: Option<&clap::builder::StyledStr>| text.is_some_and(|text| !text.to_string().trim().is_empty());
            if !has_words(command.get_about()) {
                silent.push(path.clone());
            }
            let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
            let without = arguments.filter(|argument| !has_words(argument.get_help()));
            silent.extend(without.map(|argument| format!("{path}: {}", argument.get_id())));
            command.get_subcommands().for_each(|inner| walk(inner, &path, silent));
        }
        let mut silent = Vec::new();
        let mut command = Arguments::command();
        command.build();
        walk(&command, "", &mut silent);
        assert!(silent.is_empty(), "without a word: {silent:#?}");
    }

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Arguments::command().debug_assert();
    }
}
