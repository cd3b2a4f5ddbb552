//! Answers to request messages: 324 and 325. The answer is stored like any message, and pushed to the client that waits for it.

use super::Send;
use crate::{
    clock::now_millis,
    error::Rejection,
    group::members::Producers,
    send::{
        durability::Stored,
        stalled::{self, Attempt},
    },
};
use rmq_protocol::{
    Command, Reply, RequestCode, ResponseCode,
    header::{Header, ReplyMessage, SendMessage, SendMessageV2},
    message::properties,
};
use rmq_store::Patience;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// How long the waiting client may take to accept.
const PUSH: Duration = Duration::from_secs(3);

/// Handles of these requests.
pub(crate) struct Replies {
    pub(crate) send: Arc<Send>,
    pub(crate) producers: Arc<Producers>,
    pub(crate) stalled: Arc<stalled::Line>,
}

impl Replies {
    /// Stores the answer and pushes it. Whether it was pushed decides the code: a stored answer that nobody gets answers nothing.
    pub(crate) async fn reply(&self, code: RequestCode, request: Command, from: SocketAddr) -> Reply {
        let stored = match self.store(code, &request, from).await.and_then(Attempt::last) {
            Ok(stored) => stored,
            Err(rejection) => return rejection.into_reply(),
        };
        let Stored { reply, .. } = stored;
        match self.push(code, &request, from).await {
            Ok(()) => reply,
            Err(rejection) => rejection.into_reply(),
        }
    }

    /// Stores the answer, in its turn where there are no disk blocks for it yet: other tasks need this thread.
    async fn store(&self, code: RequestCode, request: &Command, from: SocketAddr) -> Result<Attempt, Rejection> {
        let attempt = self.send.send(code, request, from, Patience::None)?;
        if matches!(attempt, Attempt::Stored(_)) {
            return Ok(attempt);
        }
        let (send, request) = (Arc::clone(&self.send), request.clone());
        let (tell, told) = oneshot::channel();
        self.stalled.stand(request.bytes(), move |turn| {
            // Nobody listens where the client is gone; the answer is stored all the same.
            let _ = tell.send(turn.and_then(|patience| send.send(code, &request, from, patience)));
        });
        told.await.unwrap_or_else(|_| Err(rmq_store::Error::Closed.into()))
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
