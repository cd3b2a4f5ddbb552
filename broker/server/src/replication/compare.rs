//! Compares the end of a member's log with the bytes of another member at the same offsets.
//!
//! Two logs of one group can differ although the offsets fit. A master that lost its volume starts
//! an empty log, and once that log has grown past the end of the slave's log, offsets alone no
//! longer distinguish them. So a follower first asks for bytes that it has already. It compares
//! these bytes with its own, and appends only what follows them.
//!
//! ```text
//! follower's log   ...............[ window, at most 64 KiB ][ zeros of a filler ]
//! asks from                       ^                                              ^ appends from
//! ```
//!
//! The window holds the end of at least one record. Records carry their offset, the time they were
//! stored and an id of their own, so two logs that were written separately do not agree there. Zero
//! bytes at the end are no evidence: a filler of megabytes looks the same in all logs.
//!
//! Classic HA has no message for this, and none is needed: to a Java master the follower looks like
//! one whose log ends a little earlier. The price is 64 KiB per connection.

use rmq_store::{Error, LogOffset, MessageStore};

/// The number of bytes compared, in addition to the zeros behind them.
pub(super) const WINDOW: u64 = 64 << 10;
/// The limit of zeros skipped at the end of a log: more than a filler has with the usual message
/// size.
const MOST_ZEROS: u64 = 16 << 20;
/// Bytes per read.
const CHUNK: u64 = 64 << 10;

/// The end of the member's own log, for the comparison with the bytes of a peer.
#[derive(Debug, Default)]
pub(super) struct Overlap {
    from: LogOffset,
    /// End of the last byte that can distinguish logs.
    meaningful: LogOffset,
    own: Vec<u8>,
    /// The number of bytes of `own` that the peer sent too.
    agreed: usize,
}

/// The peer has other bytes at this offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Differs {
    pub(super) at: LogOffset,
}

impl Overlap {
    /// Reads the end of the log. The peer's log begins at `peer_min`, as far as that is known.
    /// Blocks.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub(super) fn read(store: &MessageStore, peer_min: LogOffset) -> Result<Self, Error> {
        let (min, end) = (store.min_physical_offset(), store.max_physical_offset());
        if end == min {
            return Ok(Self { from: end, meaningful: end, own: Vec::new(), agreed: 0 });
        }
        let meaningful = last_non_zero(store, min, end)?;
        // A Java master interprets a request for offset 0 as an empty log.
        let from = meaningful.saturating_sub(WINDOW).max(min).max(LogOffset::new(1));
        // Bytes that the peer has deleted cannot be compared. The bytes behind them can.
        let from = if peer_min < meaningful { from.max(peer_min) } else { from };
        Ok(Self { from, meaningful, own: bytes(store, from, end)?, agreed: 0 })
    }

    /// The offset that the peer has to begin at; 0 for an empty log.
    pub(super) fn begin(&self) -> LogOffset {
        self.from
    }

    /// Whether a comparison with a peer whose log begins at `peer_min` would be conclusive and was
    /// not tried.
    pub(super) fn can_begin_later(&self, peer_min: LogOffset) -> bool {
        self.from < peer_min && peer_min < self.meaningful
    }

    /// The offset of the next byte.
    pub(super) fn next(&self) -> LogOffset {
        self.from + self.agreed as u64
    }

    /// Whether every byte was compared.
    pub(super) fn is_complete(&self) -> bool {
        self.agreed == self.own.len()
    }

    /// Compares the bytes of the peer at [`Overlap::next`]. Returns how many of them were compared;
    /// the bytes that follow are new.
    pub(super) fn compare(&mut self, theirs: &[u8]) -> Result<usize, Differs> {
        let own = &self.own[self.agreed..];
        let count = own.len().min(theirs.len());
        match own.iter().zip(theirs).position(|(own, theirs)| own != theirs) {
            Some(at) => Err(Differs { at: self.next() + at as u64 }),
            None => {
                self.agreed += count;
                if self.is_complete() {
                    // The bytes are not needed again while the connection lasts.
                    self.from += self.agreed as u64;
                    (self.own, self.agreed) = (Vec::new(), 0);
                }
                Ok(count)
            }
        }
    }
}

/// End of the last byte that is not zero, within the search limit.
fn last_non_zero(store: &MessageStore, min: LogOffset, end: LogOffset) -> Result<LogOffset, Error> {
    let stop = min.max(end.saturating_sub(MOST_ZEROS));
    let mut to = end;
    while to > stop {
        let from = to.saturating_sub(CHUNK).max(stop);
        if let Some(at) = bytes(store, from, to)?.iter().rposition(|byte| *byte != 0) {
            return Ok(from + at as u64 + 1);
        }
        to = from;
    }
    Ok(stop)
}

/// The bytes from `from` to `to`, which may span several files.
fn bytes(store: &MessageStore, from: LogOffset, to: LogOffset) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity((to - from) as usize);
    let mut at = from;
    while at < to {
        let piece = store.read_from_disk(at, (to - at) as usize)?;
        if piece.is_empty() {
            break;
        }
        at += piece.len() as u64;
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{member, message};
    use std::sync::Arc;

    fn log(bodies: impl Iterator<Item = usize>) -> (tempfile::TempDir, Arc<MessageStore>) {
        let root = tempfile::tempdir().unwrap();
        let (_, store) = member(root.path(), &[]);
        for size in bodies {
            store.put(&message(&vec![7; size])).unwrap();
        }
        (root, store)
    }

    #[test]
    fn a_log_agrees_with_itself_however_it_is_cut() {
        let (_root, store) = log((0..300).map(|n| n * 7));
        let end = store.max_physical_offset();
        let theirs = bytes(&store, LogOffset::ZERO, end).unwrap();
        for piece in [1, 7, 1000, usize::MAX] {
            let mut overlap = Overlap::read(&store, LogOffset::ZERO).unwrap();
            // The last record has no properties, so its last two bytes, their length, are zeros.
            assert_eq!(end - overlap.begin(), 2 + WINDOW);
            while !overlap.is_complete() {
                let next = overlap.next().get() as usize;
                let piece = &theirs[next..theirs.len().min(next.saturating_add(piece))];
                assert_eq!(overlap.compare(piece), Ok(piece.len()));
            }
            assert_eq!(overlap.next(), end);
            assert_eq!(overlap.compare(b"new"), Ok(0), "what follows is new");
        }
    }

    #[test]
    fn the_first_byte_that_differs_is_told() {
        let (_root, store) = log(std::iter::repeat_n(100, 5));
        let mut theirs = bytes(&store, LogOffset::new(1), store.max_physical_offset()).unwrap();
        theirs[200] ^= 1;
        let mut overlap = Overlap::read(&store, LogOffset::ZERO).unwrap();
        assert_eq!(overlap.begin(), LogOffset::new(1), "a request for 0 is that of an empty log");
        assert_eq!(overlap.compare(&theirs), Err(Differs { at: LogOffset::new(201) }));
    }

    /// Two logs that both end with a filler of zeros look alike there.
    #[test]
    fn zeros_at_the_end_are_no_evidence() {
        // The second message does not fit into the file of 16 MiB: a filler of more than 8 MiB ends
        // the file.
        let root = tempfile::tempdir().unwrap();
        let (_, store) = member(root.path(), &[("maxMessageSize", "8000000"), ("mappedFileSizeCommitLog", "16777216")]);
        let body = vec![0; 7_900_000];
        for _ in 0..3 {
            store.put(&message(&body)).unwrap();
        }
        // This is the log of a slave that lacks only the last message.
        let file_end = LogOffset::new(16_777_216);
        let filler = store.read(LogOffset::new(16_777_216 - 100), 100).unwrap();
        assert!(filler.iter().all(|byte| *byte == 0));
        assert!(file_end - last_non_zero(&store, LogOffset::ZERO, file_end).unwrap() > 900_000);
    }

    #[test]
    fn an_empty_log_has_nothing_to_compare() {
        let (_root, store) = log(std::iter::empty());
        let overlap = Overlap::read(&store, LogOffset::ZERO).unwrap();
        assert!(overlap.is_complete());
        assert_eq!(overlap.begin(), LogOffset::ZERO);
    }
}
