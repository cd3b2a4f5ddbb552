//! Finds values that cannot be used, alone or in combination.

use super::{Config, Error, Role};
use rmq_protocol::{address, names::check_topic};
use rmq_store::About;
use std::time::Duration;

/// Collects errors.
#[derive(Default)]
struct Wrong(Vec<Error>);

impl Wrong {
    fn add(&mut self, keys: &'static [&'static str], reason: impl Into<String>) {
        self.0.push(Error::Contradiction { keys, reason: reason.into() });
    }
}

impl Config {
    /// Refuses the settings if [`Self::contradictions`] finds an error.
    pub(super) fn validate(&self) -> Result<(), Error> {
        Error::all(self.contradictions())
    }

    /// All values that cannot be used.
    pub(super) fn contradictions(&self) -> Vec<Error> {
        let mut wrong = Wrong::default();
        self.check_names(&mut wrong);
        self.check_addresses(&mut wrong);
        self.check_least(&mut wrong);
        self.check_store(&mut wrong);
        let Self { network, replication, topics, .. } = self;
        if network.listen_port != 0 && network.listen_port < 3 {
            wrong.add(
                &["listenPort"],
                format!("listenPort {} is too low: the port two below it is served too", network.listen_port),
            );
        }
        self.check_heartbeats(&mut wrong);
        if network.reads_after_failure.0 > Duration::from_secs(86_400) {
            wrong.add(
                &["readsAfterFailureMillis"],
                format!(
                    "readsAfterFailureMillis {} is above 86400000, a day: a broker that takes no \
                     writes has to be restarted some time",
                    network.reads_after_failure.0.as_millis()
                ),
            );
        }
        if replication.min_in_sync > replication.in_sync && replication.in_sync > 0 {
            wrong.add(
                &["minInSyncReplicas", "inSyncReplicas"],
                format!(
                    "minInSyncReplicas {} is above inSyncReplicas {}",
                    replication.min_in_sync, replication.in_sync
                ),
            );
        }
        if !(0..=7).contains(&topics.permission) {
            wrong.add(
                &["brokerPermission"],
                format!("brokerPermission {} is none: 2 write, 4 read, 6 both", topics.permission),
            );
        }
        wrong.0
    }

    fn check_heartbeats(&self, wrong: &mut Wrong) {
        let (heartbeat, silence) = (self.replication.heartbeat.0, self.replication.housekeeping.0);
        if heartbeat.is_zero() || heartbeat >= silence {
            wrong.add(
                &["haSendHeartbeatInterval", "haHousekeepingInterval"],
                format!(
                    "haSendHeartbeatInterval {} must be above 0 and below haHousekeepingInterval \
                     {}: the connection of a peer that sends nothing for so long is closed; the defaults are 5000 \
                     and 20000",
                    heartbeat.as_millis(),
                    silence.as_millis()
                ),
            );
        }
        if silence > Duration::from_secs(86_400) {
            wrong.add(
                &["haHousekeepingInterval"],
                format!(
                    "haHousekeepingInterval {} is above 86400000, a day: a lost peer has to be noticed",
                    silence.as_millis()
                ),
            );
        }
    }

    fn check_names(&self, wrong: &mut Wrong) {
        let identity = &self.identity;
        if identity.role == Role::Slave && identity.broker_id == 0 {
            wrong.add(
                &["brokerRole", "brokerId"],
                "brokerRole is SLAVE but brokerId is 0: give the slave a brokerId above 0",
            );
        }
        if let Err(error) = check_topic(&identity.broker_name) {
            wrong.add(&["brokerName"], format!("brokerName {:?}: {error}", identity.broker_name));
        }
        if let Err(error) = check_topic(&identity.cluster_name) {
            wrong.add(&["brokerClusterName"], format!("brokerClusterName {:?}: {error}", identity.cluster_name));
        }
    }

    fn check_addresses(&self, wrong: &mut Wrong) {
        let Self { identity, network, replication, namesrv, .. } = self;
        let hosts: [(&'static [&'static str], &str); 2] =
            [(&["brokerIP1"], &identity.broker_ip), (&["brokerIP2"], &identity.replication_ip)];
        for (keys, host) in hosts {
            // brokerIP2 defaults to brokerIP1. A wrong default is reported as an error of
            // brokerIP1.
            if keys == ["brokerIP2"] && identity.replication_ip == identity.broker_ip {
                continue;
            }
            let key = keys.concat();
            match address::check_host(host) {
                Err(error) => wrong.add(keys, format!("{key}: {error}")),
                Ok(()) if address::ip(host).is_some_and(|ip| ip.is_unspecified()) => wrong.add(
                    keys,
                    format!(
                        "{key} cannot be {host}: clients and slaves cannot connect to it; \
                         bindAddress says where to listen"
                    ),
                ),
                Ok(()) => {}
            }
        }
        if network.bind_address.parse::<std::net::IpAddr>().is_err() {
            wrong.add(&["bindAddress"], format!("bindAddress {:?} is no IP address", network.bind_address));
        }
        if !namesrv.addresses.trim_matches([';', ' ']).is_empty()
            && let Err(error) = address::parse_list(&namesrv.addresses)
        {
            wrong.add(&["namesrvAddr"], format!("namesrvAddr: {error}"));
        }
        if !replication.master_address.is_empty()
            && let Err(error) = address::check(&replication.master_address)
        {
            wrong.add(&["haMasterAddress"], format!("haMasterAddress: {error}"));
        }
    }

    /// Finds values that must not be 0, because nothing works then.
    fn check_least(&self, wrong: &mut Wrong) {
        let Self { network, replication, topics, messages, transactions, clients, namesrv, .. } = self;
        let numbers: [(&'static [&'static str], i64); 15] = [
            (&["maxMessageSize"], messages.max_size.into()),
            (&["inSyncReplicas"], replication.in_sync.into()),
            (&["haTransferBatchSize"], replication.batch.into()),
            (&["haHousekeepingInterval"], at_least(replication.housekeeping.0)),
            (&["maxConnections"], i64::try_from(network.max_connections).unwrap_or(i64::MAX)),
            (&["defaultTopicQueueNums"], topics.default_queues.into()),
            (&["maxTransferBytesOnMessageInMemory"], messages.memory_bytes.into()),
            (&["maxTransferCountOnMessageInMemory"], messages.memory_count.into()),
            (&["maxTransferBytesOnMessageInDisk"], messages.disk_bytes.into()),
            (&["maxTransferCountOnMessageInDisk"], messages.disk_count.into()),
            (&["defaultQueryMaxNum"], messages.query_max.into()),
            (&["maxMsgsNumBatch"], messages.query_batch.into()),
            (&["transactionCheckInterval"], at_least(transactions.check_interval.0)),
            (&["channelExpiredTimeout"], at_least(clients.expiry.0)),
            (&["registerBrokerTimeoutMills"], at_least(namesrv.timeout.0)),
        ];
        for (keys, number) in numbers {
            if number < 1 {
                wrong.add(keys, format!("{} cannot be {number}: it must be 1 or more", keys.concat()));
            }
        }
    }

    fn check_store(&self, wrong: &mut Wrong) {
        let Self { store, messages, .. } = self;
        let (file, longest) = (store.commit_log_file_size, u64::from(messages.max_size));
        // The bytes of a record besides its body.
        let rest = 64 * 1024;
        if file < 2 * (longest + rest) {
            let fits = (file / 2).saturating_sub(rest);
            wrong.add(
                &["mappedFileSizeCommitLog", "maxMessageSize"],
                format!(
                    "mappedFileSizeCommitLog {file} is too small for messages of maxMessageSize \
                     {longest} bytes: a file has to hold two of them; take {} or more{}",
                    2 * (longest + rest),
                    if fits > 0 { format!(", or a maxMessageSize of {fits} or less") } else { String::new() }
                ),
            );
        }
        if store.consume_queue_file_size < 20 {
            wrong.add(
                &["mappedFileSizeConsumeQueue"],
                format!(
                    "mappedFileSizeConsumeQueue {} is too small: an entry has 20 bytes; the default is 6000000",
                    store.consume_queue_file_size
                ),
            );
        }
        if store.reserved_hours > u64::from(u32::MAX) {
            wrong.add(
                &["fileReservedTime"],
                format!("fileReservedTime {} is above {} hours", store.reserved_hours, u32::MAX),
            );
        }
        let percentages: [(&'static [&'static str], u32); 4] = [
            (&["diskMaxUsedSpaceRatio"], store.disk_max_used),
            (&["diskSpaceCleanForciblyRatio"], store.disk_clean_forcibly),
            (&["diskSpaceWarningLevelRatio"], store.disk_warning),
            (&["accessMessageInMemoryMaxRatio"], messages.memory_ratio),
        ];
        for (keys, value) in percentages {
            if value > 100 {
                wrong.add(keys, format!("{} {value} is above 100: it is a percentage", keys.concat()));
            }
        }
        let (store, unread) = self.for_store_with_faults();
        wrong.0.extend(unread);
        for found in store.contradictions() {
            let keys = keys_of(found.about);
            // Already reported by an error with more details.
            let said = |error: &Error| error.keys().iter().any(|key| keys.contains(key));
            if keys.is_empty() || !wrong.0.iter().any(said) {
                let name = if keys.is_empty() { String::new() } else { format!("{}: ", keys.join(" and ")) };
                wrong.add(keys, format!("{name}{}", found.why));
            }
        }
    }

    /// Finds ports that two listeners would use. In a running broker the ports are those that the
    /// system chose.
    pub(super) fn port_contradictions(&self) -> Vec<Error> {
        let mut wrong = Wrong::default();
        let network = &self.network;
        let (requests, replication, http) = (network.listen_port, network.replication_port, network.http_port);
        let vip = requests.checked_sub(2).filter(|port| *port != 0);
        if requests != 0 {
            if replication == 0 {
                wrong.add(
                    &["listenPort"],
                    format!(
                        "listenPort {requests} leaves no port above it for haListenPort: take \
                         a lower one, or set haListenPort"
                    ),
                );
            } else if requests == replication {
                wrong.add(
                    &["haListenPort", "listenPort"],
                    format!("haListenPort {replication} is the port of listenPort: take another"),
                );
            } else if vip == Some(replication) {
                wrong.add(
                    &["haListenPort", "listenPort"],
                    format!(
                        "haListenPort {replication} is the port two below listenPort {requests}, \
                         which is served too: take another"
                    ),
                );
            }
        }
        if http != 0 {
            if http == requests {
                wrong.add(
                    &["httpPort", "listenPort"],
                    format!("httpPort {http} is the port of listenPort: take another"),
                );
            } else if vip == Some(http) {
                wrong.add(
                    &["httpPort", "listenPort"],
                    format!(
                        "httpPort {http} is the port two below listenPort {requests}, which is served too: take another"
                    ),
                );
            } else if http == replication {
                wrong.add(
                    &["httpPort", "haListenPort"],
                    format!("httpPort {http} is the port of haListenPort: take another"),
                );
            }
        }
        wrong.0
    }
}

/// 0 for 0, otherwise at least 1.
fn at_least(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Java's keys for the store's settings.
fn keys_of(about: About) -> &'static [&'static str] {
    match about {
        About::CommitLogFileSize => &["mappedFileSizeCommitLog"],
        About::ConsumeQueueFileSize => &["mappedFileSizeConsumeQueue"],
        About::Index => &["maxIndexNum", "maxHashSlotNum"],
        About::CommitLog => &["readOnlyCommitLogStorePaths", "storePathCommitLog"],
        About::Memory => &[],
        About::DeleteWhen => &["deleteWhen"],
        About::MaxUsed => &["diskMaxUsedSpaceRatio"],
        About::CleanForcibly => &["diskSpaceCleanForciblyRatio"],
        About::RefuseWrites => &["diskSpaceWarningLevelRatio"],
        About::CleaningAndRefusal => &["diskSpaceWarningLevelRatio", "diskSpaceCleanForciblyRatio"],
    }
}
