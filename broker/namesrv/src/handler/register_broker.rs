//! 103: a broker registers itself and its topics.

use super::Routes;
use crate::{
    Error,
    route_table::{Missing, Registrant},
};
use rmq_protocol::{
    Command, Reply,
    body::{DataVersion, KvTable, RegisterBrokerBody},
    fastjson,
    header::{Header, RegisterBroker, RegisterBrokerResponse},
    message::java,
    names::ORDER_TOPIC_NAMESPACE,
};
use rmq_remoting::Connection;
use serde::Deserialize;
use std::time::{Duration, Instant};

pub(crate) fn register(routes: &mut Routes, request: &Command, connection: &Connection) -> Result<Reply, Error> {
    let answer = registered(routes, request, connection);
    if answer.as_ref().is_err_and(Error::is_of_size) {
        routes.metrics.refused.inc();
    }
    answer
}

fn registered(routes: &mut Routes, request: &Command, connection: &Connection) -> Result<Reply, Error> {
    let started = Instant::now();
    let header = RegisterBroker::decode(&request.fields)?;
    let said = header.body_crc32.unwrap_or_default();
    if said != 0 && java::crc32(&request.body) as i32 != said {
        return Err(Error::Checksum);
    }
    let registrant = registrant(&header, connection);
    let compressed = header.compressed.unwrap_or_default();
    let missing = match routes.config.load().delete_topic_with_broker_registration {
        true => Missing::Delete,
        false => Missing::Keep,
    };
    let now = (routes.clock)();
    let unchanged =
        version_alone(&request.body, compressed).filter(|version| routes.table.needs_no_topics(&registrant, *version));
    let outcome = match unchanged {
        Some(version) => routes.table.register(now, &registrant, version, None, missing)?,
        None => {
            let body = RegisterBrokerBody::decode(
                &request.body,
                compressed,
                0,
                request.version,
                &routes.capacity.of_bodies(),
            )?;
            let table = body.topic_config_serialize_wrapper;
            routes.table.register(now, &registrant, table.data_version, Some(&table.topic_config_table), missing)?
        }
    };
    if !outcome.ignored {
        routes.connections.entry(connection.id()).or_insert_with(|| connection.clone());
    }
    if outcome.contest_began {
        tracing::warn!(
            cluster = registrant.cluster,
            broker = registrant.broker,
            id = registrant.id,
            address = registrant.address,
            other = outcome.contested_by,
            "two brokers register with one name and id and take the place in all routes \
             from each other, so producers write to both; stop one of them, or give it another \
             brokerName or brokerId"
        );
        routes.metrics.contested.set(routes.table.contests() as i64);
    }
    routes.after(outcome.lowest_id_changed);
    routes.metrics.registered(unchanged.is_some(), started.elapsed());

    let mut reply = Reply::with(&RegisterBrokerResponse {
        ha_server_address: outcome.master.as_ref().map(|master| master.ha_address.as_str()),
        master_address: outcome.master.as_ref().map(|master| master.address.as_str()),
        contested_by: outcome.contested_by.as_deref(),
    });
    if routes.config.load().return_order_topic_config_to_broker
        && let Some(table) = routes.kv.load().namespace(ORDER_TOPIC_NAMESPACE)
    {
        reply.body = fastjson::to_vec(&KvTable { table: table.clone() }).into();
    }
    Ok(reply)
}

fn registrant(header: &RegisterBroker<'_>, connection: &Connection) -> Registrant {
    let timeout = header.heartbeat_timeout.and_then(|millis| u64::try_from(millis).ok()).filter(|millis| *millis > 0);
    Registrant {
        cluster: header.cluster_name.to_owned(),
        broker: header.broker_name.to_owned(),
        id: header.broker_id,
        address: header.broker_address.to_owned(),
        ha_address: header.ha_server_address.to_owned(),
        timeout: timeout.map(Duration::from_millis),
        acting_master: header.enable_acting_master,
        connection: connection.id(),
    }
}

/// The version in a plain body, read without decoding its topics: nearly all registrations need
/// only that, because brokers repeat them every 30 s. `None` if a full decode is needed: a
/// compressed body, an old broker's non-standard JSON, no JSON.
fn version_alone(body: &[u8], compressed: bool) -> Option<DataVersion> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        topic_config_serialize_wrapper: Table,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Table {
        data_version: DataVersion,
    }
    if compressed {
        return None;
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    Some(body.topic_config_serialize_wrapper.data_version)
}
