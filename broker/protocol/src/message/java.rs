//! Two functions of the Java library that became part of the format.
//!
//! `String.hashCode` decides the tags code of a consume queue entry and the slot of an index key;
//! it runs over UTF-16 units, not bytes. `UtilAll.crc32` is the usual CRC-32 with the sign bit
//! cleared, because Java has no unsigned int to keep it in.

/// `String.hashCode` of `text`.
pub fn string_hash(text: &str) -> i32 {
    StringHash::default().push(text).finish()
}

/// `String.hashCode` of several pieces as if they were one string, so that a key such as
/// `topic#key` needs no buffer.
#[derive(Debug, Clone, Copy, Default)]
pub struct StringHash(i32);

impl StringHash {
    /// The hash so far, followed by `text`.
    #[must_use]
    pub fn push(self, text: &str) -> Self {
        // ASCII, which is nearly all there is, needs no decoding: one byte is one unit.
        let step = |hash: i32, unit: i32| hash.wrapping_mul(31).wrapping_add(unit);
        StringHash(if text.is_ascii() {
            text.bytes().fold(self.0, |hash, byte| step(hash, i32::from(byte)))
        } else {
            text.encode_utf16().fold(self.0, |hash, unit| step(hash, i32::from(unit)))
        })
    }

    /// The hash of everything pushed.
    pub fn finish(self) -> i32 {
        self.0
    }
}

/// The tags code a consume queue entry carries for `tags`; 0 where there are none.
pub fn tags_code(tags: Option<&str>) -> i64 {
    tags.map_or(0, |tags| i64::from(string_hash(tags)))
}

/// CRC-32 of `bytes`, sign bit cleared.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        for (text, hash) in [
            ("", 0),
            ("a", 97),
            ("TagA", 2_598_919),
            ("hello", 99_162_322),
            ("polygenelubricants", i32::MIN),
            ("é", 233),
            ("中文", 646_394),
            // A surrogate pair counts as two units.
            ("😀", 1_772_899),
        ] {
            assert_eq!(string_hash(text), hash, "{text}");
        }
    }

    #[test]
    fn pieces_hash_like_the_whole() {
        assert_eq!(StringHash::default().push("topic").push("#").push("ключ").finish(), string_hash("topic#ключ"));
    }

    #[test]
    fn crc_has_no_sign_bit() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926 & 0x7fff_ffff);
        assert_eq!(crc32(b""), 0);
    }
}
