//! Reading messages of a queue: 11 and 361.

pub(crate) mod long_polling;

use crate::{
    config::{Config, Live, Messages},
    error::Rejection,
    filter,
    group::{members::Consumers, offsets::ConsumerOffsets, subscription::SubscriptionGroups},
    observe::stats::{Kind, Stats},
    pull::long_polling::{LongPolling, Parked},
    replication::Following,
    topic::Topics,
};
use rmq_protocol::{
    Body, Command, Reply, ResponseCode,
    body::{EXPRESSION_TAG, MessageModel, Subscription, SubscriptionGroup, perm},
    header::{Header, PullMessage, PullMessageResponse},
    message::sys_flag,
};
use rmq_remoting::Responder;
use rmq_store::{Filter, GetStatus, Got, Limits, MessageStore};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The longest a pull waits for messages, whatever its client asks for. Official clients ask for 15 to 30 s.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Characters of header fields that a pull may have to be parked: names, and a subscription by tags.
const MAX_PARKED_TEXT: usize = 16 << 10;

/// Handles of the pull path.
pub(crate) struct Pull {
    pub(crate) store: Arc<MessageStore>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<SubscriptionGroups>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) offsets: Arc<ConsumerOffsets>,
    pub(crate) long_polling: Arc<LongPolling>,
    pub(crate) following: Arc<Following>,
    pub(crate) settings: Arc<Live>,
    pub(crate) stats: Arc<Stats>,
}

/// Which run of a pull this is: a parked one runs again, and for the last time at its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    First,
    Again,
    Last,
}

/// Where messages may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Memory only.
    AtHand,
    Anywhere,
}

/// What came of a pull.
enum Outcome {
    /// The messages may have to come from the disk: to be run again where that may be waited for.
    Cold,
    Answer(Reply),
    /// Nothing yet, and the client is willing to wait.
    Wait {
        offset: u64,
        subscription: Arc<Subscription>,
        patience: Duration,
    },
}

impl Pull {
    /// Runs a pull that has just come, unless it must wait for the disk: then it is given back, for [`Pull::pull_from_disk`].
    pub(crate) fn pull(&self, request: Command, responder: Responder) -> Option<(Command, Responder)> {
        self.begin(request, responder, Reading::AtHand)
    }

    /// Runs a pull that has just come, wherever its messages are. Blocks.
    pub(crate) fn pull_from_disk(&self, request: Command, responder: Responder) {
        self.begin(request, responder, Reading::Anywhere);
    }

    fn begin(&self, request: Command, responder: Responder, reading: Reading) -> Option<(Command, Responder)> {
        let now = Instant::now();
        match self.look(&request, Run::First, reading) {
            Ok(Outcome::Cold) => return Some((request, responder)),
            Ok(Outcome::Answer(reply)) => responder.reply(&reply),
            Ok(Outcome::Wait { offset, subscription, patience }) => {
                let subscription = (subscription.sub_string != "*").then_some(subscription);
                let pull =
                    Parked { request, responder, offset, subscription, deadline: now + patience, last_try: false };
                return self.park(pull, reading).map(|pull| (pull.request, pull.responder));
            }
            Err(rejection) => responder.reply(&rejection.into_reply()),
        }
        None
    }

    /// Runs a pull again that was parked, unless it must wait for the disk: then it is given back, for [`Pull::resume_from_disk`].
    pub(crate) fn resume(&self, pull: Parked) -> Option<Parked> {
        self.run_again(pull, Reading::AtHand)
    }

    /// Runs a pull again that was parked, wherever its messages are. Blocks.
    pub(crate) fn resume_from_disk(&self, pull: Parked) {
        self.run_again(pull, Reading::Anywhere);
    }

    fn run_again(&self, pull: Parked, reading: Reading) -> Option<Parked> {
        if !pull.responder.connection().is_open() {
            return None;
        }
        match self.look(&pull.request, if pull.last_try { Run::Last } else { Run::Again }, reading) {
            Ok(Outcome::Cold) => return Some(pull),
            Ok(Outcome::Answer(reply)) => pull.responder.reply(&reply),
            // Woken for a message that another filter stage did not want: its deadline stays what it was.
            Ok(Outcome::Wait { offset, .. }) => return self.park(Parked { offset, ..pull }, reading),
            Err(rejection) => pull.responder.reply(&rejection.into_reply()),
        }
        None
    }

    /// Parks a pull, or answers it if it cannot wait: there was nothing to read a moment ago. Gives it back if for that the disk must be waited for.
    fn park(&self, mut pull: Parked, reading: Reading) -> Option<Parked> {
        let Ok(header) = PullMessage::decode(&pull.request.fields) else { return None };
        let (topic, queue_id, offset) = (header.topic.to_owned(), header.queue_id, pull.offset);
        let limit =
            if pull.request.fields.text_len() > MAX_PARKED_TEXT { 0 } else { self.settings.load().messages.max_parked };
        pull.responder.park();
        if let Err(mut pull) = self.long_polling.park(&topic, queue_id, pull, limit) {
            pull.last_try = true;
            return self.run_again(*pull, reading);
        }
        // A message may have arrived between our look and the parking.
        let end = self.store.max_offset(&topic, queue_id);
        if end > offset {
            self.long_polling.moved(&topic, queue_id, end);
        }
        None
    }

    fn look(&self, request: &Command, run: Run, reading: Reading) -> Result<Outcome, Rejection> {
        let header = PullMessage::decode(&request.fields)?;
        check_numbers(&header)?;
        let settings = self.settings.load();
        let group = self.check_group(&header, &settings)?;
        let topic = self.topics.find(header.topic).ok_or_else(|| Rejection::no_topic(header.topic))?;
        if !perm::is_readable(topic.perm) {
            return Err(Rejection::new(
                ResponseCode::NoPermission,
                format!("the topic {} may not be read", header.topic),
            ));
        }
        if !(0..topic.read_queue_nums).contains(&header.queue_id) {
            return Err(Rejection::new(
                ResponseCode::SystemError,
                format!(
                    "the topic {} has {} queues to read here, there is no queue {}",
                    header.topic, topic.read_queue_nums, header.queue_id
                ),
            ));
        }
        let subscription = self.subscription(&header, &group)?;
        let Ok(offset) = u64::try_from(header.queue_offset) else {
            return Ok(Outcome::Answer(self.before_the_queue(&header, &group, topic.topic_sys_flag)));
        };
        let wanted = |tags_code| filter::may_match(&subscription, tags_code);
        let (topic_name, queue_id, filter) =
            (header.topic, header.queue_id, Filter { by_tags_code: &wanted, by_record: None });
        let mut got = match reading {
            Reading::Anywhere => self.store.get(topic_name, queue_id, offset, limits(&header), filter)?,
            Reading::AtHand => match self.store.get_at_hand(topic_name, queue_id, offset, limits(&header), filter)? {
                Some(got) => got,
                None => return Ok(Outcome::Cold),
            },
        };
        // What the client had done when it asked; by the time a parked pull runs again somebody may
        // have done more, or reset the offset. Who is ahead of the queue read a log that lost its
        // end since: the group must not begin there.
        if run == Run::First
            && header.sys_flag & sys_flag::pull::COMMIT_OFFSET != 0
            && offset <= got.max_offset
            && u64::try_from(header.commit_offset).is_ok_and(|commit| commit <= got.max_offset)
            && !settings.is_slave()
        {
            self.offsets.commit(header.topic, header.consumer_group, header.queue_id, header.commit_offset);
        }
        let kind = if got.status == GetStatus::Found { Kind::BrokerFound } else { Kind::BrokerMissed };
        self.stats.add(kind, &settings.identity.cluster_name, 1);
        if got.status == GetStatus::Found {
            self.count(&header, &got, &settings);
            return Ok(Outcome::Answer(self.found(got, &group, &settings, topic.topic_sys_flag)));
        }
        let follows = settings.is_slave() && self.following.lag().is_some();
        let code = code_of_nothing(got.status, header.queue_offset, settings.is_slave(), follows);
        let corrects = matches!(got.status, GetStatus::NoMatchedMessage | GetStatus::MessageWasRemoving);
        if settings.is_slave() && !corrects {
            // A slave may not have what its master has: it never sends a client elsewhere.
            got.next_offset = offset;
        }
        if code == ResponseCode::PullNotFound
            && run != Run::Last
            && header.sys_flag & sys_flag::pull::SUSPEND != 0
            && header.suspend_timeout > 0
        {
            let patience = patience(header.suspend_timeout, &settings.messages);
            // Where there are messages already, but none it can be given, only the deadline wakes it.
            let offset = if got.max_offset > got.next_offset { u64::MAX } else { got.next_offset };
            return Ok(Outcome::Wait { offset, subscription, patience });
        }
        let suggested = if follows && !corrects { 0 } else { suggested(&got, &group, &settings) };
        let header = self.response(&got, suggested, &group, topic.topic_sys_flag);
        Ok(Outcome::Answer(Reply::of(code, &header).remark(format!("{:?}", got.status))))
    }

    /// The answer to a negative offset: where the queue begins, as Java answers.
    fn before_the_queue(&self, header: &PullMessage<'_>, group: &SubscriptionGroup, topic_sys_flag: i32) -> Reply {
        let (min, max) = (
            self.store.min_offset(header.topic, header.queue_id),
            self.store.max_offset(header.topic, header.queue_id),
        );
        let moved = PullMessageResponse {
            next_offset: min as i64,
            min_offset: min as i64,
            max_offset: max as i64,
            offset_delta: Some(0),
            topic_sys_flag: Some(topic_sys_flag),
            group_sys_flag: Some(group.group_sys_flag),
            ..PullMessageResponse::default()
        };
        Reply::of(ResponseCode::PullOffsetMoved, &moved)
            .remark(format!("OffsetTooSmall: the queueOffset {} is outside of {min}..={max}", header.queue_offset))
    }

    fn check_group(&self, header: &PullMessage<'_>, settings: &Config) -> Result<Arc<SubscriptionGroup>, Rejection> {
        if !perm::is_readable(settings.topics.permission) {
            return Err(Rejection::new(ResponseCode::NoPermission, "this broker may not be read (brokerPermission)"));
        }
        let (group, _) = self
            .groups
            .find_or_create(header.consumer_group, settings.topics.auto_create_group && !settings.is_slave())
            .ok_or_else(|| Rejection::no_group(header.consumer_group))?;
        if !group.consume_enable {
            return Err(Rejection::new(
                ResponseCode::NoPermission,
                format!("the group {} may not consume", header.consumer_group),
            ));
        }
        Ok(group)
    }

    /// What the client wants: as it says in the request, or as its heartbeat said.
    fn subscription(
        &self,
        header: &PullMessage<'_>,
        group: &SubscriptionGroup,
    ) -> Result<Arc<Subscription>, Rejection> {
        if header.sys_flag & sys_flag::pull::SUBSCRIPTION != 0 {
            check_expression(header.expression_type.unwrap_or_default())?;
            return Ok(Arc::new(Subscription::tags(
                header.topic,
                header.subscription.unwrap_or("*"),
                header.subscription_version,
            )));
        }
        let name = header.consumer_group;
        let unknown = |what: &str| {
            Rejection::new(
                ResponseCode::SubscriptionNotExist,
                format!("the group {name} {what}; its next heartbeat mends that"),
            )
        };
        let subscribed =
            self.consumers.subscription(name, header.topic).ok_or_else(|| unknown("has no client connected here"))?;
        if !group.consume_broadcast_enable && self.consumers.message_model(name) == Some(MessageModel::Broadcasting) {
            return Err(Rejection::new(ResponseCode::NoPermission, format!("the group {name} may not broadcast")));
        }
        let subscription = subscribed.ok_or_else(|| unknown(&format!("does not subscribe to {}", header.topic)))?;
        if subscription.sub_version < header.subscription_version {
            self.consumers.outdated(name);
            let expression_type = header.expression_type.filter(|text| !text.is_empty());
            if expression_type.unwrap_or(&subscription.expression_type) == EXPRESSION_TAG {
                // What it wants now is not known here, but every client filters by tags again: to
                // send it too much holds nothing up.
                return Ok(Arc::new(Subscription::tags(header.topic, "*", header.subscription_version)));
            }
            return Err(Rejection::new(
                ResponseCode::SubscriptionNotLatest,
                format!("the subscription of {name} here is older than the client's"),
            ));
        }
        check_expression(&subscription.expression_type)?;
        Ok(subscription)
    }

    fn count(&self, header: &PullMessage<'_>, got: &Got, settings: &Config) {
        let (messages, bytes) = (got.count as u64, got.size as u64);
        let key = [header.topic, "@", header.consumer_group].concat();
        self.stats.add(Kind::GroupGet, &key, messages);
        self.stats.add(Kind::GroupGetSize, &key, bytes);
        self.stats.add(Kind::BrokerGet, &settings.identity.cluster_name, messages);
        self.offsets.note_pull(header.topic, header.consumer_group, header.queue_id, got.next_offset as i64);
    }

    fn found(&self, got: Got, group: &SubscriptionGroup, settings: &Config, topic_sys_flag: i32) -> Reply {
        let header = self.response(&got, suggested(&got, group, settings), group, topic_sys_flag);
        let mut reply = Reply::with(&header).remark("FOUND");
        reply.body = Body::Parts(got.records);
        reply
    }

    fn response(
        &self,
        got: &Got,
        suggested_broker_id: i64,
        group: &SubscriptionGroup,
        topic_sys_flag: i32,
    ) -> PullMessageResponse {
        PullMessageResponse {
            suggested_broker_id,
            next_offset: got.next_offset as i64,
            min_offset: got.min_offset as i64,
            max_offset: got.max_offset as i64,
            offset_delta: Some(0),
            topic_sys_flag: Some(topic_sys_flag),
            group_sys_flag: Some(group.group_sys_flag),
            forbidden_type: None,
        }
    }
}

fn check_expression(expression_type: &str) -> Result<(), Rejection> {
    if filter::is_supported(expression_type) {
        return Ok(());
    }
    Err(Rejection::new(
        ResponseCode::SystemError,
        format!("this broker does not filter by {expression_type}; subscribe by tags, or filter in the application"),
    ))
}

/// Numbers that no client means.
fn check_numbers(header: &PullMessage<'_>) -> Result<(), Rejection> {
    let flag = |bit| header.sys_flag & bit != 0;
    // The Go client's pull consumer asks for 0 unless told otherwise, and gets one at a time.
    if header.max_messages < 0 {
        return Err(Rejection::number("maxMsgNums", header.max_messages.into(), "0 or more is wanted"));
    }
    if let Some(bytes @ ..=-1) = header.max_bytes {
        return Err(Rejection::number("maxMsgBytes", bytes.into(), "0 (no limit) or more is wanted"));
    }
    if flag(sys_flag::pull::SUSPEND) && header.suspend_timeout < 0 {
        let wanted = "0 milliseconds or more are wanted";
        return Err(Rejection::number("suspendTimeoutMillis", header.suspend_timeout, wanted));
    }
    if flag(sys_flag::pull::COMMIT_OFFSET) && header.commit_offset < 0 {
        return Err(Rejection::number("commitOffset", header.commit_offset, "0 or more is wanted"));
    }
    Ok(())
}

/// How long a pull waits whose client asks for so many milliseconds.
fn patience(asked: i64, messages: &Messages) -> Duration {
    let asked = Duration::from_millis(asked.unsigned_abs()).min(MAX_WAIT);
    if messages.long_polling { asked } else { messages.short_polling.0.min(asked) }
}

/// What the client asks for; the store has limits of its own.
fn limits(header: &PullMessage<'_>) -> Limits {
    let positive = |number: i32| usize::try_from(number).ok().filter(|number| *number > 0);
    Limits {
        messages: positive(header.max_messages).unwrap_or(1),
        bytes: header.max_bytes.and_then(positive).unwrap_or(usize::MAX),
    }
}

/// From whom the client should pull next: 0 is the master, 1 a slave. A slave sends clients back to the master when they have caught up.
fn suggested(got: &Got, group: &SubscriptionGroup, settings: &Config) -> i64 {
    let slow = got.far_behind;
    match (settings.replication.slave_read || settings.is_slave(), slow) {
        (true, true) => group.which_broker_when_consume_slowly,
        (true, false) => group.broker_id,
        (false, _) => 0,
    }
}

/// The answer's code when there is no message. A slave that follows its master sends the client back there at once; one whose master is gone answers as a
/// master does, except that it never corrects an offset: it may not have what the master had.
fn code_of_nothing(status: GetStatus, asked: i64, slave: bool, follows: bool) -> ResponseCode {
    match status {
        GetStatus::Found => ResponseCode::Success,
        GetStatus::MessageWasRemoving | GetStatus::NoMatchedMessage => ResponseCode::PullRetryImmediately,
        _ if follows => ResponseCode::PullRetryImmediately,
        _ if slave => ResponseCode::PullNotFound,
        GetStatus::NoMatchedLogicQueue | GetStatus::NoMessageInQueue if asked != 0 => ResponseCode::PullOffsetMoved,
        GetStatus::NoMatchedLogicQueue | GetStatus::NoMessageInQueue => ResponseCode::PullNotFound,
        GetStatus::OffsetFoundNull | GetStatus::OffsetOverflowOne => ResponseCode::PullNotFound,
        GetStatus::OffsetOverflowBadly | GetStatus::OffsetTooSmall => ResponseCode::PullOffsetMoved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client's own timeout had no limit.
    #[test]
    fn nobody_waits_longer_than_a_minute() {
        let mut messages = Messages::default();
        assert_eq!(patience(15_000, &messages), Duration::from_secs(15));
        assert_eq!(patience(i64::MAX, &messages), MAX_WAIT);
        messages.long_polling = false;
        assert_eq!(patience(15_000, &messages), Duration::from_secs(1));
        assert_eq!(patience(10, &messages), Duration::from_millis(10));
    }
}
