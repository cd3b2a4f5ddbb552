//! Op messages: each lists finished half messages, by their offsets in the half queue.
//!
//! ```text
//! body   "17,18,23,"     decimal offsets, each followed by a comma; or one without a comma
//! TAGS   "d"
//! ```
//!
//! Releases before 5.0 read one offset without a comma only.

use crate::clock::now_millis;
use rmq_protocol::{
    message::properties,
    message::stored::{Draft, Record},
    names,
};
use rmq_store::QueueOffset;
use std::{collections::VecDeque, net::SocketAddr};

/// The tag of op messages.
const REMOVE: &str = "d";
/// The longest offset with its comma.
const LONGEST: usize = 21;

/// The offsets in an op message. Text that is none is passed over.
pub(super) fn offsets<'a>(record: &Record<'a>) -> impl Iterator<Item = QueueOffset> + use<'a> {
    let removes = record.property(properties::TAGS).is_some_and(|tag| tag == REMOVE);
    let body = if removes { record.body() } else { b"" };
    body.split(|byte| *byte == b',').filter_map(|digits| {
        let number: u64 = std::str::from_utf8(digits).ok()?.trim().parse().ok()?;
        Some(QueueOffset::new(number))
    })
}

/// An op message of this body, with the properties that [`properties`] gives.
pub(crate) fn message<'a>(body: &'a [u8], properties: &'a [u8], store_host: SocketAddr) -> Draft<'a> {
    Draft {
        topic: names::OP_HALF_TOPIC,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: now_millis(),
        born_host: store_host,
        store_host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        properties,
        body,
    }
}

/// The properties of op messages.
pub(crate) fn properties() -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in [(properties::TAGS, REMOVE), (properties::WAIT, "true")] {
        properties::push(&mut text, name.as_bytes(), value.as_bytes());
    }
    text
}

/// Bytes of an offset in the body of an op message.
fn length(offset: QueueOffset) -> usize {
    itoa::Buffer::new().format(offset.get()).len() + 1
}

/// Finished half messages whose op message is not written yet. There are never more than there were
/// open transactions.
#[derive(Default)]
pub(super) struct Pending {
    offsets: VecDeque<QueueOffset>,
    bytes: usize,
    /// When the first was added, in milliseconds.
    since: Option<u64>,
}

impl Pending {
    pub(super) fn push(&mut self, offset: QueueOffset, now: u64) {
        self.bytes += length(offset);
        self.offsets.push_back(offset);
        self.since.get_or_insert(now);
    }

    /// When the next op message is to be written: after `interval` milliseconds, or at once if more
    /// than `max` bytes wait.
    pub(super) fn due(&self, max: usize, interval: u64) -> Option<u64> {
        let since = self.since?;
        Some(if self.bytes > max { 0 } else { since.saturating_add(interval) })
    }

    /// The body of the next op message, of `max` bytes at most but with one offset at least, and
    /// the number of its offsets.
    pub(super) fn next(&self, max: usize) -> (Vec<u8>, usize) {
        let mut body = Vec::with_capacity(self.bytes.min(max.saturating_add(LONGEST)));
        let (mut digits, mut count) = (itoa::Buffer::new(), 0);
        for offset in &self.offsets {
            let text = digits.format(offset.get());
            if count > 0 && body.len() + text.len() + 1 > max {
                break;
            }
            body.extend_from_slice(text.as_bytes());
            body.push(b',');
            count += 1;
        }
        if count == 1 {
            body.pop();
        }
        (body, count)
    }

    /// The op message with the first `count` offsets is stored.
    pub(super) fn written(&mut self, count: usize, now: u64) {
        let written = self.offsets.drain(..count.min(self.offsets.len()));
        self.bytes = self.bytes.saturating_sub(written.map(length).sum());
        self.since = (!self.offsets.is_empty()).then_some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn read(body: &str, tag: &str) -> Vec<u64> {
        let properties = format!("TAGS\u{1}{tag}\u{2}");
        let draft = rmq_store::NewMessage { properties: properties.as_bytes(), ..testing::message(body.as_bytes()) };
        let bytes = draft.prepare().unwrap().to_vec(0, 0, 0);
        offsets(&Record::parse(&bytes).unwrap()).map(QueueOffset::get).collect()
    }

    #[test]
    fn bodies_of_all_versions_are_read() {
        assert_eq!(read("7,8,", "d"), [7, 8]);
        assert_eq!(read("12", "d"), [12], "before 5.0");
        assert_eq!(read("1,x,,-3,99999999999999999999,2", "d"), [1, 2]);
        assert_eq!(read("7,8,", "e"), Vec::<u64>::new());
    }

    #[test]
    fn offsets_gather_until_they_are_many_or_old() {
        let mut pending = Pending::default();
        assert_eq!(pending.due(10, 3000), None);
        pending.push(100.into(), 5);
        pending.push(200.into(), 7);
        assert_eq!(pending.due(10, 3000), Some(3005));
        pending.push(300.into(), 9);
        assert_eq!(pending.due(10, 3000), Some(0), "12 bytes");
        let (body, count) = pending.next(10);
        assert_eq!((&body[..], count), (&b"100,200,"[..], 2));
        pending.written(count, 20);
        assert_eq!((pending.due(10, 3000), pending.next(1)), (Some(3020), (b"300".to_vec(), 1)));
        pending.written(1, 20);
        assert_eq!((pending.due(10, 3000), pending.bytes), (None, 0));
    }
}
