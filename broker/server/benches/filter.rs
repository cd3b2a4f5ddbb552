//! What a filter costs: nanoseconds to evaluate an expression on the properties of one message, and
//! to parse it.
//!
//! `cargo bench -p rmq-server --bench filter`

#![expect(clippy::print_stdout, reason = "its table is what it is for")]

use rmq_server::Expression;
use std::{hint::black_box, time::Instant};

const ROUNDS: u32 = 2_000_000;

/// What a message of Java's client has, and five properties of an application.
const PROPERTIES: &str = "KEYS\u{1}order-20241123-000017\u{2}UNIQ_KEY\u{1}7F00000100002A9F18B4AAC20000A1B2\u{2}CLUSTER\u{1}DefaultCluster\u{2}\
    WAIT\u{1}true\u{2}TAGS\u{1}Paid\u{2}MSG_REGION\u{1}DefaultRegion\u{2}TRACE_ON\u{1}true\u{2}region\u{1}hangzhou\u{2}amount\u{1}129\u{2}\
    price\u{1}9.5\u{2}vip\u{1}true\u{2}channel\u{1}app-ios\u{2}";

const EXPRESSIONS: [(&str, &str); 6] = [
    ("one term", "region = 'hangzhou'"),
    ("three terms, all evaluated", "amount > 100 AND region = 'hangzhou' AND TAGS IN ('Paid', 'Shipped')"),
    ("three terms, the first decides", "amount > 1000 AND region = 'hangzhou' AND TAGS IN ('Paid', 'Shipped')"),
    ("three terms of numbers and parts", "price BETWEEN 1.5 AND 10.5 AND channel STARTSWITH 'app' AND vip = TRUE"),
    ("three properties that are missing", "colour = 'red' OR size = 'XL' OR weight > 3"),
    ("a list of a thousand", ""),
];

fn main() {
    println!("| expression | ns per message | ns to parse | matches |");
    println!("|---|---|---|---|");
    let list: Vec<_> = (0..1000).map(|number| format!("'shop-{number}'")).collect();
    let list = format!("region IN ({})", list.join(", "));
    for (name, text) in EXPRESSIONS {
        let text = if text.is_empty() { &list } else { text };
        let Ok(expression) = Expression::parse(text) else { panic!("{text}") };
        let evaluation = nanos(ROUNDS, || expression.matches(black_box(PROPERTIES.as_bytes())));
        let parsing = nanos(ROUNDS / 200, || Expression::parse(black_box(text)).is_ok());
        println!("| {name} | {evaluation:.0} | {parsing:.0} | {} |", expression.matches(PROPERTIES.as_bytes()));
    }
}

fn nanos(rounds: u32, mut run: impl FnMut() -> bool) -> f64 {
    let once = |rounds: u32, run: &mut dyn FnMut() -> bool| {
        let begun = Instant::now();
        for _ in 0..rounds {
            black_box(run());
        }
        begun.elapsed().as_nanos() as f64 / f64::from(rounds)
    };
    once(rounds / 4, &mut run);
    // The least of three: other processes only make a round slower.
    (0..3).map(|_| once(rounds / 3, &mut run)).fold(f64::INFINITY, f64::min)
}
