//! What is in a store and what is wrong with it.

use super::{
    output::{self, Output},
    time, unused,
};
use rmq_store::offline::{self, At, Ending, Place, Report};
use rmq_store::{LogOffset, Millis};
use serde::Serialize;

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
                min_offset: log.min_offset.get(),
                end: log.end.get(),
                records: log.records,
                records_behind_damage: log.records_behind_damage,
                first_store_timestamp: log.first_store_timestamp.map(Millis::get),
                last_store_timestamp: log.last_store_timestamp.map(Millis::get),
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
                commit_log_timestamp: checkpoint.commit_log_timestamp.get(),
                consume_queue_timestamp: checkpoint.consume_queue_timestamp.get(),
                index_timestamp: checkpoint.index_timestamp.get(),
                dispatched_record: checkpoint.dispatched_record,
                scan_start: checkpoint.scan_start.map(LogOffset::get),
            }),
            findings: report
                .findings
                .into_iter()
                .map(|finding| Finding {
                    part: finding.part.to_string(),
                    damage: finding.damage,
                    file: finding.file.display().to_string(),
                    offset: finding.at.map(At::get),
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
                match log.files {
                    0 => files(0),
                    count => {
                        format!("{} to {} in {} of {} bytes", log.min_offset, log.end, files(count), log.file_size)
                    }
                },
            ),
            ("messages", log.records.to_string()),
        ]);
        if log.records > 0 {
            let stored = format!("{} to {}", time(log.first_store_timestamp), time(log.last_store_timestamp));
            rows.extend(output::pairs([("stored", stored)]));
        }
        rows.extend(output::pairs([("the log ends with", log.ending.to_owned())]));
        if log.records_behind_damage > 0 {
            rows.extend(output::pairs([("messages after damage", log.records_behind_damage.to_string())]));
        }
        rows.extend(output::pairs([
            ("consume queues", format!("{} of {} topics", queues.queues, queues.topics)),
            ("their entries", queues.entries.to_string()),
            ("messages not yet in them", queues.pending.to_string()),
            (
                "index",
                match index.files {
                    0 => files(0),
                    count => format!("{} entries in {}", index.entries, files(count)),
                },
            ),
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

/// How many files, in words.
fn files(count: usize) -> String {
    match count {
        0 => "no files".to_owned(),
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    }
}

pub(super) fn run(output: &Output, place: &Place) -> anyhow::Result<()> {
    let checked = Checked::new(unused(offline::check(place))?);
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
