//! The three messages of replication; see the head of the folder.

use rmq_store::LogOffset;

/// Bytes before each piece of the log.
pub(super) const HEADER: usize = 12;
/// Bytes of a report.
pub(super) const REPORT: usize = 8;
/// The longest piece that a slave accepts. Java's master sends 32 KiB; a peer that sends pieces
/// near this limit is no master.
pub(super) const MAX_PIECE: usize = 16 * 1024 * 1024;

/// The highest offset of a log. It is far beyond the size of any disk, and so far below the maximum
/// of the type that no sum with a size overflows, here or in Java, where offsets are signed.
pub(super) const MAX_OFFSET: LogOffset = LogOffset::new(1 << 62);

/// The header of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The offset of the piece.
    pub(super) offset: LogOffset,
    /// The length of the piece.
    pub(super) size: usize,
}

impl Piece {
    pub(super) fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&self.offset.get().to_be_bytes());
        bytes[8..].copy_from_slice(&(self.size as u32).to_be_bytes());
        bytes
    }

    pub(super) fn decode(bytes: [u8; HEADER]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        let offset = LogOffset::new(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        Self { offset, size: u32::from_be_bytes([i, j, k, l]) as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_offset_and_size() {
        let piece = Piece { offset: LogOffset::new(0x0102_0304_0506_0708), size: 0x090a_0b0c };
        assert_eq!(piece.encode(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(Piece::decode(piece.encode()), piece);
    }
}
