//! Consumer groups: 200, 207, 225, 352.

use crate::{
    config::Live,
    consumer_offset::ConsumerOffsets,
    error::{Answer, Rejection},
    subscription_group::SubscriptionGroups,
};
use rmq_protocol::{
    Command, Reply, ResponseCode,
    body::{SubscriptionGroup, SubscriptionGroupList},
    fastjson,
    header::{DeleteGroup, GroupRequest, Header},
    names,
};
use std::sync::Arc;

/// Handles of these requests.
pub(crate) struct GroupAdmin {
    pub(crate) groups: Arc<SubscriptionGroups>,
    pub(crate) offsets: Arc<ConsumerOffsets>,
    pub(crate) settings: Arc<Live>,
}

impl GroupAdmin {
    /// 200: durable when answered.
    pub(crate) async fn create(&self, request: Command) -> Answer {
        let group: SubscriptionGroup = fastjson::from_slice(&request.body)?;
        self.put_all(vec![group]).await
    }

    /// 225.
    pub(crate) async fn create_several(&self, request: Command) -> Answer {
        let body: SubscriptionGroupList = fastjson::from_slice(&request.body)?;
        self.put_all(body.group_config_list).await
    }

    async fn put_all(&self, groups: Vec<SubscriptionGroup>) -> Answer {
        self.check_master()?;
        for group in &groups {
            names::check_group(&group.group_name)?;
            if group.retry_queue_nums < 0 || group.retry_max_times < -1 {
                return Err(Rejection::invalid(format!(
                    "{}: retryQueueNums and retryMaxTimes cannot be negative",
                    group.group_name
                )));
            }
        }
        for group in groups {
            if self.groups.find(&group.group_name).is_some_and(|known| *known == group) {
                continue;
            }
            tracing::info!(group = group.group_name, "consumer group created or changed");
            self.groups.put(group);
        }
        self.persist().await?;
        Ok(Reply::ok())
    }

    /// 207.
    pub(crate) async fn delete(&self, request: Command) -> Answer {
        self.check_master()?;
        let header = DeleteGroup::decode(&request.fields)?;
        if names::is_system_group(header.group) {
            return Err(Rejection::invalid(format!("the group {} belongs to the system", header.group)));
        }
        self.groups.remove(header.group);
        if header.clean_offset == Some(true) {
            self.offsets.retain(|_, group| group != header.group);
        }
        self.persist().await?;
        tracing::info!(group = header.group, "consumer group deleted");
        Ok(Reply::ok())
    }

    /// 352.
    pub(crate) fn one(&self, request: &Command) -> Answer {
        let header = GroupRequest::decode(&request.fields)?;
        let group = self.groups.find(header.group).ok_or_else(|| Rejection::no_group(header.group))?;
        Ok(Reply::body(fastjson::to_vec(&*group)))
    }

    fn check_master(&self) -> Result<(), Rejection> {
        if self.settings.load().is_slave() {
            return Err(Rejection::new(
                ResponseCode::SystemError,
                "this broker is a slave; change groups on its master",
            ));
        }
        Ok(())
    }

    async fn persist(&self) -> Result<(), Rejection> {
        let groups = Arc::clone(&self.groups);
        super::super::blocking(move || groups.persist()).await
    }
}
