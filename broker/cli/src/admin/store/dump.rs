//! The messages of a log, in the order they were stored.

use super::{Body, Output, time, unused};
use rmq_protocol::message::{properties, stored::Record};
use rmq_store::{
    LogOffset,
    offline::{self, Piece, Place},
};
use serde::Serialize;
use std::{collections::BTreeMap, ops::ControlFlow};

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
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
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
            properties: properties::iter(record.properties()).map(|(name, value)| (text(name), text(value))).collect(),
            body: Body::new(record.body()),
        }
    }
}

pub(super) fn run(
    output: &Output,
    place: &Place,
    range: std::ops::Range<LogOffset>,
    limit: usize,
    topic: Option<&str>,
) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let dumped = offline::dump(place, range, &mut |piece| {
        match piece {
            Piece::Record(record) if topic.is_none_or(|topic| topic == record.topic()) => {
                rows.push(Row::Record(Box::new(Shown::new(record))));
            }
            Piece::Record(_) => {}
            Piece::Damage { file, offset, reason } => {
                rows.push(Row::Damage {
                    physical_offset: offset.get(),
                    file: file.display().to_string(),
                    damage: reason,
                });
            }
        }
        if rows.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    unused(dumped)?;
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
