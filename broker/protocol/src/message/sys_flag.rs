//! The bits of the two system flags: that of a message, and that of a pull request.

/// The body is compressed; [`compression`] returns the method.
pub const COMPRESSED: i32 = 0x1;
/// The tags property holds several tags.
pub const MULTI_TAGS: i32 = 0x2;
/// The born host is an IPv6 address, 16 bytes instead of 4.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host is an IPv6 address, 16 bytes instead of 4.
pub const STORE_HOST_V6: i32 = 0x20;
/// The consumer must take the messages out of the body.
pub const NEED_UNWRAP: i32 = 0x40;
/// The body holds several messages.
pub const INNER_BATCH: i32 = 0x80;

const TRANSACTION: i32 = 0xC;
const COMPRESSION: i32 = 0x700;

/// The transaction state of a message: bits 2 and 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    /// Not part of a transaction.
    None,
    /// A half message, which is not visible to consumers.
    Prepared,
    /// Committed; consumable.
    Commit,
    /// Rolled back.
    Rollback,
}

/// The transaction state in a message's flag.
pub fn transaction(flag: i32) -> Transaction {
    match flag & TRANSACTION {
        0x4 => Transaction::Prepared,
        0x8 => Transaction::Commit,
        0xC => Transaction::Rollback,
        _ => Transaction::None,
    }
}

/// `flag` with its transaction state replaced.
pub fn with_transaction(flag: i32, state: Transaction) -> i32 {
    let bits = match state {
        Transaction::None => 0,
        Transaction::Prepared => 0x4,
        Transaction::Commit => 0x8,
        Transaction::Rollback => 0xC,
    };
    flag & !TRANSACTION | bits
}

/// How a body is compressed: bits 8 to 10, meaningful with [`COMPRESSED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// LZ4 frame.
    Lz4,
    /// Zstandard frame.
    Zstd,
    /// zlib; also the meaning of no kind, as old clients send it.
    Zlib,
}

/// The compression of a message with this flag. `None`: not compressed. An unknown kind is an
/// error.
pub fn compression(flag: i32) -> Result<Option<Compression>, super::Error> {
    if flag & COMPRESSED == 0 {
        return Ok(None);
    }
    match flag & COMPRESSION {
        0x100 => Ok(Some(Compression::Lz4)),
        0x200 => Ok(Some(Compression::Zstd)),
        0 | 0x300 => Ok(Some(Compression::Zlib)),
        other => Err(super::Error::Value { what: "compression kind", value: i64::from(other) }),
    }
}

/// `flag` saying that the body is compressed in this way.
pub fn with_compression(flag: i32, kind: Compression) -> i32 {
    let bits = match kind {
        Compression::Lz4 => 0x100,
        Compression::Zstd => 0x200,
        Compression::Zlib => 0x300,
    };
    flag & !COMPRESSION | bits | COMPRESSED
}

/// Bits of a pull request's flag.
pub mod pull {
    /// The request also commits an offset.
    pub const COMMIT_OFFSET: i32 = 0x1;
    /// The broker may keep the request until a message comes.
    pub const SUSPEND: i32 = 0x2;
    /// The request carries its subscription.
    pub const SUBSCRIPTION: i32 = 0x4;
    /// The subscription is a class filter.
    pub const CLASS_FILTER: i32 = 0x8;
    /// A lite pull consumer asks.
    pub const LITE_PULL: i32 = 0x10;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_states_replace_each_other_and_leave_the_rest() {
        let flag = COMPRESSED | BORN_HOST_V6;
        for state in [Transaction::Prepared, Transaction::Commit, Transaction::Rollback, Transaction::None] {
            let with = with_transaction(with_transaction(flag, Transaction::Rollback), state);
            assert_eq!(transaction(with), state);
            assert_eq!(with & !0xC, flag);
        }
    }

    #[test]
    fn a_compressed_body_without_a_kind_is_zlib() {
        assert_eq!(compression(COMPRESSED), Ok(Some(Compression::Zlib)));
        assert_eq!(compression(0x300), Ok(None));
        assert!(compression(COMPRESSED | 0x400).is_err());
        for kind in [Compression::Lz4, Compression::Zstd, Compression::Zlib] {
            assert_eq!(compression(with_compression(0x10, kind)), Ok(Some(kind)));
        }
    }
}
