//! Compressed registrations.

use crate::{Case, assert_same_bytes, cases};
use flate2::read::ZlibDecoder;
use rmq_protocol::{
    body::{ReadLimits, RegisterBrokerBody, RegistrationError},
    message::java,
    version::{CURRENT, V5_0_0},
};
use serde_json::{Value, json};
use std::io::Read;

fn compressed() -> Vec<Case> {
    let compressed: Vec<_> = cases("bodies.json").into_iter().filter(|case| case.text("codec") == "deflate").collect();
    assert!(compressed.len() >= 2, "where are the compressed registrations?");
    compressed
}

fn inflate(bytes: &[u8]) -> Vec<u8> {
    let mut inflated = Vec::new();
    ZlibDecoder::new(bytes).read_to_end(&mut inflated).unwrap();
    inflated
}

/// The values of a case without the parts that we ignore, which is everything of static topics, and
/// those that Java's compressed form loses: a topic is a line in it, without its order and its
/// flags.
fn expected(case: &Case) -> Value {
    let mut value = case.value("value").clone();
    let table = &mut value["topicConfigSerializeWrapper"];
    table["mappingDataVersion"] = json!({"counter": 0, "stateVersion": 0, "timestamp": 0});
    table["topicQueueMappingInfoMap"] = json!({});
    for topic in table["topicConfigTable"].as_object_mut().unwrap().values_mut() {
        topic["order"] = json!(false);
        topic["topicSysFlag"] = json!(0);
    }
    value
}

#[test]
fn compressed_registrations_say_what_java_said() {
    for case in compressed() {
        let (bytes, crc32) = (case.bytes("hex"), case.number("crc32") as i32);
        assert_eq!(java::crc32(&bytes) as i32, crc32, "{}", case.name());
        let body = RegisterBrokerBody::decode(&bytes, true, crc32, CURRENT, &ReadLimits::default()).unwrap();
        assert_eq!(serde_json::to_value(&body).unwrap(), expected(&case), "{}", case.name());
    }
}

#[test]
fn what_is_deflated_is_javas_bytes() {
    for case in compressed() {
        let javas = inflate(&case.bytes("hex"));
        let body = RegisterBrokerBody::decode(&case.bytes("hex"), true, 0, CURRENT, &ReadLimits::default()).unwrap();
        let ours = inflate(&body.to_compressed());
        // Ours ends with "no static topics"; where Java has some, they stand in that place.
        let common = ours.len() - 4;
        assert_same_bytes(&ours[..common], &javas[..common]);
        assert_eq!(ours[common..], [0; 4]);
        let static_topics = i32::from_be_bytes(javas[common..][..4].try_into().unwrap());
        let wanted = case.value("value")["topicConfigSerializeWrapper"]["topicQueueMappingInfoMap"].as_object();
        assert_eq!(static_topics as usize, wanted.unwrap().len(), "{}", case.name());
    }
}

#[test]
fn a_registration_of_a_broker_before_static_topics_is_read() {
    for case in compressed() {
        // Such a broker writes nothing behind the filter servers; anything there is ignored.
        let body = RegisterBrokerBody::decode(&case.bytes("hex"), true, 0, V5_0_0 - 1, &ReadLimits::default()).unwrap();
        assert_eq!(serde_json::to_value(&body).unwrap(), expected(&case), "{}", case.name());
    }
}

#[test]
fn a_compressed_registration_cut_or_changed_anywhere_is_noticed() {
    for case in compressed() {
        let bytes = case.bytes("hex");
        let crc32 = case.number("crc32") as i32;
        let whole = RegisterBrokerBody::decode(&bytes, true, crc32, CURRENT, &ReadLimits::default()).unwrap();
        for at in 0..bytes.len() {
            let cut = RegisterBrokerBody::decode(&bytes[..at], true, 0, CURRENT, &ReadLimits::default());
            assert!(cut.is_err(), "{} cut at {at}: {cut:?}", case.name());
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            let error = RegisterBrokerBody::decode(&changed, true, crc32, CURRENT, &ReadLimits::default()).unwrap_err();
            assert!(matches!(error, RegistrationError::Checksum { .. }), "{} changed at {at}", case.name());
            // Without our checksum zlib's own detects it, unless the bit only fills the last byte
            // of the compressed part.
            if let Ok(body) = RegisterBrokerBody::decode(&changed, true, 0, CURRENT, &ReadLimits::default()) {
                assert_eq!(body, whole, "{} changed at {at}", case.name());
            }
        }
    }
}
