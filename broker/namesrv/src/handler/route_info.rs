//! 105: the route of a topic, which every client requests every 30 s.

use crate::{Error, dispatch::View, route_table::Flavour};
use rmq_protocol::{
    Command, Reply,
    header::{Header, RouteInfo},
    names::ORDER_TOPIC_NAMESPACE,
    version::V4_9_4,
};

pub(crate) fn by_topic(view: &View, request: &Command) -> Result<Reply, Error> {
    let header = RouteInfo::decode(&request.fields)?;
    if !view.is_ready() {
        return Err(Error::NotReady);
    }
    let standard = request.version >= V4_9_4 || header.standard_json.unwrap_or_default();
    let flavour = if standard { Flavour::Standard } else { Flavour::Bare };
    let config = view.config.load();
    let kv = config.order_message_enable.then(|| view.kv.load());
    let order = kv.as_ref().and_then(|kv| kv.value(ORDER_TOPIC_NAMESPACE, header.topic));
    let route = view.routes.load().route(header.topic, order, flavour, config.support_acting_master);
    view.metrics.looked_up(route.is_some());
    route.map(Reply::body).ok_or_else(|| Error::NoRoute(header.topic.to_owned()))
}
