//! Converts the settings of the store into the store's own configuration.

use super::{Config, Error, Flush};
use rmq_protocol::message::delay;
use rmq_store as store;
use std::{path::PathBuf, time::Duration};

impl Config {
    /// The configuration of the store.
    ///
    /// # Errors
    /// Invalid hours. All other values were checked when the settings were read.
    pub(crate) fn for_store(&self) -> Result<store::Config, Error> {
        let (config, mut wrong) = self.for_store_with_faults();
        if wrong.is_empty() { Ok(config) } else { Err(wrong.swap_remove(0)) }
    }

    /// The same with the store's defaults in place of values that cannot be read, and an error for
    /// each of these.
    pub(super) fn for_store_with_faults(&self) -> (store::Config, Vec<Error>) {
        let mut wrong = Vec::new();
        let own = &self.store;
        let mut config = store::Config::new(&own.root);
        config.commit_log = folders(&own.commit_log);
        config.read_only_commit_log = folders(&own.commit_log_read_only);
        config.commit_log_file_size = own.commit_log_file_size;
        config.consume_queue_file_size = own.consume_queue_file_size;
        config.max_message_size = self.messages.max_size as usize;
        match self.delay_levels() {
            Ok(levels) => {
                config.tags_code = store::TagsCode::with(move |record| delay::entry_code(record, levels.pauses()));
            }
            Err(error) => wrong.push(error),
        }
        config.flush.mode = match own.flush {
            Flush::Async => store::FlushMode::Async,
            Flush::Sync => store::FlushMode::Sync,
        };
        config.flush.interval = own.flush_interval.0;
        config.flush.least_pages = u64::from(own.flush_least_pages);
        config.flush.thorough_interval = own.flush_thorough_interval.0;
        config.consume_queue_write_interval = own.queue_write_interval.0;
        config.index.enabled = own.index;
        config.index.slots = own.index_slots;
        config.index.entries = own.index_entries;
        match hours(&own.delete_when) {
            Ok(hours) => config.retention.delete_when = hours,
            Err(error) => wrong.push(error),
        }
        config.retention.reserved = Duration::from_secs(own.reserved_hours.saturating_mul(3600));
        config.retention.max_used = percent(own.disk_max_used);
        config.retention.clean_forcibly = percent(own.disk_clean_forcibly);
        config.retention.refuse_writes = percent(own.disk_warning);
        config.retention.forcibly_enabled = own.clean_forcibly;
        config.retention.batch_max = own.delete_batch as usize;
        config.retention.pause = own.delete_pause.0;
        config.retention.interval = own.clean_interval.0;
        config.transfer.bytes_in_memory = self.messages.memory_bytes as usize;
        config.transfer.count_in_memory = self.messages.memory_count as usize;
        config.transfer.bytes_on_disk = self.messages.disk_bytes as usize;
        config.transfer.count_on_disk = self.messages.disk_count as usize;
        config.transfer.memory_percent = percent(self.messages.memory_ratio);
        (config, wrong)
    }
}

/// Splits paths as Java does.
fn folders(text: &str) -> Vec<PathBuf> {
    text.split(',').map(str::trim).filter(|folder| !folder.is_empty()).map(PathBuf::from).collect()
}

fn percent(number: u32) -> u8 {
    number.min(100) as u8
}

fn hours(text: &str) -> Result<Vec<u8>, Error> {
    text.split(';')
        .map(str::trim)
        .filter(|hour| !hour.is_empty())
        .map(|hour| {
            hour.parse().ok().filter(|hour| *hour < 24).ok_or(Error::Value {
                key: "deleteWhen",
                value: text.to_owned(),
                wanted: "hours from 00 to 23, joined by ';'",
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_log_may_have_several_folders() {
        let dirs = |pairs: &[(&str, &str)]| {
            let (config, _) = Config::from_properties(pairs.iter().copied())?;
            Ok::<_, Error>(config.for_store()?.commit_log_dirs())
        };
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        let root = ("storePathRootDir", "/s");
        assert_eq!(dirs(&[root]).unwrap(), (paths(&["/s/commitlog"]), paths(&[])));
        let two = ("storePathCommitLog", "/one, /two");
        assert_eq!(dirs(&[root, two]).unwrap(), (paths(&["/one", "/two"]), paths(&[])));
        let old = ("readOnlyCommitLogStorePaths", "/two,/old");
        assert_eq!(dirs(&[root, two, old]).unwrap(), (paths(&["/one"]), paths(&["/two", "/old"])));
        let none = ("readOnlyCommitLogStorePaths", "/one,/two");
        assert!(dirs(&[root, two, none]).unwrap_err().to_string().contains("one has to take new files"));
    }

    #[test]
    fn the_pause_between_deletions_reaches_the_store() {
        let pause = |pairs: &[(&str, &str)]| {
            let (config, warnings) = Config::from_properties(pairs.iter().copied()).unwrap();
            assert!(warnings.is_empty(), "{warnings:?}");
            config.for_store().unwrap().retention.pause
        };
        assert_eq!(pause(&[]), Duration::from_millis(100));
        assert_eq!(pause(&[("deleteCommitLogFilesInterval", "250")]), Duration::from_millis(250));
    }
}
