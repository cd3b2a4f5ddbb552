//! `rocketmq admin message`.

use super::{Context, output, target, time};
use anyhow::Context as _;
use rmq_client::{
    Message, MessageExt, MessageQueue, Producer, PullConsumer,
    producer::Options,
    properties::{KEYS, TAGS},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Bytes of a body that a list shows.
const PREVIEW: usize = 60;
/// The group by whose name this tool sends and reads.
const GROUP: &str = "CID_RMQ_SYS_ADMIN";

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// The message with this offset id (offsetMsgId)
    Id {
        /// The id, as `send` and `key` print it
        id: String,
        /// The topic, which brokers with access rules want to know
        #[arg(short, long)]
        topic: Option<String>,
    },
    /// Messages with this key
    Key {
        /// The topic
        topic: String,
        /// One of the keys that its producer gave the message
        key: String,
        /// At most so many of each broker
        #[arg(long, default_value = "64", value_parser = clap::value_parser!(i32).range(1..=1024))]
        max: i32,
        /// Stored at or after: milliseconds since 1970, or a date such as 2026-11-23T04:00:00Z
        #[arg(long, default_value = "0", value_parser = time::parse)]
        begin: i64,
        /// Stored before
        #[arg(long, value_parser = time::parse)]
        end: Option<i64>,
    },
    /// The message with this id made by its producer (msgId)
    UniqueKey {
        /// The topic
        topic: String,
        /// The id, as the producer's log has it
        id: String,
    },
    /// Messages of one queue from an offset on
    Read {
        /// The topic
        topic: String,
        /// The name of the broker group
        #[arg(short, long)]
        broker: String,
        /// The number of the queue on that group, from 0
        #[arg(short, long)]
        queue: i32,
        /// The number of the first message in the queue
        #[arg(long, default_value = "0")]
        offset: i64,
        /// How many messages
        #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1024))]
        count: u32,
    },
    /// Send a message
    Send {
        /// The topic
        topic: String,
        /// The text of the message
        body: String,
        /// The tag by which consumers can choose it
        #[arg(long)]
        tags: Option<String>,
        /// Keys by which it can be found, separated by spaces
        #[arg(long)]
        keys: Option<String>,
    },
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Id { id, topic } => one(context, &context.admin.view_message(topic.as_deref(), &id).await?),
            Self::Key { topic, key, max, begin, end } => {
                let time = begin..end.unwrap_or(i64::MAX);
                list(context, &context.admin.query_message_by_key(&topic, &key, max, time).await?)
            }
            Self::UniqueKey { topic, id } => {
                let found = context.admin.query_message_by_unique_key(&topic, &id).await?;
                match &found[..] {
                    [] => {
                        anyhow::bail!("no message {id} is in {topic}, or its index is gone with its time of retention")
                    }
                    [message] => one(context, message),
                    several => list(context, several),
                }
            }
            Self::Read { topic, broker, queue, offset, count } => {
                let name = target::one(context, &broker).await?.name;
                let queue = MessageQueue { broker_name: name, queue_id: queue, topic };
                let reader = PullConsumer::start(&context.namesrvs, GROUP).await?;
                let messages = read(&reader, &queue, offset, count).await;
                reader.stop().await;
                list(context, &messages?)
            }
            Self::Send { topic, body, tags, keys } => send(context, topic, body, tags, keys).await,
        }
    }
}

async fn read(
    reader: &PullConsumer,
    queue: &MessageQueue,
    mut offset: i64,
    count: u32,
) -> anyhow::Result<Vec<MessageExt>> {
    let mut messages = Vec::new();
    while messages.len() < count as usize {
        let pulled = reader.pull(queue, offset, count - messages.len() as u32, false).await?;
        anyhow::ensure!(
            !(messages.is_empty() && pulled.records.is_empty() && pulled.next != offset),
            "offset {offset} is not in the queue, which has {} to {}",
            pulled.min,
            pulled.max
        );
        messages.extend(pulled.messages()?);
        if pulled.records.is_empty() || pulled.next <= offset {
            break;
        }
        offset = pulled.next;
    }
    messages.truncate(count as usize);
    Ok(messages)
}

async fn send(
    context: &Context,
    topic: String,
    body: String,
    tags: Option<String>,
    keys: Option<String>,
) -> anyhow::Result<()> {
    let mut message = Message::new(topic, body);
    message.properties.set(TAGS, tags.unwrap_or_default());
    message.properties.set(KEYS, keys.unwrap_or_default());
    let producer =
        Producer::start(Options::new(&context.namesrvs, GROUP)).await.context("no producer can be started")?;
    let sent = producer.send(message).await;
    producer.stop().await;
    let receipt = sent?;
    let pairs = output::pairs([
        ("status", format!("{:?}", receipt.status)),
        ("messageId", receipt.message_id),
        ("offsetMessageId", receipt.offset_message_id),
        ("broker", receipt.queue.broker_name),
        ("queue", receipt.queue.queue_id.to_string()),
        ("queueOffset", receipt.queue_offset.to_string()),
    ]);
    context.output.properties(&pairs.iter().cloned().collect::<BTreeMap<_, _>>(), pairs)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    message_id: String,
    offset_message_id: String,
    topic: String,
    queue: i32,
    queue_offset: u64,
    stored: i64,
    born: i64,
    store_host: String,
    born_host: String,
    store_size: u32,
    reconsume_times: i32,
    properties: BTreeMap<String, String>,
    #[serde(flatten)]
    body: Body,
}

impl Shown {
    fn new(message: &MessageExt) -> Self {
        Self {
            message_id: message.msg_id.clone(),
            offset_message_id: message.offset_msg_id.to_string(),
            topic: message.message.topic.clone(),
            queue: message.queue_id,
            queue_offset: message.queue_offset,
            stored: message.store_timestamp,
            born: message.born_timestamp,
            store_host: message.store_host.to_string(),
            born_host: message.born_host.to_string(),
            store_size: message.store_size,
            reconsume_times: message.reconsume_times,
            properties: message
                .message
                .properties
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: Body::new(&message.message.body),
        }
    }
}

fn one(context: &Context, message: &MessageExt) -> anyhow::Result<()> {
    let shown = Shown::new(message);
    let mut pairs = output::pairs([
        ("messageId", shown.message_id.clone()),
        ("offsetMessageId", shown.offset_message_id.clone()),
        ("topic", shown.topic.clone()),
        ("queue", shown.queue.to_string()),
        ("queueOffset", shown.queue_offset.to_string()),
        ("stored", time::text(shown.stored)),
        ("born", time::text(shown.born)),
        ("storeHost", shown.store_host.clone()),
        ("bornHost", shown.born_host.clone()),
        ("storeSize", shown.store_size.to_string()),
        ("reconsumeTimes", shown.reconsume_times.to_string()),
    ]);
    pairs.extend(shown.properties.iter().map(|(name, value)| (format!("property {name}"), value.clone())));
    pairs.push(("body".to_owned(), shown.body.text()));
    context.output.properties(&shown, pairs)
}

fn list(context: &Context, messages: &[MessageExt]) -> anyhow::Result<()> {
    let rows: Vec<_> = messages.iter().map(Shown::new).collect();
    context.output.list(["MESSAGE ID", "QUEUE", "OFFSET", "STORED", "TAGS", "KEYS", "BODY"], &rows, |row| {
        let property = |name: &str| row.properties.get(name).cloned().unwrap_or_default();
        [
            row.message_id.clone(),
            row.queue.to_string(),
            row.queue_offset.to_string(),
            time::text(row.stored),
            property(TAGS),
            property(KEYS),
            row.body.preview(),
        ]
    })
}

/// A message's body, which may be a text or not.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    /// As text where it is one.
    body: String,
    /// As hex digits where it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

impl Body {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).ok();
        Self { body: text.unwrap_or_default().to_owned(), body_hex: text.is_none().then(|| hex(bytes)) }
    }

    fn text(&self) -> String {
        self.body_hex.as_ref().map_or_else(|| self.body.clone(), |hex| format!("(hex) {hex}"))
    }

    /// The beginning, on one line.
    pub(super) fn preview(&self) -> String {
        preview(self.body_hex.as_deref().unwrap_or(&self.body))
    }
}

/// The beginning of a text, on one line.
fn preview(text: &str) -> String {
    let short: String = text.chars().take(PREVIEW).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(PREVIEW).is_some() { format!("{short}…") } else { short }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_body_is_shortened_and_kept_on_one_line() {
        assert_eq!(preview("two\nlines"), "two lines");
        let long = "ä".repeat(61);
        assert_eq!(preview(&long).chars().count(), 61);
        assert!(preview(&long).ends_with('…'));
        assert_eq!(preview(&"x".repeat(60)), "x".repeat(60));
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
    }
}
