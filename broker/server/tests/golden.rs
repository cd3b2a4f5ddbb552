//! Our filters against what Java's library answers: `tests/golden/filters.json`. The README there
//! describes its form.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test; helpers are tests too")]

use rmq_server::{Expression, Truth};
use serde_json::Value;
use std::path::Path;

fn unhex(digits: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    digits.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The results of an expression on each property string, as Java's are written.
fn results(text: &str, properties: &[Vec<u8>]) -> String {
    let Ok(expression) = Expression::parse(text) else { return "refused".to_owned() };
    let result = |properties: &Vec<u8>| {
        let result = expression.evaluate(properties);
        assert_eq!(expression.matches(properties), result == Ok(Truth::True));
        match result {
            Ok(Truth::True) => 't',
            Ok(Truth::False) => 'f',
            Ok(Truth::Unknown) => 'n',
            Err(_) => 'e',
        }
    };
    properties.iter().map(result).collect()
}

#[test]
fn expressions_are_read_and_evaluated_as_in_java() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/filters.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let of_kind = |kind: &'static str| cases.iter().filter(move |case| case["kind"] == kind);
    let properties: Vec<_> = of_kind("properties").map(|case| unhex(case["hex"].as_str().unwrap())).collect();
    let (mut wrong, mut evaluated, mut refused) = (Vec::new(), 0, 0);
    for case in of_kind("expression") {
        let (text, javas) = (case["expression"].as_str().unwrap(), case["results"].as_str().unwrap());
        let ours = results(text, &properties);
        if ours != javas {
            wrong.push(format!("{}: {text:?}\n  ours  {ours}\n  javas {javas}", case["name"]));
        }
        *(if javas == "refused" { &mut refused } else { &mut evaluated }) += 1;
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(
        evaluated > 600 && refused > 200,
        "{evaluated} expressions, {refused} refused: the document has fewer than it had"
    );
    assert_eq!(properties.len(), 16);
}
