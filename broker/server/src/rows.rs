//! Validates the rows of a table's file one by one. A row that cannot be used must not keep the
//! broker from starting, or a slave from following.
//!
//! A row that is left out is kept unchanged and written back to the file with each write, until a
//! request puts or deletes its name. So nothing is lost, a Java broker that reads the file finds
//! the row, and each start warns of it. Meanwhile nothing is created automatically under its name,
//! because it would replace the row. (A copy of the file beside it would be forgotten, and the next
//! start would consider the name free.)

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Display};

/// Rows by name, unchanged from the file.
pub(crate) type InvalidRows = BTreeMap<String, Value>;

/// The number of rows that one warning names.
const MAX_EXAMPLES: usize = 10;
/// The limit of characters of a name or a reason in a warning.
const MAX_TEXT: usize = 300;

/// A row of a file that is written.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Row<T> {
    /// A row that was read, or created here.
    Read(T),
    /// A row that was left out.
    Invalid(Value),
}

/// Separates the valid rows of a table from `source` from those that are left out, and warns of the
/// latter. `check` may complete a row; its error is why the row cannot be used.
pub(crate) fn judge<T: DeserializeOwned>(
    source: impl Display,
    rows: InvalidRows,
    check: impl Fn(&str, &mut T) -> Result<(), String>,
) -> (BTreeMap<String, T>, InvalidRows) {
    let (mut read, mut invalid, mut examples) = (BTreeMap::new(), InvalidRows::new(), Vec::new());
    for (name, row) in rows {
        let checked = serde_json::from_value(row.clone())
            .map_err(|error| error.to_string())
            .and_then(|mut value| check(&name, &mut value).map(|()| value));
        match checked {
            Ok(value) => {
                read.insert(name, value);
            }
            Err(reason) => {
                if examples.len() < MAX_EXAMPLES {
                    examples.push(format!("{}: {}", short(&name), short(&reason)));
                }
                invalid.insert(name, row);
            }
        }
    }
    if !invalid.is_empty() {
        tracing::warn!(
            %source,
            rows = invalid.len(),
            "rows are left out, as they cannot be used: {}. They stay in the file as they are; put \
             them right with updateTopic or updateSubGroup, or delete them",
            examples.join("; ")
        );
    }
    (read, invalid)
}

/// All rows of a file that is written. A row that was left out is included unless its name is in
/// use now.
pub(crate) fn merge<T>(read: BTreeMap<String, T>, invalid: InvalidRows) -> BTreeMap<String, Row<T>> {
    let mut rows: BTreeMap<_, _> = invalid.into_iter().map(|(name, row)| (name, Row::Invalid(row))).collect();
    rows.extend(read.into_iter().map(|(name, value)| (name, Row::Read(value))));
    rows
}

/// Numbers by number. An entry whose key or value is no number is added to `wrong`. If only the
/// value is no number, the entry gets the value `instead`.
pub(crate) fn numbers(name: &str, row: Value, instead: i64, wrong: &mut Vec<String>) -> BTreeMap<i32, i64> {
    let Value::Object(entries) = row else {
        wrong.push(format!("{} is {}", short(name), short(&row.to_string())));
        return BTreeMap::new();
    };
    let mut numbers = BTreeMap::new();
    for (key, value) in entries {
        let number = value.as_i64();
        let key_number = key.parse().ok();
        if number.is_none() || key_number.is_none() {
            wrong.push(format!("{} {} is {}", short(name), short(&key), short(&value.to_string())));
        }
        numbers.extend(key_number.map(|key| (key, number.unwrap_or(instead))));
    }
    numbers
}

/// Warns of the entries that [`numbers`] found wrong.
pub(crate) fn warn_of_numbers(source: impl Display, wrong: &[String], instead: &str) {
    let examples = wrong.iter().take(MAX_EXAMPLES).cloned().collect::<Vec<_>>().join("; ");
    tracing::warn!(%source, entries = wrong.len(), "these are no offsets of queues: {examples}; {instead}");
}

fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_cannot_be_used_is_left_out_and_written_as_it_came() {
        let rows: InvalidRows = serde_json::from_str(r#"{"a":1,"b":"two","c":99999999999,"d":-1}"#).unwrap();
        let positive =
            |name: &str, value: &mut i32| if *value > 0 { Ok(()) } else { Err(format!("{name} is {value}")) };
        let (mut read, invalid) = judge("a test", rows, positive);
        assert_eq!(read, BTreeMap::from([("a".to_owned(), 1)]));
        assert_eq!(invalid.keys().collect::<Vec<_>>(), ["b", "c", "d"]);
        read.insert("d".to_owned(), 4);
        let written = serde_json::to_string(&merge(read, invalid)).unwrap();
        assert_eq!(written, r#"{"a":1,"b":"two","c":99999999999,"d":4}"#);
    }
}
