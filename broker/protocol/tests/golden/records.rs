//! The contents of a commit log, and the parts of ids, property strings and hashes.

use crate::{Case, assert_same_bytes, cases, every_case, texts, unhex};
use rmq_protocol::message::{
    Message, MessageExt, OffsetId, Properties, UniqueId, batch, java, properties,
    stored::{Draft, Record, Version},
    sys_flag::{self, Compression, Transaction},
};
use std::{
    collections::BTreeMap,
    io::Read,
    net::{IpAddr, SocketAddr},
};

#[test]
fn records_say_what_java_said_and_come_back_byte_for_byte() {
    every_case("records.json", |case| match case.text("kind") {
        "stored-message" => stored_message(case),
        "batch-body" => batch_body(case),
        "offset-message-id" => offset_id(case),
        "unique-id" => unique_id(case),
        "properties" => property_string(case),
        "string-hash" => assert_eq!(i64::from(java::string_hash(case.text("text"))), case.number("hash")),
        other => panic!("nobody handles {other}"),
    });
}

/// `address:port` as Java prints it: an IPv6 address has no brackets.
fn host(text: &str) -> SocketAddr {
    let (ip, port) = text.rsplit_once(':').unwrap();
    SocketAddr::new(ip.parse().unwrap(), port.parse().unwrap())
}

fn stored_message(case: &Case) {
    let bytes = case.bytes("hex");
    let record = Record::parse(&bytes).unwrap();
    record.check_body().unwrap();
    let version = if record.version() == Version::V1 { 1 } else { 2 };
    let numbers = [
        ("version", version),
        ("storeSize", record.size() as i64),
        ("bodyCrc", i64::from(record.body_crc())),
        ("queueId", i64::from(record.queue_id())),
        ("flag", i64::from(record.flag())),
        ("queueOffset", record.queue_offset() as i64),
        ("physicalOffset", record.physical_offset() as i64),
        ("sysFlag", i64::from(record.sys_flag())),
        ("bornTimestamp", record.born_timestamp()),
        ("storeTimestamp", record.store_timestamp()),
        ("reconsumeTimes", i64::from(record.reconsume_times())),
        ("preparedTransactionOffset", record.prepared_transaction_offset()),
    ];
    for (field, number) in numbers {
        assert_eq!(number, case.number(field), "{field}");
    }
    assert_eq!(record.born_host(), host(case.text("bornHost")));
    assert_eq!(record.store_host(), host(case.text("storeHost")));
    assert_eq!(record.topic(), case.text("topic"));
    assert_eq!(record.body(), case.bytes("body"));
    assert_same_bytes(record.properties(), &case.bytes("propertiesHex"));
    assert_eq!(record.offset_id().to_string(), case.text("offsetMessageId"));
    for (name, value) in case.texts("properties") {
        assert_eq!(record.property(name).as_deref(), Some(value), "{name}");
    }

    let message = MessageExt::from_record(&record);
    assert_eq!(message.message.properties.iter().collect::<Vec<_>>(), case.texts("properties"));
    let unique = record.property(properties::UNIQ_KEY);
    assert_eq!(message.msg_id, unique.as_deref().unwrap_or(case.text("offsetMessageId")));
    let committed = sys_flag::transaction(record.sys_flag()) == Transaction::Commit;
    assert_eq!(committed, case.name() == "stored-transaction-commit");
    inflate(case, &record);

    let prepared = Draft::of(&record).prepare().unwrap();
    let again = prepared.to_vec(record.queue_offset(), record.physical_offset(), record.store_timestamp());
    assert_same_bytes(&again, &bytes);
}

/// The flag shows how the body is compressed, or that it is not.
fn inflate(case: &Case, record: &Record<'_>) {
    let kind = sys_flag::compression(record.sys_flag()).unwrap();
    let Some(wanted) = case.0.get("inflatedBody").map(|digits| unhex(digits.as_str().unwrap())) else {
        assert_eq!(kind, None);
        return;
    };
    let kind = kind.unwrap();
    assert_eq!(sys_flag::with_compression(0, kind), record.sys_flag());
    let (name, mut reader): (_, Box<dyn Read>) = match kind {
        Compression::Lz4 => ("lz4", Box::new(lz4_flex::frame::FrameDecoder::new(record.body()))),
        Compression::Zstd => ("zstd", Box::new(ruzstd::decoding::StreamingDecoder::new(record.body()).unwrap())),
        Compression::Zlib => ("zlib", Box::new(flate2::read::ZlibDecoder::new(record.body()))),
    };
    assert!(case.name().ends_with(name), "this is {name}");
    let mut inflated = Vec::new();
    reader.read_to_end(&mut inflated).unwrap();
    assert_eq!(inflated, wanted);
}

#[test]
fn a_stored_message_cut_or_changed_anywhere_never_panics() {
    every_case("records.json", |case| {
        if case.text("kind") != "stored-message" {
            return;
        }
        let bytes = case.bytes("hex");
        for at in 0..bytes.len() {
            assert!(Record::parse(&bytes[..at]).is_err(), "cut at {at}");
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut changed = bytes.clone();
                changed[at] = value;
                if let Ok(record) = Record::parse(&changed) {
                    let _ = record.check_body();
                    MessageExt::from_record(&record);
                }
            }
        }
    });
}

fn batch_body(case: &Case) {
    let bytes = case.bytes("hex");
    let entries: Vec<_> = batch::iter(&bytes).map(Result::unwrap).collect();
    let wanted = case.value("messages").as_array().unwrap();
    assert_eq!(entries.len(), wanted.len());
    let mut messages = Vec::new();
    let mut expected = bytes.clone();
    let mut end = 0;
    for (entry, wanted) in entries.iter().zip(wanted) {
        assert_eq!(i64::from(entry.flag), wanted["flag"].as_i64().unwrap());
        assert_eq!(entry.body, unhex(wanted["body"].as_str().unwrap()));
        let properties = Properties::parse(entry.properties);
        assert_eq!(properties.iter().collect::<Vec<_>>(), texts(&wanted["properties"]));
        // The order of properties is that of a hash map in Java and by name here. All else is the
        // same bytes.
        end += 4 * 5 + entry.body.len() + 2 + entry.properties.len();
        let sorted = properties.encode().unwrap();
        assert_eq!(sorted.len(), entry.properties.len());
        expected[end - sorted.len()..end].copy_from_slice(sorted.as_bytes());
        messages.push(Message { flag: entry.flag, properties, ..Message::new("TopicTest", entry.body.to_vec()) });
    }
    assert_eq!(end, bytes.len());
    assert_same_bytes(&batch::encode(&messages).unwrap(), &expected);
}

#[test]
fn a_batch_body_cut_anywhere_is_an_error_unless_whole_entries_are_left() {
    let cases = cases("records.json");
    let bytes = cases.iter().find(|case| case.text("kind") == "batch-body").unwrap().bytes("hex");
    let mut ends = vec![0];
    for entry in batch::iter(&bytes).map(Result::unwrap) {
        ends.push(ends[ends.len() - 1] + 4 * 5 + entry.body.len() + 2 + entry.properties.len());
    }
    for end in 0..bytes.len() {
        assert_eq!(batch::iter(&bytes[..end]).all(|entry| entry.is_ok()), ends.contains(&end), "cut at {end}");
    }
}

fn offset_id(case: &Case) {
    let id: OffsetId = case.text("text").parse().unwrap();
    assert_eq!((id.host, id.physical_offset as i64), (host(case.text("host")), case.number("offset")));
    assert_eq!(id.to_string(), case.text("text"));
}

fn unique_id(case: &Case) {
    let id: UniqueId = case.text("text").parse().unwrap();
    assert_eq!(id.ip, case.text("host").parse::<IpAddr>().unwrap());
    let numbers = [
        ("pid", i64::from(id.pid)),
        ("classLoaderHash", i64::from(id.salt)),
        ("millisOfMonth", i64::from(id.millis)),
        ("counter", i64::from(id.counter)),
    ];
    for (field, number) in numbers {
        assert_eq!(number, case.number(field), "{field}");
    }
    assert_eq!(id.to_string(), case.text("text"));
}

/// Strings that no current writer produces: their entries are read, and written in the current
/// form.
const READ_ONLY: &[&str] = &[
    "properties-not-ended",
    "properties-empty-value-dropped",
    "properties-empty-name-dropped",
    "properties-no-separator-dropped",
    "properties-empty-entries",
    "properties-later-wins",
];

fn property_string(case: &Case) {
    let raw = case.bytes("hex");
    let properties = Properties::parse(&raw);
    let wanted: BTreeMap<_, _> = case.texts("properties").into_iter().collect();
    assert_eq!(properties.iter().collect::<BTreeMap<_, _>>(), wanted);
    for (name, value) in wanted {
        assert_eq!(properties::find_str(&raw, name).as_deref(), Some(value));
    }
    let again = properties.encode().unwrap();
    assert_eq!(Properties::parse(again.as_bytes()), properties);
    assert_eq!(again.as_bytes() == raw, !READ_ONLY.contains(&case.name()), "{again:?}");
}
