//! One pull: the question, and what its answer means.

use crate::{Error, link::Answer, session::Session};
use bytes::Bytes;
use rmq_protocol::{
    Command, RequestCode, ResponseCode, header,
    message::{MessageQueue, sys_flag::pull},
};
use std::time::Duration;

/// How long a broker may keep a pull waiting for messages.
pub(super) const SUSPEND: Duration = Duration::from_secs(15);
/// How long we wait for the answer to such a pull.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of bodies a pull may bring; the first message always comes.
const MAX_BYTES: i32 = 256 * 1024;

/// What to pull.
pub(super) struct Question<'a> {
    pub(super) group: &'a str,
    pub(super) queue: &'a MessageQueue,
    pub(super) offset: i64,
    pub(super) max_messages: i32,
    /// Where the group has come to, if the pull shall also say that.
    pub(super) commit: Option<i64>,
    /// How long the broker may wait for messages.
    pub(super) suspend: Option<Duration>,
    /// The filter, for groups that do not send heartbeats.
    pub(super) expression: Option<&'a str>,
    pub(super) subscription_version: i64,
    /// The member of the broker group to ask.
    pub(super) broker_id: i64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// There are messages.
    Found,
    /// None yet, or none that match.
    Nothing,
    /// The offset is not in the queue.
    Moved,
}

/// The answer.
pub(super) struct Fetched {
    pub(super) status: Status,
    /// Records, one after another.
    pub(super) records: Bytes,
    pub(super) next: i64,
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) suggested_broker: i64,
}

pub(super) async fn fetch(session: &Session, question: &Question<'_>) -> Result<Fetched, Error> {
    let queue = question.queue;
    let route = session.routes.existing(&queue.topic).await?;
    let (address, is_master) = route
        .member(&queue.broker_name, question.broker_id)
        .ok_or_else(|| Error::NoBroker { group: queue.broker_name.clone() })?;
    // A slave's offsets are its master's copy: only the master is told.
    let commit = question.commit.filter(|_| is_master);
    let mut flag = 0;
    for (bit, set) in [
        (pull::COMMIT_OFFSET, commit.is_some()),
        (pull::SUSPEND, question.suspend.is_some()),
        (pull::SUBSCRIPTION, question.expression.is_some()),
    ] {
        flag |= if set { bit } else { 0 };
    }
    let suspend = question.suspend.unwrap_or_default();
    let header = header::PullMessage {
        consumer_group: question.group,
        topic: &queue.topic,
        queue_id: queue.queue_id,
        queue_offset: question.offset,
        max_messages: question.max_messages,
        sys_flag: flag,
        commit_offset: commit.unwrap_or(0),
        suspend_timeout: suspend.as_millis() as i64,
        subscription: question.expression,
        subscription_version: question.subscription_version,
        expression_type: None,
        max_bytes: Some(MAX_BYTES),
        request_source: None,
        proxy_forward_client_id: None,
    };
    let command = Command::request(RequestCode::PullMessage, &header);
    let command = session.link.remoting().request(address, command, TIMEOUT).await?;
    let status = ResponseCode::from_number(command.code).and_then(status);
    let answer = Answer { address: address.to_owned(), request: RequestCode::PullMessage, command };
    let Some(status) = status else {
        return Err(answer.refused());
    };
    let header: header::PullMessageResponse = answer.header()?;
    Ok(Fetched {
        status,
        next: header.next_offset,
        min: header.min_offset,
        max: header.max_offset,
        suggested_broker: header.suggested_broker_id,
        records: answer.command.body,
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
