//! 104, 322, 904: a registered broker unregisters, checks its version, sends a heartbeat. 205, 327:
//! operators change its write permission.

use super::Routes;
use crate::{Error, liveness::Address};
use rmq_protocol::{
    Command, Reply,
    body::DataVersion,
    fastjson,
    header::{
        AddWritePermResponse, BrokerHeartbeat, BrokerIdentity, BrokerNameRequest, Header, QueryDataVersionResponse,
        WipeWritePermResponse,
    },
};
use rmq_remoting::Connection;

pub(crate) fn unregister(routes: &mut Routes, request: &Command, _connection: &Connection) -> Result<Reply, Error> {
    let header = BrokerIdentity::decode(&request.fields)?;
    let address = Address::new(header.cluster_name, header.broker_address);
    let changed = routes.table.unregister(header.broker_name, &address);
    routes.metrics.unregistered.inc();
    routes.after(changed);
    Ok(Reply::ok())
}

pub(crate) fn heartbeat(routes: &mut Routes, request: &Command, _connection: &Connection) -> Result<Reply, Error> {
    let header = BrokerHeartbeat::decode(&request.fields)?;
    let now = (routes.clock)();
    routes.table.seen(&Address::new(header.cluster_name, header.broker_address), now);
    Ok(Reply::ok())
}

pub(crate) fn data_version(routes: &mut Routes, request: &Command, _connection: &Connection) -> Result<Reply, Error> {
    let header = BrokerIdentity::decode(&request.fields)?;
    let asked: DataVersion = fastjson::from_slice(&request.body)?;
    let address = Address::new(header.cluster_name, header.broker_address);
    let now = (routes.clock)();
    routes.table.seen(&address, now);
    let known = routes.table.live().get(&address).map(|live| live.version);
    let mut reply = Reply::with(&QueryDataVersionResponse { changed: known != Some(asked) });
    if let Some(known) = known {
        reply.body = fastjson::to_vec(&known).into();
    }
    Ok(reply)
}

pub(crate) fn wipe_write_perm(routes: &mut Routes, request: &Command, connection: &Connection) -> Result<Reply, Error> {
    let header = BrokerNameRequest::decode(&request.fields)?;
    let topics = routes.table.wipe_write_perm(header.broker_name);
    tracing::info!(broker = header.broker_name, topics, peer = %connection.peer(), "write permission wiped");
    Ok(Reply::with(&WipeWritePermResponse { topics: topics as i32 }))
}

pub(crate) fn add_write_perm(routes: &mut Routes, request: &Command, connection: &Connection) -> Result<Reply, Error> {
    let header = BrokerNameRequest::decode(&request.fields)?;
    let topics = routes.table.add_write_perm(header.broker_name);
    tracing::info!(broker = header.broker_name, topics, peer = %connection.peer(), "write permission given");
    Ok(Reply::with(&AddWritePermResponse { topics: topics as i32 }))
}
