//! 106, 901: the list of brokers.

use crate::{Error, dispatch::View};
use rmq_protocol::{
    Command, Reply,
    body::MemberGroupBody,
    fastjson,
    header::{Header, MemberGroup},
};

pub(crate) fn clusters(view: &View, _request: &Command) -> Result<Reply, Error> {
    Ok(Reply::body(fastjson::to_vec(&view.routes.load().cluster_info())))
}

pub(crate) fn member_group(view: &View, request: &Command) -> Result<Reply, Error> {
    let header = MemberGroup::decode(&request.fields)?;
    let broker_member_group = view.routes.load().member_group(header.cluster_name, header.broker_name);
    Ok(Reply::body(fastjson::to_vec(&MemberGroupBody { broker_member_group })))
}
