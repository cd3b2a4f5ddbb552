//! Answers to request messages: 324 and 325. The answer is stored like any message, and pushed to the client that waits for it.

use super::send::Send;
use crate::{clock::now_millis, connected::Producers, durability::Stored, error::Rejection};
use rmq_protocol::{
    Command, Reply, RequestCode, ResponseCode,
    header::{Header, ReplyMessage, SendMessage, SendMessageV2},
    message::properties,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// How long the waiting client may take to accept.
const PUSH: Duration = Duration::from_secs(3);

/// Handles of these requests.
pub(crate) struct Replies {
    pub(crate) send: Arc<Send>,
    pub(crate) producers: Arc<Producers>,
}

impl Replies {
    /// Stores the answer and pushes it. Whether it was pushed decides the code: a stored answer that nobody gets answers nothing.
    pub(crate) async fn reply(&self, code: RequestCode, request: Command, from: SocketAddr) -> Reply {
        let stored = match self.send.send(code, &request, from) {
            Ok(stored) => stored,
            Err(rejection) => return rejection.into_reply(),
        };
        let Stored { reply, .. } = stored;
        match self.push(code, &request, from).await {
            Ok(()) => reply,
            Err(rejection) => rejection.into_reply(),
        }
    }

    async fn push(&self, code: RequestCode, request: &Command, from: SocketAddr) -> Result<(), Rejection> {
        let header: SendMessageV2<'_> = match code {
            RequestCode::SendReplyMessage => SendMessage::decode(&request.fields)?.into(),
            _ => SendMessageV2::decode(&request.fields)?,
        };
        let raw = header.properties.unwrap_or_default();
        let refuse = |remark: String| Rejection::new(ResponseCode::SystemError, remark);
        let client_id = properties::find_str(raw.as_bytes(), properties::REPLY_TO_CLIENT).ok_or_else(|| {
            refuse(format!("the answer does not say whom it is for ({})", properties::REPLY_TO_CLIENT))
        })?;
        let client = self.producers.find(&client_id).ok_or_else(|| {
            refuse(format!("the client {client_id} that waits for this answer is not connected here"))
        })?;
        let (born_host, store_host) = (from.to_string(), self.send.store_host.to_string());
        let told = ReplyMessage {
            producer_group: header.producer_group,
            topic: header.topic,
            default_topic: header.default_topic,
            default_topic_queues: header.default_topic_queues,
            queue_id: header.queue_id,
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            flag: header.flag,
            properties: header.properties,
            reconsume_times: header.reconsume_times,
            unit_mode: header.unit_mode,
            born_host: &born_host,
            store_host: &store_host,
            store_timestamp: now_millis(),
        };
        let push = Command::request(RequestCode::PushReplyMessageToClient, &told).with_body(request.body.clone());
        let answer = client.connection.request(push, PUSH).await?;
        if answer.code == ResponseCode::Success.number() {
            return Ok(());
        }
        Err(refuse(format!("the client {client_id} did not take the answer: {}", answer.remark.unwrap_or_default())))
    }
}
