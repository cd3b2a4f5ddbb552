//! `rocketmq admin store`: the files of a broker that does not run.

use super::{
    message::Body,
    output::{self, Output},
    time,
};
use rmq_protocol::message::{properties, stored::Record};
use rmq_store::offline::{self, Ending, Piece, Place, Report};
use serde::Serialize;
use std::{collections::BTreeMap, ops::ControlFlow, path::PathBuf};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Read everything and say what is in it and what is wrong with it; fails where something is damaged
    #[command(
        after_help = "It changes nothing. A broker must not run on the directory meanwhile, and cannot be started."
    )]
    Check(Where),
    /// Print messages in the order they were stored, and the damage between them
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
        #[arg(long, default_value = "100", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        /// Print those of this topic only
        #[arg(short, long)]
        topic: Option<String>,
    },
    /// Cut the log where it is damaged, and let the next start make queues and index agree with it
    #[command(
        after_help = "Without --cut it only says what it would do. What is cut off is kept in directories beside, named after \
        offset and time. What can be brought back from a copy or a slave is better brought back."
    )]
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
    /// Where its commit log is, if not in DIR/commitlog; several joined by ',' (storePathCommitLog)
    #[arg(long, value_name = "DIRS", value_delimiter = ',')]
    commit_log: Vec<PathBuf>,
    /// Bytes of a commit log file; told by the files where there are several (mappedFileSizeCommitLog)
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
        (place.file_size, place.index_slots) = (self.file_size, self.index_slots);
        place
    }
}

impl Command {
    pub(super) fn run(self, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Check(place) => check(output, &place.place()),
            Self::Dump { place, from, to, limit, topic } => {
                dump(output, &place.place(), from..to, limit as usize, topic.as_deref())
            }
            Self::Repair { place, cut } => repair(output, &place.place(), cut),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    damages: u64,
    crashed: bool,
    log: Log,
    queues: Queues,
    index: Index,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<Checkpoint>,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    files: usize,
    file_size: u64,
    min_offset: u64,
    end: u64,
    records: u64,
    records_behind_damage: u64,
    first_store_timestamp: Option<i64>,
    last_store_timestamp: Option<i64>,
    /// `end`, `torn tail` or `corruption`.
    ending: &'static str,
    reason: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Queues {
    topics: usize,
    queues: usize,
    entries: u64,
    pending: u64,
    without_queue: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    files: usize,
    entries: u64,
    missing: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checkpoint {
    commit_log_timestamp: i64,
    consume_queue_timestamp: i64,
    index_timestamp: i64,
    dispatched_record: i64,
    scan_start: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    part: String,
    damage: bool,
    file: String,
    offset: Option<u64>,
    text: String,
}

impl Checked {
    fn new(report: Report) -> Self {
        let (log, queues, index) = (report.log, report.queues, report.index);
        let (ending, reason) = match log.ending {
            Ending::End => ("end", None),
            Ending::TornTail(reason) => ("torn tail", Some(reason)),
            Ending::Corruption(reason) => ("corruption", Some(reason)),
        };
        Self {
            damages: report.damages,
            crashed: report.crashed,
            log: Log {
                files: log.files,
                file_size: log.file_size,
                min_offset: log.min_offset,
                end: log.end,
                records: log.records,
                records_behind_damage: log.records_behind_damage,
                first_store_timestamp: log.first_store_timestamp,
                last_store_timestamp: log.last_store_timestamp,
                ending,
                reason,
            },
            queues: Queues {
                topics: queues.topics,
                queues: queues.queues,
                entries: queues.entries,
                pending: queues.pending,
                without_queue: queues.without_queue,
            },
            index: Index { files: index.files, entries: index.entries, missing: index.missing },
            checkpoint: report.checkpoint.map(|checkpoint| Checkpoint {
                commit_log_timestamp: checkpoint.commit_log_timestamp,
                consume_queue_timestamp: checkpoint.consume_queue_timestamp,
                index_timestamp: checkpoint.index_timestamp,
                dispatched_record: checkpoint.dispatched_record,
                scan_start: checkpoint.scan_start,
            }),
            findings: report
                .findings
                .into_iter()
                .map(|finding| Finding {
                    part: finding.part.to_string(),
                    damage: finding.damage,
                    file: finding.file.display().to_string(),
                    offset: finding.offset,
                    text: finding.text,
                })
                .collect(),
        }
    }

    fn rows(&self) -> Vec<(String, String)> {
        let Self { log, queues, index, .. } = self;
        let time = |millis: Option<i64>| time::text(millis.unwrap_or_default());
        let mut rows = output::pairs([
            ("last stop", if self.crashed { "a crash" } else { "in order" }.to_owned()),
            (
                "commit log",
                format!("{} to {} in {} files of {} bytes", log.min_offset, log.end, log.files, log.file_size),
            ),
            ("messages", log.records.to_string()),
            ("stored", format!("{} to {}", time(log.first_store_timestamp), time(log.last_store_timestamp))),
            ("the log ends with", log.ending.to_owned()),
        ]);
        if log.records_behind_damage > 0 {
            rows.extend(output::pairs([("messages behind damage", log.records_behind_damage.to_string())]));
        }
        rows.extend(output::pairs([
            ("consume queues", format!("{} of {} topics", queues.queues, queues.topics)),
            ("their entries", queues.entries.to_string()),
            ("messages not yet in them", queues.pending.to_string()),
            ("index", format!("{} entries in {} files", index.entries, index.files)),
        ]));
        if let Some(checkpoint) = &self.checkpoint {
            let start =
                checkpoint.scan_start.map_or_else(|| "would refuse".to_owned(), |from| format!("reads from {from}"));
            rows.extend(output::pairs([
                ("checkpoint", format!("queues and index have all before {}", checkpoint.dispatched_record)),
                ("the next start", start),
            ]));
        }
        rows
    }
}

fn check(output: &Output, place: &Place) -> anyhow::Result<()> {
    let checked = Checked::new(offline::check(place)?);
    output.properties(&checked, checked.rows())?;
    output.list_below(["PART", "DAMAGE", "FILE", "OFFSET", "WHAT"], &checked.findings, |finding| {
        [
            finding.part.clone(),
            if finding.damage { "yes" } else { "no" }.to_owned(),
            finding.file.clone(),
            finding.offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string()),
            finding.text.clone(),
        ]
    })?;
    anyhow::ensure!(
        checked.damages == 0,
        "{} is damaged in {} places; `rocketmq admin store repair` says what it can do",
        place.root.display(),
        checked.damages
    );
    Ok(())
}

/// A record, or damage in the place of some.
#[derive(Serialize)]
#[serde(untagged)]
enum Row {
    Record(Box<Shown>),
    #[serde(rename_all = "camelCase")]
    Damage {
        physical_offset: u64,
        file: String,
        damage: String,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    physical_offset: u64,
    size: usize,
    topic: String,
    queue: i32,
    queue_offset: u64,
    stored: i64,
    born: i64,
    store_host: String,
    born_host: String,
    offset_message_id: String,
    flag: i32,
    sys_flag: i32,
    reconsume_times: i32,
    prepared_transaction_offset: i64,
    properties: BTreeMap<String, String>,
    #[serde(flatten)]
    body: Body,
}

impl Shown {
    fn new(record: &Record<'_>) -> Self {
        let word = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self {
            physical_offset: record.physical_offset(),
            size: record.size(),
            topic: record.topic().to_owned(),
            queue: record.queue_id(),
            queue_offset: record.queue_offset(),
            stored: record.store_timestamp(),
            born: record.born_timestamp(),
            store_host: record.store_host().to_string(),
            born_host: record.born_host().to_string(),
            offset_message_id: record.offset_id().to_string(),
            flag: record.flag(),
            sys_flag: record.sys_flag(),
            reconsume_times: record.reconsume_times(),
            prepared_transaction_offset: record.prepared_transaction_offset(),
            properties: properties::iter(record.properties()).map(|(name, value)| (word(name), word(value))).collect(),
            body: Body::new(record.body()),
        }
    }
}

fn dump(
    output: &Output,
    place: &Place,
    range: std::ops::Range<u64>,
    limit: usize,
    topic: Option<&str>,
) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    offline::dump(place, range, &mut |piece| {
        match piece {
            Piece::Record(record) if topic.is_none_or(|topic| topic == record.topic()) => {
                rows.push(Row::Record(Box::new(Shown::new(record))));
            }
            Piece::Record(_) => {}
            Piece::Damage { file, offset, reason } => {
                rows.push(Row::Damage { physical_offset: offset, file: file.display().to_string(), damage: reason });
            }
        }
        if rows.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let header = ["PHYSICAL", "SIZE", "TOPIC", "QUEUE", "OFFSET", "STORED", "TAGS", "KEYS", "BODY"];
    output.list(header, &rows, |row| match row {
        Row::Record(record) => {
            let property = |name: &str| record.properties.get(name).cloned().unwrap_or_default();
            [
                record.physical_offset.to_string(),
                record.size.to_string(),
                record.topic.clone(),
                record.queue.to_string(),
                record.queue_offset.to_string(),
                time::text(record.stored),
                property(properties::TAGS),
                property(properties::KEYS),
                record.body.preview(),
            ]
        }
        Row::Damage { physical_offset, file, damage } => {
            let mut cells: [String; 9] = std::array::from_fn(|_| String::new());
            (cells[0], cells[2]) = (physical_offset.to_string(), "(damage)".to_owned());
            cells[8] = format!("{damage} ({file})");
            cells
        }
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Repaired {
    done: bool,
    steps: Vec<Step>,
    kept: Vec<String>,
}

#[derive(Serialize)]
struct Step {
    part: String,
    text: String,
}

fn repair(output: &Output, place: &Place, cut: bool) -> anyhow::Result<()> {
    let repair = offline::repair(place, cut)?;
    let steps = repair.steps.into_iter().map(|step| Step { part: step.part.to_string(), text: step.text });
    let repaired = Repaired {
        done: cut,
        steps: steps.collect(),
        kept: repair.kept.iter().map(|path| path.display().to_string()).collect(),
    };
    let mut rows: Vec<_> = repaired.steps.iter().map(|step| (step.part.clone(), step.text.clone())).collect();
    rows.extend(repaired.kept.iter().map(|path| ("kept in".to_owned(), path.clone())));
    output.properties(&repaired, rows)?;
    match (repaired.steps.is_empty(), cut) {
        (true, _) => output.done("nothing is damaged, so there is nothing to repair"),
        (false, false) => output.done("nothing was done: add --cut to do it"),
        (false, true) => output.done("done; start the broker"),
    }
}
