//! Routes as JSON, in the two flavours that clients read.
//!
//! ```text
//! {"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"a","cluster":"c","enableActingMaster":false}],
//!  "filterServerTable":{},"orderTopicConf":"a:4",
//!  "queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}
//! ```
//!
//! Without line breaks, `orderTopicConf` only if there is one; the standard flavour has `"0"` for
//! `0` and `\uXXXX` for characters outside ASCII. A lookup concatenates pieces that each group has
//! prepared: a few copies instead of serialization, and no cache of whole responses that would have
//! to be invalidated.

use super::{
    group::{Flavour, Group},
    snapshot::Queues,
};
use rmq_protocol::{body::perm, fastjson};
use serde::Serialize;
use std::fmt::Write;

/// The route through these queues and groups.
pub(super) fn route<'a>(
    rows: impl Iterator<Item = (&'a Queues, &'a Group)> + Clone,
    order: Option<&str>,
    flavour: Flavour,
    acting_masters: bool,
) -> Vec<u8> {
    let mut json = String::with_capacity(1024);
    json.push_str("{\"brokerDatas\":[");
    for (at, (queues, group)) in rows.clone().enumerate() {
        if at > 0 {
            json.push(',');
        }
        let pieces = group.pieces(flavour);
        let acting = pieces.acting.as_ref().filter(|_| acting_masters && !perm::is_writable(queues.perm));
        json.push_str(acting.unwrap_or(&pieces.data));
    }
    json.push_str("],\"filterServerTable\":{},");
    if let Some(order) = order {
        json.push_str("\"orderTopicConf\":");
        json.push_str(&text(&order, flavour));
        json.push(',');
    }
    json.push_str("\"queueDatas\":[");
    for (at, (queues, group)) in rows.enumerate() {
        if at > 0 {
            json.push(',');
        }
        json.push_str("{\"brokerName\":");
        json.push_str(&group.pieces(flavour).name);
        for (name, value) in [
            (",\"perm\":", queues.perm),
            (",\"readQueueNums\":", queues.read),
            (",\"topicSysFlag\":", queues.sys_flag),
            (",\"writeQueueNums\":", queues.write),
        ] {
            json.push_str(name);
            json.push_str(itoa::Buffer::new().format(value));
        }
        json.push('}');
    }
    json.push_str("]}");
    json.into_bytes()
}

/// Any value in a flavour.
pub(super) fn text(value: &impl Serialize, flavour: Flavour) -> String {
    match flavour {
        Flavour::Bare => String::from_utf8_lossy(&fastjson::to_vec(value)).into_owned(),
        // As in fastjson's writer: the types given here have no key or number that JSON cannot
        // represent.
        Flavour::Standard => serde_json::to_string(value).map(ascii).unwrap_or_default(),
    }
}

/// Characters outside ASCII occur only in strings, where an escape is equivalent.
fn ascii(json: String) -> String {
    if json.is_ascii() {
        return json;
    }
    let mut out = String::with_capacity(json.len() * 2);
    for letter in json.chars() {
        if letter.is_ascii() {
            out.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            // Writing to memory cannot fail.
            let _ = write!(out, "\\u{unit:04X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmq_protocol::body::{BrokerData, QueueData, TopicRoute};
    use std::collections::BTreeMap;

    fn group(name: &str, ids: &[i64], acting: bool) -> Group {
        let addresses = ids.iter().map(|id| (*id, format!("10.0.0.{id}:10911"))).collect();
        Group::new(name.into(), "c\"\u{e4}", addresses, acting)
    }

    fn queues(name: &str, perm: i32) -> Queues {
        Queues { broker: name.into(), read: 4, write: 8, perm, sys_flag: 1 }
    }

    fn expected(rows: &[(&Queues, BrokerData)], order: Option<&str>) -> TopicRoute {
        TopicRoute {
            broker_datas: rows.iter().map(|(_, data)| data.clone()).collect(),
            filter_server_table: BTreeMap::new(),
            order_topic_conf: order.map(str::to_owned),
            queue_datas: rows
                .iter()
                .map(|(queues, _)| QueueData {
                    broker_name: queues.broker.to_string(),
                    perm: queues.perm,
                    read_queue_nums: queues.read,
                    topic_sys_flag: queues.sys_flag,
                    write_queue_nums: queues.write,
                })
                .collect(),
        }
    }

    #[test]
    fn routes_are_the_bytes_that_the_serializers_would_write() {
        let (a, b) = (group("a", &[0, 1], false), group("b\u{1F600}", &[0], true));
        let (qa, qb) = (queues("a", 6), queues("b\u{1F600}", 4));
        for order in [None, Some("a:4;\u{fc}")] {
            let whole = expected(&[(&qa, a.data().clone()), (&qb, b.data().clone())], order);
            let rows = [(&qa, &a), (&qb, &b)];
            assert_eq!(route(rows.into_iter(), order, Flavour::Bare, true), fastjson::to_vec(&whole));
            let standard = String::from_utf8(route(rows.into_iter(), order, Flavour::Standard, true)).unwrap();
            assert!(
                standard.is_ascii() && standard.contains(r#""b\uD83D\uDE00""#) && standard.contains(r#"{"0":""#),
                "{standard}"
            );
            assert_eq!(serde_json::from_str::<TopicRoute>(&standard).unwrap(), whole);
        }
    }

    #[test]
    fn a_slave_stands_in_only_where_all_agree() {
        // supported here, permitted by the group, a master there, queues writable -> address of id
        // 0
        for (supported, permitted, ids, perm, stands_in) in [
            (true, true, [1, 2], 4, true),
            (false, true, [1, 2], 4, false),
            (true, false, [1, 2], 4, false),
            (true, true, [0, 2], 4, false),
            (true, true, [1, 2], 6, false),
        ] {
            let (group, queues) = (group("a", &ids, permitted), queues("a", perm));
            let json = route([(&queues, &group)].into_iter(), None, Flavour::Standard, supported);
            let route: TopicRoute = serde_json::from_slice(&json).unwrap();
            let addresses = &route.broker_datas[0].broker_addrs;
            let case = (supported, permitted, ids, perm);
            assert_eq!(addresses.get(&0).map(String::as_str) == Some("10.0.0.1:10911"), stands_in, "{case:?}");
            assert_eq!(addresses.len(), 2, "{case:?}");
        }
    }
}
