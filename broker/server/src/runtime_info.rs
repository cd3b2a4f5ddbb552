//! What a broker says of itself in `brokerStatus` and `clusterList`: Java's names, our truths. Queues of threads that are not here have the size 0.

use crate::{
    clock::now_millis,
    config::Live,
    delay::Delay,
    stats::{Kind, SAMPLE_EVERY, Stats},
};
use rmq_protocol::{names, version};
use rmq_store::MessageStore;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Thread pools that Java's tools print.
const POOLS: [&str; 5] = ["send", "pull", "litePull", "query", "ack"];

/// Handles of the facts.
pub(crate) struct RuntimeInfo {
    pub(crate) store: Arc<MessageStore>,
    pub(crate) delay: Arc<Delay>,
    pub(crate) settings: Arc<Live>,
    pub(crate) stats: Arc<Stats>,
    /// Milliseconds since 1970.
    pub(crate) booted: i64,
}

impl RuntimeInfo {
    /// The table. Looks at the disk.
    pub(crate) fn table(&self, now: Instant) -> BTreeMap<String, String> {
        let mut table = BTreeMap::new();
        let mut put = |name: &str, value: String| {
            table.insert(name.to_owned(), value);
        };
        let settings = self.settings.load();
        let figures = self.store.figures();
        put("brokerActive", "true".into());
        put("brokerVersionDesc", version::CURRENT_NAME.into());
        put("brokerVersion", version::CURRENT.to_string());
        put("bootTimestamp", self.booted.to_string());
        put("runtime", elapsed(now_millis() - self.booted));
        put("startAcceptSendRequestTimeStamp", "0".into());

        let cluster = &settings.identity.cluster_name;
        for (name, kind) in [("msgPutTotal", Kind::BrokerPut), ("msgGetTotal", Kind::BrokerGet)] {
            let counter = self.stats.find(kind, cluster);
            let [yesterday, today] = counter.as_ref().map_or([0, 0], |counter| counter.mornings());
            put(&format!("{name}YesterdayMorning"), yesterday.to_string());
            put(&format!("{name}TodayMorning"), today.to_string());
            put(&format!("{name}TodayNow"), counter.map_or(0, |counter| counter.value()).to_string());
        }
        let (put_tps, get_tps) = (self.rates(Kind::BrokerPut, cluster, now), self.rates(Kind::BrokerGet, cluster, now));
        put("putTps", put_tps);
        for name in ["getTransferredTps", "getFoundTps", "getTotalTps"] {
            put(name, get_tps.clone());
        }
        put("getMissTps", "0.0 0.0 0.0".into());
        put("putMessageTimesTotal", figures.put_messages.to_string());
        put("putMessageFailedTimes", figures.put_failures.to_string());
        put("putMessageSizeTotal", figures.put_bytes.to_string());
        put("putMessageAverageSize", (figures.put_bytes as f64 / figures.put_messages.max(1) as f64).to_string());
        put("putMessageEntireTimeMax", figures.put_times.max.as_millis().to_string());
        put("putMessageDistributeTime", distribution(&figures.put_times.buckets));
        put("pageCacheLockTimeMills", "0".into());
        put("getMessageEntireTimeMax", "0".into());
        put("dispatchMaxBuffer", "0".into());

        put("dispatchBehindBytes", behind(figures.appended, figures.dispatched).to_string());
        put("remainHowManyDataToFlush", format!("{} B", figures.appended.saturating_sub(figures.flushed)));
        put("remainHowManyDataToCommit", "0 B".into());
        put("remainTransientStoreBufferNumbs", i32::MAX.to_string());
        put("commitLogMinOffset", figures.min_offset.to_string());
        put("commitLogMaxOffset", figures.appended.to_string());
        put("earliestMessageTimeStamp", self.store.earliest_timestamp().unwrap_or(-1).to_string());
        if let Ok(used) = self.store.disk_use() {
            let ratio = |percent: f64| (percent / 100.0).to_string();
            put("commitLogDiskRatio", ratio(used.commit_log));
            for (folder, used) in &used.commit_log_dirs {
                put(&format!("commitLogDiskRatio_{}", folder.display()), ratio(*used));
            }
            put("consumeQueueDiskRatio", ratio(used.consume_queue));
        }
        let (folders, _) = self.store.config().commit_log_dirs();
        if let Some(volume) = folders.first().and_then(|folder| rustix::fs::statvfs(folder).ok()) {
            let gib = |blocks: u64| (blocks * volume.f_frsize) as f64 / f64::from(1 << 30);
            put(
                "commitLogDirCapacity",
                format!("Total : {:.1} GiB, Free : {:.1} GiB.", gib(volume.f_blocks), gib(volume.f_bavail)),
            );
        }
        for pool in POOLS {
            put(&format!("{pool}ThreadPoolQueueSize"), "0".into());
            put(&format!("{pool}ThreadPoolQueueCapacity"), "0".into());
            put(&format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), "0".into());
        }
        for (level, offset) in self.delay.snapshot().offset_table {
            let max = self.store.max_offset(names::SCHEDULE_TOPIC, level - 1);
            put(&format!("scheduleMessageOffset_{level}"), format!("{offset},{max}"));
        }
        table
    }

    /// The last 10, 60 and 600 seconds.
    fn rates(&self, kind: Kind, key: &str, now: Instant) -> String {
        let counter = self.stats.find(kind, key);
        let rate = |span: Duration| counter.as_ref().map_or(0.0, |counter| counter.over(span, now).tps);
        format!("{} {} {}", rate(SAMPLE_EVERY), rate(Duration::from_secs(60)), rate(Duration::from_secs(600)))
    }
}

/// Bytes that consumers cannot see yet. The two ends are read one after the other, so the later may be ahead of the earlier.
fn behind(appended: u64, dispatched: u64) -> u64 {
    appended.saturating_sub(dispatched)
}

fn elapsed(millis: i64) -> String {
    let seconds = millis / 1000;
    format!(
        "[ {} days, {} hours, {} minutes, {} seconds ]",
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Puts by duration, in Java's classes.
fn distribution(buckets: &[u64]) -> String {
    const CLASSES: [(&str, u64); 6] = [
        ("[<=0ms]", 1),
        ("[0~10ms]", 10),
        ("[10~50ms]", 50),
        ("[50~100ms]", 100),
        ("[100~500ms]", 500),
        ("[500ms~]", u64::MAX),
    ];
    let mut counts = [0u64; CLASSES.len()];
    for (power, count) in buckets.iter().enumerate() {
        let millis = (1u64 << power.min(63)) / 1000;
        let class = CLASSES.iter().position(|(_, below)| millis < *below).unwrap_or(CLASSES.len() - 1);
        counts[class] += count;
    }
    CLASSES.iter().zip(counts).map(|((name, _), count)| format!("{name}:{count} ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use jiff::civil::date;

    /// What `clusterList` subtracts: the totals at the last two midnights, and now.
    #[test]
    fn the_totals_of_midnights_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display().to_string();
        let (config, _) = Config::from_properties([
            ("storePathRootDir", root.as_str()),
            ("mappedFileSizeCommitLog", "16777216"),
            ("brokerClusterName", "c"),
        ])
        .unwrap();
        let store = Arc::new(MessageStore::open(config.for_store().unwrap(), Box::new(|_: &_| ())).unwrap());
        let info = RuntimeInfo {
            delay: Arc::new(Delay::open(folder.path(), config.delay_levels().unwrap()).unwrap()),
            stats: Arc::default(),
            settings: Arc::new(Live::new(config, None)),
            booted: now_millis(),
            store,
        };
        let now = Instant::now();
        for (day, messages) in [(1, 3), (2, 4), (3, 5)] {
            info.stats.sample_on(now, date(2024, 1, day));
            info.stats.add(Kind::BrokerPut, "c", messages);
        }
        let table = info.table(now);
        let totals =
            ["YesterdayMorning", "TodayMorning", "TodayNow"].map(|when| table[&format!("msgPutTotal{when}")].as_str());
        assert_eq!(totals, ["3", "7", "12"]);
        assert_eq!(table["msgGetTotalTodayMorning"], "0");
        assert_eq!(table["dispatchBehindBytes"], "0");
        info.store.close().unwrap();
    }

    #[test]
    fn figures_that_were_read_at_different_moments_do_not_underflow() {
        assert_eq!((behind(7, 5), behind(5, 7)), (2, 0));
    }
}
