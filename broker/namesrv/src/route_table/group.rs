//! A broker group for readers, with its part of the responses already encoded.

use super::{json, size};
use rmq_protocol::body::BrokerData;
use std::{collections::BTreeMap, sync::Arc};

/// The id of a master.
pub(crate) const MASTER: i64 = 0;

/// The JSON flavour of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// fastjson's: bare integer keys.
    Bare,
    /// Standard, all ASCII.
    Standard,
}

/// The pieces of JSON that routes through a group consist of. They change only with the group's
/// addresses, which is rare, and are copied for each lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces {
    /// The row of `brokerDatas`.
    pub(super) data: String,
    /// The same with a slave as master, if one may act as it: no member is master and the group
    /// permits it.
    pub(super) acting: Option<String>,
    /// The name as text.
    pub(super) name: String,
}

/// A broker group: one name, several addresses. Immutable; a change creates a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    name: Arc<str>,
    data: BrokerData,
    bare: Pieces,
    standard: Pieces,
}

impl Group {
    pub(crate) fn new(name: Arc<str>, cluster: &str, addresses: BTreeMap<i64, String>, acting_master: bool) -> Self {
        let data = BrokerData {
            broker_addrs: addresses,
            broker_name: name.to_string(),
            cluster: cluster.to_owned(),
            enable_acting_master: acting_master,
        };
        let acting = with_acting_master(&data);
        let pieces = |flavour| Pieces {
            data: json::text(&data, flavour),
            acting: acting.as_ref().map(|data| json::text(data, flavour)),
            name: json::text(&data.broker_name, flavour),
        };
        Self { bare: pieces(Flavour::Bare), standard: pieces(Flavour::Standard), name, data }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn cluster(&self) -> &str {
        &self.data.cluster
    }

    /// By broker id.
    pub(crate) fn addresses(&self) -> &BTreeMap<i64, String> {
        &self.data.broker_addrs
    }

    /// A slave may act as the master.
    pub(crate) fn acting_master(&self) -> bool {
        self.data.enable_acting_master
    }

    /// The member with the lowest id.
    pub(crate) fn lowest(&self) -> Option<(i64, &str)> {
        self.addresses().first_key_value().map(|(id, address)| (*id, address.as_str()))
    }

    pub(crate) fn data(&self) -> &BrokerData {
        &self.data
    }

    /// Its estimated memory.
    pub(super) fn bytes(&self) -> usize {
        size::of_group(&self.name, &self.data.cluster, &self.data.broker_addrs)
    }

    pub(super) fn pieces(&self, flavour: Flavour) -> &Pieces {
        match flavour {
            Flavour::Bare => &self.bare,
            Flavour::Standard => &self.standard,
        }
    }
}

fn with_acting_master(data: &BrokerData) -> Option<BrokerData> {
    if !data.enable_acting_master || data.broker_addrs.contains_key(&MASTER) {
        return None;
    }
    let mut acting = data.clone();
    let (_, address) = acting.broker_addrs.pop_first()?;
    acting.broker_addrs.insert(MASTER, address);
    Some(acting)
}
