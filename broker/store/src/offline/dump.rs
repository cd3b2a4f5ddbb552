//! The records of a store.

use std::ops::{ControlFlow, Range};
use std::path::PathBuf;

use rmq_protocol::message::stored::Record;

use super::Place;
use super::log::Log;
use crate::checkpoint::Marks;
use crate::commit_log::recover::{Files, Outcome};
use crate::dir::Lock;
use crate::error::Result;
use crate::position::LogOffset;

/// An item of a dump, in the order of the log.
#[derive(Debug)]
pub enum Piece<'a> {
    /// A good record.
    Record(&'a Record<'a>),
    /// Damage; the dump continues at the next good record.
    Damage {
        /// The file.
        file: PathBuf,
        /// The start of the damage, as a physical offset.
        offset: LogOffset,
        /// The fault found there.
        reason: String,
    },
}

/// Passes the records that begin in a range of physical offsets to `each`, with the damage between
/// them, until it stops the dump.
///
/// # Errors
/// [`Error::Locked`](crate::Error::Locked) while a broker has the directory open;
/// [`Error::Config`](crate::Error::Config) if there is no store; any error of the disk.
pub fn dump(place: &Place, range: Range<LogOffset>, each: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>) -> Result<()> {
    let _lock = Lock::acquire_shared(&place.root)?;
    let marks = Marks::read(&place.root)?.unwrap_or_default();
    for piece in Log::list(place)?.pieces {
        if dump_piece(&piece, &range, &marks, each)?.is_break() {
            break;
        }
    }
    Ok(())
}

fn dump_piece(
    piece: &Files,
    range: &Range<LogOffset>,
    marks: &Marks,
    each: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    // A record begins with every file, and not necessarily at the start of the range.
    let files = range.start.saturating_since(piece.first()) / piece.file_size * piece.file_size;
    let mut from = piece.first() + files;
    loop {
        let stop = piece.scan(from, &mut |record| {
            let offset = LogOffset::of(record);
            Ok(match range.contains(&offset) {
                true => each(Piece::Record(record)),
                false if offset >= range.end => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        if stop.enough {
            return Ok(ControlFlow::Break(()));
        }
        let Outcome::Corruption { reason, next } = piece.judge(&stop, marks)? else {
            return Ok(ControlFlow::Continue(()));
        };
        if range.contains(&stop.offset) {
            let damage = Piece::Damage { file: piece.file_of(stop.offset), offset: stop.offset, reason };
            if each(damage).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let Some(next) = next else { return Ok(ControlFlow::Continue(())) };
        from = next;
    }
}
