use std::net::SocketAddr;

use proptest::prelude::*;

use super::super::{MessageExt, java, properties, sys_flag};
use super::*;

fn draft<'a>(topic: &'a str, properties: &'a [u8], body: &'a [u8]) -> Draft<'a> {
    Draft {
        topic,
        queue_id: 3,
        flag: 0x0102_0304,
        sys_flag: 0,
        born_timestamp: 0x0000_0181_0203_0405,
        born_host: SocketAddr::from(([10, 1, 2, 3], 40_000)),
        store_host: SocketAddr::from(([127, 0, 0, 1], 10_911)),
        reconsume_times: 2,
        prepared_transaction_offset: 0x55,
        properties,
        body,
    }
}

#[test]
fn every_field_lies_where_the_drawing_says() {
    let bytes = draft("Topic", b"TAGS\x01A\x02", b"hello").prepare().unwrap().to_vec(7, 0x1000, 0x0181_0000_0000);
    #[rustfmt::skip]
    let expected = [
        0, 0, 0, 108,
        0xDA, 0xA3, 0x20, 0xA7,
        0x36, 0x10, 0xA6, 0x86,
        0, 0, 0, 3,
        1, 2, 3, 4,
        0, 0, 0, 0, 0, 0, 0, 7,
        0, 0, 0, 0, 0, 0, 0x10, 0,
        0, 0, 0, 0,
        0, 0, 1, 0x81, 2, 3, 4, 5,
        10, 1, 2, 3, 0, 0, 0x9C, 0x40,
        0, 0, 1, 0x81, 0, 0, 0, 0,
        127, 0, 0, 1, 0, 0, 0x2A, 0x9F,
        0, 0, 0, 2,
        0, 0, 0, 0, 0, 0, 0, 0x55,
        0, 0, 0, 5, b'h', b'e', b'l', b'l', b'o',
        5, b'T', b'o', b'p', b'i', b'c',
        0, 7, b'T', b'A', b'G', b'S', 1, b'A', 2,
    ];
    assert_eq!(bytes, expected);
}

#[test]
fn a_topic_of_128_bytes_makes_a_v2_record() {
    for (len, version) in [(127, Version::V1), (128, Version::V2), (255, Version::V2)] {
        let topic = "t".repeat(len);
        let bytes = draft(&topic, b"", b"").prepare().unwrap().to_vec(0, 0, 0);
        let record = Record::parse(&bytes).unwrap();
        assert_eq!((record.version(), record.topic()), (version, topic.as_str()));
    }
}

#[test]
fn the_address_family_bits_follow_the_hosts() {
    let v6: SocketAddr = "[2001:db8::1]:65535".parse().unwrap();
    for (born, store, bits) in [(false, true, 0x20), (true, false, 0x10), (true, true, 0x30), (false, false, 0)] {
        let mut draft = Draft { sys_flag: 0x31, ..draft("T", b"", b"x") };
        if born {
            draft.born_host = v6;
        }
        if store {
            draft.store_host = v6;
        }
        let bytes = draft.prepare().unwrap().to_vec(1, 2, 3);
        let record = Record::parse(&bytes).unwrap();
        assert_eq!(record.sys_flag(), bits | 1);
        assert_eq!((record.born_host(), record.store_host()), (draft.born_host, draft.store_host));
        assert_eq!((record.store_timestamp(), record.reconsume_times()), (3, 2));
        assert_eq!((record.body(), record.prepared_transaction_offset()), (&b"x"[..], 0x55));
    }
}

#[test]
fn what_does_not_fit_its_length_field_is_refused() {
    let long = "x".repeat(32_768);
    assert!(matches!(draft(&long, b"", b"").prepare(), Err(Error::TooLong { what: "topic", .. })));
    assert!(matches!(draft("T", long.as_bytes(), b"").prepare(), Err(Error::TooLong { what: "property string", .. })));
}

#[test]
fn heads_tell_records_fillers_and_nothing_apart() {
    assert_eq!(head(&blank(500)), Ok(Head::Blank(500)));
    assert_eq!(head(&[0; 8]), Ok(Head::Empty));
    assert_eq!(head(&[0, 0, 1, 0, 0, 0, 0, 0]), Err(Error::Magic(0)));
    assert_eq!(head(&[0, 0, 0, 90, 0xDA, 0xA3, 0x20, 0xA7]), Err(Error::Value { what: "record size", value: 90 }));
    assert!(matches!(head(&[0xFF, 0, 0, 0, 0xDA, 0xA3, 0x20, 0xA7]), Err(Error::Value { .. })));
    assert!(matches!(head(&[0; 7]), Err(Error::Short { .. })));
    assert!(Record::parse(&blank(8)).is_err());
}

#[test]
fn a_record_cut_anywhere_is_an_error() {
    let bytes = draft("Topic", b"TAGS\x01A\x02", b"hello").prepare().unwrap().to_vec(7, 0x1000, 1);
    for end in 0..bytes.len() {
        assert!(Record::parse(&bytes[..end]).is_err(), "cut at {end}");
        // The same cut, with the size made to agree: the parts no longer add up.
        if end >= MIN_SIZE {
            let mut cut = bytes[..end].to_vec();
            cut[..4].copy_from_slice(&(end as u32).to_be_bytes());
            assert!(Record::parse(&cut).is_err(), "cut at {end} with a matching size");
        }
    }
}

#[test]
fn a_prefix_tells_whether_the_rest_is_worth_reading() {
    let v6: SocketAddr = "[2001:db8::1]:65535".parse().unwrap();
    for draft in [draft("T", b"", b"hello"), Draft { born_host: v6, store_host: v6, ..draft("T", b"", b"") }] {
        let bytes = draft.prepare().unwrap().to_vec(7, 0x1000, 1);
        let prefix = &bytes[..bytes.len().min(PREFIX_MAX)];
        assert_eq!(check_prefix(prefix, 0x1000), Ok(()));
        assert!(matches!(check_prefix(prefix, 0x1001), Err(Error::Value { .. })));
        for end in 0..88 {
            assert!(check_prefix(&prefix[..end], 0x1000).is_err(), "cut at {end}");
        }
        for size in [1 << 20, bytes.len() as u32 - 2] {
            let mut lying = prefix.to_vec();
            lying[..4].copy_from_slice(&size.to_be_bytes());
            assert!(check_prefix(&lying, 0x1000).is_err(), "{size}");
        }
    }
}

#[test]
fn lengths_that_lie_are_errors() {
    let bytes = draft("Topic", b"TAGS\x01A\x02", b"hello").prepare().unwrap().to_vec(7, 0x1000, 1);
    let wrong = |at: usize, value: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        Record::parse(&bytes).is_err()
    };
    assert!(wrong(84, &[0xFF; 4]), "negative body length");
    assert!(wrong(84, &[0x7F, 0xFF, 0xFF, 0xFF]), "huge body length");
    assert!(wrong(93, &[200]), "topic length");
    assert!(wrong(99, &[0xFF, 0xFF]), "negative properties length");
    assert!(wrong(99, &[0, 6]), "properties length one short");
    assert!(wrong(20, &[0x80]), "negative queue offset");
    assert!(wrong(28, &[0x80]), "negative physical offset");
    assert!(wrong(52, &[1]), "port above 65535");
    assert!(wrong(94, &[0xFF]), "topic that is no text");
}

#[test]
fn a_flipped_bit_in_the_body_shows_in_the_checksum() {
    let mut bytes = draft("T", b"", b"hello").prepare().unwrap().to_vec(0, 0, 0);
    Record::parse(&bytes).unwrap().check_body().unwrap();
    bytes[90] ^= 1;
    assert!(matches!(Record::parse(&bytes).unwrap().check_body(), Err(Error::BodyCrc { .. })));
}

#[test]
fn a_pull_body_is_records_one_after_another() {
    let mut body = draft("A", b"", b"one").prepare().unwrap().to_vec(0, 0, 0);
    let first = body.len();
    body.extend(draft("B", b"", b"two").prepare().unwrap().to_vec(1, first as u64, 0));
    let topics: Vec<_> = Records::new(&body).map(|record| record.map(|record| record.topic())).collect();
    assert_eq!(topics, [Ok("A"), Ok("B")]);
    let cut: Vec<_> = Records::new(&body[..body.len() - 1]).collect();
    assert_eq!(cut.len(), 2);
    assert!(cut[0].is_ok() && cut[1].is_err());
}

#[test]
fn a_consumer_sees_the_producers_id_or_the_place() {
    let with = draft("T", b"UNIQ_KEY\x01ABC\x02KEYS\x01k1 k2\x02", b"x").prepare().unwrap().to_vec(4, 0x99, 5);
    let ext = MessageExt::from_record(&Record::parse(&with).unwrap());
    assert_eq!((ext.msg_id.as_str(), ext.queue_offset, ext.store_size as usize), ("ABC", 4, with.len()));
    assert_eq!(ext.message.keys().collect::<Vec<_>>(), ["k1", "k2"]);
    let without = draft("T", b"", b"x").prepare().unwrap().to_vec(4, 0x99, 5);
    let ext = MessageExt::from_record(&Record::parse(&without).unwrap());
    assert_eq!(ext.msg_id, "7F00000100002A9F0000000000000099");
}

#[derive(Debug, Clone)]
struct Fields {
    topic: String,
    properties: String,
    body: Vec<u8>,
    numbers: (i32, i32, i32, i64, i32, i64),
    hosts: (SocketAddr, SocketAddr),
    place: (u64, u64, i64),
}

fn host() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from)
    ]
}

fn fields() -> impl Strategy<Value = Fields> {
    let offset = || 0..=i64::MAX as u64;
    (
        "[%a-zA-Z0-9_-]{0,200}",
        "[a-z\u{1}\u{2}é]{0,300}",
        prop::collection::vec(any::<u8>(), 0..500),
        any::<(i32, i32, i32, i64, i32, i64)>(),
        (host(), host()),
        (offset(), offset(), any::<i64>()),
    )
        .prop_map(|(topic, properties, body, numbers, hosts, place)| Fields {
            topic,
            properties,
            body,
            numbers,
            hosts,
            place,
        })
}

proptest! {
    #[test]
    fn records_come_back(fields in fields()) {
        let (queue_id, flag, sys, born_timestamp, reconsume_times, prepared) = fields.numbers;
        let draft = Draft {
            topic: &fields.topic, queue_id, flag, sys_flag: sys, born_timestamp,
            born_host: fields.hosts.0, store_host: fields.hosts.1, reconsume_times,
            prepared_transaction_offset: prepared,
            properties: fields.properties.as_bytes(), body: &fields.body,
        };
        let (queue_offset, physical_offset, store_timestamp) = fields.place;
        let bytes = draft.prepare().unwrap().to_vec(queue_offset, physical_offset, store_timestamp);
        let record = Record::parse(&bytes).unwrap();
        record.check_body().unwrap();
        let family = sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6;
        prop_assert_eq!(record.topic(), &fields.topic);
        prop_assert_eq!(record.properties(), fields.properties.as_bytes());
        prop_assert_eq!(record.body(), &fields.body[..]);
        prop_assert_eq!(record.body_crc(), java::crc32(&fields.body));
        prop_assert_eq!((record.queue_id(), record.flag(), record.sys_flag() & !family), (queue_id, flag, sys & !family));
        prop_assert_eq!((record.born_timestamp(), record.store_timestamp()), (born_timestamp, store_timestamp));
        prop_assert_eq!((record.born_host(), record.store_host()), fields.hosts);
        prop_assert_eq!((record.queue_offset(), record.physical_offset()), (queue_offset, physical_offset));
        prop_assert_eq!((record.reconsume_times(), record.prepared_transaction_offset()), (reconsume_times, prepared));
        prop_assert_eq!(record.property("x"), properties::find_str(record.properties(), "x"));
        let again = Draft::of(&record).prepare().unwrap().to_vec(queue_offset, physical_offset, store_timestamp);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn a_changed_byte_never_panics(fields in fields(), at: prop::sample::Index, value: u8) {
        let draft = Draft { topic: &fields.topic, ..draft("", fields.properties.as_bytes(), &fields.body) };
        let mut bytes = draft.prepare().unwrap().to_vec(1, 2, 3);
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(record) = Record::parse(&bytes) {
            let _ = record.check_body();
            MessageExt::from_record(&record);
        }
    }
}
