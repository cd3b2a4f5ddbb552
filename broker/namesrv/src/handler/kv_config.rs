//! 100 to 102, 219: the KV table.

use super::Files;
use crate::{Error, dispatch::View};
use rmq_protocol::{
    Command, Reply,
    body::KvTable,
    fastjson,
    header::{Header, KvConfigKey, KvConfigResponse, KvNamespace, PutKvConfig},
};
use rmq_remoting::Connection;

pub(crate) fn value(view: &View, request: &Command) -> Result<Reply, Error> {
    let header = KvConfigKey::decode(&request.fields)?;
    let kv = view.kv.load();
    let value = kv.value(header.namespace, header.key);
    let none = || Error::NoValue { namespace: header.namespace.to_owned(), key: header.key.to_owned() };
    Ok(Reply::with(&KvConfigResponse { value: Some(value.ok_or_else(none)?) }))
}

pub(crate) fn namespace(view: &View, request: &Command) -> Result<Reply, Error> {
    let header = KvNamespace::decode(&request.fields)?;
    let kv = view.kv.load();
    let table = kv.namespace(header.namespace).ok_or_else(|| Error::NoNamespace(header.namespace.to_owned()))?;
    Ok(Reply::body(fastjson::to_vec(&KvTable { table: table.clone() })))
}

pub(crate) fn put(files: &mut Files, request: &Command, connection: &Connection) -> Result<Reply, Error> {
    let header = PutKvConfig::decode(&request.fields)?;
    files.kv.put(header.namespace, header.key, header.value)?;
    tracing::info!(header.namespace, header.key, peer = %connection.peer(), "KV value set");
    Ok(Reply::ok())
}

pub(crate) fn delete(files: &mut Files, request: &Command, connection: &Connection) -> Result<Reply, Error> {
    let header = KvConfigKey::decode(&request.fields)?;
    files.kv.delete(header.namespace, header.key)?;
    tracing::info!(header.namespace, header.key, peer = %connection.peer(), "KV value deleted");
    Ok(Reply::ok())
}
