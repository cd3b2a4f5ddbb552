//! JSON as Java's fastjson writes and reads it.
//!
//! fastjson writes integer map keys bare (`{0:"a:1"}`) and objects as map keys
//! (`{{"queueId":0}:1}`); neither is JSON, and both are what Java's admin tools and older clients
//! expect. So there are two writers, [`to_vec`] with these deviations and serde_json's own for
//! standard JSON, and one reader, [`from_slice`], that accepts both and more: single quotes, bare
//! names, trailing commas.
//!
//! An object as a key is held in Rust as the text of that object: a map key that starts with `{` is
//! written raw, and read back as text. No topic, group or broker name can start so.

mod read;
mod write;

pub(crate) use read::Scanner;
pub use read::to_standard;
pub(crate) use write::quote;
pub use write::{to_vec, to_vec_pretty};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use std::borrow::Cow;

/// The text is not JSON, even by the lenient rules, or has another structure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No JSON.
    #[error("malformed JSON at byte {at}: {what}")]
    Malformed {
        /// The position.
        at: usize,
        /// The fault there.
        what: &'static str,
    },
    /// JSON of another structure.
    #[error("unexpected JSON: {}", without_types(_0))]
    Shape(#[from] serde_json::Error),
}

/// serde names the Rust type that it expected; for the author of the JSON that is an object.
fn without_types(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let Some((before, after)) = text.split_once("expected struct ") else { return text };
    let rest = after.trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_');
    format!("{before}expected an object{rest}")
}

/// Reads standard JSON, or what fastjson writes in its place.
///
/// # Errors
/// [`Error::Malformed`] if the text is not JSON even by the lenient rules; [`Error::Shape`] if it
/// is not a `T`.
pub fn from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    match serde_json::from_slice(json) {
        Ok(value) => Ok(value),
        Err(standard) if standard.is_data() => Err(standard.into()),
        Err(_) => Ok(serde_json::from_str(&to_standard(json)?)?),
    }
}

/// For `deserialize_with`: integers, each as a number or, as fastjson takes it too, as text.
pub(crate) fn integers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Integer<'a> {
        Number(i32),
        Text(#[serde(borrow)] Cow<'a, str>),
    }
    let integers = Option::<Vec<Integer<'de>>>::deserialize(deserializer)?.unwrap_or_default();
    let number = |integer| match integer {
        Integer::Number(number) => Ok(number),
        Integer::Text(text) => {
            text.parse().map_err(|_| serde::de::Error::custom(format_args!("{text:?} is no integer")))
        }
    };
    integers.into_iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn integer_keys_are_bare_and_object_keys_raw() {
        let numbers: BTreeMap<i64, &str> = [(0, "a"), (7, "b\"\u{1}")].into();
        assert_eq!(to_vec(&numbers), br#"{0:"a",7:"b\"\u0001"}"#);
        let objects: BTreeMap<String, i32> = [(r#"{"queueId":0,"topic":"t"}"#.to_owned(), 1)].into();
        assert_eq!(to_vec(&objects), br#"{{"queueId":0,"topic":"t"}:1}"#);
        let texts: BTreeMap<&str, &str> = [("", ""), ("k", "{v}")].into();
        assert_eq!(to_vec(&texts), br#"{"":"","k":"{v}"}"#);
    }

    #[test]
    fn pretty_form_has_tabs_and_no_spaces() {
        let value: BTreeMap<&str, BTreeMap<i32, Vec<i32>>> =
            [("a", [(1, vec![2, 3])].into()), ("b", BTreeMap::new())].into();
        assert_eq!(
            String::from_utf8(to_vec_pretty(&value)).unwrap(),
            "{\n\t\"a\":{\n\t\t1:[\n\t\t\t2,\n\t\t\t3\n\t\t]\n\t},\n\t\"b\":{}\n}"
        );
    }

    #[test]
    fn lenient_text_is_read() {
        let read: BTreeMap<String, i32> = from_slice(br#"{{"queueId":0,'topic':"t"}:1,2:3,bare:4,}"#).unwrap();
        assert_eq!(
            read,
            [(r#"{"queueId":0,"topic":"t"}"#.to_owned(), 1), ("2".to_owned(), 3), ("bare".to_owned(), 4)].into()
        );
        let text: String = from_slice(br"'\u0041\ud83d\ude00\x41\''").unwrap();
        assert_eq!(text, "A\u{1F600}A'");
    }

    #[test]
    fn a_key_in_a_key_in_a_key_does_not_eat_all_memory() {
        for depth in 2..64 {
            let text = format!("{}\"a\":1{}", "{".repeat(depth), "}:1".repeat(depth - 1) + "}");
            assert_eq!(to_standard(text.as_bytes()).is_ok(), depth == 2, "{text}");
            let header = format!("{{\"code\":1,\"unknown\":{text}}}");
            assert_eq!(crate::json_header::decode(header.as_bytes()).is_ok(), depth == 2, "{header}");
        }
    }

    #[test]
    fn bad_text_is_an_error_wherever_it_is_cut() {
        let whole = br#"{"a":[1,{"b":"\u0041\n"}],{"c":1}:'x'}"#;
        assert!(to_standard(whole).is_ok());
        for cut in 0..whole.len() {
            assert!(to_standard(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(to_standard(&[b'['; 200]).is_err());
        assert!(to_standard(b"\xff").is_err());
    }
}
