//! Checks what a pull may ask for.

use super::Puller;
use crate::{
    config::{Config, Messages},
    error::{Reason, Rejection},
    filter::{self, Wanted},
};
use rmq_protocol::{
    body::{EXPRESSION_TAG, MessageModel, Subscription, SubscriptionGroup, perm},
    header::PullMessage,
    message::sys_flag,
};
use rmq_store::Limits;
use std::{sync::Arc, time::Duration};

/// The upper limit of the time that a pull waits for messages, whatever its client asks for.
/// Official clients ask for 15 to 30 s.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// What a pull reads, and for which group.
pub(super) struct Checked {
    pub(super) group: Arc<SubscriptionGroup>,
    pub(super) topic_sys_flag: i32,
    pub(super) wanted: Wanted,
}

impl Puller {
    pub(super) fn check(&self, request: &PullMessage<'_>, settings: &Config) -> Result<Checked, Rejection> {
        check_numbers(request)?;
        let group = self.check_group(request, settings)?;
        let topic = self.topics.find(request.topic).ok_or_else(|| Rejection::no_topic(request.topic))?;
        if !perm::is_readable(topic.perm) {
            return Err(Rejection::new(Reason::NotPermitted, format!("the topic {} may not be read", request.topic)));
        }
        if !(0..topic.read_queue_nums).contains(&request.queue_id) {
            return Err(Rejection::new(
                Reason::Failed,
                format!(
                    "the topic {} has {} queues to read here, there is no queue {}",
                    request.topic, topic.read_queue_nums, request.queue_id
                ),
            ));
        }
        let wanted = self.wanted(request, &group, settings.messages.property_filter)?;
        Ok(Checked { group, topic_sys_flag: topic.topic_sys_flag, wanted })
    }

    fn check_group(&self, request: &PullMessage<'_>, settings: &Config) -> Result<Arc<SubscriptionGroup>, Rejection> {
        if !perm::is_readable(settings.topics.permission) {
            return Err(Rejection::new(Reason::NotPermitted, "this broker may not be read (brokerPermission)"));
        }
        let name = request.consumer_group;
        let (group, _) = self
            .groups
            .find_or_create(name, settings.topics.auto_create_group && !self.role.is_slave())
            .ok_or_else(|| Rejection::no_group(name))?;
        if !group.consume_enable {
            return Err(Rejection::new(Reason::NotPermitted, format!("the group {name} may not consume")));
        }
        Ok(group)
    }

    /// The filter of the client, from the request or from its heartbeat. `by_properties`: SQL92 is
    /// enabled.
    fn wanted(
        &self,
        request: &PullMessage<'_>,
        group: &SubscriptionGroup,
        by_properties: bool,
    ) -> Result<Wanted, Rejection> {
        if request.sys_flag & sys_flag::pull::SUBSCRIPTION != 0 {
            return Ok(match filter::is_sql(request.expression_type.unwrap_or_default(), by_properties)? {
                true => Wanted::ByProperties(self.recent.expression(request.subscription.unwrap_or_default())?),
                false => tags(request, request.subscription.unwrap_or("*")),
            });
        }
        let name = request.consumer_group;
        let unknown = |what: &str| {
            Rejection::new(Reason::NotSubscribed, format!("the group {name} {what}; its next heartbeat mends that"))
        };
        let subscribed =
            self.consumers.subscription(name, request.topic).ok_or_else(|| unknown("has no client connected here"))?;
        if !group.consume_broadcast_enable && self.consumers.message_model(name) == Some(MessageModel::Broadcasting) {
            return Err(Rejection::new(Reason::NotPermitted, format!("the group {name} may not broadcast")));
        }
        let subscription = subscribed.ok_or_else(|| unknown(&format!("does not subscribe to {}", request.topic)))?;
        if subscription.sub_version < request.subscription_version {
            self.consumers.outdated(name);
            let expression_type = request.expression_type.filter(|text| !text.is_empty());
            if expression_type.unwrap_or(&subscription.expression_type) == EXPRESSION_TAG {
                // The current subscription is not known here. Every client filters by tags again,
                // so sending it too many messages is safe.
                return Ok(tags(request, "*"));
            }
            return Err(Rejection::new(
                Reason::SubscriptionOutdated,
                format!("the subscription of {name} here is older than the client's"),
            ));
        }
        self.filters.wanted(name, &subscription, by_properties)
    }
}

/// The filter of a subscription by tags.
fn tags(request: &PullMessage<'_>, expression: &str) -> Wanted {
    Wanted::ByTags(Arc::new(Subscription::tags(request.topic, expression, request.subscription_version)))
}

/// Refuses numbers that no valid client sends.
fn check_numbers(request: &PullMessage<'_>) -> Result<(), Rejection> {
    let flag = |bit| request.sys_flag & bit != 0;
    // The Go client's pull consumer sends 0 by default, and gets one message at a time.
    if request.max_messages < 0 {
        return Err(Rejection::number("maxMsgNums", request.max_messages.into(), "0 or more is wanted"));
    }
    if let Some(bytes @ ..=-1) = request.max_bytes {
        return Err(Rejection::number("maxMsgBytes", bytes.into(), "0 (no limit) or more is wanted"));
    }
    if flag(sys_flag::pull::SUSPEND) && request.suspend_timeout < 0 {
        let wanted = "0 milliseconds or more are wanted";
        return Err(Rejection::number("suspendTimeoutMillis", request.suspend_timeout, wanted));
    }
    if flag(sys_flag::pull::COMMIT_OFFSET) && request.commit_offset < 0 {
        return Err(Rejection::number("commitOffset", request.commit_offset, "0 or more is wanted"));
    }
    Ok(())
}

/// How long the pull waits for messages. Returns `None` if its client does not accept to wait.
pub(super) fn wait_timeout(request: &PullMessage<'_>, messages: &Messages) -> Option<Duration> {
    let suspends = request.sys_flag & sys_flag::pull::SUSPEND != 0 && request.suspend_timeout > 0;
    suspends.then(|| wait(request.suspend_timeout, messages))
}

fn wait(asked_millis: i64, messages: &Messages) -> Duration {
    let asked = Duration::from_millis(asked_millis.unsigned_abs()).min(MAX_WAIT);
    if messages.long_polling { asked } else { messages.short_polling.0.min(asked) }
}

/// The limits that the client asks for. The store has limits of its own.
pub(super) fn limits(request: &PullMessage<'_>) -> Limits {
    let positive = |number: i32| usize::try_from(number).ok().filter(|number| *number > 0);
    Limits {
        messages: positive(request.max_messages).unwrap_or(1),
        bytes: request.max_bytes.and_then(positive).unwrap_or(usize::MAX),
    }
}

/// The bytes of text that the request keeps while it is parked.
pub(super) fn text_len(request: &PullMessage<'_>) -> usize {
    let optional = [request.subscription, request.expression_type, request.proxy_forward_client_id];
    request.topic.len() + request.consumer_group.len() + optional.into_iter().flatten().map(str::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The timeout that a client asked for had no limit.
    #[test]
    fn no_pull_waits_longer_than_a_minute() {
        let mut messages = Messages::default();
        assert_eq!(wait(15_000, &messages), Duration::from_secs(15));
        assert_eq!(wait(i64::MAX, &messages), MAX_WAIT);
        messages.long_polling = false;
        assert_eq!(wait(15_000, &messages), Duration::from_secs(1));
        assert_eq!(wait(10, &messages), Duration::from_millis(10));
    }
}
