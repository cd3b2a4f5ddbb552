//! A broker's settings: Java's key names, grouped, checked, and immutable but for the hot ones.
//!
//! | file | what |
//! |---|---|
//! | [`settings`] | the table of settings |
//! | [`value`] | their types |
//! | [`java_keys`] | Java's keys that mean nothing here |
//! | [`store`] | what the store is told of them |
//! | [`live`] | the settings of a running broker |

mod java_keys;
mod live;
mod settings;
mod store;
mod value;

pub use live::{Live, Refused};
pub use settings::{
    Clients, Config, Identity, Messages, Namesrv, Network, Replication, SETTINGS, Setting, Store, Topics,
};
pub use value::{Flush, Millis, Role, Seconds};

use rmq_protocol::{java_properties, names::MAX_TOPIC};
use std::time::Duration;

/// Settings that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither our key nor Java's.
    #[error("there is no setting {key:?}{}", nearest.as_ref().map(|nearest| format!("; did you mean {nearest:?}?")).unwrap_or_default())]
    Unknown {
        /// As written.
        key: String,
        /// The most similar one.
        nearest: Option<&'static str>,
    },
    /// A value of another type.
    #[error("{key} cannot be {value:?}: {wanted} is wanted")]
    Value {
        /// The key.
        key: &'static str,
        /// As written.
        value: String,
        /// What would do.
        wanted: &'static str,
    },
    /// Two settings, or one and the world, that do not go together.
    #[error("{0}")]
    Contradiction(String),
    /// Several of these, a line each.
    #[error("{}", lines(_0))]
    Several(Vec<Error>),
}

fn lines(errors: &[Error]) -> String {
    errors.iter().map(|error| format!("\n  {error}")).collect()
}

impl Error {
    /// All of them as one, if there are any.
    fn all(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.swap_remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }
}

impl Config {
    /// Settings from pairs, later ones winning, with the defaults that depend on the machine filled in. Beside them: what the user should know.
    ///
    /// # Errors
    /// Every key that is nobody's and value that is of another type; where there are none, every contradiction.
    pub fn from_properties<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(Self, Vec<String>), Error> {
        let mut config = Self::default();
        let mut warnings = Vec::new();
        let (mut ignored, mut wrong) = (Vec::new(), Vec::new());
        for (key, value) in pairs {
            match config.set(key, value.trim()) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    wrong.push(error);
                    continue;
                }
            }
            if !java_keys::WITHOUT_MEANING.contains(&key) {
                let known =
                    SETTINGS.iter().map(|setting| setting.key).chain(java_keys::WITHOUT_MEANING.iter().copied());
                wrong.push(Error::Unknown { key: key.to_owned(), nearest: java_properties::nearest(key, known) });
                continue;
            }
            if let Some(instead) = java_keys::replaced(key, value.trim()) {
                warnings.push(format!("{key}={value} is ignored and not needed: {instead}"));
                continue;
            }
            match java_keys::missing_feature(key, value.trim()) {
                Some(feature) => {
                    warnings.push(format!("{key}={value} is ignored: this broker does not have {feature}"))
                }
                None => ignored.push(key),
            }
        }
        if !ignored.is_empty() {
            warnings.push(format!(
                "of a Java broker's settings these mean nothing here and are ignored: {}",
                ignored.join(", ")
            ));
        }
        Error::all(wrong)?;
        config.fill_in(&mut warnings);
        config.validate()?;
        Ok((config, warnings))
    }

    /// The defaults that depend on other settings or on the machine.
    fn fill_in(&mut self, warnings: &mut Vec<String>) {
        let Self { identity, network, store, namesrv, .. } = self;
        if identity.broker_id > 0 {
            identity.role = Role::Slave;
        }
        if identity.broker_name.is_empty() {
            identity.broker_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        }
        if identity.broker_ip.is_empty() {
            identity.broker_ip = crate::address::first_of_this_machine().to_string();
        }
        if identity.replication_ip.is_empty() {
            identity.replication_ip.clone_from(&identity.broker_ip);
        }
        if network.replication_port == 0 && network.listen_port != 0 {
            network.replication_port = network.listen_port.saturating_add(1);
        }
        if store.root.is_empty() {
            let home = std::env::var("HOME").unwrap_or_else(|_| ".".to_owned());
            store.root = format!("{home}/store");
        }
        let reply_topic = crate::topic::reply_topic(&identity.cluster_name);
        if reply_topic.len() > MAX_TOPIC {
            warnings.push(format!(
                "brokerClusterName has {} bytes: requests cannot be answered, as the topic {reply_topic} has {}, more \
                than the {MAX_TOPIC} that clients may send to",
                identity.cluster_name.len(),
                reply_topic.len()
            ));
        }
        let period = namesrv.period.0.clamp(Duration::from_secs(10), Duration::from_secs(60));
        if period != namesrv.period.0 {
            warnings.push(format!(
                "registerNameServerPeriod is taken as {} ms: it must lie between 10,000 and 60,000",
                period.as_millis()
            ));
            namesrv.period = Millis(period);
        }
    }

    fn validate(&self) -> Result<(), Error> {
        let mut wrong = Vec::new();
        let mut contradiction = |words: String| wrong.push(Error::Contradiction(words));
        let Self { identity, network, store, replication, topics, messages, .. } = self;
        if identity.role == Role::Slave && identity.broker_id == 0 {
            contradiction("brokerRole is SLAVE but brokerId is 0: give the slave a brokerId above 0".into());
        }
        if let Err(error) = rmq_protocol::names::check_topic(&identity.broker_name) {
            contradiction(format!("brokerName {:?}: {error}", identity.broker_name));
        }
        if let Err(error) = rmq_protocol::names::check_topic(&identity.cluster_name) {
            contradiction(format!("brokerClusterName {:?}: {error}", identity.cluster_name));
        }
        if network.listen_port != 0 && network.listen_port < 3 {
            contradiction(format!(
                "listenPort {} is too low: the port two below it is served too",
                network.listen_port
            ));
        }
        if network.reads_after_failure.0 > Duration::from_secs(86_400) {
            contradiction(format!(
                "readsAfterFailureMillis {} is above 86400000, a day: a broker that takes no writes has to be restarted some time",
                network.reads_after_failure.0.as_millis()
            ));
        }
        if network.bind_address.parse::<std::net::IpAddr>().is_err() {
            contradiction(format!("bindAddress {:?} is no IP address", network.bind_address));
        }
        let (file, longest) = (store.commit_log_file_size, u64::from(messages.max_size));
        // What a record has beside its body.
        let rest = 64 * 1024;
        if file < 2 * (longest + rest) {
            let fits = (file / 2).saturating_sub(rest);
            contradiction(format!(
                "mappedFileSizeCommitLog {file} is too small for messages of maxMessageSize {longest} bytes: a file has to hold two of them; \
                take {} or more{}",
                2 * (longest + rest),
                if fits > 0 { format!(", or a maxMessageSize of {fits} or less") } else { String::new() }
            ));
        }
        if store.consume_queue_file_size < 20 {
            contradiction(format!(
                "mappedFileSizeConsumeQueue {} is too small: an entry has 20 bytes; the default is 6000000",
                store.consume_queue_file_size
            ));
        }
        if store.reserved_hours > u64::from(u32::MAX) {
            contradiction(format!("fileReservedTime {} is above {} hours", store.reserved_hours, u32::MAX));
        }
        for (key, value) in [
            ("diskMaxUsedSpaceRatio", store.disk_max_used),
            ("diskSpaceCleanForciblyRatio", store.disk_clean_forcibly),
            ("diskSpaceWarningLevelRatio", store.disk_warning),
            ("accessMessageInMemoryMaxRatio", messages.memory_ratio),
        ] {
            if value > 100 {
                contradiction(format!("{key} {value} is above 100: it is a percentage"));
            }
        }
        if replication.min_in_sync > replication.in_sync {
            contradiction(format!(
                "minInSyncReplicas {} is above inSyncReplicas {}",
                replication.min_in_sync, replication.in_sync
            ));
        }
        let (heartbeat, silence) = (replication.heartbeat.0, replication.housekeeping.0);
        if heartbeat.is_zero() || heartbeat >= silence {
            contradiction(format!(
                "haSendHeartbeatInterval {} must be above 0 and below haHousekeepingInterval {}: a peer that sends nothing for so long \
                 is given up; the defaults are 5000 and 20000",
                heartbeat.as_millis(),
                silence.as_millis()
            ));
        }
        if silence > Duration::from_secs(86_400) {
            contradiction(format!(
                "haHousekeepingInterval {} is above 86400000, a day: a lost peer has to be noticed",
                silence.as_millis()
            ));
        }
        if !(0..=7).contains(&topics.permission) {
            contradiction(format!("brokerPermission {} is none: 2 write, 4 read, 6 both", topics.permission));
        }
        match self.for_store() {
            Ok(store) => {
                if let Err(error) = store.validate() {
                    contradiction(error.to_string());
                }
            }
            Err(error) => wrong.push(error),
        }
        Error::all(wrong)
    }

    /// What the delay levels mean.
    pub(crate) fn delay_levels(&self) -> Result<crate::delay::Levels, Error> {
        crate::delay::parse_levels(&self.messages.delay_levels).map_err(|level| {
            Error::Contradiction(format!("messageDelayLevel: {level:?} is no pause; write for example 30s, 5m, 2h, 1d"))
        })
    }

    /// All settings and their values, as `key=value` lines.
    pub fn to_properties(&self) -> String {
        let lines: Vec<_> =
            SETTINGS.iter().filter_map(|setting| Some((setting.key, self.text(setting.key)?))).collect();
        java_properties::to_text(lines.iter().map(|(key, value)| (*key, value.as_str())))
    }

    /// True for a member that follows another.
    pub fn is_slave(&self) -> bool {
        self.identity.role == Role::Slave
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Config, Vec<String>), Error> {
        let pairs = java_properties::parse(text);
        Config::from_properties(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }

    #[test]
    fn defaults_are_javas() {
        let (config, warnings) = read("").unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(config.network.listen_port, 10911);
        assert_eq!(config.network.replication_port, 10912);
        assert_eq!(config.store.commit_log_file_size, 1_073_741_824);
        assert_eq!(config.topics.default_queues, 8);
        assert_eq!(config.messages.max_size, 4_194_304);
        assert_eq!(config.store.reserved_hours, 72);
    }

    #[test]
    fn a_broker_with_an_id_is_a_slave_whatever_its_role_says() {
        let (config, _) = read("brokerId=1\nbrokerRole=SYNC_MASTER").unwrap();
        assert!(config.is_slave());
        assert!(matches!(read("brokerRole=SLAVE"), Err(Error::Contradiction(_))));
    }

    #[test]
    fn a_cluster_whose_name_leaves_no_room_for_its_reply_topic_is_told_so() {
        let cluster = |length| read(&format!("brokerClusterName={}", "c".repeat(length))).unwrap().1;
        assert_eq!(cluster(115), Vec::<String>::new());
        let warnings = cluster(116);
        assert!(warnings.len() == 1 && warnings[0].contains("116") && warnings[0].contains("128"), "{warnings:?}");
    }

    #[test]
    fn a_typo_is_an_error_that_names_the_nearest_key() {
        let error = read("brokerClusterNam=x").unwrap_err();
        assert_eq!(error.to_string(), r#"there is no setting "brokerClusterNam"; did you mean "brokerClusterName"?"#);
        assert_eq!(
            read("flushDiskType=SYNC").unwrap_err().to_string(),
            r#"flushDiskType cannot be "SYNC": ASYNC_FLUSH or SYNC_FLUSH is wanted"#
        );
    }

    /// A refusal told neither the limit nor what would do, and some values were taken for others without a word.
    #[test]
    fn a_refusal_names_the_value_the_limit_and_what_would_do() {
        for (text, words) in [
            (
                "maxMessageSize=5000000000",
                "maxMessageSize cannot be \"5000000000\": a number from 0 to 4294967295 is wanted",
            ),
            (
                "fileReservedTime=-1",
                "fileReservedTime cannot be \"-1\": a number from 0 to 18446744073709551615 is wanted",
            ),
            (
                "slaveTimeout=3s",
                "slaveTimeout cannot be \"3s\": a number of milliseconds from 0 to 18446744073709551615 is wanted",
            ),
            (
                "mappedFileSizeCommitLog=1048576",
                "mappedFileSizeCommitLog 1048576 is too small for messages of maxMessageSize 4194304 bytes: a file has to hold two of \
                them; take 8519680 or more, or a maxMessageSize of 458752 or less",
            ),
            ("mappedFileSizeConsumeQueue=19", "mappedFileSizeConsumeQueue 19 is too small"),
            ("diskMaxUsedSpaceRatio=175", "diskMaxUsedSpaceRatio 175 is above 100"),
            ("diskMaxUsedSpaceRatio=0", "max used at 0 %: 1 to 100 are possible"),
            ("accessMessageInMemoryMaxRatio=101", "accessMessageInMemoryMaxRatio 101 is above 100"),
            ("readsAfterFailureMillis=86400001", "readsAfterFailureMillis 86400001 is above 86400000"),
            ("maxIndexNum=1", "1 entries"),
            (
                "haSendHeartbeatInterval=0",
                "haSendHeartbeatInterval 0 must be above 0 and below haHousekeepingInterval 20000",
            ),
            ("haSendHeartbeatInterval=20000", "haSendHeartbeatInterval 20000 must be above 0 and below"),
            ("haHousekeepingInterval=86400001", "haHousekeepingInterval 86400001 is above 86400000"),
        ] {
            let refused = read(text).unwrap_err().to_string();
            assert!(refused.contains(words), "{text}: {refused}");
        }
    }

    /// A value that is in no range of anything is an error, and no end of the process, here or where it is used.
    #[test]
    fn settings_of_any_values_are_read_or_refused() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        const VALUES: [&str; 16] = [
            "",
            "0",
            "1",
            "-1",
            "2147483648",
            "4294967295",
            "9223372036854775807",
            "18446744073709551615",
            "99999999999999999999",
            "0x10",
            "1e3",
            "true",
            "a;b",
            ";;,",
            "\u{0}\u{feff}",
            "1s 2d 99999999999d",
        ];
        let seed = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..2000 {
            let pairs: Vec<_> = (0..random.random_range(1..4))
                .map(|_| {
                    let key = SETTINGS[random.random_range(0..SETTINGS.len())].key;
                    (key, VALUES[random.random_range(0..VALUES.len())])
                })
                .collect();
            if let Ok((config, _)) = Config::from_properties(pairs.iter().copied()) {
                let store = config.for_store().unwrap();
                let later = std::time::Instant::now().checked_add(store.flush.interval);
                assert!(later.is_some() && config.delay_levels().is_ok(), "{pairs:?}");
                assert_eq!(
                    read(&config.to_properties()).map(|(config, _)| config.to_properties()),
                    Ok(config.to_properties())
                );
            }
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        let all = |text: &str| match read(text) {
            Err(Error::Several(errors)) => errors.iter().map(Error::to_string).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let errors = all("brokerClusterNam=x\nflushDiskType=SYNC\nlistenPort=2\nlistenPort=no");
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[2].starts_with("listenPort cannot be \"no\""), "{errors:?}");
        let errors = all("listenPort=2\nminInSyncReplicas=3\ndeleteWhen=25");
        assert_eq!(errors.len(), 3, "{errors:?}");
        let text = read("listenPort=2\nminInSyncReplicas=3").unwrap_err().to_string();
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn keys_of_java_without_meaning_are_told_and_wishes_for_more_are_told_louder() {
        let (_, warnings) = read("useEpollNativeSelector=true\naclEnable=true\nenableDLegerCommitLog=false").unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("access control"));
        assert!(warnings[1].contains("useEpollNativeSelector") && warnings[1].contains("enableDLegerCommitLog"));
    }

    #[test]
    fn a_key_whose_purpose_is_served_otherwise_is_answered_with_how() {
        let (_, warnings) = read("transientStorePoolEnable=true\nwarmMapedFileEnable=true").unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("transientStorePoolEnable=true") && warnings[0].contains("ahead of every append"));
        assert!(warnings[1].contains("warmMapedFileEnable=true") && warnings[1].contains("before appends come there"));
        // Switched off they are two among all that means nothing here.
        let (_, warnings) = read("transientStorePoolEnable=false\nwarmMapedFileEnable=false").unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("mean nothing here"), "{warnings:?}");
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let (config, _) = read("brokerName=a\nflushDiskType=SYNC_FLUSH\ndeleteWhen=03;15").unwrap();
        let (again, warnings) = read(&config.to_properties()).unwrap();
        assert_eq!(again, config);
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}
