//! Typed headers: each Java class and the Rust type that reads and writes its fields.

use crate::{assert_same_bytes, cases, every_case, frames};
use bytes::BytesMut;
use proptest::prelude::*;
use rmq_protocol::{
    Fields, Serialization,
    frame::{self, MAX_FRAME},
    header::{self, Error, Header},
};
use std::{collections::BTreeMap, sync::LazyLock};

/// Reads the fields as a Rust header and writes them again.
type Again = fn(&Fields) -> Result<Fields, Error>;

struct Known {
    class: &'static str,
    again: Again,
    /// Fields that Java sends and we ignore on purpose.
    passed_over: &'static [&'static str],
}

macro_rules! known {
    ($($class:literal => $header:ident $(without $passed_over:expr)?,)*) => {
        &[$(Known {
            class: $class,
            again: |fields| {
                let header = header::$header::decode(fields)?;
                let mut again = Fields::new();
                header.encode(&mut again);
                Ok(again)
            },
            passed_over: { #[allow(unused)] let passed_over: &[&str] = &[]; $(let passed_over = $passed_over;)? passed_over },
        },)*]
    };
}

/// `bname` is added to any request by newer clients; `liteTopic`, `indexType`, `lastKey` and
/// `committed` belong to stores and topics of kinds that do not exist here; `suspend` and a filter
/// of notifications come with POP.
const KNOWN: &[Known] = known! {
    "SendMessageRequestHeader" => SendMessage without &["bname"],
    "SendMessageRequestHeaderV2" => SendMessageV2,
    "SendMessageResponseHeader" => SendMessageResponse,
    "PullMessageRequestHeader" => PullMessage without &["bname", "liteTopic"],
    "PullMessageResponseHeader" => PullMessageResponse,
    "QueryMessageRequestHeader" => QueryMessage without &["indexType", "lastKey"],
    "QueryMessageResponseHeader" => QueryMessageResponse,
    "QueryConsumerOffsetRequestHeader" => QueryConsumerOffset,
    "QueryConsumerOffsetResponseHeader" => OffsetResponse,
    "UpdateConsumerOffsetRequestHeader" => UpdateConsumerOffset,
    "CreateTopicRequestHeader" => CreateTopic,
    "CreateTopicListRequestHeader" => Empty,
    "GetAllTopicConfigRequestHeader" => AllTopicConfig,
    "GetAllTopicConfigResponseHeader" => AllTopicConfigResponse,
    "SearchOffsetRequestHeader" => SearchOffset without &["liteTopic"],
    "SearchOffsetResponseHeader" => OffsetResponse,
    "GetMaxOffsetRequestHeader" => QueueRequest without &["committed"],
    "GetMaxOffsetResponseHeader" => OffsetResponse,
    "GetMinOffsetRequestHeader" => QueueRequest,
    "GetMinOffsetResponseHeader" => OffsetResponse,
    "GetEarliestMsgStoretimeRequestHeader" => QueueRequest,
    "GetEarliestMsgStoretimeResponseHeader" => TimestampResponse,
    "ViewMessageRequestHeader" => ViewMessage,
    "UnregisterClientRequestHeader" => UnregisterClient,
    "ConsumerSendMsgBackRequestHeader" => ConsumerSendMessageBack,
    "EndTransactionRequestHeader" => EndTransaction,
    "CheckTransactionStateRequestHeader" => CheckTransactionState,
    "GetConsumerListByGroupRequestHeader" => ConsumerGroupRequest,
    "NotifyConsumerIdsChangedRequestHeader" => ConsumerGroupRequest,
    "GetConsumerConnectionListRequestHeader" => ConsumerGroupRequest,
    "GetProducerConnectionListRequestHeader" => ProducerGroupRequest,
    "PutKVConfigRequestHeader" => PutKvConfig,
    "GetKVConfigRequestHeader" => KvConfigKey,
    "GetKVConfigResponseHeader" => KvConfigResponse,
    "DeleteKVConfigRequestHeader" => KvConfigKey,
    "GetKVListByNamespaceRequestHeader" => KvNamespace,
    "RegisterBrokerRequestHeader" => RegisterBroker,
    "RegisterBrokerResponseHeader" => RegisterBrokerResponse,
    "UnRegisterBrokerRequestHeader" => BrokerIdentity,
    "QueryDataVersionRequestHeader" => BrokerIdentity,
    "QueryDataVersionResponseHeader" => QueryDataVersionResponse,
    "GetRouteInfoRequestHeader" => RouteInfo,
    "WipeWritePermOfBrokerRequestHeader" => BrokerNameRequest,
    "WipeWritePermOfBrokerResponseHeader" => WipeWritePermResponse,
    "AddWritePermOfBrokerRequestHeader" => BrokerNameRequest,
    "AddWritePermOfBrokerResponseHeader" => AddWritePermResponse,
    "GetBrokerMemberGroupRequestHeader" => MemberGroup,
    "BrokerHeartbeatRequestHeader" => BrokerHeartbeat,
    "NotifyMinBrokerIdChangeRequestHeader" => NotifyMinBrokerIdChange,
    "ExchangeHAInfoRequestHeader" => ExchangeHaInfo,
    "ExchangeHAInfoResponseHeader" => ExchangeHaInfo,
    "ResetMasterFlushOffsetHeader" => ExchangeHaInfo,
    "GetAllSubscriptionGroupRequestHeader" => AllGroupConfig,
    "GetAllSubscriptionGroupResponseHeader" => AllGroupConfigResponse,
    "GetSubscriptionGroupConfigRequestHeader" => GroupRequest,
    "DeleteSubscriptionGroupRequestHeader" => DeleteGroup,
    "GetTopicStatsInfoRequestHeader" => TopicRequest,
    "GetTopicConfigRequestHeader" => TopicRequest,
    "DeleteTopicRequestHeader" => TopicRequest,
    "RegisterTopicRequestHeader" => TopicRequest,
    "QueryTopicConsumeByWhoRequestHeader" => TopicRequest,
    "DeleteTopicFromNamesrvRequestHeader" => DeleteTopicInNamesrv,
    "GetTopicsByClusterRequestHeader" => TopicsByCluster,
    "GetConsumeStatsRequestHeader" => ConsumeStats,
    "GetConsumeStatsInBrokerHeader" => BrokerConsumeStats,
    "GetConsumerStatusRequestHeader" => ConsumerStatus,
    "QueryConsumeTimeSpanRequestHeader" => QueryConsumeTimeSpan,
    "GetConsumerRunningInfoRequestHeader" => ConsumerRunningInfo,
    "ConsumeMessageDirectlyResultRequestHeader" => ConsumeMessageDirectly,
    "ResetOffsetRequestHeader" => ResetOffset,
    "QueryCorrectionOffsetHeader" => QueryCorrectionOffset,
    "CloneGroupOffsetRequestHeader" => CloneGroupOffset,
    "GetBrokerConfigResponseHeader" => BrokerConfigResponse,
    "ViewBrokerStatsDataRequestHeader" => ViewBrokerStats,
    "QueryConsumeQueueRequestHeader" => QueryConsumeQueue,
    "ResumeCheckHalfMessageRequestHeader" => ResumeCheckHalfMessage,
    "ReplyMessageRequestHeader" => ReplyMessage,
    "RecallMessageRequestHeader" => RecallMessage,
    "RecallMessageResponseHeader" => RecallMessageResponse,
    "PopMessageRequestHeader" => PopMessage,
    "PopMessageResponseHeader" => PopMessageResponse,
    "AckMessageRequestHeader" => AckMessage without &["liteTopic"],
    "ChangeInvisibleTimeRequestHeader" => ChangeInvisibleTime without &["liteTopic", "suspend"],
    "ChangeInvisibleTimeResponseHeader" => ChangeInvisibleTimeResponse,
    "NotificationRequestHeader" => Notification without &["exp", "expType"],
    "NotificationResponseHeader" => NotificationResponse,
};

/// Classes of requests that no code here sends or handles; their frames are compared in [`frames`]
/// like all others.
const NOT_SPOKEN: &[&str] = &[
    "AddBrokerRequestHeader",
    "CreateAclRequestHeader",
    "CreateUserRequestHeader",
    "NotifyBrokerRoleChangedRequestHeader",
    "PeekMessageRequestHeader",
    "PollingInfoRequestHeader",
    "PollingInfoResponseHeader",
    "QuerySubscriptionByConsumerRequestHeader",
    "QueryTopicsByConsumerRequestHeader",
    "RemoveBrokerRequestHeader",
    "UpdateGroupForbiddenRequestHeader",
];

/// Fields that Java's class does not require, but without which its broker fails too.
const STRICTER: &[(&str, &str)] = &[("QueryConsumeQueueRequestHeader", "topic")];

#[test]
fn typed_headers_read_and_write_every_field() {
    every_case("frames.json", |case| {
        let command = frames::command(case);
        let Some(class) = case.value("header").as_str() else {
            assert!(command.fields.is_empty(), "fields without a header class");
            return;
        };
        if NOT_SPOKEN.contains(&class) {
            return;
        }
        let known = KNOWN.iter().find(|known| known.class == class);
        let Known { again, passed_over, .. } = known.unwrap_or_else(|| panic!("nobody handles {class}"));
        let again = match again(&command.fields) {
            Ok(again) => again,
            Err(Error::Missing(field)) if STRICTER.contains(&(class, field)) => {
                assert_eq!(command.fields.get(field), None);
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let mut expected: BTreeMap<_, _> = command.fields.iter().collect();
        expected.retain(|name, _| !passed_over.contains(name));
        assert_eq!(again.iter().collect::<BTreeMap<_, _>>(), expected);

        // Where Java writes its fields in the order of the class, so do we.
        let declared = case.text("fieldOrder") == "declared" && again.len() == command.fields.len();
        if declared && command.serialization == Serialization::Binary {
            let mut bytes = Vec::new();
            rmq_protocol::Command { fields: again, ..command }.encode(&mut bytes);
            assert_same_bytes(&bytes, &case.bytes("hex"));
        }
    });
}

#[test]
fn the_tables_of_headers_speak_of_classes_there_are() {
    let cases = crate::cases("frames.json");
    let classes: Vec<_> = cases.iter().filter_map(|case| case.value("header").as_str()).collect();
    for Known { class, passed_over, .. } in KNOWN {
        assert!(classes.contains(class), "{class} is in no case");
        for field in *passed_over {
            let sent = |case: &&crate::Case| {
                case.value("header").as_str() == Some(class) && case.value("extFields").get(field).is_some()
            };
            assert!(cases.iter().any(|case| sent(&case)), "{class} never has {field}");
        }
    }
    for class in NOT_SPOKEN {
        assert!(classes.contains(class), "{class} is in no case");
        assert!(KNOWN.iter().all(|known| known.class != *class), "{class} is known after all");
    }
}

/// Java's frames, whole.
static FRAMES: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| cases("frames.json").iter().map(|case| case.bytes("hex")).collect());

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// A decoded frame is a complete command that can be encoded and decoded again, whichever
    /// header it is read as; or it is an error.
    #[test]
    fn javas_frames_with_some_bytes_changed_never_panic(
        frame: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        gone in (any::<prop::sample::Index>(), 0..20usize),
        class: prop::sample::Index,
    ) {
        let mut bytes = frame.get(&FRAMES).clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let from = gone.0.index(bytes.len());
        let to = bytes.len().min(from + gone.1);
        bytes.drain(from..to);
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(command)) = frame::decode(&mut buffer, MAX_FRAME) {
            let _ = (class.get(KNOWN).again)(&command.fields);
            let mut again = Vec::new();
            command.encode(&mut again);
            let read = frame::decode(&mut BytesMut::from(&again[..]), MAX_FRAME);
            prop_assert_eq!(read.unwrap().unwrap(), command);
        }
    }

    #[test]
    fn headers_of_foreign_fields_never_panic(
        class: prop::sample::Index,
        values in prop::collection::vec(prop_oneof!["-?[0-9]{1,25}", "[ -~]{0,9}", Just("true".to_owned()), ".{0,3}"], 0..24),
        from: prop::sample::Index,
    ) {
        // The names of some real header, so that the values are looked at.
        let mut buffer = BytesMut::from(&from.get(&FRAMES)[..]);
        let command = frame::decode(&mut buffer, MAX_FRAME).unwrap().unwrap();
        let fields: Fields = command.fields.iter().map(|(name, _)| name).zip(values.iter().map(String::as_str)).collect();
        if let Ok(again) = (class.get(KNOWN).again)(&fields) {
            prop_assert!((class.get(KNOWN).again)(&again).is_ok());
        }
    }
}
