//! A broker's settings: Java's key names, grouped, validated, and immutable except the hot ones.
//!
//! | file | what |
//! |---|---|
//! | [`settings`] | the table of settings |
//! | [`value`] | their types |
//! | [`java_keys`] | Java's keys that have no meaning here |
//! | [`store`] | the settings in the store's terms |
//! | [`validate`] | invalid values, and contradictions between values |
//! | [`live`] | the settings of a running broker |

pub(crate) mod delay_levels;
mod java_keys;
mod live;
mod settings;
mod store;
mod validate;
mod value;

pub(crate) use delay_levels::DelayLevels;
pub use live::{Live, Refused};
pub use settings::{
    Clients, Config, Identity, Messages, Namesrv, Network, Replication, SETTINGS, Setting, Store, Topics, Transactions,
};
pub use value::{Flush, Millis, Role, Seconds};

use rmq_protocol::{
    address,
    java_properties::{self, Found},
    names::{self, MAX_TOPIC},
};
use std::time::Duration;

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A line that begins with its separator.
    #[error("there is no key before '=' or ':'")]
    NoKey,
    /// A key of neither this broker nor Java.
    #[error("there is no setting {key:?}{}", nearest.as_ref().map(|nearest| format!("; did you mean {nearest:?}?")).unwrap_or_default())]
    Unknown {
        /// The key as written.
        key: String,
        /// The most similar key.
        nearest: Option<&'static str>,
    },
    /// A value that does not have the setting's type.
    #[error("{key} cannot be {value:?}: {wanted} is wanted{}", comment(value))]
    Value {
        /// The key.
        key: &'static str,
        /// The value as written.
        value: String,
        /// The expected form.
        wanted: &'static str,
    },
    /// A contradiction between two settings, or between a setting and the environment.
    #[error("{reason}")]
    Contradiction {
        /// The settings.
        keys: &'static [&'static str],
        /// The description of the fault.
        reason: String,
    },
    /// Several of these, one per line.
    #[error("{}", lines(_0))]
    Several(Vec<Error>),
}

/// The advice for a user who wrote a comment behind a value.
fn comment(value: &str) -> &'static str {
    match address::has_comment(value) {
        true => "; in a properties file what follows a value is part of it, so put the comment on its own line",
        false => "",
    }
}

fn lines(errors: &[Error]) -> String {
    errors.iter().map(|error| format!("\n  {error}")).collect()
}

impl Error {
    /// The key of a value that could not be read.
    fn key(&self) -> Option<&'static str> {
        match self {
            Self::Value { key, .. } => Some(key),
            _ => None,
        }
    }

    /// The settings that the error concerns.
    fn keys(&self) -> &[&'static str] {
        match self {
            Self::Contradiction { keys, .. } => keys,
            Self::Value { key, .. } => std::slice::from_ref(key),
            _ => &[],
        }
    }

    /// Combines errors into one. Returns `Ok` if there are none.
    fn all(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.swap_remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }
}

/// The settings that were read, and all findings.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The settings. They must not be used if `wrong` is not empty.
    pub config: Config,
    /// Warnings for the user.
    pub warnings: Vec<Found<String>>,
    /// Errors.
    pub wrong: Vec<Found<Error>>,
}

/// Judges a key that this broker does not have. Returns a warning if there is more to say than that
/// the key has no meaning here.
fn foreign(key: &str, value: &str) -> Result<Option<String>, Error> {
    if key.is_empty() {
        return Err(Error::NoKey);
    }
    if !java_keys::WITHOUT_MEANING.contains(&key) {
        let known = SETTINGS.iter().map(|setting| setting.key).chain(java_keys::WITHOUT_MEANING.iter().copied());
        return Err(Error::Unknown { key: key.to_owned(), nearest: java_properties::nearest(key, known) });
    }
    if let Some(instead) = java_keys::replaced(key, value) {
        return Ok(Some(format!("{key}={value} is ignored and not needed: {instead}")));
    }
    let missing = java_keys::missing_feature(key, value);
    Ok(missing.map(|feature| format!("{key}={value} is ignored: this broker does not have {feature}")))
}

impl Config {
    /// Builds settings from pairs. Later pairs override earlier ones, and defaults that depend on
    /// the machine are filled in. Also returns warnings for the user.
    ///
    /// # Errors
    /// All errors that [`Self::read`] finds.
    pub fn from_properties<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(Self, Vec<String>), Error> {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let Reading { config, warnings, wrong } = Self::read(&pairs);
        Error::all(wrong.into_iter().map(|found| found.what).collect())?;
        Ok((config, warnings.into_iter().map(|found| found.what).collect()))
    }

    /// The same with all findings: every unknown key, every value of a wrong type, and every
    /// contradiction between the values that could be read.
    pub fn read(pairs: &[(&str, &str)]) -> Reading {
        let mut config = Self::default();
        let (mut warnings, mut wrong, mut ignored) = (Vec::new(), Vec::new(), Vec::new());
        for (pair, (key, value)) in pairs.iter().enumerate() {
            let warning = |reason: String| Found { pair: Some(pair), what: reason };
            match config.set(key, value.trim()) {
                Ok(true) if address::has_comment(value) => {
                    warnings.push(warning(format!(
                        "{key} is {value:?}, the '#' and what follows it included: a comment has a line of its own"
                    )));
                }
                Ok(true) => {}
                Err(error) => wrong.push(Found { pair: Some(pair), what: error }),
                Ok(false) => match foreign(key, value.trim()) {
                    Ok(Some(reason)) => warnings.push(warning(reason)),
                    Ok(None) => ignored.push(*key),
                    Err(error) => wrong.push(Found { pair: Some(pair), what: error }),
                },
            }
        }
        if !ignored.is_empty() {
            let reason =
                format!("of a Java broker's settings these mean nothing here and are ignored: {}", ignored.join(", "));
            warnings.push(Found { pair: None, what: reason });
        }
        let mut notes = Vec::new();
        config.fill_in(&mut notes);
        let last = |key: &str| pairs.iter().rposition(|(name, _)| java_keys::current(name) == key);
        warnings.extend(notes.into_iter().map(|(key, what)| Found { pair: last(key), what }));
        let unread: Vec<&str> = wrong.iter().filter_map(|found| found.what.key()).collect();
        let contradictions: Vec<_> = config
            .contradictions()
            .into_iter()
            .chain(config.port_contradictions())
            // A value that could not be read has its default here. A contradiction with it would
            // mislead the user.
            .filter(|error| !error.keys().iter().any(|key| unread.contains(key)))
            .collect();
        wrong.extend(contradictions.into_iter().map(|error| {
            let pair = error.keys().iter().find_map(|key| last(key));
            Found { pair, what: error }
        }));
        Reading { config, warnings, wrong }
    }

    /// Fills in the defaults that depend on other settings or on the machine.
    fn fill_in(&mut self, notes: &mut Vec<(&'static str, String)>) {
        let Self { identity, network, store, namesrv, clients, .. } = self;
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
        if network.replication_port == 0
            && network.listen_port != 0
            && let Some(above) = network.listen_port.checked_add(1)
        {
            network.replication_port = above;
        }
        if store.root.is_empty() {
            let home = std::env::var("HOME").unwrap_or_else(|_| ".".to_owned());
            store.root = format!("{home}/store");
        }
        let reply_topic = names::reply_topic(&identity.cluster_name);
        if reply_topic.len() > MAX_TOPIC {
            let reason = format!(
                "brokerClusterName has {} bytes: requests cannot be answered, as the topic {reply_topic} has {}, more \
                than the {MAX_TOPIC} that clients may send to",
                identity.cluster_name.len(),
                reply_topic.len()
            );
            notes.push(("brokerClusterName", reason));
        }
        let mut within = |key, value: &mut Millis, least: u64, most: u64| {
            let used = value.0.clamp(Duration::from_millis(least), Duration::from_millis(most));
            if used != value.0 {
                let (given, used) = (value.0.as_millis(), used.as_millis());
                notes.push((key, format!("{key} {given} is taken as {used}: {least} to {most} ms are possible")));
            }
            value.0 = used;
        };
        // Java clamps the first, too.
        within("registerNameServerPeriod", &mut namesrv.period, 10_000, 60_000);
        within("flushConsumerOffsetInterval", &mut clients.flush_offsets, 100, 86_400_000);
    }

    /// The delays of the delay levels.
    pub(crate) fn delay_levels(&self) -> Result<DelayLevels, Error> {
        delay_levels::parse(&self.messages.delay_levels).map_err(|level| Error::Contradiction {
            keys: &["messageDelayLevel"],
            reason: format!("messageDelayLevel: {level:?} is no pause; write for example 30s, 5m, 2h, 1d"),
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
        assert!(matches!(read("brokerRole=SLAVE"), Err(Error::Contradiction { .. })));
    }

    #[test]
    fn a_cluster_whose_name_leaves_no_room_for_its_reply_topic_is_reported() {
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

    /// A refusal contained neither the limit nor a valid value, and some values were silently
    /// changed.
    #[test]
    fn a_refusal_names_the_value_the_limit_and_what_would_do() {
        for (text, reason) in [
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
                "mappedFileSizeCommitLog 1048576 is too small for messages of maxMessageSize \
                 4194304 bytes: a file has to hold two of them; take 8519680 or more, or a \
                 maxMessageSize of 458752 or less",
            ),
            ("mappedFileSizeConsumeQueue=19", "mappedFileSizeConsumeQueue 19 is too small"),
            ("diskMaxUsedSpaceRatio=175", "diskMaxUsedSpaceRatio 175 is above 100"),
            ("diskMaxUsedSpaceRatio=0", "diskMaxUsedSpaceRatio: max used at 0 %: 1 to 100 are possible"),
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
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    /// An interval between two writes of the offsets was lengthened without a word.
    #[test]
    fn a_value_that_is_not_used_as_given_is_told_with_the_one_that_is() {
        for (given, used) in [
            ("registerNameServerPeriod=9999", "registerNameServerPeriod 9999 is taken as 10000: 10000 to 60000 ms"),
            ("registerNameServerPeriod=60001", "registerNameServerPeriod 60001 is taken as 60000: 10000 to 60000 ms"),
            ("flushConsumerOffsetInterval=0", "flushConsumerOffsetInterval 0 is taken as 100: 100 to 86400000 ms"),
        ] {
            let (config, warnings) = read(given).unwrap();
            assert!(warnings.len() == 1 && warnings[0].starts_with(used), "{warnings:?}");
            assert!(read(&config.to_properties()).unwrap().1.is_empty());
        }
        assert!(read("registerNameServerPeriod=60000\nflushConsumerOffsetInterval=100").unwrap().1.is_empty());
        for key in ["defaultQueryMaxNum", "maxMsgsNumBatch"] {
            let refused = read(&format!("{key}=0")).unwrap_err().to_string();
            assert_eq!(refused, format!("{key} cannot be 0: it must be 1 or more"));
        }
    }

    /// A value outside every range is an error. It must not end the process, neither here nor where
    /// it is used.
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
    fn all_errors_are_reported() {
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

    fn found(text: &str) -> Vec<(Option<usize>, String)> {
        let pairs = java_properties::parse(text);
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let wrong = Config::read(&pairs).wrong;
        wrong.into_iter().map(|found| (found.pair, found.what.to_string())).collect()
    }

    /// Values out of range were reported only after all values of a wrong type were corrected, and
    /// then only the first of them.
    #[test]
    fn a_value_that_cannot_be_read_hides_none_that_is_out_of_range() {
        let wrong = found(
            "maxMessageSize=99999999999999999999\ndiskMaxUsedSpaceRatio=150\ndeleteWhen=25\nmessageDelayLevel=1s 2x\n\
            fooBar=1\n:=\nmaxIndexNum=1\ndiskSpaceWarningLevelRatio=0\nmappedFileSizeCommitLog=1048576",
        );
        let of = |pair: usize| -> Vec<&str> {
            wrong.iter().filter(|(at, _)| *at == Some(pair)).map(|(_, reason)| reason.as_str()).collect()
        };
        for (pair, reason) in [
            (0, "maxMessageSize cannot be"),
            (1, "diskMaxUsedSpaceRatio 150 is above 100"),
            (2, "deleteWhen cannot be \"25\""),
            (3, "\"2x\" is no pause"),
            (4, "there is no setting \"fooBar\""),
            (5, "there is no key before"),
            (6, "2 entries are the least"),
            (7, "diskSpaceWarningLevelRatio: refuse writes at 0 %"),
        ] {
            assert!(of(pair).len() == 1 && of(pair)[0].contains(reason), "{pair}: {wrong:?}");
        }
        assert_eq!(wrong.len(), 8, "the file is judged by a size that was not read: {wrong:?}");
        let pairs = [("fooBar", "1"), ("aclEnable", "true")];
        assert_eq!(Config::read(&pairs).warnings[0].pair, Some(1), "an unknown key hid the warnings");
    }

    #[test]
    fn values_that_only_fail_later_are_refused_when_they_are_read() {
        for (text, reason) in [
            ("namesrvAddr=foo", "namesrvAddr: \"foo\" has no port"),
            ("namesrvAddr=a:1;bar", "\"bar\" has no port"),
            ("namesrvAddr=127.0.0.1:9876,127.0.0.1:9877", "';' stands between them, not ','"),
            ("namesrvAddr=127.0.0.1:19876 # x", "put the comment on its own line"),
            ("brokerIP1=127.0.0.1 # comment", "put the comment on its own line"),
            ("brokerIP1=300.1.1.1", "brokerIP1: \"300.1.1.1\" is not an IPv4 address"),
            ("brokerIP1=0.0.0.0", "brokerIP1 cannot be 0.0.0.0: clients and slaves cannot connect to it"),
            ("brokerIP2=::", "brokerIP2 cannot be ::"),
            ("haMasterAddress=foo", "haMasterAddress: \"foo\" has no port"),
            ("listenPort=10911\nhttpPort=10911", "httpPort 10911 is the port of listenPort"),
            ("httpPort=10909", "httpPort 10909 is the port two below listenPort"),
            ("httpPort=10912", "httpPort 10912 is the port of haListenPort"),
            ("haListenPort=10909", "haListenPort 10909 is the port two below listenPort"),
            ("haListenPort=10911", "haListenPort 10911 is the port of listenPort"),
            ("listenPort=65535", "listenPort 65535 leaves no port above it for haListenPort"),
            ("listenPort=65535\nhaListenPort=65535", "haListenPort 65535 is the port of listenPort"),
            ("maxMessageSize=0", "maxMessageSize cannot be 0: it must be 1 or more"),
            ("inSyncReplicas=0\nminInSyncReplicas=0", "inSyncReplicas cannot be 0"),
            ("maxConnections=0", "maxConnections cannot be 0"),
            ("defaultTopicQueueNums=-1", "defaultTopicQueueNums cannot be -1"),
            ("fileReservedTime=72 # hours", "so put the comment on its own line"),
        ] {
            let wrong = found(text);
            assert!(wrong.len() == 1 && wrong[0].1.contains(reason), "{text}: {wrong:?}");
        }
        for valid in [
            "namesrvAddr=namesrv-0.mq:9876; namesrv-1.mq:9876;",
            "brokerIP1=broker-0.mq.svc.cluster.local",
            "brokerIP1=::1",
            "listenPort=0",
            "listenPort=65535\nhaListenPort=1",
            "haMasterAddress=10.0.0.1:10912",
        ] {
            assert_eq!(found(valid), [], "{valid}");
        }
        let (_, warnings) = read("storePathRootDir=/data # the disk").unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("a comment has a line of its own"), "{warnings:?}");
    }

    #[test]
    fn keys_of_java_without_meaning_are_reported_and_missing_features_as_warnings() {
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
        // Switched off, they are two of the keys without a meaning here.
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
