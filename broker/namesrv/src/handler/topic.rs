//! 216, 217: removes or adds a topic, independently of its brokers.

use super::Routes;
use crate::Error;
use rmq_protocol::{
    Command, Reply,
    body::TopicRoute,
    fastjson,
    header::{DeleteTopicInNamesrv, Header, TopicRequest},
};
use rmq_remoting::Connection;

pub(crate) fn register(routes: &mut Routes, request: &Command, connection: &Connection) -> Result<Reply, Error> {
    let header = TopicRequest::decode(&request.fields)?;
    let route: TopicRoute = fastjson::from_slice(&request.body)?;
    if !routes.table.register_topic(header.topic, &route.queue_datas)? {
        // Java responds with success as well: the broker that sent it registers all its topics
        // soon.
        tracing::warn!(topic = header.topic, peer = %connection.peer(), "a topic without registered brokers; skipped");
    }
    Ok(Reply::ok())
}

pub(crate) fn delete(routes: &mut Routes, request: &Command, connection: &Connection) -> Result<Reply, Error> {
    let header = DeleteTopicInNamesrv::decode(&request.fields)?;
    let cluster = header.cluster_name.filter(|cluster| !cluster.is_empty());
    routes.table.delete_topic(header.topic, cluster);
    tracing::info!(topic = header.topic, cluster, peer = %connection.peer(), "topic deleted");
    Ok(Reply::ok())
}
