//! `rocketmq admin store`: the files of a broker that does not run.

mod check;
mod dump;
mod repair;

use super::{
    message::Body,
    output::{self, Output},
    time,
};
use rmq_protocol::message::delay;
use rmq_store::{Error, LogOffset, TagsCode, offline::Place};
use std::path::PathBuf;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Read everything and say what is in it and what is wrong with it; fails where something is
    /// damaged
    #[command(after_help = "It changes nothing. No broker may run on the directory, and none can be \
         started there meanwhile. A finding that is no damage is put right by the next start, or \
         merely worth knowing.")]
    Check(Where),
    /// Print messages in the order they were stored, and the damage between them
    #[command(after_help = "It changes nothing. No broker may run on the directory, and none can be \
         started there meanwhile. The table shows the beginning of each body; `-o json` has all of \
         it, and all properties.")]
    Dump {
        #[command(flatten)]
        place: Where,
        /// Print those that begin at or behind this physical offset
        #[arg(long, default_value = "0", value_name = "OFFSET")]
        from: u64,
        /// Print those that begin before this physical offset
        #[arg(long, default_value_t = u64::MAX, value_name = "OFFSET", hide_default_value = true)]
        to: u64,
        /// Print at most so many
        #[arg(
            long,
            default_value = "100",
            value_name = "MESSAGES",
            value_parser = clap::value_parser!(u32).range(1..=100_000)
        )]
        limit: u32,
        /// Print those of this topic only
        #[arg(short, long)]
        topic: Option<String>,
    },
    /// Cut the log where it is damaged, and let the next start make queues and index agree with it
    #[command(after_help = "Without --cut it only says what it would do. No broker may run on the \
         directory, and none can be started there meanwhile. What is cut off is kept in directories \
         beside, named after offset and time. What can be brought back from a copy or a slave is \
         better brought back.")]
    Repair {
        #[command(flatten)]
        place: Where,
        /// Do it
        #[arg(long)]
        cut: bool,
    },
}

/// Where the files are.
#[derive(clap::Args)]
pub(super) struct Where {
    /// The store's directory (storePathRootDir)
    #[arg(value_name = "DIR")]
    root: PathBuf,
    /// Where its commit log is, if not in DIR/commitlog; several joined by ',' (storePathCommitLog
    /// and readOnlyCommitLogStorePaths)
    #[arg(long, value_name = "DIRS", value_delimiter = ',')]
    commit_log: Vec<PathBuf>,
    /// Bytes of a commit log file; taken from the files where there are several
    /// (mappedFileSizeCommitLog)
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    file_size: Option<u64>,
    /// Hash slots of an index file (maxHashSlotNum)
    #[arg(long, default_value = "5000000", value_name = "SLOTS", value_parser = clap::value_parser!(u32).range(1..))]
    index_slots: u32,
}

impl Where {
    fn place(self) -> Place {
        let mut place = Place::new(self.root);
        if !self.commit_log.is_empty() {
            place.commit_log = self.commit_log;
        }
        // How long the levels wait does not matter: a time of delivery is not compared.
        place.tags_code = TagsCode::with(|record| delay::entry_code(record, &[]));
        (place.file_size, place.index_slots) = (self.file_size, self.index_slots);
        place
    }
}

impl Command {
    pub(super) fn run(self, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Check(place) => check::run(output, &place.place()),
            Self::Dump { place, from, to, limit, topic } => {
                let range = LogOffset::new(from)..LogOffset::new(to);
                dump::run(output, &place.place(), range, limit as usize, topic.as_deref())
            }
            Self::Repair { place, cut } => repair::run(output, &place.place(), cut),
        }
    }
}

/// What the store says to a second broker is no help here.
fn unused<T>(outcome: Result<T, Error>) -> anyhow::Result<T> {
    outcome.map_err(|error| match error {
        Error::Locked { path } => {
            anyhow::anyhow!(
                "{} is in use: stop the broker that runs on it, or wait for the tool that does",
                path.display()
            )
        }
        error => error.into(),
    })
}
