//! Requests of every code with fields that are missing, of another type, negative, oversized or
//! contradictory.
//!
//! `SEED=n` repeats a run.

use super::peer::{Peer, Server, pull_of, request};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rmq_protocol::{Command, RequestCode, ResponseCode, Serialization, header::SendMessageV2};
use std::time::Duration;

/// Frames of each code.
const FRAMES: usize = 40;
/// What every answer to nonsense may not say.
const FAULT: &str = "panic";

/// Names of header fields of all requests.
const FIELDS: &[&str] = &[
    "a",
    "b",
    "batch",
    "beginTimestamp",
    "bodyCrc32",
    "bornTimestamp",
    "boundaryType",
    "brokerAddr",
    "brokerId",
    "brokerName",
    "c",
    "cleanOffset",
    "clientAddr",
    "clientID",
    "clientId",
    "clusterName",
    "commitLogOffset",
    "commitOffset",
    "commitOrRollback",
    "compareGroup",
    "compressed",
    "consumerGroup",
    "count",
    "d",
    "dataVersion",
    "defaultTopic",
    "defaultTopicQueueNums",
    "delayLevel",
    "destGroup",
    "e",
    "endTimestamp",
    "expressionType",
    "extraInfo",
    "f",
    "filterGroups",
    "flag",
    "force",
    "fromTransactionCheck",
    "g",
    "group",
    "groupName",
    "groupSeq",
    "h",
    "haServerAddr",
    "i",
    "index",
    "initMode",
    "invisibleTime",
    "isForce",
    "j",
    "k",
    "key",
    "l",
    "m",
    "masterAddress",
    "masterFlushOffset",
    "masterHaAddress",
    "maxGroupNum",
    "maxMsgBytes",
    "maxMsgNums",
    "maxNum",
    "maxReconsumeTimes",
    "maxTopicNum",
    "msgId",
    "n",
    "namespace",
    "offline",
    "offset",
    "offsetMsgId",
    "order",
    "originMsgId",
    "originTopic",
    "perm",
    "pollTime",
    "producerGroup",
    "properties",
    "queueId",
    "queueOffset",
    "readQueueNums",
    "reconsumeTimes",
    "setZeroIfNotFound",
    "srcGroup",
    "statsKey",
    "statsName",
    "subVersion",
    "subscription",
    "suspendTimeoutMillis",
    "sysFlag",
    "timestamp",
    "topic",
    "topicFilterType",
    "topicSeq",
    "tranStateTableOffset",
    "transactionId",
    "unitMode",
    "value",
    "version",
    "writeQueueNums",
];

/// Values that are out of the range of some field or other, and some that are not, so that what
/// comes after the first check is reached.
const VALUES: &[&str] = &[
    "",
    " ",
    "0",
    "1",
    "2",
    "3",
    "16",
    "-1",
    "-5",
    "99",
    "true",
    "false",
    "null",
    "1.5",
    "4x",
    "0x10",
    "2147483647",
    "-2147483648",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999",
    "generated",
    "generated-g",
    "TBW102",
    "SCHEDULE_TOPIC_XXXX",
    "%RETRY%generated-g",
    "%DLQ%generated-g",
    "*",
    "a||b||||c",
    "TAG",
    "SQL92",
    "a = 1",
    "a IN ('b') AND (c > -1.5 OR NOT d CONTAINS 'e'",
    "SINGLE_TAG",
    "../../etc",
    "a@b",
    "7F000001000078BF000000000000007B",
    "+a.b.c=d",
    "DELAY\u{1}4x\u{2}",
    "TAGS\u{1}t\u{2}KEYS\u{1}k\u{2}UNIQ_KEY\u{1}u\u{2}",
    "\u{1}\u{2}\u{1}",
    "\u{0}",
    "\u{1F980}\u{202E}",
];

const BODIES: &[&str] = &[
    "",
    "{}",
    "[]",
    "null",
    "{",
    "\"",
    "0",
    "{\"clientID\":\"c\"}",
    "{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"generated-g\"}]}",
    "{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"generated-g\",\"subscriptionDataSet\":[\
     {\"topic\":\"generated\",\"expressionType\":\"SQL92\",\"subString\":\"a = 1 OR b\",\"subVersion\":9}]}]}",
    "{\"subscriptionData\":{\"topic\":\"generated\",\"expressionType\":\"SQL92\",\"subString\":\"(a\"}}",
    "{\"consumerDataSet\":null,\"producerDataSet\":[{}]}",
    "{\"topicConfigList\":[{\"topicName\":\"x\",\"readQueueNums\":-1}]}",
    "{\"groupName\":\"\",\"retryQueueNums\":-9}",
    "{\"groupConfigList\":[{}]}",
    "{\"consumerGroup\":\"g\",\"mqSet\":[{\"queueId\":-1}]}",
    "brokerPermission=99",
    "fileReservedTime=-1\nmaxParkedPulls=x",
    "\u{0}\u{1}\u{2}",
];

fn generated(code: RequestCode, random: &mut StdRng, long: &str) -> Command {
    let mut command = request(code);
    let deep = "[".repeat(100_000);
    for field in FIELDS {
        if random.random_bool(0.4) {
            let value = match random.random_range(0..VALUES.len() + 1) {
                choice if choice < VALUES.len() => VALUES[choice],
                // A frame of some MiB of them would take its time and show nothing more.
                _ if random.random_bool(0.1) => long,
                _ => "x",
            };
            // A wait that is not what is tested.
            let value = if *field == "suspendTimeoutMillis" && value.len() > 2 { "-9" } else { value };
            command.fields.push(field, value);
        }
    }
    command.body = match random.random_range(0..BODIES.len() + 2) {
        choice if choice < BODIES.len() => BODIES[choice].as_bytes().into(),
        choice if choice == BODIES.len() => deep.into_bytes().into(),
        _ => (0..random.random_range(0..300)).map(|_| random.random::<u8>()).collect::<Vec<_>>().into(),
    };
    command
}

/// Sends frames of one code and gives the answers that come before that of a last, good request;
/// none if the connection was closed for them.
async fn answers(peer: &mut Peer, commands: &[Command]) -> Option<Vec<Command>> {
    for command in commands {
        peer.send(command).await;
    }
    let last = peer.send(&request(RequestCode::BrokerConfig)).await;
    let mut answers = Vec::new();
    loop {
        let answer = peer.next().await?;
        if answer.is_response() && answer.opaque == last {
            return Some(answers);
        }
        answers.push(answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_with_nonsense_is_answered_and_the_others_go_on() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let server = Server::start("generated", &[("enablePropertyFilter", "true")]).await;
    server.put_topic("generated", 2).await;
    let mut other = server.peer().await;
    let long = "x".repeat(40_000);
    for code in RequestCode::ALL {
        let mut peer = server.peer().await;
        let commands: Vec<_> = (0..FRAMES).map(|_| generated(*code, &mut random, &long)).collect();
        let answers = answers(&mut peer, &commands).await;
        let answers = answers.unwrap_or_else(|| panic!("{code:?} of SEED={seed} ended its connection"));
        for answer in answers {
            let text = answer.remark.unwrap_or_default();
            assert!(!text.contains(FAULT), "{code:?} of SEED={seed}: {text}");
        }
        let code_of_other = other.code(request(RequestCode::BrokerConfig)).await.0;
        assert_eq!(code_of_other, Some(ResponseCode::Success), "after {code:?} of SEED={seed}");
    }
    assert_eq!(server.figure("rocketmq_remoting_handler_panics_total").await, 0.0, "SEED={seed}");
    // What was made and what is kept stays small, and what waited is gone with its connection.
    for (name, most) in [("rocketmq_topic_number", 200.0), ("rocketmq_consumer_group_number", 200.0)] {
        let value = server.figure(name).await;
        assert!(value < most, "{name} is {value} after SEED={seed}");
    }
    server.until("nothing is parked", "rocketmq_broker_parked_pulls", |parked| parked == 0.0).await;

    // Nonsense may have deleted the topic, and forbidden what follows.
    server.put_topic("afterwards", 1).await;
    let send = SendMessageV2 { producer_group: "p", topic: "afterwards", queue_id: 0, ..SendMessageV2::default() };
    let (code, text) = other.code(Command::request(RequestCode::SendMessageV2, &send).with_body("a message")).await;
    assert_eq!(code, Some(ResponseCode::Success), "{text}; SEED={seed}");
    let pull = pull_of("afterwards", "afterwards-g", Duration::from_secs(30));
    let found =
        other.ask(Command { serialization: Serialization::Json, ..Command::request(RequestCode::PullMessage, &pull) });
    assert_eq!(found.await.code, ResponseCode::Success.number(), "SEED={seed}");
    server.broker.stop().await.unwrap();
}
