//! Filters messages by subscription, as far as the broker decides it: by the hash of the tag. The
//! client compares the tag itself. So a hash collision costs one message that is sent in vain, and
//! never withholds a message.

use crate::error::{Reason, Rejection};
use rmq_protocol::body::{EXPRESSION_TAG, Subscription};

/// Refuses a type of expression that this broker does not support: SQL92.
pub(crate) fn check_type(expression_type: &str) -> Result<(), Rejection> {
    if expression_type.is_empty() || expression_type == EXPRESSION_TAG {
        return Ok(());
    }
    Err(Rejection::new(
        Reason::Failed,
        format!("this broker does not filter by {expression_type}; subscribe by tags, or filter in the application"),
    ))
}

/// False if no client of this subscription wants a message whose tag has this hash.
pub(crate) fn may_match(subscription: &Subscription, tags_code: i64) -> bool {
    subscription.sub_string == "*"
        || subscription.code_set.is_empty()
        || subscription.code_set.iter().any(|code| i64::from(*code) == tags_code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmq_protocol::message::java;

    #[test]
    fn tags_match_by_hash() {
        let subscription = Subscription::tags("t", "a || b", 1);
        assert!(may_match(&subscription, java::tags_code(Some("a"))));
        assert!(!may_match(&subscription, java::tags_code(Some("c"))));
        assert!(!may_match(&subscription, 0), "a message without a tag");
        assert!(may_match(&Subscription::tags("t", "*", 1), 0));
    }
}
