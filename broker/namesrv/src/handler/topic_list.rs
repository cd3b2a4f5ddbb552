//! 206, 224, 304, 311 to 313: lists of topics. They visit all topics, so operators may disable
//! them.

use crate::{Error, dispatch::View, route_table::snapshot::Queues};
use rmq_protocol::{
    Command, Reply,
    body::TopicList,
    fastjson,
    header::{Header, TopicsByCluster},
};
use std::collections::BTreeSet;

/// Bits of a topic's system flag.
const UNIT: i32 = 1;
const UNIT_SUBSCRIPTION: i32 = 2;

pub(crate) fn all(view: &View, _request: &Command) -> Result<Reply, Error> {
    if !view.config.load().enable_all_topic_list {
        return Err(Error::Disabled);
    }
    list(view.routes.load().topic_names(|_| true), None)
}

pub(crate) fn of_cluster(view: &View, request: &Command) -> Result<Reply, Error> {
    if !view.config.load().enable_topic_list {
        return Err(Error::Disabled);
    }
    let header = TopicsByCluster::decode(&request.fields)?;
    let routes = view.routes.load();
    let members: BTreeSet<_> =
        routes.groups().filter(|group| group.cluster() == header.cluster).map(|group| group.name()).collect();
    list(routes.topic_names(|queues| queues.iter().any(|queues| members.contains(&queues.broker))), None)
}

/// Every cluster and every broker has a topic of its name; one broker address is returned with
/// them.
pub(crate) fn of_system(view: &View, _request: &Command) -> Result<Reply, Error> {
    let routes = view.routes.load();
    let names: BTreeSet<&str> = routes.groups().flat_map(|group| [group.cluster(), group.name()]).collect();
    let address = routes.groups().find_map(|group| group.lowest()).map(|(_, address)| address.to_owned());
    list(names.into_iter().map(str::to_owned).collect(), address)
}

pub(crate) fn units(view: &View, _request: &Command) -> Result<Reply, Error> {
    by_flag(view, |flag| flag & UNIT != 0)
}

pub(crate) fn unit_subscriptions(view: &View, _request: &Command) -> Result<Reply, Error> {
    by_flag(view, |flag| flag & UNIT_SUBSCRIPTION != 0)
}

pub(crate) fn unit_subscriptions_only(view: &View, _request: &Command) -> Result<Reply, Error> {
    by_flag(view, |flag| flag & UNIT_SUBSCRIPTION != 0 && flag & UNIT == 0)
}

/// The flag of a topic is that of its first broker.
fn by_flag(view: &View, wanted: impl Fn(i32) -> bool) -> Result<Reply, Error> {
    if !view.config.load().enable_topic_list {
        return Err(Error::Disabled);
    }
    let first = |queues: &[Queues]| queues.first().is_some_and(|queues| wanted(queues.sys_flag));
    list(view.routes.load().topic_names(first), None)
}

fn list(topic_list: Vec<String>, broker_addr: Option<String>) -> Result<Reply, Error> {
    Ok(Reply::body(fastjson::to_vec(&TopicList { broker_addr, topic_list })))
}
