//! Prepares a message once for all attempts: check, id, compression, encoding.

use super::Inner;
use crate::{Error, compression, session};
use bytes::Bytes;
use rmq_protocol::{
    message::{
        Message, batch, properties,
        sys_flag::{self, Compression},
    },
    names,
};

/// The parts that every attempt sends.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) topic: String,
    pub(super) flag: i32,
    pub(super) sys_flag: i32,
    pub(super) properties: String,
    pub(super) body: Bytes,
    pub(super) born: i64,
    /// The ids of the messages: one, or all of a batch.
    pub(super) ids: Vec<String>,
    pub(super) is_batch: bool,
}

impl Inner {
    pub(super) async fn prepare(&self, mut message: Message) -> Result<Prepared, Error> {
        self.check(&message.topic, message.body.len())?;
        let born = session::now();
        let id = self.name(&mut message, born);
        let mut sys_flag = 0;
        if message.body.len() > self.options.compress_above
            && let Some(deflated) = compression::deflated(&message.body).await?
        {
            message.body = deflated;
            sys_flag = sys_flag::with_compression(sys_flag, Compression::Zlib);
        }
        Ok(Prepared {
            properties: message.properties.encode().map_err(refused)?,
            topic: message.topic,
            flag: message.flag,
            sys_flag,
            body: message.body,
            born,
            ids: vec![id],
            is_batch: false,
        })
    }

    pub(super) fn prepare_batch(&self, mut messages: Vec<Message>) -> Result<Prepared, Error> {
        let topic = messages.first().ok_or_else(|| Error::Message("the batch is empty".to_owned()))?.topic.clone();
        let born = session::now();
        for message in &messages {
            check_in_batch(&topic, message)?;
        }
        let ids = messages.iter_mut().map(|message| self.name(message, born)).collect();
        let body = batch::encode(&messages).map_err(refused)?;
        self.check(&topic, body.len())?;
        Ok(Prepared { topic, flag: 0, sys_flag: 0, properties: String::new(), body, born, ids, is_batch: true })
    }

    fn check(&self, topic: &str, bytes: usize) -> Result<(), Error> {
        names::check_topic(topic).map_err(|why| Error::Message(format!("topic {topic:?}: {why}")))?;
        if names::is_closed_to_clients(topic) {
            return Err(Error::Message(format!("the topic {topic} belongs to the system")));
        }
        match bytes {
            0 => Err(Error::Message("the body is empty".to_owned())),
            _ if bytes > self.options.max_body => {
                Err(Error::Message(format!("the body is {bytes} bytes long, more than {}", self.options.max_body)))
            }
            _ => Ok(()),
        }
    }

    /// Gives a message its id, unless it has one.
    fn name(&self, message: &mut Message, now: i64) -> String {
        if let Some(id) = message.properties.get(properties::UNIQ_KEY) {
            return id.to_owned();
        }
        let id = self.ids.next(now).to_string();
        message.properties.set(properties::UNIQ_KEY, id.clone());
        id
    }
}

fn refused(why: rmq_protocol::message::Error) -> Error {
    Error::Message(why.to_string())
}

/// A batch is one append to one queue at one time.
fn check_in_batch(topic: &str, message: &Message) -> Result<(), Error> {
    const DELAYED: [&str; 4] =
        [properties::DELAY, properties::TIMER_DELAY_SEC, properties::TIMER_DELAY_MS, properties::TIMER_DELIVER_MS];
    if message.topic != topic {
        return Err(Error::Message(format!("a batch has one topic, not {topic} and {}", message.topic)));
    }
    if names::is_retry_topic(topic) {
        return Err(Error::Message("messages to a retry topic cannot be sent in a batch".to_owned()));
    }
    if DELAYED.iter().any(|name| message.properties.get(name).is_some()) {
        return Err(Error::Message("a delayed message cannot be part of a batch".to_owned()));
    }
    if message.body.is_empty() {
        return Err(Error::Message("a message of the batch has an empty body".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_one_append_is_no_batch() {
        let message = |topic: &str| Message::new(topic, "x");
        assert!(check_in_batch("t", &message("t")).is_ok());
        assert!(check_in_batch("t", &message("u")).is_err());
        assert!(check_in_batch("%RETRY%g", &message("%RETRY%g")).is_err());
        let mut delayed = message("t");
        delayed.properties.set(properties::DELAY, "3");
        assert!(check_in_batch("t", &delayed).is_err());
        assert!(check_in_batch("t", &Message::new("t", "")).is_err());
    }
}
