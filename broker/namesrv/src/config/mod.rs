//! The settings of a namesrv, by the key names of Java's `namesrv.conf`.
//!
//! An unknown key is an error that names the nearest known one, because a misspelt setting that is
//! ignored silently is hard to find. A key that Java knows and that has no meaning here is a
//! warning with the reason.

mod keys;

use crate::Error;
use keys::{ALWAYS_BLACK_LISTED, KEYS, Key, TakesEffect, WITHOUT_MEANING};
use rmq_protocol::java_properties::{self, Found as About};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// The configuration of a namesrv at its start. The flags can be changed while it runs (request
/// 318).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `listenPort`: brokers and clients; 0: any free one.
    pub listen_port: u16,
    /// `bindAddress`: the address to listen on.
    pub bind_address: IpAddr,
    /// `httpPort`: probes and metrics; 0: none. Not a key of Java's.
    pub http_port: u16,
    /// `serverChannelMaxIdleTimeSeconds`: the idle timeout of a connection.
    pub idle: Duration,
    /// `scanNotActiveBrokerInterval`: the interval between checks for expired brokers.
    pub scan_interval: Duration,
    /// `maxRouteTableBytes`: the memory limit of routes, as estimated; 0: an eighth of the memory
    /// of the process's control group, or of the machine. Not a key of Java's.
    pub max_route_table_bytes: u64,
    /// `kvConfigPath`: the KV table.
    pub kv_config_path: PathBuf,
    /// `configStorePath`: the file for settings that are changed while the namesrv runs.
    pub config_store_path: PathBuf,
    /// `configBlackList`: keys that request 318 may not change, besides the paths.
    pub black_list: Vec<String>,
    /// `orderMessageEnable`: routes carry the fixed-order setting of their topic.
    pub order_message_enable: bool,
    /// `returnOrderTopicConfigToBroker`: the response to a registration has all fixed-order
    /// settings.
    pub return_order_topic_config_to_broker: bool,
    /// `supportActingMaster`: routes show a slave as master if brokers permit it.
    pub support_acting_master: bool,
    /// `notifyMinBrokerIdChanged`: members of a group that permits acting masters are notified when
    /// its lowest id changes.
    pub notify_min_broker_id_changed: bool,
    /// `deleteTopicWithBrokerRegistration`: topics missing from a registration are removed.
    pub delete_topic_with_broker_registration: bool,
    /// `enableAllTopicList`: request 206 is answered.
    pub enable_all_topic_list: bool,
    /// `enableTopicList`: requests 224 and 311 to 313 are answered.
    pub enable_topic_list: bool,
    /// `needWaitForService`: routes are refused until brokers had time to register.
    pub need_wait_for_service: bool,
    /// `waitSecondsForService`: the length of that time.
    pub wait_for_service: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let folder = std::env::home_dir().unwrap_or_default().join("namesrv");
        Self {
            listen_port: 9876,
            bind_address: Ipv4Addr::UNSPECIFIED.into(),
            http_port: 0,
            idle: Duration::from_secs(120),
            scan_interval: Duration::from_secs(5),
            max_route_table_bytes: 0,
            kv_config_path: folder.join("kvConfig.json"),
            config_store_path: folder.join("namesrv.properties"),
            black_list: ["configBlackList", "configStorePath", "kvConfigPath"].map(str::to_owned).into(),
            order_message_enable: false,
            return_order_topic_config_to_broker: true,
            support_acting_master: false,
            notify_min_broker_id_changed: false,
            delete_topic_with_broker_registration: false,
            enable_all_topic_list: true,
            enable_topic_list: true,
            need_wait_for_service: false,
            wait_for_service: Duration::from_secs(45),
        }
    }
}

/// A setting as `--check` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// The value in force.
    pub value: String,
    /// Its default.
    pub default: String,
    /// Whether a running namesrv accepts a change.
    pub live: bool,
    /// Its description.
    pub meaning: &'static str,
}

enum Found {
    Key(&'static Key),
    WithoutMeaning(&'static str),
}

/// The result of reading a configuration, with all findings.
#[derive(Debug)]
pub struct Reading {
    /// The settings; not usable if there are errors.
    pub config: Config,
    /// Keys that were given and have no meaning here.
    pub warnings: Vec<About<String>>,
    /// The errors.
    pub wrong: Vec<About<Error>>,
}

fn find(name: &str) -> Result<Found, Error> {
    if name.is_empty() {
        return Err(Error::NoKey);
    }
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return Ok(Found::Key(key));
    }
    if let Some((_, why)) = WITHOUT_MEANING.iter().find(|(key, _)| *key == name) {
        return Ok(Found::WithoutMeaning(why));
    }
    let known = KEYS.iter().map(|key| key.name).chain(WITHOUT_MEANING.iter().map(|(key, _)| *key));
    let nearest = java_properties::nearest(name, known);
    Err(Error::UnknownKey { key: name.to_owned(), nearest })
}

impl Config {
    /// The defaults changed by pairs, as [`java_properties::parse`] reads them from a file; the
    /// last value of a repeated key counts. Also returns warnings: keys that were given and have no
    /// meaning here.
    ///
    /// # Errors
    /// All errors, as [`Self::read`] finds them.
    pub fn from_properties(pairs: Vec<(String, String)>) -> Result<(Self, Vec<String>), Error> {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let Reading { config, warnings, wrong } = Self::read(&pairs);
        let mut wrong: Vec<_> = wrong.into_iter().map(|found| found.what).collect();
        match wrong.len() {
            0 => Ok((config, warnings.into_iter().map(|found| found.what).collect())),
            1 => Err(wrong.swap_remove(0)),
            _ => Err(Error::Several(wrong)),
        }
    }

    /// The same with all findings: [`Error::NoKey`], [`Error::UnknownKey`], [`Error::Value`] and
    /// [`Error::SamePort`].
    pub fn read(pairs: &[(&str, &str)]) -> Reading {
        let (mut config, mut warnings, mut wrong) = (Self::default(), Vec::new(), Vec::new());
        for (pair, (name, value)) in pairs.iter().enumerate() {
            let pair = Some(pair);
            match find(name) {
                Ok(Found::Key(key)) => {
                    wrong.extend(config.set(key, value).err().map(|what| About { pair, what }));
                }
                Ok(Found::WithoutMeaning(why)) => {
                    warnings.push(About { pair, what: format!("{name} has no effect: {why}") });
                }
                Err(what) => wrong.push(About { pair, what }),
            }
        }
        if config.http_port != 0 && config.http_port == config.listen_port {
            let pair = pairs.iter().rposition(|(name, _)| *name == "httpPort");
            wrong.push(About { pair, what: Error::SamePort(config.http_port) });
        }
        Reading { config, warnings, wrong }
    }

    /// This configuration with changes from a request; nothing is changed if one of them is not
    /// allowed.
    ///
    /// # Errors
    /// [`Error::BlackListed`], [`Error::OnlyAtStart`], [`Error::UnknownKey`], [`Error::Value`].
    pub(crate) fn changed(&self, pairs: &[(String, String)]) -> Result<Self, Error> {
        let mut config = self.clone();
        let black_listed =
            |name: &str| ALWAYS_BLACK_LISTED.contains(&name) || self.black_list.iter().any(|key| key == name);
        if pairs.iter().any(|(name, _)| black_listed(name)) {
            return Err(Error::BlackListed);
        }
        for (name, value) in pairs {
            match find(name)? {
                Found::Key(key) if key.takes == TakesEffect::AtStart => return Err(Error::OnlyAtStart(key.name)),
                Found::Key(key) => config.set(key, value)?,
                Found::WithoutMeaning(_) => {}
            }
        }
        Ok(config)
    }

    fn set(&mut self, key: &Key, value: &str) -> Result<(), Error> {
        let refused = |expected| Error::Value { key: key.name, value: value.to_owned(), expected };
        (key.read)(self, value.trim()).map_err(refused)
    }

    /// Every setting in order of keys.
    pub fn describe(&self) -> Vec<Setting> {
        let default = Self::default();
        let setting = |key: &Key| Setting {
            key: key.name,
            value: (key.show)(self),
            default: (key.show)(&default),
            live: key.takes == TakesEffect::AtOnce,
            meaning: key.meaning,
        };
        let mut settings: Vec<_> = KEYS.iter().map(setting).collect();
        settings.sort_by_key(|setting| setting.key);
        settings
    }

    /// The text of `namesrv.conf`, in order of keys.
    pub(crate) fn to_text(&self) -> String {
        let settings = self.describe();
        java_properties::to_text(settings.iter().map(|setting| (setting.key, setting.value.as_str())))
    }

    /// The address for brokers and clients.
    pub(crate) fn listen_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.listen_port)
    }

    /// The address for probes and scrapers.
    pub(crate) fn http_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.http_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Config, Vec<String>), Error> {
        Config::from_properties(java_properties::parse(text))
    }

    #[test]
    fn defaults_are_those_of_java() {
        let documented = [
            ("listenPort", "9876"),
            ("bindAddress", "0.0.0.0"),
            ("orderMessageEnable", "false"),
            ("returnOrderTopicConfigToBroker", "true"),
            ("scanNotActiveBrokerInterval", "5000"),
            ("supportActingMaster", "false"),
            ("notifyMinBrokerIdChanged", "false"),
            ("deleteTopicWithBrokerRegistration", "false"),
            ("needWaitForService", "false"),
            ("waitSecondsForService", "45"),
            ("enableAllTopicList", "true"),
            ("enableTopicList", "true"),
            ("configBlackList", "configBlackList;configStorePath;kvConfigPath"),
            ("serverChannelMaxIdleTimeSeconds", "120"),
        ];
        let settings = Config::default().describe();
        for (key, value) in documented {
            let setting = settings.iter().find(|setting| setting.key == key).unwrap();
            assert_eq!((setting.value.as_str(), setting.default.as_str()), (value, value), "{key}");
        }
    }

    #[test]
    fn a_file_is_read_and_written_back() {
        let text = "listenPort=19876\nlistenPort = 29876\nkvConfigPath=/a b/kv.json\norderMessageEnable=TRUE\nwaitSecondsForService=1\nbindAddress=::1\n";
        let (config, warnings) = read(text).unwrap();
        assert_eq!((config.listen_port, config.order_message_enable, warnings.len()), (29876, true, 0));
        assert_eq!(read(&config.to_text()).unwrap(), (config, vec![]));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("listenport=1", "there is no setting listenport; did you mean listenPort?"),
            ("quorum=1", "there is no setting quorum"),
            ("listenPort=70000", "listenPort cannot be \"70000\"; it must be a port"),
            ("orderMessageEnable=yes", "orderMessageEnable cannot be \"yes\"; it must be true or false"),
            (
                "scanNotActiveBrokerInterval=0",
                "scanNotActiveBrokerInterval cannot be \"0\"; it must be a number from 1 to 4294967295",
            ),
            // Added to the time of a connection's last activity it ended every connection.
            ("waitSecondsForService=18446744073709551615", "a number of seconds from 0 to 4294967295"),
            ("serverChannelMaxIdleTimeSeconds=18446744073709551615", "a number from 1 to 4294967295"),
            ("bindAddress=localhost", "it must be an IP address"),
            ("listenPort=9876 # x", "put the comment on its own line"),
            ("httpPort=9876", "httpPort 9876 is the port of listenPort"),
            (" : = ", "there is no key before"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let (config, warnings) = read("serverWorkerThreads=8\nenableControllerInNamesrv=true").unwrap();
        assert_eq!((config, warnings.len()), (Config::default(), 2));
        assert!(
            warnings[1].starts_with("enableControllerInNamesrv has no effect: there is no controller here"),
            "{warnings:?}"
        );
    }

    #[test]
    fn all_errors_are_reported() {
        let Err(Error::Several(errors)) = read("listenport=1\nhttpPort=2\norderMessageEnable=yes") else {
            panic!("two things are wrong")
        };
        assert_eq!(errors.len(), 2, "{errors:?}");
        let read = Config::read(&[("useTLS", "true"), ("httpPort", "9876"), ("httpPort", "x"), ("fooBar", "1")]);
        let pairs: Vec<_> = read.wrong.iter().map(|found| found.pair).collect();
        assert_eq!(pairs, [Some(2), Some(3), Some(2)], "{:?}", read.wrong);
        assert_eq!(read.warnings[0].pair, Some(0), "an error hid the warnings");
        assert!(read.config.describe().iter().all(|setting| !setting.meaning.is_empty()));
        let expected = Error::Several(errors).to_string();
        assert!(expected.contains("listenPort?") && expected.lines().count() == 3, "{expected}");
    }

    /// The lists are made by `tests/golden/keys`.
    #[test]
    fn no_key_of_a_java_namesrv_is_refused() {
        for list in [include_str!("keys-4.9.7.txt"), include_str!("keys-5.5.0.txt")] {
            assert!(list.lines().count() >= 20);
            for key in list.lines() {
                assert!(find(key).is_ok(), "{key}");
            }
        }
    }

    #[test]
    fn a_running_namesrv_takes_all_changes_or_none() {
        let config = Config { black_list: vec!["enableTopicList".to_owned()], ..Config::default() };
        let changed = |text: &str| config.changed(&java_properties::parse(text));
        let taken = changed("orderMessageEnable=true\nserverWorkerThreads=1\nwaitSecondsForService=0").unwrap();
        assert!(taken.order_message_enable && taken.wait_for_service.is_zero());
        assert!(matches!(changed("orderMessageEnable=true\nlistenPort=1"), Err(Error::OnlyAtStart("listenPort"))));
        for key in ["enableTopicList", "kvConfigPath", "rocketmqHome", "configBlackList", "configStorePath"] {
            assert!(matches!(changed(&format!("{key}=true")), Err(Error::BlackListed)), "{key}");
        }
        assert!(matches!(
            changed("orderMessageEnabled=true"),
            Err(Error::UnknownKey { nearest: Some("orderMessageEnable"), .. })
        ));
    }
}
