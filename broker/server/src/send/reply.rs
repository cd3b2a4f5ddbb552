//! Replies to request messages: requests 324 and 325. The reply is stored like any message, and
//! pushed to the client that waits for it.

use super::{Acknowledged, MessageWriter, Outcome, Reached, SendRequest, Sent, Waits};
use crate::{
    clock::now_millis,
    core::Core,
    error::{Reason, Rejection},
    group::members::Producers,
};
use bytes::Bytes;
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    header::{ReplyMessage, SendMessageV2},
    message::properties,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// The timeout for the waiting client to accept the push.
const PUSH: Duration = Duration::from_secs(3);

/// Stores and pushes replies.
pub(crate) struct Replies {
    writer: Arc<MessageWriter>,
    producers: Arc<Producers>,
}

impl Replies {
    pub(crate) fn new(core: &Core, writer: &Arc<MessageWriter>) -> Self {
        Self { writer: Arc::clone(writer), producers: Arc::clone(&core.producers) }
    }

    /// Stores the reply and pushes it. The outcome depends on the push: a reply that is stored but
    /// reaches no client answers nothing. A reply does not wait for the disk or for slaves.
    pub(crate) async fn reply(&self, request: &SendRequest<'_>) -> Result<Acknowledged<'static>, Rejection> {
        let sent = self.store(request).await?;
        self.push(&request.header, request.body, request.born_host).await?;
        Ok(Acknowledged { sent, reached: Reached::All })
    }

    async fn store(&self, request: &SendRequest<'_>) -> Result<Option<Sent<'static>>, Rejection> {
        let waits = match self.writer.send(request)? {
            Outcome::Acknowledged(acknowledged) => return Ok(acknowledged.sent.map(Sent::into_owned)),
            Outcome::Waits(waits) => waits,
        };
        let (prepared, new_topic) = match waits {
            Waits::Durability(stored) => {
                self.writer.persist_topics(stored.new_topic);
                return Ok(stored.sent);
            }
            Waits::Blocks { prepared, new_topic } => (prepared, new_topic),
        };
        // The append waits in the queue for disk blocks, because other tasks need this thread.
        self.writer.persist_topics(new_topic);
        let writer = Arc::clone(&self.writer);
        let (result_sender, result) = oneshot::channel();
        self.writer.stalled.enqueue(prepared.bytes(), move |turn| {
            // If the client is gone, the receiver is dropped. The reply is stored all the same.
            let _ = result_sender.send(turn.and_then(|deadline| writer.append(prepared, deadline)));
        });
        let stored = result.await.unwrap_or_else(|_| Err(rmq_store::Error::Closed.into()))?;
        Ok(stored.sent)
    }

    async fn push(&self, header: &SendMessageV2<'_>, body: &Bytes, from: SocketAddr) -> Result<(), Rejection> {
        let raw = header.properties.unwrap_or_default();
        let refuse = |remark: String| Rejection::new(Reason::Failed, remark);
        let client_id = properties::find_str(raw.as_bytes(), properties::REPLY_TO_CLIENT)
            .ok_or_else(|| refuse(format!("the reply does not name its client ({})", properties::REPLY_TO_CLIENT)))?;
        let client = self
            .producers
            .find(&client_id)
            .ok_or_else(|| refuse(format!("the client {client_id} that waits for this reply is not connected here")))?;
        let (born_host, store_host) = (from.to_string(), self.writer.store_host.to_string());
        let pushed = ReplyMessage {
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
        let push = Command::request(RequestCode::PushReplyMessageToClient, &pushed).with_body(Bytes::clone(body));
        let response = client.connection.request(push, PUSH).await?;
        if response.code == ResponseCode::Success.number() {
            return Ok(());
        }
        Err(refuse(format!("the client {client_id} did not accept the reply: {}", response.remark.unwrap_or_default())))
    }
}
