//! Decodes a frame into a typed request. Each frame is decoded here, once.

use crate::{
    client::heartbeat::HeartbeatRequest,
    error::Rejection,
    send::{SendRequest, send_back::SendBackRequest},
};
use bytes::Bytes;
use rmq_protocol::{
    Command, RequestCode as Code,
    body::{CheckClientConfig, LockBatch, SubscriptionGroup, SubscriptionGroupList, TopicConfig, TopicConfigList},
    fastjson,
    header::{self, Header, SendMessage, SendMessageV2, owned},
};
use serde::de::DeserializeOwned;
use std::net::SocketAddr;

/// The longest body, in bytes, that is parsed on the thread of its connection: a heartbeat, a
/// subscription, or a lock request for some 5,000 queues.
const MAX_BODY: usize = 1 << 20;

/// A request of a client, a tool or a slave. Sends and pulls borrow from their command, because
/// they nearly always complete before it is dropped. All other requests own their text.
pub(super) enum Request<'a> {
    // Messages.
    Send(SendRequest<'a>),
    SendBack(SendBackRequest),
    /// This variant owns the command, because the request waits for a client.
    Reply {
        v2: bool,
    },
    EndTransaction(owned::EndTransaction),
    ResumeCheck(owned::ResumeCheckHalfMessage),
    Pull(header::PullMessage<'a>),
    QueryMessage(owned::QueryMessage),
    ViewMessage(owned::ViewMessage),

    // Clients and groups.
    Heartbeat(HeartbeatRequest),
    UnregisterClient(owned::UnregisterClient),
    ConsumerIds(owned::ConsumerGroupRequest),
    CheckClientConfig(CheckClientConfig),
    LockQueues(LockBatch),
    UnlockQueues(LockBatch),
    QueryOffset(owned::QueryConsumerOffset),
    UpdateOffset {
        header: owned::UpdateConsumerOffset,
        one_way: bool,
    },
    MaxOffset(owned::QueueRequest),
    MinOffset(owned::QueueRequest),
    EarliestTime(owned::QueueRequest),
    SearchOffset(owned::SearchOffset),

    // Tools: groups and their clients.
    CreateGroups(LargeBody<Vec<SubscriptionGroup>>),
    DeleteGroup(owned::DeleteGroup),
    Group(owned::GroupRequest),
    ConsumerConnections(owned::ConsumerGroupRequest),
    ProducerConnections(owned::ProducerGroupRequest),
    Producers,
    ConsumeStats(owned::ConsumeStats),
    AllConsumeStats(owned::BrokerConsumeStats),
    ConsumeTimeSpan(owned::QueryConsumeTimeSpan),
    CloneOffsets(owned::CloneGroupOffset),
    CorrectionOffsets(owned::QueryCorrectionOffset),
    ResetOffset(owned::ResetOffset),
    ConsumerStatus(owned::ConsumerStatus),
    ConsumerRunningInfo(owned::ConsumerRunningInfo),
    ConsumeDirectly(owned::ConsumeMessageDirectly),

    // Tools: topics.
    CreateTopic(owned::CreateTopic),
    CreateTopics(LargeBody<Vec<TopicConfig>>),
    DeleteTopic(owned::TopicRequest),
    Topic(owned::TopicRequest),
    TopicStats(owned::TopicRequest),
    TopicGroups(owned::TopicRequest),
    SystemTopics,

    // Tools: the broker.
    UpdateConfig(String),
    Config,
    RuntimeInfo,
    Stats(owned::ViewBrokerStats),
    DeleteExpired,
    CleanQueues,
    CleanUnusedTopics,
    ColdDataFlow,
    ConsumeQueue(owned::QueryConsumeQueue),

    // Members of the broker's group.
    AllTopics(owned::AllTopicConfig),
    AllGroups(owned::AllGroupConfig),
    AllOffsets,
    AllDelayOffsets,
    AllRequestModes,
    ExchangeHaInfo(owned::ExchangeHaInfo),
    ResetFlushOffset(owned::ResetMasterFlushOffset),
    HaStatus,
    RecoverMaster(owned::RecoverMaster),
}

/// A body that is parsed where the request is run, because parsing it may take too long for the
/// thread of a connection. The bytes are a copy: the received body is a slice of a larger buffer,
/// and keeping the slice would keep the whole buffer.
pub(super) struct LargeBody<T> {
    bytes: Bytes,
    parse: fn(&[u8]) -> Result<T, Rejection>,
}

impl<T> LargeBody<T> {
    fn new(command: &Command, parse: fn(&[u8]) -> Result<T, Rejection>) -> Self {
        Self { bytes: Bytes::copy_from_slice(&command.body), parse }
    }

    pub(super) fn parse(self) -> Result<T, Rejection> {
        (self.parse)(&self.bytes)
    }
}

/// Decodes the headers of a command into a struct that owns its text.
fn header<'a, H: Header<'a>>(command: &'a Command) -> Result<H::Owned, header::Error> {
    H::decode(&command.fields).map(Header::into_owned)
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Rejection> {
    Ok(fastjson::from_slice(bytes)?)
}

/// Parses a body on the thread of its connection.
fn small_body<T: DeserializeOwned>(command: &Command, advice: &str) -> Result<T, Rejection> {
    let size = command.body.len();
    if size > MAX_BODY {
        return Err(Rejection::invalid(format!("a body of {size} bytes is over the limit of {MAX_BODY}; {advice}")));
    }
    json(&command.body)
}

const FEWER_GROUPS: &str = "give each client fewer groups and subscriptions";
const FEWER_QUEUES: &str = "ask for fewer queues at a time";

/// Decodes a command. Returns `None` if this broker does not support the request.
pub(super) fn decode<'a>(code: Code, command: &'a Command, from: SocketAddr) -> Result<Option<Request<'a>>, Rejection> {
    use Request as R;
    Ok(Some(match code {
        Code::SendMessage | Code::SendMessageV2 | Code::SendBatchMessage => R::Send(send(code, command, from)?),
        Code::ConsumerSendMessageBack => R::SendBack(SendBackRequest {
            header: header::<header::ConsumerSendMessageBack<'_>>(command)?,
            client_version: command.version,
        }),
        Code::SendReplyMessage => R::Reply { v2: false },
        Code::SendReplyMessageV2 => R::Reply { v2: true },
        Code::EndTransaction => R::EndTransaction(header::<header::EndTransaction<'_>>(command)?),
        Code::ResumeCheckHalfMessage => R::ResumeCheck(header::<header::ResumeCheckHalfMessage<'_>>(command)?),
        Code::PullMessage | Code::LitePullMessage => R::Pull(header::PullMessage::decode(&command.fields)?),
        Code::QueryMessage => R::QueryMessage(header::<header::QueryMessage<'_>>(command)?),
        Code::ViewMessageById => R::ViewMessage(header::<header::ViewMessage>(command)?),

        Code::HeartBeat => R::Heartbeat(HeartbeatRequest {
            heartbeat: small_body(command, FEWER_GROUPS)?,
            language: command.language,
            version: command.version,
        }),
        Code::UnregisterClient => R::UnregisterClient(header::<header::UnregisterClient<'_>>(command)?),
        Code::ConsumerListByGroup => R::ConsumerIds(header::<header::ConsumerGroupRequest<'_>>(command)?),
        Code::CheckClientConfig => R::CheckClientConfig(small_body(command, FEWER_GROUPS)?),
        Code::LockBatchQueues => R::LockQueues(small_body(command, FEWER_QUEUES)?),
        Code::UnlockBatchQueues => R::UnlockQueues(small_body(command, FEWER_QUEUES)?),
        Code::QueryConsumerOffset => R::QueryOffset(header::<header::QueryConsumerOffset<'_>>(command)?),
        Code::UpdateConsumerOffset => R::UpdateOffset {
            header: header::<header::UpdateConsumerOffset<'_>>(command)?,
            one_way: command.is_one_way(),
        },
        Code::MaxOffset => R::MaxOffset(header::<header::QueueRequest<'_>>(command)?),
        Code::MinOffset => R::MinOffset(header::<header::QueueRequest<'_>>(command)?),
        Code::EarliestMessageStoreTime => R::EarliestTime(header::<header::QueueRequest<'_>>(command)?),
        Code::SearchOffsetByTimestamp => R::SearchOffset(header::<header::SearchOffset<'_>>(command)?),

        Code::UpdateAndCreateSubscriptionGroup => {
            R::CreateGroups(LargeBody::new(command, |bytes| Ok(vec![json(bytes)?])))
        }
        Code::UpdateAndCreateSubscriptionGroupList => {
            R::CreateGroups(LargeBody::new(
                command,
                |bytes| Ok(json::<SubscriptionGroupList>(bytes)?.group_config_list),
            ))
        }
        Code::DeleteSubscriptionGroup => R::DeleteGroup(header::<header::DeleteGroup<'_>>(command)?),
        Code::SubscriptionGroupConfig => R::Group(header::<header::GroupRequest<'_>>(command)?),
        Code::ConsumerConnectionList => R::ConsumerConnections(header::<header::ConsumerGroupRequest<'_>>(command)?),
        Code::ProducerConnectionList => R::ProducerConnections(header::<header::ProducerGroupRequest<'_>>(command)?),
        Code::AllProducerInfo => R::Producers,
        Code::ConsumeStats => R::ConsumeStats(header::<header::ConsumeStats<'_>>(command)?),
        Code::BrokerConsumeStats => R::AllConsumeStats(header::<header::BrokerConsumeStats>(command)?),
        Code::QueryConsumeTimeSpan => R::ConsumeTimeSpan(header::<header::QueryConsumeTimeSpan<'_>>(command)?),
        Code::CloneGroupOffset => R::CloneOffsets(header::<header::CloneGroupOffset<'_>>(command)?),
        Code::QueryCorrectionOffset => R::CorrectionOffsets(header::<header::QueryCorrectionOffset<'_>>(command)?),
        Code::InvokeBrokerToResetOffset => R::ResetOffset(header::<header::ResetOffset<'_>>(command)?),
        Code::InvokeBrokerToGetConsumerStatus => R::ConsumerStatus(header::<header::ConsumerStatus<'_>>(command)?),
        Code::ConsumerRunningInfo => R::ConsumerRunningInfo(header::<header::ConsumerRunningInfo<'_>>(command)?),
        Code::ConsumeMessageDirectly => R::ConsumeDirectly(header::<header::ConsumeMessageDirectly<'_>>(command)?),

        Code::UpdateAndCreateTopic => R::CreateTopic(header::<header::CreateTopic<'_>>(command)?),
        Code::UpdateAndCreateTopicList => {
            R::CreateTopics(LargeBody::new(command, |bytes| Ok(json::<TopicConfigList>(bytes)?.topic_config_list)))
        }
        Code::DeleteTopicInBroker => R::DeleteTopic(header::<header::TopicRequest<'_>>(command)?),
        Code::TopicConfig => R::Topic(header::<header::TopicRequest<'_>>(command)?),
        Code::TopicStatsInfo => R::TopicStats(header::<header::TopicRequest<'_>>(command)?),
        Code::QueryTopicConsumeByWho => R::TopicGroups(header::<header::TopicRequest<'_>>(command)?),
        Code::SystemTopicListFromBroker => R::SystemTopics,

        Code::UpdateBrokerConfig => R::UpdateConfig(
            std::str::from_utf8(&command.body)
                .map_err(|_| Rejection::invalid("the settings are not UTF-8"))?
                .to_owned(),
        ),
        Code::BrokerConfig => R::Config,
        Code::BrokerRuntimeInfo => R::RuntimeInfo,
        Code::ViewBrokerStatsData => R::Stats(header::<header::ViewBrokerStats<'_>>(command)?),
        Code::DeleteExpiredCommitLog => R::DeleteExpired,
        Code::CleanExpiredConsumeQueue => R::CleanQueues,
        Code::CleanUnusedTopic => R::CleanUnusedTopics,
        Code::ColdDataFlowControlInfo => R::ColdDataFlow,
        Code::QueryConsumeQueue => R::ConsumeQueue(header::<header::QueryConsumeQueue<'_>>(command)?),

        Code::AllTopicConfig => R::AllTopics(header::<header::AllTopicConfig<'_>>(command)?),
        Code::AllSubscriptionGroupConfig => R::AllGroups(header::<header::AllGroupConfig<'_>>(command)?),
        Code::AllConsumerOffset => R::AllOffsets,
        Code::AllDelayOffset => R::AllDelayOffsets,
        Code::AllMessageRequestMode => R::AllRequestModes,
        Code::ExchangeBrokerHaInfo => R::ExchangeHaInfo(header::<header::ExchangeHaInfo<'_>>(command)?),
        Code::ResetMasterFlushOffset => R::ResetFlushOffset(header::<header::ResetMasterFlushOffset>(command)?),
        Code::BrokerHaStatus => R::HaStatus,
        Code::RecoverMaster => R::RecoverMaster(header::<header::RecoverMaster<'_>>(command)?),

        // Codes that belong to namesrvs or to clients, and codes of features that this broker
        // lacks.
        _ => return Ok(None),
    }))
}

/// Decodes a send with either form of header.
fn send(code: Code, command: &Command, from: SocketAddr) -> Result<SendRequest<'_>, Rejection> {
    let header = send_header(code == Code::SendMessage, command)?;
    Ok(SendRequest {
        batch: code == Code::SendBatchMessage || header.batch == Some(true),
        header,
        body: &command.body,
        client_version: command.version,
        born_host: from,
    })
}

/// The reply to a request message is decoded as a send too.
pub(super) fn reply(v2: bool, command: &Command, from: SocketAddr) -> Result<SendRequest<'_>, Rejection> {
    let header = send_header(!v2, command)?;
    let batch = header.batch == Some(true);
    Ok(SendRequest { header, body: &command.body, batch, client_version: command.version, born_host: from })
}

fn send_header(long: bool, command: &Command) -> Result<SendMessageV2<'_>, header::Error> {
    if long {
        return SendMessage::decode(&command.fields).map(Into::into);
    }
    SendMessageV2::decode(&command.fields)
}

/// Whether the body of the request is read in this module.
pub(super) fn has_body(code: Code) -> bool {
    matches!(
        code,
        Code::SendMessage
            | Code::SendMessageV2
            | Code::SendBatchMessage
            | Code::SendReplyMessage
            | Code::SendReplyMessageV2
            | Code::HeartBeat
            | Code::CheckClientConfig
            | Code::LockBatchQueues
            | Code::UnlockBatchQueues
            | Code::UpdateAndCreateTopicList
            | Code::UpdateAndCreateSubscriptionGroup
            | Code::UpdateAndCreateSubscriptionGroupList
            | Code::UpdateBrokerConfig
    )
}
