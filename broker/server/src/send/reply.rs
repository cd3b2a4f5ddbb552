//! Replies to request messages: requests 324 and 325. The reply is stored like any message, and
//! pushed to the client that waits for it.

use super::{Acknowledged, Outcome, Reached, SendRequest, Sender, Sent, Waits};
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
    sender: Arc<Sender>,
    producers: Arc<Producers>,
}

impl Replies {
    pub(crate) fn new(core: &Core, sender: &Arc<Sender>) -> Self {
        Self { sender: Arc::clone(sender), producers: Arc::clone(&core.producers) }
    }

    /// Stores the reply and pushes it. The outcome depends on the push: a reply that is stored but
    /// reaches no client answers nothing. A reply does not wait for the disk or for slaves.
    pub(crate) async fn reply(&self, request: &SendRequest<'_>) -> Result<Acknowledged<'static>, Rejection> {
        let sent = self.store(request).await?;
        self.push(&request.header, request.body, request.born_host).await?;
        Ok(Acknowledged { sent, reached: Reached::All })
    }

    async fn store(&self, request: &SendRequest<'_>) -> Result<Option<Sent<'static>>, Rejection> {
        let waits = match self.sender.send(request)? {
            Outcome::Acknowledged(acknowledged) => return Ok(acknowledged.sent.map(Sent::into_owned)),
            Outcome::Waits(waits) => waits,
        };
        let (prepared, new_topic) = match waits {
            Waits::Durability(stored) => {
                self.sender.persist_topics(stored.new_topic);
                return Ok(stored.sent);
            }
            Waits::Blocks { prepared, new_topic } => (prepared, new_topic),
        };
        // The append waits in the queue for disk blocks, because other tasks need this thread.
        self.sender.persist_topics(new_topic);
        let sender = Arc::clone(&self.sender);
        let (tell, told) = oneshot::channel();
        self.sender.stalled.stand(prepared.bytes(), move |turn| {
            // If the client is gone, the receiver is dropped. The reply is stored all the same.
            let _ = tell.send(turn.and_then(|patience| sender.append(prepared, patience)));
        });
        let stored = told.await.unwrap_or_else(|_| Err(rmq_store::Error::Closed.into()))?;
        Ok(stored.sent)
    }

    async fn push(&self, header: &SendMessageV2<'_>, body: &Bytes, from: SocketAddr) -> Result<(), Rejection> {
        let raw = header.properties.unwrap_or_default();
        let refuse = |remark: String| Rejection::new(Reason::Failed, remark);
        let client_id = properties::find_str(raw.as_bytes(), properties::REPLY_TO_CLIENT).ok_or_else(|| {
            refuse(format!("the answer does not say whom it is for ({})", properties::REPLY_TO_CLIENT))
        })?;
        let client = self.producers.find(&client_id).ok_or_else(|| {
            refuse(format!("the client {client_id} that waits for this answer is not connected here"))
        })?;
        let (born_host, store_host) = (from.to_string(), self.sender.store_host.to_string());
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
        let push = Command::request(RequestCode::PushReplyMessageToClient, &told).with_body(Bytes::clone(body));
        let answer = client.connection.request(push, PUSH).await?;
        if answer.code == ResponseCode::Success.number() {
            return Ok(());
        }
        Err(refuse(format!("the client {client_id} did not take the answer: {}", answer.remark.unwrap_or_default())))
    }
}
