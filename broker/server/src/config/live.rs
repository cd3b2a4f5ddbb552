//! The settings of a running broker. Readers take a snapshot; a change replaces the whole.

use super::{Config, Error, SETTINGS, java_keys};
use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use rmq_protocol::{body::DataVersion, java_properties};
use rmq_store::durable_file;
use std::{path::PathBuf, sync::Arc};

/// Shared settings. Only hot ones change after the start.
pub struct Live {
    current: ArcSwap<Config>,
    /// Held by one change at a time. Contains the version of the settings, which `getBrokerConfig`
    /// returns.
    version: Mutex<DataVersion>,
    /// The file that the broker was started from. Changes are written to it.
    file: Option<PathBuf>,
}

/// Why a change is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The key is on the list of refused keys.
    #[error("the setting {0} may not be changed at run time")]
    Listed(String),
    /// The change needs a restart.
    #[error("the setting {0} takes effect only at a start: change it in the configuration file and restart the broker")]
    Fixed(String),
    /// The value is invalid.
    #[error(transparent)]
    Wrong(#[from] Error),
}

impl Live {
    /// Wraps settings that were read from `file`.
    pub fn new(config: Config, file: Option<PathBuf>) -> Self {
        Self { current: ArcSwap::from_pointee(config), version: Mutex::default(), file }
    }

    /// The current settings, for a longer use.
    pub fn load_full(&self) -> Arc<Config> {
        self.current.load_full()
    }

    /// The current settings. Cheap; hold it for one request, not longer.
    pub fn load(&self) -> Guard<Arc<Config>> {
        self.current.load()
    }

    /// The version of the settings.
    pub fn version(&self) -> DataVersion {
        *self.version.lock()
    }

    /// Changes settings, all or none. The inner error says why the changes would be lost: a broker
    /// started without a file, or from one that cannot be written, loses them at its end.
    ///
    /// # Errors
    /// The first change that is refused.
    pub fn update(&self, pairs: &[(String, String)], now: i64) -> Result<Result<(), String>, Refused> {
        let mut version = self.version.lock();
        let mut config = Config::clone(&self.current.load());
        let mut changed = Vec::new();
        for (key, value) in pairs {
            let key = java_keys::current(key);
            if config.clients.refused_keys.split(';').any(|refused| java_keys::current(refused.trim()) == key) {
                return Err(Refused::Listed(key.to_owned()));
            }
            let before = config.text(key);
            if !config.set(key, value.trim())? {
                // Java's tools may send any of Java's keys. Those without a meaning here must not
                // cause the others to be refused.
                super::foreign(key, value.trim())?;
                continue;
            }
            let hot = SETTINGS.iter().any(|setting| setting.key == key && setting.hot);
            if config.text(key) != before {
                if !hot {
                    return Err(Refused::Fixed(key.to_owned()));
                }
                changed.push((key, value.trim()));
            }
        }
        config.validate()?;
        self.current.store(Arc::new(config));
        version.next(now);
        Ok(self.persist(&changed))
    }

    fn persist(&self, changed: &[(&str, &str)]) -> Result<(), String> {
        let Some(path) = &self.file else {
            return Err("the broker was started without a configuration file".to_owned());
        };
        let write = || -> Result<(), String> {
            let bytes = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            let (text, _) = java_properties::decode(&bytes);
            let mut pairs = java_properties::parse(&text);
            for (key, value) in changed {
                pairs.retain(|(name, _)| java_keys::current(name) != *key);
                pairs.push(((*key).to_owned(), (*value).to_owned()));
            }
            let text = java_properties::to_text(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            durable_file::replace(path, text.as_bytes()).map_err(|error| error.to_string())
        };
        write()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(live: &Live, key: &str, value: &str) -> Result<Result<(), String>, Refused> {
        live.update(&[(key.to_owned(), value.to_owned())], 1)
    }

    #[test]
    fn hot_settings_change_and_others_say_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("broker.conf");
        std::fs::write(&file, "brokerName=a\n# a note\nbrokerPermission=6\n").unwrap();
        let (config, _) = Config::from_properties([("brokerName", "a")]).unwrap();
        let live = Live::new(config, Some(file.clone()));
        change(&live, "brokerPermission", "4").unwrap().unwrap();
        assert_eq!(live.load().topics.permission, 4);
        assert_eq!(live.version().counter, 1);
        let written = java_properties::parse(&std::fs::read_to_string(&file).unwrap());
        assert!(
            written.contains(&("brokerPermission".into(), "4".into()))
                && written.contains(&("brokerName".into(), "a".into()))
        );
        assert!(matches!(change(&live, "listenPort", "1234"), Err(Refused::Fixed(_))));
        assert!(matches!(change(&live, "brokerConfigPath", "/etc/passwd"), Err(Refused::Listed(_))));
        assert!(matches!(
            change(&live, "brokerPermision", "4"),
            Err(Refused::Wrong(Error::Unknown { nearest: Some("brokerPermission"), .. }))
        ));
        let of_java = change(&live, "brokerFastFailureEnabl", "true").unwrap_err().to_string();
        assert!(of_java.ends_with("did you mean \"brokerFastFailureEnable\"?"), "{of_java}");
        change(&live, "brokerFastFailureEnable", "true").unwrap().unwrap();
        assert!(matches!(change(&live, "brokerPermission", "9"), Err(Refused::Wrong(Error::Contradiction { .. }))));
        assert_eq!(live.load().topics.permission, 4, "a refused change changes nothing");
    }

    #[test]
    fn a_setting_is_changed_and_written_under_its_new_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("broker.conf");
        std::fs::write(&file, "brokerName=a\nhaSlaveFallbehindMax=1\n").unwrap();
        let (config, _) = Config::from_properties([("brokerName", "a"), ("configBlackList", "listenPort")]).unwrap();
        let live = Live::new(config, Some(file.clone()));
        change(&live, "haSlaveFallbehindMax", "2").unwrap().unwrap();
        change(&live, "deleteCommitLogFilesInterval", "7").unwrap().unwrap();
        assert_eq!(live.load().replication.max_gap, 2);
        let written = java_properties::parse(&std::fs::read_to_string(&file).unwrap());
        let wanted = [("brokerName", "a"), ("haMaxGapNotInSync", "2"), ("deleteCommitLogFilesInterval", "7")];
        assert_eq!(written, wanted.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_change_that_cannot_be_written_holds_until_the_end_and_says_so() {
        let (config, _) = Config::from_properties([("brokerName", "a")]).unwrap();
        let live = Live::new(config, None);
        assert!(change(&live, "brokerPermission", "4").unwrap().unwrap_err().contains("without a configuration file"));
        assert_eq!(live.load().topics.permission, 4);
    }
}
