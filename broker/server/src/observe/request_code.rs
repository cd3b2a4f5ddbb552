//! Java's names of requests, as its metrics use them in the label `request_code`.

use rmq_protocol::RequestCode;

/// The name in lower case with underscores.
pub(super) fn java_name(code: RequestCode) -> String {
    let own = snake(code.name());
    match exception(code) {
        Some(name) => name.to_owned(),
        None if asks(code) => ["get_", &own].concat(),
        None => own,
    }
}

/// Names that Java spells differently.
fn exception(code: RequestCode) -> Option<&'static str> {
    use RequestCode as C;
    Some(match code {
        C::EarliestMessageStoreTime => "get_earliest_msg_storetime",
        C::ConsumerSendMessageBack => "consumer_send_msg_back",
        C::LockBatchQueues => "lock_batch_mq",
        C::UnlockBatchQueues => "unlock_batch_mq",
        C::UpdateAndCreateSubscriptionGroup => "update_and_create_subscriptiongroup",
        C::UpdateAndCreateSubscriptionGroupList => "update_and_create_subscriptiongroup_list",
        C::DeleteSubscriptionGroup => "delete_subscriptiongroup",
        C::AllSubscriptionGroupConfig => "get_all_subscriptiongroup_config",
        C::SubscriptionGroupConfig => "get_subscriptiongroup_config",
        C::CleanExpiredConsumeQueue => "clean_expired_consumequeue",
        C::DeleteExpiredCommitLog => "delete_expired_commitlog",
        _ => return None,
    })
}

/// Broker requests whose names begin with `GET_` in Java.
fn asks(code: RequestCode) -> bool {
    use RequestCode as C;
    matches!(
        code,
        C::AllTopicConfig
            | C::BrokerConfig
            | C::BrokerRuntimeInfo
            | C::MaxOffset
            | C::MinOffset
            | C::ConsumerListByGroup
            | C::AllConsumerOffset
            | C::AllDelayOffset
            | C::TimerCheckPoint
            | C::TimerMetrics
            | C::TopicStatsInfo
            | C::ConsumerConnectionList
            | C::ProducerConnectionList
            | C::ConsumeStats
            | C::ConsumerStatusFromClient
            | C::SystemTopicListFromBroker
            | C::ConsumerRunningInfo
            | C::BrokerConsumeStats
            | C::AllProducerInfo
            | C::TopicConfig
            | C::AllMessageRequestMode
            | C::BrokerMemberGroup
            | C::BrokerHaStatus
            | C::BrokerEpochCache
    )
}

fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 8);
    for (place, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && place > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_a_java_broker_shows() {
        for (code, name) in [
            (RequestCode::SendMessageV2, "send_message_v2"),
            (RequestCode::PullMessage, "pull_message"),
            (RequestCode::HeartBeat, "heart_beat"),
            (RequestCode::BrokerRuntimeInfo, "get_broker_runtime_info"),
            (RequestCode::UpdateAndCreateTopic, "update_and_create_topic"),
            (RequestCode::ConsumerSendMessageBack, "consumer_send_msg_back"),
            (RequestCode::LockBatchQueues, "lock_batch_mq"),
        ] {
            assert_eq!(java_name(code), name);
        }
    }
}
