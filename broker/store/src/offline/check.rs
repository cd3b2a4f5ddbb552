//! Checks a store.

use std::ops::ControlFlow;
use std::path::PathBuf;

use rmq_protocol::message::stored::Record;

use super::Place;
use super::log::Log;
use super::report::{At, CheckpointReport, Ending, Finding, LogReport, Part, Report};
use crate::checkpoint::Marks;
use crate::commit_log::recover::{Files, Outcome};
use crate::consume_queue::entry::Entry;
use crate::consume_queue::inspect::{Found, Queues};
use crate::consume_queue::{is_consumable, is_name};
use crate::dir::{AbortMark, Lock};
use crate::error::{Error, Result};
use crate::index::inspect::{Entries, hashes};
use crate::position::{LogOffset, Millis, QueueOffset};

/// Reads a whole store and reports its contents and its faults. Changes nothing, and keeps brokers
/// out meanwhile.
///
/// # Errors
/// [`Error::Locked`] while a broker has the directory open; [`Error::Config`] if there is no store;
/// any error of the disk.
pub fn check(place: &Place) -> Result<Report> {
    let _lock = Lock::acquire_shared(&place.root)?;
    check_locked(place)
}

/// The check itself, with the lock held by the caller.
pub(super) fn check_locked(place: &Place) -> Result<Report> {
    let log = Log::list(place)?;
    let crashed = AbortMark::new(&place.root).exists()?;
    let marks = Marks::read(&place.root)?;
    let known = marks.unwrap_or_default();
    let scan_start = log.pieces.first().map(|piece| piece.scan_start(&known, crashed)).transpose();
    let (scan_start, refused) = match scan_start {
        Ok(start) => (start, None),
        Err(Error::Corruption { file, offset, reason }) => (None, Some((file, offset, reason))),
        Err(error) => return Err(error),
    };
    let mut check = Check {
        place,
        log: &log,
        queues: Queues::open(&place.queues())?,
        index: Entries::open(&place.index(), place.index_slots)?,
        // A start rebuilds whatever the checkpoint does not cover.
        made_again: scan_start.unwrap_or(LogOffset::MAX),
        crashed,
        damaged: false,
        report: Report::new(crashed, LogReport::new(&log)),
    };
    check.files();
    check.records(&known)?;
    check.rest_of_queues()?;
    check.rest_of_index()?;
    check.checkpoint(marks, scan_start, refused);
    Ok(check.report)
}

struct Check<'a> {
    place: &'a Place,
    log: &'a Log,
    queues: Queues,
    index: Entries,
    made_again: LogOffset,
    crashed: bool,
    /// Set while the scan is behind the first damage.
    damaged: bool,
    report: Report,
}

impl Check<'_> {
    fn find(&mut self, part: Part, damage: bool, file: PathBuf, at: Option<At>, text: String) {
        self.report.add(Finding { part, damage, file, at, text });
    }

    /// Files that are missing or have another size.
    fn files(&mut self) {
        let size = self.log.file_size;
        for (base, path, len) in &self.log.odd {
            let text = format!("the file has {len} bytes, {size} are wanted");
            self.find(Part::CommitLog, true, path.clone(), Some(At::Log(*base)), text);
        }
        for (before, after) in self.log.pieces.iter().zip(self.log.pieces.iter().skip(1)) {
            if let (true, Some((base, path))) = (before.limit() < after.first(), after.list.first()) {
                let text = format!("files from {} up to here are missing", before.limit());
                self.find(Part::CommitLog, true, path.clone(), Some(At::Log(*base)), text);
            }
        }
        if let Some(path) = &self.log.unfinished {
            let text = "an empty file, whose creation was interrupted; the next start removes it".into();
            self.find(Part::CommitLog, false, path.clone(), None, text);
        }
    }

    /// Checks every record of the log against its queue and the index.
    fn records(&mut self, marks: &Marks) -> Result<()> {
        let log = self.log;
        for (number, piece) in log.pieces.iter().enumerate() {
            let mut from = piece.first();
            self.damaged |= number > 0;
            loop {
                let stop = piece.scan(from, &mut |record| self.record(record).map(ControlFlow::Continue))?;
                if !self.damaged {
                    self.report.log.end = stop.offset;
                }
                let next = match piece.judge(&stop, marks)? {
                    Outcome::Corruption { reason, next } => {
                        self.corrupt(piece, stop.offset, reason);
                        next
                    }
                    Outcome::TornTail(reason) if !self.damaged => {
                        let text = format!("{reason}; the log ends before it, and the next start removes it");
                        self.find(Part::CommitLog, false, piece.file_of(stop.offset), Some(At::Log(stop.offset)), text);
                        self.report.log.ending = Ending::TornTail(reason);
                        None
                    }
                    Outcome::TornTail(_) | Outcome::End => None,
                };
                let Some(next) = next else { break };
                from = next;
            }
        }
        let whole = log.pieces.len() == 1 && log.odd.is_empty();
        if !whole && !matches!(self.report.log.ending, Ending::Corruption(_)) {
            self.report.log.ending = Ending::Corruption("a file is missing or has another size".into());
        }
        Ok(())
    }

    fn corrupt(&mut self, piece: &Files, offset: LogOffset, reason: String) {
        if !self.damaged {
            self.report.log.ending = Ending::Corruption(reason.clone());
            self.damaged = true;
        }
        self.find(Part::CommitLog, true, piece.file_of(offset), Some(At::Log(offset)), reason);
    }

    fn record(&mut self, record: &Record<'_>) -> Result<()> {
        let log = &mut self.report.log;
        let time = Millis::new(record.store_timestamp());
        log.newest_timestamp = log.newest_timestamp.max(time);
        if self.damaged {
            log.records_behind_damage += 1;
        } else {
            log.records += 1;
            log.first_store_timestamp.get_or_insert(time);
            log.last_store_timestamp = Some(time);
            log.last_record = Some(LogOffset::of(record));
        }
        self.in_queue(record)?;
        self.in_index(record)
    }

    fn in_queue(&mut self, record: &Record<'_>) -> Result<()> {
        if !is_consumable(record) || !is_name(record.topic()) {
            return Ok(());
        }
        let (topic, id, offset) = (record.topic(), record.queue_id(), QueueOffset::new(record.queue_offset()));
        let (physical_offset, size, tags_code) = (LogOffset::of(record), record.size() as u32, record.tags_code());
        let expected = Entry { physical_offset, size, tags_code };
        let agrees = |code| self.place.tags_code.agrees(record, code);
        match self.queues.compare(topic, id, offset, expected, agrees)? {
            Found::Right | Found::Superseded => {}
            Found::NoQueue | Found::Behind if physical_offset >= self.made_again => {
                self.report.queues.pending += 1;
            }
            Found::NoQueue => self.report.queues.without_queue += 1,
            Found::OutOfLine(next) => {
                let text = format!(
                    "the record says it is message {offset} of queue {id} of {topic}, where {next} is next: no consumer will see it"
                );
                let file = self.log.file_of(physical_offset);
                self.find(Part::CommitLog, false, file, Some(At::Log(physical_offset)), text);
            }
            Found::Behind => {
                let text = format!("message {offset} at {physical_offset} is not in its queue");
                self.wrong_entry((topic, id, offset), self.place.queues().join(topic).join(id.to_string()), None, text);
            }
            Found::Other(file, at, found) => {
                // Another message of that number is correct too, if the queue was created again.
                if let Some(found) = found.filter(|found| !found.is_filler())
                    && found.physical_offset > physical_offset
                    && self.log.is_record(found.physical_offset, topic, id, offset)?
                {
                    return Ok(());
                }
                if physical_offset >= self.made_again {
                    self.report.queues.pending += 1;
                    return Ok(());
                }
                let points = match found {
                    Some(found) if found.is_filler() => "is a filler".to_owned(),
                    Some(found) => format!("points to {} bytes at {}", found.size, found.physical_offset),
                    None => "is empty".to_owned(),
                };
                let text = format!("entry {offset} {points}, its message is {size} bytes at {physical_offset}");
                self.wrong_entry((topic, id, offset), file, Some(at), text);
            }
        }
        Ok(())
    }

    /// One finding for each queue, however many of its entries are wrong.
    fn wrong_entry(&mut self, entry: (&str, i32, QueueOffset), file: PathBuf, at: Option<u64>, text: String) {
        let (topic, id, offset) = entry;
        let damaged = &mut self.report.queues.damaged;
        if !damaged.iter().any(|(other, other_id, _)| other == topic && *other_id == id) {
            damaged.push((topic.to_owned(), id, offset));
            self.find(Part::ConsumeQueue, true, file, at.map(At::File), text);
        }
    }

    fn rest_of_queues(&mut self) -> Result<()> {
        // There may be messages behind the damage that were not found.
        let surplus = if self.damaged { Vec::new() } else { self.queues.surplus(self.made_again)? };
        for (topic, id, offset, entry) in surplus {
            let text = format!("behind its last message, at {offset}, an entry points to {}", entry.physical_offset);
            self.wrong_entry((&topic, id, offset), self.place.queues().join(&topic).join(id.to_string()), None, text);
        }
        let (topics, queues, entries) = self.queues.counts();
        let report = &mut self.report.queues;
        (report.topics, report.queues, report.entries) = (topics, queues, entries);
        let faults: Vec<_> = self
            .queues
            .iter()
            .filter_map(|(topic, id, queue)| {
                let (path, text) = queue.fault.clone()?;
                Some((topic.to_owned(), id, queue.min, path, text))
            })
            .collect();
        for (topic, id, min, path, text) in faults {
            self.wrong_entry((&topic, id, min), path, None, text);
        }
        if self.report.queues.without_queue > 0 {
            let text = match self.place.queues().exists() {
                false => "there are no consume queues; the next start makes them from the whole log".to_owned(),
                true => format!(
                    "{} messages belong to queues that are not there: their topics were deleted",
                    self.report.queues.without_queue
                ),
            };
            self.find(Part::ConsumeQueue, false, self.place.queues(), None, text);
        }
        Ok(())
    }

    fn in_index(&mut self, record: &Record<'_>) -> Result<()> {
        let offset = LogOffset::of(record);
        let mut expected = hashes(record);
        while let Some(entry) = self.index.peek()
            && entry.offset <= offset
        {
            if entry.offset == offset {
                expected.retain(|hash| *hash != entry.hash);
            } else if entry.offset >= self.report.log.min_offset && !self.damaged {
                self.stray(entry.offset);
            }
            self.index.step()?;
        }
        if offset < self.made_again {
            self.report.index.missing += expected.len() as u64;
        }
        Ok(())
    }

    fn stray(&mut self, offset: LogOffset) {
        if !self.report.index.damaged {
            self.report.index.damaged = true;
            let text = format!("an entry points to {offset}, where no record begins");
            self.find(Part::Index, true, self.place.index(), None, text);
        }
    }

    fn rest_of_index(&mut self) -> Result<()> {
        let mut behind = 0_u64;
        while let Some(entry) = self.index.peek() {
            behind += u64::from(!self.damaged && entry.offset >= self.report.log.end);
            self.index.step()?;
        }
        let report = &mut self.report.index;
        (report.files, report.entries) = (self.index.files, self.index.count);
        if behind > 0 {
            let text = format!("{behind} entries point behind the end of the log");
            self.report.index.damaged |= !self.crashed;
            self.find(Part::Index, !self.crashed, self.place.index(), None, text);
        }
        for fault in std::mem::take(&mut self.index.faults) {
            let made_again = self.crashed && fault.record.is_some_and(|record| record >= self.made_again);
            self.report.index.damaged |= !made_again;
            self.find(Part::Index, !made_again, fault.path, None, fault.what);
        }
        let missing = self.report.index.missing;
        if missing > 0 {
            let text = match self.report.index.files {
                0 => "there is no index: no message can be found by its key".to_owned(),
                _ => format!(
                    "{missing} keys of messages are not in the index; a broker that ran without it leaves such gaps"
                ),
            };
            self.find(Part::Index, false, self.place.index(), None, text);
        }
        Ok(())
    }

    fn checkpoint(
        &mut self,
        marks: Option<Marks>,
        scan_start: Option<LogOffset>,
        refused: Option<(PathBuf, LogOffset, String)>,
    ) {
        let path = self.place.root.join("checkpoint");
        if let Some((file, offset, reason)) = refused {
            self.find(Part::Checkpoint, true, file, Some(At::Log(offset)), reason);
        }
        let Some(marks) = marks else {
            if self.report.log.files > 0 {
                let text =
                    "there is none; the next start reads the whole log again where the last stop was none".into();
                self.find(Part::Checkpoint, false, path, None, text);
            }
            return;
        };
        let newest = self.report.log.newest_timestamp;
        if marks.commit_log_timestamp > newest && self.report.log.records > 0 {
            let text = format!(
                "it knows a message stored at {} on the disk, the newest in the log is of {newest}",
                marks.commit_log_timestamp
            );
            self.find(Part::Checkpoint, true, path, None, text);
        }
        self.report.checkpoint = Some(CheckpointReport {
            commit_log_timestamp: marks.commit_log_timestamp,
            consume_queue_timestamp: marks.consume_queue_timestamp,
            index_timestamp: marks.index_timestamp,
            dispatched_record: marks.dispatched_record,
            scan_start,
        });
    }
}
