//! One pull: the request, and the meaning of its response.

use super::Filter;
use crate::{Error, link::Response, session::Session};
use bytes::Bytes;
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{EXPRESSION_SQL92, EXPRESSION_TAG},
    header,
    message::{MessageQueue, sys_flag::pull},
};
use std::time::Duration;

/// The long-polling time of a pull at the broker.
pub(super) const SUSPEND: Duration = Duration::from_secs(15);
/// The timeout of such a pull at the client.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of bodies in one pull; the first message is always returned.
const MAX_BYTES: i32 = 256 * 1024;

/// What to pull.
pub(super) struct PullRequest<'a> {
    pub(super) group: &'a str,
    pub(super) queue: &'a MessageQueue,
    pub(super) offset: i64,
    pub(super) max_messages: i32,
    /// The group's offset, if the pull also commits it.
    pub(super) commit: Option<i64>,
    /// The long-polling time.
    pub(super) suspend: Option<Duration>,
    /// The filter, for groups without heartbeats.
    pub(super) filter: Option<&'a Filter>,
    pub(super) subscription_version: i64,
    /// The member of the broker group to pull from.
    pub(super) broker_id: i64,
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// There are messages.
    Found,
    /// No messages yet, or none that match.
    Nothing,
    /// The offset is not in the queue.
    Moved,
}

/// The result of a pull.
pub(super) struct Fetched {
    pub(super) status: Status,
    /// Records, one after another.
    pub(super) records: Bytes,
    pub(super) next: i64,
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) suggested_broker: i64,
}

pub(super) async fn fetch(session: &Session, request: &PullRequest<'_>) -> Result<Fetched, Error> {
    let queue = request.queue;
    let route = session.routes.existing(&queue.topic).await?;
    let (address, is_master) = route
        .member(&queue.broker_name, request.broker_id)
        .ok_or_else(|| Error::NoBroker { group: queue.broker_name.clone() })?;
    // A slave's offsets are a copy of its master's: commits go only to the master.
    let commit = request.commit.filter(|_| is_master);
    let mut flag = 0;
    for (bit, set) in [
        (pull::COMMIT_OFFSET, commit.is_some()),
        (pull::SUSPEND, request.suspend.is_some()),
        (pull::SUBSCRIPTION, request.filter.is_some()),
    ] {
        flag |= if set { bit } else { 0 };
    }
    let suspend = request.suspend.unwrap_or_default();
    let (expression_type, expression) = match request.filter {
        None => (None, None),
        Some(Filter::Tags(tags)) => (Some(EXPRESSION_TAG), Some(tags.as_str())),
        Some(Filter::Sql(expression)) => (Some(EXPRESSION_SQL92), Some(expression.as_str())),
    };
    let header = header::PullMessage {
        consumer_group: request.group,
        topic: &queue.topic,
        queue_id: queue.queue_id,
        queue_offset: request.offset,
        max_messages: request.max_messages,
        sys_flag: flag,
        commit_offset: commit.unwrap_or(0),
        suspend_timeout: suspend.as_millis() as i64,
        subscription: expression,
        subscription_version: request.subscription_version,
        expression_type,
        max_bytes: Some(MAX_BYTES),
        request_source: None,
        proxy_forward_client_id: None,
    };
    let command = Command::request(RequestCode::PullMessage, &header);
    let command = session.link.remoting().request(address, command, TIMEOUT).await?;
    let status = ResponseCode::from_number(command.code).and_then(status);
    let response = Response { address: address.to_owned(), request: RequestCode::PullMessage, command };
    let Some(status) = status else {
        return Err(response.refused());
    };
    let header: header::PullMessageResponse = response.header()?;
    Ok(Fetched {
        status,
        next: header.next_offset,
        min: header.min_offset,
        max: header.max_offset,
        suggested_broker: header.suggested_broker_id,
        records: response.command.body,
    })
}

fn status(code: ResponseCode) -> Option<Status> {
    match code {
        ResponseCode::Success => Some(Status::Found),
        ResponseCode::PullNotFound | ResponseCode::PullRetryImmediately => Some(Status::Nothing),
        ResponseCode::PullOffsetMoved => Some(Status::Moved),
        _ => None,
    }
}
