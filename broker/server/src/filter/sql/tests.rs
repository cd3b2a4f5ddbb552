//! What may come from anybody: long, deep and broken expressions, and any bytes.

use super::{Expression, MAX_LEN, ParseError, Truth, tree::*};
use rand::{RngExt, SeedableRng, rngs::StdRng};

fn error(text: &str) -> (usize, String) {
    let ParseError { column, problem } = Expression::parse(text).expect_err(text);
    (column, problem)
}

#[test]
fn an_error_tells_the_column_and_what_is_expected() {
    for (text, column, words) in [
        ("", 1, "a property, a number, a string or a parenthesis is expected, not the end of the expression"),
        ("a = 'b", 5, "the string that begins here has no closing quote"),
        ("a = \"b\"", 5, "strings stand in single quotes"),
        ("a IN ('b' 'c')", 11, "a comma or ) is expected after a string of a list, not 'c'"),
        ("a IN (5)", 7, "a string in single quotes is expected after ( of a list, not 5"),
        ("a CONTAINS b", 12, "a string in single quotes is expected after CONTAINS, not b"),
        ("a BETWEEN 1 OR 2", 13, "AND is expected after the first value of BETWEEN, not OR"),
        ("a BETWEEN 2 AND 1", 1, "the first value of BETWEEN is greater than the second"),
        ("(a = 1", 7, "an operator or ) is expected after the parenthesis of column 1, not the end"),
        ("a IS 5", 6, "NULL or NOT NULL is expected after IS, not 5"),
        ("a NOT 5", 7, "BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH is expected after NOT, not 5"),
        ("b = 1 AND a > 'x'", 11, "> compares numbers and properties only, not a string"),
        ("a = NULL", 1, "write IS NULL"),
        ("a = 9223372036854775808", 5, "9223372036854775808 is above 9223372036854775807"),
        ("a = 0.0", 5, "0.0 cannot be written with a point"),
        ("a = 1e999", 5, "1e999 is above 1.7976931348623157E308"),
        ("ä = 1", 1, "'ä' cannot stand outside of a string"),
        ("'日本' = a @", 10, "'@' cannot stand outside of a string"),
        ("a != 1", 3, "write <> for unequal"),
        ("1", 1, "a condition is expected, not a number"),
        ("a = 1 /* b", 7, "the comment that begins here does not end"),
    ] {
        let (at, problem) = error(text);
        assert!(at == column && problem.contains(words), "{text}: column {at}: {problem}");
    }
}

#[test]
fn what_follows_an_expression_is_told() {
    assert_eq!(Expression::parse("a = 1").unwrap().ignored_from(), None);
    assert_eq!(Expression::parse("a = '日' b = 2").unwrap().ignored_from(), Some(9));
}

/// A megabyte, ten thousand levels: an error each, on half of the stack that a thread has.
#[test]
fn limits_are_errors() {
    std::thread::Builder::new().stack_size(1 << 20).spawn(exceed_every_limit).unwrap().join().unwrap();
}

fn exceed_every_limit() {
    let long = format!("a = '{}'", "x".repeat(1 << 20));
    assert_eq!(
        error(&long),
        (1, format!("the expression has {} bytes, more than the {MAX_LEN} that it may have", long.len()))
    );
    let nested = |depth: usize| format!("{}a = 1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(MAX_DEPTH)).unwrap().matches(b"a\x011\x02"));
    assert_eq!(error(&nested(10_000)), (MAX_DEPTH + 1, format!("more than {MAX_DEPTH} parentheses are open")));
    let signs = |sign: &str, count: usize| format!("b = 1 OR {} (a = 1)", sign.repeat(count));
    assert!(Expression::parse(&signs("NOT ", MAX_DEPTH - 2)).unwrap().matches(b"a\x011\x02"));
    assert_eq!(error(&signs("NOT ", 10_000)), (10, format!("more than {MAX_DEPTH} signs in a row")));
    assert_eq!(error(&signs("NOT ", MAX_DEPTH)).1, format!("more than {MAX_DEPTH} operators depend on each other"));
    assert!(Expression::parse(&format!("{}a = 1", "+".repeat(10_000))).is_ok());
    let chain = |count: usize| vec!["a = 1"; count].join(" OR ");
    assert!(Expression::parse(&chain(MAX_OPERATORS - 1)).unwrap().matches(b"a\x011\x02"));
    assert_eq!(error(&chain(MAX_OPERATORS + 1)).1, format!("there are more than {MAX_OPERATORS} operators"));
    assert_eq!(
        error(&format!("a = 1{}", " = TRUE".repeat(MAX_DEPTH))).1,
        format!("more than {MAX_DEPTH} operators depend on each other")
    );
    let names = |count: usize| (0..count).map(|name| format!("n{name} = '1'")).collect::<Vec<_>>().join(" OR ");
    assert!(Expression::parse(&names(MAX_NAMES)).unwrap().matches(b"n255\x011"));
    assert_eq!(error(&names(MAX_NAMES + 1)).1, format!("more than {MAX_NAMES} properties are named"));
    let number = format!("a = {}", "9".repeat(1000));
    assert_eq!(error(&number).1, format!("{}... is above 9223372036854775807, the largest integer", "9".repeat(40)));
}

#[test]
fn properties_are_found_as_javas_map_has_them() {
    let is =
        |expression: &str, properties: &str| Expression::parse(expression).unwrap().evaluate(properties.as_bytes());
    let matches = |expression: &str, properties: &str| is(expression, properties) == Ok(Truth::True);
    assert!(matches("a = '2'", "a\u{1}1\u{2}b\u{1}3\u{2}a\u{1}2\u{2}"), "the last of two counts");
    assert!(matches("a = '1'", "a\u{1}1\u{2}a\u{1}\u{2}"), "one without a value does not exist");
    assert!(matches("b = 'a\u{1}1'", "b\u{1}a\u{1}1"), "a value may have the separator of names");
    assert!(matches("a IS NULL", "ba\u{1}1\u{2}b\u{1}a\u{2}aa\u{1}1\u{2}a\u{2}"), "names are compared whole");
    assert!(matches("a IS NULL", "a\u{1}"));
    assert!(matches("A IS NULL AND a IS NOT NULL", "a\u{1}1"), "names have a case");
    assert_eq!(is("a > 1", "a\u{1}x"), Err(super::Fault));
}

/// Words that the grammar knows, in any order: no text may panic, and no result may depend on how
/// the properties are laid out.
#[test]
fn expressions_of_any_words_and_properties_of_any_bytes_are_read() {
    const WORDS: [&str; 36] = [
        "a",
        "b",
        "TAGS",
        "NOT",
        "AND",
        "OR",
        "BETWEEN",
        "IN",
        "IS",
        "NULL",
        "CONTAINS",
        "STARTSWITH",
        "ENDSWITH",
        "=",
        "<>",
        "<",
        ">=",
        "(",
        ")",
        ",",
        "+",
        "-",
        "1",
        "5L",
        "1.5",
        "9223372036854775808",
        "1e999",
        "'abc'",
        "'it''s'",
        "'",
        "TRUE",
        "/*",
        "*/",
        "--",
        "\n",
        "\u{e9}",
    ];
    const BYTES: [&[u8]; 10] = [b"a", b"b", b"TAGS", b"\x01", b"\x02", b"1", b"1.5", b"abc", b"\xff", b"NaN"];
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut parsed = 0;
    for _ in 0..30_000 {
        let words = (0..random.random_range(1..14)).map(|_| WORDS[random.random_range(0..WORDS.len())]);
        let text = words.collect::<Vec<_>>().join(if random.random() { " " } else { "" });
        let Ok(expression) = Expression::parse(&text) else { continue };
        parsed += 1;
        for _ in 0..4 {
            let parts = (0..random.random_range(0..12)).map(|_| BYTES[random.random_range(0..BYTES.len())]);
            let properties = parts.collect::<Vec<_>>().concat();
            let ended = [&properties[..], b"\x02"].concat();
            assert_eq!(expression.evaluate(&properties), expression.evaluate(&ended), "{text:?} {properties:?}");
            assert!(expression.work(&properties) > 0);
        }
    }
    assert!(parsed > 1000, "only {parsed} were expressions");
}
