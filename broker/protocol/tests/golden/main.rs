//! Our codecs against bytes that the Java libraries wrote.
//!
//! The documents lie in `tests/golden/` at the root of the repository; the README there describes
//! their form and how they are made. Every case is decoded with our types, compared with the values
//! beside its bytes, encoded again and compared with its bytes. A case that no table here knows
//! fails by its name, so a new one cannot pass unnoticed.
//!
//! | module | document | contents |
//! |---|---|---|
//! | [`frames`] | `frames.json` | commands in both header forms, frames cut at every byte |
//! | [`headers`] | `frames.json` | the typed header of each command |
//! | [`bodies`] | `bodies.json`, `config-files.json` | JSON bodies, files, cut at every byte |
//! | [`registration`] | `bodies.json` | compressed registrations |
//! | [`records`] | `records.json` | stored messages, batch bodies, ids, property strings, hashes |
//! | [`foreign`] | `bodies.json` | every body type against foreign bytes |

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test; helpers are tests too")]

mod bodies;
mod foreign;
mod frames;
mod headers;
mod records;
mod registration;

use serde_json::Value;
use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// One line of a document.
struct Case(Value);

impl Case {
    fn name(&self) -> &str {
        self.text("name")
    }

    fn value(&self, field: &str) -> &Value {
        self.0.get(field).unwrap_or_else(|| panic!("{} has no {field}", self.0["name"]))
    }

    fn text(&self, field: &str) -> &str {
        self.value(field).as_str().unwrap_or_else(|| panic!("{field} of {} is no text", self.0["name"]))
    }

    fn number(&self, field: &str) -> i64 {
        self.value(field).as_i64().unwrap_or_else(|| panic!("{field} of {} is no number", self.0["name"]))
    }

    fn bytes(&self, field: &str) -> Vec<u8> {
        unhex(self.text(field))
    }

    /// An object whose values are texts.
    fn texts(&self, field: &str) -> Vec<(&str, &str)> {
        texts(self.value(field))
    }
}

fn texts(object: &Value) -> Vec<(&str, &str)> {
    object.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "half a byte");
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    digits.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The cases of a document.
fn cases(document: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(document);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: Vec<Case> = serde_json::from_slice::<Vec<Value>>(&text).unwrap().into_iter().map(Case).collect();
    assert!(!cases.is_empty(), "{document} has no cases");
    let names: BTreeSet<_> = cases.iter().map(Case::name).collect();
    assert_eq!(names.len(), cases.len(), "names of {document} must be unique");
    cases
}

/// Runs `check` on each case of a document to the last, and fails with the names of those it
/// panicked on.
fn every_case(document: &str, check: impl Fn(&Case)) {
    let cases = cases(document);
    let fails = |case: &&Case| catch_unwind(AssertUnwindSafe(|| check(case))).is_err();
    let failed: Vec<_> = cases.iter().filter(fails).map(Case::name).collect();
    assert!(failed.is_empty(), "{} of {} cases of {document} fail: {failed:#?}", failed.len(), cases.len());
}

/// Compares bytes that are mostly text, so that a difference can be read.
#[track_caller]
fn assert_same_bytes(ours: &[u8], javas: &[u8]) {
    assert!(ours == javas, "\nours:  {}\njavas: {}", ours.escape_ascii(), javas.escape_ascii());
}
