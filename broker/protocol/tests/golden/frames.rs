//! Whole commands: both header forms, and what their bodies hold.

use crate::{Case, assert_same_bytes, cases, every_case};
use bytes::BytesMut;
use rmq_protocol::{
    Command, Serialization,
    body::{Heartbeat, LockBatch},
    fastjson,
    frame::{self, MAX_FRAME},
    message::{batch, stored::Records},
};
use std::collections::BTreeMap;

fn decode(bytes: &[u8]) -> Command {
    let mut buffer = BytesMut::from(bytes);
    let command = frame::decode(&mut buffer, MAX_FRAME).unwrap().unwrap();
    assert!(buffer.is_empty(), "{} bytes are left", buffer.len());
    command
}

/// The command of a frame case.
pub(crate) fn command(case: &Case) -> Command {
    decode(&case.bytes("hex"))
}

#[test]
fn frames_say_what_java_said_and_come_back_byte_for_byte() {
    every_case("frames.json", |case| {
        let bytes = case.bytes("hex");
        let command = decode(&bytes);
        let form = match case.text("serialize") {
            "JSON" => Serialization::Json,
            "ROCKETMQ" => Serialization::Binary,
            other => panic!("unknown form {other}"),
        };
        assert_eq!(command.serialization, form);
        assert_eq!(i64::from(command.code), case.number("code"));
        assert_eq!(command.language.name(), case.text("language"));
        assert_eq!(i64::from(command.version), case.number("version"));
        assert_eq!(i64::from(command.opaque), case.number("opaque"));
        assert_eq!(i64::from(command.flag), case.number("flag"));
        assert_eq!(command.remark.as_deref(), case.value("remark").as_str());
        assert_eq!(command.body, case.bytes("body"));
        let fields: BTreeMap<_, _> = command.fields.iter().collect();
        assert_eq!(fields.len(), command.fields.len(), "a field came twice");
        assert_eq!(fields, case.texts("extFields").into_iter().collect());

        let mut again = Vec::new();
        command.encode(&mut again);
        assert_same_bytes(&again, &without_empty_fields(bytes));
    });
}

/// A JSON header whose class has no field with a value says `"extFields":{}` in Java; here it says
/// nothing, as Java does without a class.
fn without_empty_fields(mut frame: Vec<u8>) -> Vec<u8> {
    const EMPTY: &[u8] = b"\"extFields\":{},";
    if let Some(at) = frame.windows(EMPTY.len()).position(|window| window == EMPTY) {
        frame.drain(at..at + EMPTY.len());
        for word in [0, 4] {
            let length = u32::from_be_bytes(frame[word..word + 4].try_into().unwrap()) - EMPTY.len() as u32;
            frame[word..word + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
    frame
}

#[test]
fn flags_mean_what_java_means_by_them() {
    every_case("frames.json", |case| {
        let command = command(case);
        assert_eq!(command.is_response(), case.number("flag") & 1 != 0);
        assert_eq!(command.is_one_way(), case.name().contains("one-way"));
    });
}

/// A decoder waits for the rest of an incomplete frame; a frame whose lengths were adjusted to the
/// cut is an error or another command, never a panic.
#[test]
fn frames_cut_at_every_byte_are_waited_for_or_refused() {
    every_case("frames.json", |case| {
        let bytes = case.bytes("hex");
        for end in 0..bytes.len() {
            assert!(frame::decode(&mut BytesMut::from(&bytes[..end]), MAX_FRAME).unwrap().is_none(), "cut at {end}");
        }
        let header = usize::from(bytes[5]) << 16 | usize::from(bytes[6]) << 8 | usize::from(bytes[7]);
        for end in 8..8 + header {
            let mut cut = bytes[..end].to_vec();
            cut[..4].copy_from_slice(&(end as u32 - 4).to_be_bytes());
            assert!(frame::decode(&mut BytesMut::from(&cut[..]), MAX_FRAME).is_err(), "frame cut at {end}");
            cut[5..8].copy_from_slice(&(end as u32 - 8).to_be_bytes()[1..]);
            let shorter = frame::decode(&mut BytesMut::from(&cut[..]), MAX_FRAME);
            assert!(shorter.is_err(), "header cut at {end}: {shorter:?}");
        }
    });
}

#[test]
fn bodies_of_frames_are_what_their_codes_promise() {
    let named = |document: &str, name: &str| cases(document).into_iter().find(|case| case.name() == name).unwrap();
    every_case("frames.json", |case| {
        let body = command(case).body;
        if body.is_empty() {
            return;
        }
        let name = case.name().split_once('.').unwrap().0;
        match name {
            "send" | "send-v2" | "send-v2-one-way" => assert_eq!(body, "hello, wörld"),
            "send-batch" => {
                assert_eq!(body, named("records.json", "batch-body").bytes("hex"));
                assert_eq!(batch::iter(&body).map(Result::unwrap).count(), 3);
            }
            "pull-found" => {
                let records: Vec<_> = Records::new(&body).map(Result::unwrap).collect();
                assert_eq!(records.iter().map(|record| record.queue_offset()).collect::<Vec<_>>(), [42, 43]);
                records.iter().for_each(|record| record.check_body().unwrap());
            }
            "heartbeat" => {
                assert_same_bytes(&body, named("bodies.json", "heartbeat").text("text").as_bytes());
                assert_eq!(fastjson::from_slice::<Heartbeat>(&body).unwrap().consumer_data_set.len(), 3);
            }
            "lock" => {
                assert_same_bytes(&body, named("bodies.json", "lock-request").text("text").as_bytes());
                assert_eq!(fastjson::from_slice::<LockBatch>(&body).unwrap().mq_set.len(), 2);
            }
            _ => panic!("nobody knows what this body is"),
        }
    });
}
