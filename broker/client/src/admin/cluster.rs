//! The brokers of clusters.

use super::Admin;
use crate::Error;
use rmq_protocol::{
    RequestCode,
    body::{BrokerData, ClusterInfo, MemberGroup, MemberGroupBody},
    header,
};

/// The id of a master.
const MASTER: i64 = 0;

/// One broker of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrokerAddress {
    /// The cluster.
    pub cluster: String,
    /// The broker group.
    pub name: String,
    /// 0 is the master.
    pub id: i64,
    /// `host:port`.
    pub address: String,
}

impl Admin {
    /// All brokers of all clusters.
    ///
    /// # Errors
    /// No namesrv answered.
    pub async fn cluster_info(&self) -> Result<ClusterInfo, Error> {
        self.link.ask_namesrv(RequestCode::BrokerClusterInfo, &header::Empty {}).await?.body()
    }

    /// All brokers, one row each, in order of cluster, group and id; only one cluster if it is
    /// given.
    ///
    /// # Errors
    /// No namesrv answered, or there is no such cluster.
    pub async fn brokers(&self, cluster: Option<&str>) -> Result<Vec<BrokerAddress>, Error> {
        let info = self.cluster_info().await?;
        if let Some(name) = cluster
            && !info.cluster_addr_table.contains_key(name)
        {
            let known: Vec<_> = info.cluster_addr_table.keys().map(String::as_str).collect();
            return Err(Error::Argument(format!("there is no cluster {name}; known: {}", known.join(", "))));
        }
        Ok(rows(&info, cluster))
    }

    /// The masters; only one cluster if it is given.
    ///
    /// # Errors
    /// No namesrv answered, or there is no such cluster.
    pub async fn masters(&self, cluster: Option<&str>) -> Result<Vec<BrokerAddress>, Error> {
        let mut brokers = self.brokers(cluster).await?;
        brokers.retain(|broker| broker.id == MASTER);
        Ok(brokers)
    }

    /// The address of the master of a broker group.
    ///
    /// # Errors
    /// No namesrv answered; [`Error::NoBroker`].
    pub async fn master_of(&self, broker_name: &str) -> Result<String, Error> {
        let mut info = self.cluster_info().await?;
        info.broker_addr_table
            .get_mut(broker_name)
            .and_then(|group| group.broker_addrs.remove(&MASTER))
            .ok_or_else(|| Error::NoBroker { group: broker_name.to_owned() })
    }

    /// The living members of a broker group, as one namesrv sees them.
    ///
    /// # Errors
    /// No namesrv answered.
    pub async fn member_group(&self, cluster_name: &str, broker_name: &str) -> Result<MemberGroup, Error> {
        let request = header::MemberGroup { cluster_name, broker_name };
        let body: MemberGroupBody = self.link.ask_namesrv(RequestCode::BrokerMemberGroup, &request).await?.body()?;
        Ok(body.broker_member_group)
    }
}

fn rows(info: &ClusterInfo, cluster: Option<&str>) -> Vec<BrokerAddress> {
    let wanted = |group: &&BrokerData| {
        cluster.is_none_or(|name| {
            info.cluster_addr_table.get(name).is_some_and(|groups| groups.contains(&group.broker_name))
        })
    };
    let mut rows: Vec<_> = info
        .broker_addr_table
        .values()
        .filter(wanted)
        .flat_map(|group| {
            group.broker_addrs.iter().map(|(id, address)| BrokerAddress {
                cluster: group.cluster.clone(),
                name: group.broker_name.clone(),
                id: *id,
                address: address.clone(),
            })
        })
        .collect();
    rows.sort();
    rows
}

/// The member to read shared data of a group from: the master, or else the member with the lowest
/// id.
pub(super) fn any_member(group: &BrokerData) -> Option<&String> {
    group.broker_addrs.values().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_listed_by_cluster_group_and_id() {
        let group = |cluster: &str, name: &str| BrokerData {
            broker_addrs: [(1, format!("{name}-1")), (0, format!("{name}-0"))].into_iter().collect(),
            broker_name: name.into(),
            cluster: cluster.into(),
            enable_acting_master: false,
        };
        let mut info = ClusterInfo::default();
        for (cluster, name) in [("c2", "x"), ("c1", "z"), ("c1", "y")] {
            info.broker_addr_table.insert(name.into(), group(cluster, name));
            info.cluster_addr_table.entry(cluster.into()).or_default().push(name.into());
        }
        let addresses = |cluster| rows(&info, cluster).into_iter().map(|row| row.address).collect::<Vec<_>>();
        assert_eq!(addresses(None), ["y-0", "y-1", "z-0", "z-1", "x-0", "x-1"]);
        assert_eq!(addresses(Some("c2")), ["x-0", "x-1"]);
    }
}
