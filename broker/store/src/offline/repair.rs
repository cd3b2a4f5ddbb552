//! Cuts a store where it is damaged, and makes the rest consistent with its log again.
//!
//! The log then ends before its first damage. The part behind it is kept beside the commit log:
//! each piece in a file named by the offset it began at. Queues lose the entries after a wrong one
//! and the index is removed as a whole, because the next start rebuilds both from the log; they are
//! kept too. The checkpoint is lowered first, so that a repair that is interrupted leaves a store
//! that can be repaired again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use super::Place;
use super::check;
use super::log::Log;
use super::report::{Ending, Part, Report};
use crate::checkpoint::{Checkpoint, Marks};
use crate::commit_log::recover::Files;
use crate::consume_queue::entry;
use crate::dir::{self, AbortMark, Lock};
use crate::error::{Error, Result};
use crate::fail_point;
use crate::position::{LogOffset, Millis, QueueOffset};

/// One step of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The part of the store.
    pub part: Part,
    /// The step in words: "cut the log at ...".
    pub text: String,
}

/// The steps of a repair, done or planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// In this order; empty if nothing is damaged.
    pub steps: Vec<Step>,
    /// Directories with what was cut off. Empty if nothing was done.
    pub kept: Vec<PathBuf>,
}

/// Repairs the damage that a check finds; without `cut` it only reports the steps.
///
/// # Errors
/// [`Error::Locked`] while a broker has the directory open; [`Error::Config`] if there is no store;
/// any error of the disk, after which the repair can be started again.
pub fn repair(place: &Place, cut: bool) -> Result<Repair> {
    let _lock = Lock::acquire(&place.root)?;
    let report = check::check_locked(place)?;
    let plan = Plan { report: &report };
    let mut repair = Repair { steps: plan.steps(), kept: Vec::new() };
    if cut && report.damages > 0 {
        repair.kept = plan.perform(place)?;
    }
    Ok(repair)
}

struct Plan<'a> {
    report: &'a Report,
}

impl Plan<'_> {
    /// Whether the next start has to read the whole log.
    fn reads_all(&self) -> bool {
        !self.report.queues.damaged.is_empty() || self.report.index.damaged
    }

    fn steps(&self) -> Vec<Step> {
        let Report { log, queues, index, damages, .. } = self.report;
        let mut steps = Vec::new();
        let mut step = |part, text| steps.push(Step { part, text });
        if let Ending::Corruption(reason) = &log.ending {
            let text = format!(
                "cut the log at {} ({reason}); {} good records lie behind and are kept beside it",
                log.end, log.records_behind_damage
            );
            step(Part::CommitLog, text);
        }
        for (topic, id, offset) in &queues.damaged {
            step(
                Part::ConsumeQueue,
                format!("cut queue {id} of {topic} at {offset}; the next start fills it from the log"),
            );
        }
        if index.damaged {
            step(Part::Index, "take the index away; the next start makes it from the log".into());
        }
        if *damages > 0 {
            let text = match self.reads_all() {
                true => "let the next start read the whole log".into(),
                false => format!("vouch for nothing at or behind {}", log.last_record.unwrap_or(log.min_offset)),
            };
            step(Part::Checkpoint, text);
        }
        steps
    }

    fn perform(&self, place: &Place) -> Result<Vec<PathBuf>> {
        let stamp = jiff::Zoned::now().strftime("%Y%m%d%H%M%S%3f").to_string();
        // With it the next start drops what the checkpoint does not cover.
        AbortMark::new(&place.root).set()?;
        self.lower_checkpoint(place)?;
        let mut kept = Vec::new();
        if matches!(self.report.log.ending, Ending::Corruption(_)) {
            self.cut_log(place, &stamp, &mut kept)?;
        }
        if !self.report.queues.damaged.is_empty() {
            let aside = beside(&place.queues(), &format!("cut-{stamp}"))?;
            for (topic, id, offset) in &self.report.queues.damaged {
                cut_queue(&place.queues(), &aside, topic, *id, *offset)?;
            }
            kept.push(aside);
        }
        if self.report.index.damaged {
            let aside = beside(&place.index(), &format!("cut-{stamp}"))?;
            for (_, path) in dir::numbered(&place.index())? {
                move_into(&path, &aside)?;
            }
            dir::sync(&place.index())?;
            kept.push(aside);
        }
        Ok(kept)
    }

    /// Lowers the checkpoint so that it covers nothing that is cut off or has to be rebuilt.
    fn lower_checkpoint(&self, place: &Place) -> Result<()> {
        let mut checkpoint = Checkpoint::open(&place.root)?;
        let marks = checkpoint.marks();
        let log = &self.report.log;
        let (record, time) = match self.reads_all() {
            true => (0, Millis::default()),
            false => (log.last_record.map_or(0, LogOffset::to_wire), log.last_store_timestamp.unwrap_or_default()),
        };
        checkpoint.write(Marks {
            commit_log_timestamp: marks.commit_log_timestamp.min(time),
            consume_queue_timestamp: marks.consume_queue_timestamp.min(time),
            index_timestamp: marks.index_timestamp.min(time),
            dispatched_record: marks.dispatched_record.min(record),
            confirmed_offset: marks.confirmed_offset.min(log.end.to_wire()),
            master_flushed_offset: marks.master_flushed_offset.min(log.end.to_wire()),
        })
    }

    /// Cuts the log. Each of its directories gets a directory for the cut parts beside it.
    fn cut_log(&self, place: &Place, stamp: &str, kept: &mut Vec<PathBuf>) -> Result<()> {
        let end = self.report.log.end;
        let log = Log::list(place)?;
        let mut aside = |path: &Path| {
            let made = beside(path.parent().unwrap_or(path), &format!("cut-{end:020}-{stamp}"))?;
            if !kept.contains(&made) {
                kept.push(made.clone());
            }
            Ok::<_, Error>(made)
        };
        let mut whole: Vec<(LogOffset, PathBuf)> =
            log.pieces.iter().flat_map(|piece| piece.list.iter().cloned()).collect();
        let mut last = None;
        // From the end, so that an interruption leaves no gap.
        while let Some((base, path)) = whole.pop() {
            if base > end || (base == end && !whole.is_empty()) {
                move_into(&path, &aside(&path)?)?;
                continue;
            }
            let open = || OpenOptions::new().write(true).open(&path);
            let file = fail_point::at("repair::open", open).map_err(Error::io("open", &path))?;
            if end - base < file.metadata().map_err(Error::io("look at", &path))?.len() {
                copy_tail(&path, end - base, &aside(&path)?.join(dir::file_name(end.get())))?;
            }
            fail_point::at("repair::extend", || file.set_len(log.file_size))
                .map_err(Error::io("set the length of", &path))?;
            fail_point::at("repair::sync", || file.sync_all()).map_err(Error::sync(&path))?;
            last = Some((base, path));
            break;
        }
        place.commit_log.iter().try_for_each(|dir| dir::sync(dir))?;
        let list = last.into_iter().collect();
        Files { list, file_size: log.file_size, unfinished: log.unfinished }.cut(end)
    }
}

/// A new directory named after `of`, beside it.
fn beside(of: &Path, suffix: &str) -> Result<PathBuf> {
    let mut name = of.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{suffix}"));
    let path = of.with_file_name(name);
    dir::create(&path)?;
    path.parent().map_or(Ok(()), dir::sync)?;
    Ok(path)
}

/// Moves a file; copies it if the directory lies on another volume.
fn move_into(path: &Path, aside: &Path) -> Result<()> {
    let to = aside.join(path.file_name().unwrap_or_default());
    match fail_point::at("repair::rename", || fs::rename(path, &to)) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy_tail(path, 0, &to)?;
            fail_point::at("repair::delete", || fs::remove_file(path)).map_err(Error::io("remove", path))
        }
        outcome => {
            outcome.map_err(Error::io("move", path))?;
            dir::sync(aside)
        }
    }
}

/// Copies the contents of a file from `from` on to a new file, and waits until it is on the disk.
/// Zeros at its end take no space.
fn copy_tail(path: &Path, from: u64, to: &Path) -> Result<()> {
    let copy = || -> io::Result<()> {
        let mut source = File::open(path)?;
        let (len, mut written) = (source.metadata()?.len(), from);
        let mut target = File::create(to)?;
        while let Some(data) = dir::data_from(&source, written)?.filter(|data| *data < len) {
            source.seek(io::SeekFrom::Start(data))?;
            target.seek(io::SeekFrom::Start(data - from))?;
            let part = (len - data).min(1 << 20);
            written = data + io::copy(&mut (&source).take(part), &mut target)?;
        }
        target.set_len(len.saturating_sub(from))?;
        target.sync_all()
    };
    fail_point::at("repair::copy", copy).map_err(Error::io("copy", path))?;
    to.parent().map_or(Ok(()), dir::sync)
}

/// Cuts a queue at an entry. Its files from there on are kept as they were.
fn cut_queue(queues: &Path, aside: &Path, topic: &str, id: i32, offset: QueueOffset) -> Result<()> {
    let queue = PathBuf::from(topic).join(id.to_string());
    let (from, aside) = (queues.join(&queue), aside.join(&queue));
    dir::create(&aside)?;
    let at = entry::byte_of(offset);
    for (base, path) in dir::numbered(&from)?.into_iter().rev() {
        let len = fs::metadata(&path).map_err(Error::io("look at", &path))?.len();
        if base >= at {
            move_into(&path, &aside)?;
        } else if base + len > at {
            copy_tail(&path, 0, &aside.join(path.file_name().unwrap_or_default()))?;
            let open = || OpenOptions::new().read(true).write(true).open(&path);
            let file = fail_point::at("repair::open", open).map_err(Error::io("open", &path))?;
            fail_point::at("repair::cut", || dir::zero_tail(&file, at - base)).map_err(Error::io("cut", &path))?;
            fail_point::at("repair::sync", || file.sync_data()).map_err(Error::sync(&path))?;
        }
    }
    dir::sync(&from)
}
