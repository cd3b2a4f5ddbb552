//! Encodes outcomes as responses. Only this module knows the response codes.

use crate::{
    error::{Reason, Rejection},
    pull::{PullStatus, Pulled},
    request::unserved,
    send::{Acknowledged, Ids, Reached, Sent},
};
use bytes::Bytes;
use rmq_protocol::{
    Body, Reply, ResponseCode as Code, fastjson,
    header::{
        AllGroupConfigResponse, AllTopicConfigResponse, BrokerConfigResponse, ExchangeHaInfo, HeartbeatResponse,
        OffsetResponse, QueryMessageResponse, SendMessageResponse, TimestampResponse, owned,
    },
};
use rmq_store::Found;
use serde::Serialize;

/// The response to a request that is refused.
pub(super) fn refused(rejection: Rejection) -> Reply {
    let code = match rejection.reason {
        Reason::Invalid => Code::InvalidParameter,
        Reason::IllegalMessage => Code::MessageIllegal,
        Reason::NotPermitted => Code::NoPermission,
        Reason::NoTopic => Code::TopicNotExist,
        Reason::NoGroup => Code::SubscriptionGroupNotExist,
        Reason::NotFound => Code::QueryNotFound,
        Reason::NotOnline => Code::ConsumerNotOnline,
        Reason::NotSubscribed => Code::SubscriptionNotExist,
        Reason::SubscriptionOutdated => Code::SubscriptionNotLatest,
        Reason::WrongExpression => Code::SubscriptionParseFailed,
        Reason::Unavailable => Code::ServiceNotAvailable,
        Reason::Busy => Code::SystemBusy,
        Reason::ClientTimeout => Code::ConsumeMessageTimeout,
        Reason::OutcomeTooLate => Code::IllegalOperation,
        Reason::Failed => Code::SystemError,
    };
    Reply::refuse(code, rejection.remark)
}

/// The response to a request whose code this broker does not support. Begins as Java's.
pub(super) fn unsupported(number: i32) -> Reply {
    let why = unserved::why(number).map(|why| format!(": {why}")).unwrap_or_default();
    Reply::refuse(Code::RequestCodeNotSupported, format!("request type {number} not supported{why}"))
}

/// The response to a request: `write` encodes a success, a refusal is encoded here.
pub(super) fn outcome<T>(outcome: Result<T, Rejection>, write: impl FnOnce(T) -> Reply) -> Reply {
    outcome.map_or_else(refused, write)
}

pub(super) fn done(_: ()) -> Reply {
    Reply::ok()
}

pub(super) fn json(body: impl Serialize) -> Reply {
    Reply::body(fastjson::to_vec(&body))
}

pub(super) fn bytes(body: Bytes) -> Reply {
    Reply::body(body)
}

pub(super) fn offset(offset: i64) -> Reply {
    Reply::with(&OffsetResponse { offset })
}

pub(super) fn timestamp(timestamp: i64) -> Reply {
    Reply::with(&TimestampResponse { timestamp })
}

pub(super) fn heartbeat(header: HeartbeatResponse) -> Reply {
    Reply::with(&header)
}

/// The response to a send, and to a message that was sent back.
pub(super) fn acknowledged(outcome: Result<Acknowledged<'_>, Rejection>) -> Reply {
    let Acknowledged { sent, reached } = match outcome {
        Ok(acknowledged) => acknowledged,
        Err(rejection) => return refused(rejection),
    };
    let code = match reached {
        Reached::All => Code::Success,
        Reached::NotDisk => Code::FlushDiskTimeout,
        Reached::NotSlaves => Code::FlushSlaveTimeout,
    };
    match sent {
        Some(sent) => message(code, &sent),
        None => Reply { code, ..Reply::ok() },
    }
}

fn message(code: Code, sent: &Sent<'_>) -> Reply {
    let one;
    let message_id = match &sent.ids {
        Ids::One(id) => {
            one = id.to_string();
            &one
        }
        Ids::Batch(ids) => ids,
    };
    let header = SendMessageResponse {
        message_id,
        queue_id: sent.queue_id,
        queue_offset: sent.queue_offset,
        transaction_id: (!sent.unique_key.is_empty()).then_some(&*sent.unique_key),
        batch_unique_id: None,
        recall_handle: None,
        region: Some(&sent.region),
        trace_on: Some(sent.trace_on),
    };
    Reply::of(code, &header)
}

pub(super) fn pulled(outcome: Result<Pulled, Rejection>) -> Reply {
    let Pulled { status, remark, next, records } = match outcome {
        Ok(pulled) => pulled,
        Err(rejection) => return refused(rejection),
    };
    let code = match status {
        PullStatus::Found => Code::Success,
        PullStatus::NotFound => Code::PullNotFound,
        PullStatus::RetryAtOnce => Code::PullRetryImmediately,
        PullStatus::OffsetMoved => Code::PullOffsetMoved,
    };
    let mut reply = Reply::of(code, &next).remark(remark);
    if !records.is_empty() {
        reply.body = Body::Parts(records);
    }
    reply
}

pub(super) fn messages(found: Found) -> Reply {
    let mut reply = Reply::with(&QueryMessageResponse {
        last_update_timestamp: found.index_timestamp.get(),
        last_update_offset: found.index_offset.to_wire(),
    });
    reply.body = Body::Parts(found.records);
    reply
}

/// The response to a read of the settings, and to a change of them.
pub(super) fn settings(in_force: crate::admin::broker::InForce) -> Reply {
    let version = fastjson::to_vec(&in_force.version);
    let mut reply = Reply::with(&BrokerConfigResponse { version: &String::from_utf8_lossy(&version) });
    reply.body = in_force.properties.into_bytes().into();
    reply
}

pub(super) fn changed_settings(lost_with_the_process: Option<String>) -> Reply {
    match lost_with_the_process {
        None => Reply::ok(),
        Some(why) => Reply::ok().remark(format!("changed until the broker restarts: {why}")),
    }
}

pub(super) fn topic_table((total, body): (i32, Bytes)) -> Reply {
    Reply { body: body.into(), ..Reply::with(&AllTopicConfigResponse { total: Some(total) }) }
}

pub(super) fn group_table((total, body): (i32, Bytes)) -> Reply {
    Reply { body: body.into(), ..Reply::with(&AllGroupConfigResponse { total: Some(total) }) }
}

/// All groups pull. Java's slaves expect the empty table.
pub(super) fn request_modes() -> Reply {
    Reply::body(&br#"{"messageRequestModeMap":{}}"#[..])
}

pub(super) fn ha_info(info: Option<owned::ExchangeHaInfo>) -> Reply {
    info.map_or_else(Reply::ok, |info| {
        Reply::with(&ExchangeHaInfo {
            master_ha_address: info.master_ha_address.as_deref(),
            master_flush_offset: info.master_flush_offset,
            master_address: info.master_address.as_deref(),
        })
    })
}
