//! Requests about consumer groups: 200, 207, 225, 352.

use crate::{
    blocking::blocking,
    core::Core,
    error::{Reason, Rejection},
    group::{
        offsets::ConsumerOffsets,
        subscription::{MAX_GROUPS, SubscriptionGroups, check_queues},
    },
    role::CurrentRole,
};
use rmq_protocol::{
    body::{ExponentialRetryPolicy, SubscriptionGroup},
    header::owned::{DeleteGroup, GroupRequest},
    names,
};
use std::{ops::RangeInclusive, sync::Arc};

/// The state that these requests use.
pub(crate) struct GroupAdmin {
    role: Arc<CurrentRole>,
    groups: Arc<SubscriptionGroups>,
    offsets: Arc<ConsumerOffsets>,
}

fn check_numbers(group: &SubscriptionGroup) -> Result<(), Rejection> {
    check_queues(group).map_err(Rejection::invalid)?;
    let rows = [
        ("retryMaxTimes", i64::from(group.retry_max_times), -1..=i64::MAX, "-1 (the default) or more is wanted"),
        ("brokerId", group.broker_id, 0..=i64::MAX, "0 (the master) or more is wanted"),
        ("whichBrokerWhenConsumeSlowly", group.which_broker_when_consume_slowly, 0..=i64::MAX, "0 or more is wanted"),
        ("consumeTimeoutMinute", group.consume_timeout_minute.into(), 0..=i64::MAX, "0 or more is wanted"),
    ];
    check_retry_policy(group)?;
    match rows.into_iter().find(|(_, value, range, _)| !range.contains(value)) {
        Some((field, value, _, wanted)) => Err(Rejection::number(field, value, wanted)),
        None => Ok(()),
    }
}

/// Clients that pop compute their delays from the policy.
fn check_retry_policy(group: &SubscriptionGroup) -> Result<(), Rejection> {
    let policy = &group.group_retry_policy;
    if let Some(ExponentialRetryPolicy { initial, max, multiplier }) = policy.exponential_retry_policy {
        let outside = |value, range: RangeInclusive<i64>| !range.contains(&value);
        if outside(initial, 1..=i64::MAX) {
            return Err(Rejection::number(
                "exponentialRetryPolicy.initial",
                initial,
                "1 millisecond or more is wanted",
            ));
        }
        if outside(max, initial..=i64::MAX) {
            let wanted = format!("{initial}, which is initial, or more is wanted");
            return Err(Rejection::number("exponentialRetryPolicy.max", max, &wanted));
        }
        if outside(multiplier, 1..=i64::MAX) {
            return Err(Rejection::number("exponentialRetryPolicy.multiplier", multiplier, "1 or more is wanted"));
        }
    }
    let pauses = policy.customized_retry_policy.iter().flat_map(|policy| &policy.next);
    match pauses.into_iter().find(|pause| **pause < 0) {
        Some(pause) => Err(Rejection::number("customizedRetryPolicy.next", *pause, "0 milliseconds or more is wanted")),
        None => Ok(()),
    }
}

impl GroupAdmin {
    pub(crate) fn new(core: &Core) -> Self {
        Self { role: Arc::clone(&core.role), groups: Arc::clone(&core.groups), offsets: Arc::clone(&core.offsets) }
    }

    /// Requests 200 and 225. The groups are durable when the response is sent.
    pub(crate) async fn create(&self, groups: Vec<SubscriptionGroup>) -> Result<(), Rejection> {
        self.require_master()?;
        for group in &groups {
            if self.groups.find(&group.group_name).is_none() {
                names::check_group(&group.group_name)
                    .map_err(|error| Rejection::group_name(&group.group_name, &error))?;
            }
            check_numbers(group)?;
        }
        let (known, new) =
            (self.groups.len(), groups.iter().filter(|g| self.groups.find(&g.group_name).is_none()).count());
        if new > 0 && known + new > MAX_GROUPS {
            return Err(Rejection::invalid(format!(
                "{new} groups are not made: this broker has {known} consumer groups, and may have \
                 {MAX_GROUPS}; delete groups that are not used"
            )));
        }
        for group in groups {
            if self.groups.find(&group.group_name).is_some_and(|known| *known == group) {
                continue;
            }
            tracing::info!(group = group.group_name, "consumer group created or changed");
            self.groups.put(group);
        }
        self.persist().await?;
        Ok(())
    }

    /// Request 207.
    pub(crate) async fn delete(&self, header: &DeleteGroup) -> Result<(), Rejection> {
        self.require_master()?;
        if names::is_system_group(&header.group) {
            return Err(Rejection::invalid(format!("the group {} belongs to the system", header.group)));
        }
        self.groups.remove(&header.group);
        if header.clean_offset == Some(true) {
            self.offsets.retain(|_, group| group != header.group);
        }
        self.persist().await?;
        tracing::info!(group = header.group, "consumer group deleted");
        Ok(())
    }

    /// Request 352.
    pub(crate) fn one(&self, header: &GroupRequest) -> Result<Arc<SubscriptionGroup>, Rejection> {
        self.groups.find(&header.group).ok_or_else(|| Rejection::no_group(&header.group))
    }

    fn require_master(&self) -> Result<(), Rejection> {
        self.role.require_master(Reason::Failed, "change groups on its master")
    }

    async fn persist(&self) -> Result<(), Rejection> {
        let groups = Arc::clone(&self.groups);
        blocking(move || groups.persist()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmq_protocol::fastjson;

    /// A first delay of -1 ms and a growth of 0 were accepted.
    #[test]
    fn a_retry_policy_that_makes_no_pauses_is_refused_with_its_value() {
        let check = |policy: &str| {
            let group = format!(r#"{{"groupName":"g","groupRetryPolicy":{policy}}}"#);
            check_numbers(&fastjson::from_slice(group.as_bytes()).unwrap()).map_err(|refused| refused.remark)
        };
        for (policy, reason) in [
            (r#"{"exponentialRetryPolicy":{"initial":-1,"multiplier":0}}"#, "initial cannot be -1: 1 millisecond"),
            (r#"{"exponentialRetryPolicy":{"multiplier":0}}"#, "multiplier cannot be 0: 1 or more"),
            (r#"{"exponentialRetryPolicy":{"max":4999}}"#, "max cannot be 4999: 5000, which is initial, or more"),
            (r#"{"customizedRetryPolicy":{"next":[1000,-5]}}"#, "next cannot be -5"),
        ] {
            let refused = check(policy).unwrap_err();
            assert!(refused.contains(reason), "{policy}: {refused}");
        }
        for valid in ["null", "{}", r#"{"exponentialRetryPolicy":{}}"#, r#"{"customizedRetryPolicy":{"next":null}}"#] {
            assert_eq!(check(valid), Ok(()), "{valid}");
        }
    }

    #[test]
    fn a_body_of_another_shape_is_reported_without_types_of_this_code() {
        let error = fastjson::from_slice::<SubscriptionGroup>(b"5").unwrap_err().to_string();
        assert_eq!(error, "unexpected JSON: invalid type: integer `5`, expected an object at line 1 column 1");
    }
}
