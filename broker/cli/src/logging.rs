//! Where log lines go: standard error, for a person or for a machine.

use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;

/// Options of every subcommand.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// What is logged: a level (error, warn, info, debug, trace), or levels by crate such as
    /// `info,rmq_store=debug`
    #[arg(
        long,
        global = true,
        help_heading = "Options of all commands",
        env = "RUST_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    log: String,
    /// How log lines look
    #[arg(
        long,
        global = true,
        help_heading = "Options of all commands",
        env = "ROCKETMQ_LOG_FORMAT",
        value_enum,
        default_value = "text"
    )]
    log_format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Starts logging. A filter that makes no sense is told, and everything from "info" on is logged.
pub(crate) fn start(arguments: &Arguments) {
    let (filter, wrong) = match EnvFilter::try_new(&arguments.log) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // Colours are for eyes; a container's log is read by programs.
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // Told on standard error, too, and by a panic where that is closed: a server whose log
        // nobody reads would lose its threads.
        .log_internal_errors(false);
    match arguments.log_format {
        Format::Text => lines.init(),
        Format::Json => lines.json().init(),
    }
    if let Some(error) = wrong {
        tracing::warn!(filter = arguments.log, %error, "this is no log filter; logging from info on");
    }
}
