//! The description of a broker in `brokerStatus` and `clusterList`, with Java's names and this
//! broker's values.
//!
//! Java has a queue in front of each of its thread pools. Here sends wait in a queue for disk
//! blocks, for their flush or for the slaves. All other requests that cannot be handled at once
//! share one queue. Each row of theirs shows that queue, because such a request would wait there.
//! Acknowledgements of pop consumption are not supported.

use crate::{
    admission::{AtWork, MAX_AT_WORK},
    clock::now_millis,
    config::Live,
    core::Core,
    observe::stats::{Kind, SAMPLE_EVERY, Stats},
    registration::Registration,
    send::MessageWriter,
    timer::delay::Delay,
};
use rmq_protocol::{body::runtime_info, names, version};
use rmq_store::{LogOffset, MessageStore, Millis};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// The thread pools that Java's tools print.
const POOLS: [&str; 5] = ["send", "pull", "litePull", "query", "ack"];
/// The timeout of the attempt to take the append lock, by which the wait of a message is measured.
/// After this time Java considers the page cache busy.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// The state that the description is read from.
pub(crate) struct RuntimeInfo {
    store: Arc<MessageStore>,
    delay: Arc<Delay>,
    settings: Arc<Live>,
    stats: Arc<Stats>,
    writer: Arc<MessageWriter>,
    registration: Arc<Registration>,
    at_work: AtWork,
    /// Milliseconds since 1970.
    booted: i64,
}

impl RuntimeInfo {
    /// Creates the description of a broker that starts now.
    pub(crate) fn new(core: &Core, writer: &Arc<MessageWriter>, at_work: AtWork) -> Self {
        Self {
            store: Arc::clone(&core.store),
            delay: Arc::clone(&core.delay),
            settings: Arc::clone(&core.settings),
            stats: Arc::clone(&core.stats),
            registration: Arc::clone(&core.registration),
            writer: Arc::clone(writer),
            at_work,
            booted: now_millis(),
        }
    }

    /// The table. Reads from the disk, and may wait for the append lock. The request for it is one
    /// of those at work.
    pub(crate) fn table(&self, now: Instant) -> BTreeMap<String, String> {
        let mut table = BTreeMap::new();
        let mut put = |name: &str, value: String| {
            table.insert(name.to_owned(), value);
        };
        let settings = self.settings.load();
        let metrics = self.store.metrics();
        put("brokerActive", "true".into());
        put("brokerVersionDesc", version::CURRENT_NAME.into());
        put("brokerVersion", version::CURRENT.to_string());
        put("bootTimestamp", self.booted.to_string());
        put("runtime", elapsed(now_millis() - self.booted));
        put("startAcceptSendRequestTimeStamp", "0".into());
        // Java lacks this row. A broker is ready when one namesrv has it, but a rollout waits for
        // all of them.
        put(runtime_info::UNREGISTERED, self.registration.missing().join(";"));

        let cluster = &settings.identity.cluster_name;
        for (name, kind) in [("msgPutTotal", Kind::BrokerPut), ("msgGetTotal", Kind::BrokerGet)] {
            let counter = self.stats.find(kind, cluster);
            let [yesterday, today] = counter.as_ref().map_or([0, 0], |counter| counter.mornings());
            put(&format!("{name}YesterdayMorning"), yesterday.to_string());
            put(&format!("{name}TodayMorning"), today.to_string());
            put(&format!("{name}TodayNow"), counter.map_or(0, |counter| counter.value()).to_string());
        }
        put("putTps", self.rates(&[Kind::BrokerPut], cluster, now));
        // 4.x and its tools spell it with one r.
        for name in ["getTransferredTps", "getTransferedTps"] {
            put(name, self.rates(&[Kind::BrokerGet], cluster, now));
        }
        put("getFoundTps", self.rates(&[Kind::BrokerFound], cluster, now));
        put("getMissTps", self.rates(&[Kind::BrokerMissed], cluster, now));
        put("getTotalTps", self.rates(&[Kind::BrokerFound, Kind::BrokerMissed], cluster, now));
        put("putMessageTimesTotal", metrics.put_messages.to_string());
        put("putMessageFailedTimes", metrics.put_failures.to_string());
        put("putMessageSizeTotal", metrics.put_bytes.to_string());
        put("putMessageAverageSize", (metrics.put_bytes as f64 / metrics.put_messages.max(1) as f64).to_string());
        put("putMessageEntireTimeMax", metrics.put_times.max.as_millis().to_string());
        put("putMessageDistributeTime", distribution(&metrics.put_times.buckets));
        for (name, share) in [("putLatency99", 0.99), ("putLatency999", 0.999)] {
            put(name, format!("{:.2}", metrics.put_times.quantile(share).as_secs_f64() * 1000.0));
        }
        put("pageCacheLockTimeMills", self.store.append_wait(LOCK_TIMEOUT).as_millis().to_string());
        put("getMessageEntireTimeMax", metrics.get_times.max.as_millis().to_string());
        put("dispatchMaxBuffer", "0".into());

        put("dispatchBehindBytes", behind(metrics.appended, metrics.dispatched).to_string());
        put("remainHowManyDataToFlush", bytes(behind(metrics.appended, metrics.flushed)));
        put("remainHowManyDataToCommit", "0 B".into());
        put("remainTransientStoreBufferNumbs", i32::MAX.to_string());
        put("commitLogMinOffset", metrics.min_offset.to_string());
        put("commitLogMaxOffset", metrics.appended.to_string());
        put("earliestMessageTimeStamp", self.store.earliest_timestamp().map_or(-1, Millis::get).to_string());
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
            let [total, free] = [volume.f_blocks, volume.f_bavail].map(|blocks| bytes(blocks * volume.f_frsize));
            put("commitLogDirCapacity", format!("Total : {total}, Free : {free}."));
        }
        for pool in POOLS {
            let (size, capacity, head_wait) = self.queue(pool);
            put(&format!("{pool}ThreadPoolQueueSize"), size.to_string());
            put(&format!("{pool}ThreadPoolQueueCapacity"), capacity.to_string());
            put(&format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), head_wait.as_millis().to_string());
        }
        for (level, offset) in self.delay.snapshot().offset_table {
            let max = self.store.max_offset(names::SCHEDULE_TOPIC, level - 1);
            put(&format!("scheduleMessageOffset_{level}"), format!("{offset},{max}"));
        }
        table
    }

    /// For the queue that a request of this pool would wait in: its length, its limit, and the wait
    /// of its first request, as far as that is known.
    fn queue(&self, pool: &str) -> (usize, usize, Duration) {
        match pool {
            // Sends that wait for their flush or the slaves are bounded per connection. A send
            // waits for blocks for 2 s at most.
            "send" => {
                let waiting = self.writer.waiting();
                (waiting.blocks + waiting.flush + waiting.slaves, i32::MAX as usize, waiting.longest)
            }
            "ack" => (0, 0, Duration::ZERO),
            _ => (self.at_work.count().saturating_sub(1), MAX_AT_WORK, Duration::ZERO),
        }
    }

    /// The rates of all these kinds together in the last 10, 60 and 600 seconds.
    fn rates(&self, kinds: &[Kind], key: &str, now: Instant) -> String {
        let rate = |span: Duration| -> f64 {
            let found = kinds.iter().filter_map(|kind| self.stats.find(*kind, key));
            // An empty sum of f64 is -0.0.
            found.map(|counter| counter.over(span, now).tps).fold(0.0, |sum, tps| sum + tps)
        };
        let spans = [SAMPLE_EVERY, Duration::from_secs(60), Duration::from_secs(600)];
        spans.map(|span| rate(span).to_string()).join(" ")
    }
}

/// The bytes that are not flushed, or that consumers cannot see. The two ends are read one after
/// the other, so the later may be ahead of the earlier.
fn behind(appended: LogOffset, mark: LogOffset) -> u64 {
    appended.saturating_since(mark)
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

/// A number of bytes with Java's unit.
fn bytes(count: u64) -> String {
    let power = count.max(1).ilog2() / 10;
    match power {
        0 => format!("{count} B"),
        power => {
            let unit = ["K", "M", "G", "T", "P", "E"][power as usize - 1];
            format!("{:.1} {unit}iB", count as f64 / (1_u64 << (10 * power)) as f64)
        }
    }
}

/// The number of puts by duration, in Java's classes. Its exporter finds the last one by its
/// position.
fn distribution(buckets: &[u64]) -> String {
    const CLASSES: [(&str, u64); 13] = [
        ("[<=0ms]", 1),
        ("[0~10ms]", 10),
        ("[10~50ms]", 50),
        ("[50~100ms]", 100),
        ("[100~200ms]", 200),
        ("[200~500ms]", 500),
        ("[500ms~1s]", 1000),
        ("[1~2s]", 2000),
        ("[2~3s]", 3000),
        ("[3~4s]", 4000),
        ("[4~5s]", 5000),
        ("[5~10s]", 10_000),
        ("[10s~]", u64::MAX),
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
    use crate::{
        config::Config,
        replication::Slaves,
        testing::{self, message},
    };
    use jiff::civil::date;
    use rmq_store::Follower;

    fn info(folder: &tempfile::TempDir) -> RuntimeInfo {
        info_with(folder, Vec::new())
    }

    fn info_with(folder: &tempfile::TempDir, followers: Vec<Arc<dyn Follower>>) -> RuntimeInfo {
        // Nothing runs on it; only its handle is used.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let root = folder.path().display().to_string();
        let (config, _) = Config::from_properties([
            ("storePathRootDir", root.as_str()),
            ("mappedFileSizeCommitLog", "16777216"),
            ("brokerClusterName", "c"),
            ("namesrvAddr", "n1:9876;n2:9876"),
            ("flushIntervalCommitLog", "3600000"),
            ("flushCommitLogThoroughInterval", "3600000"),
        ])
        .unwrap();
        let core = testing::core(config, followers, runtime.handle().clone());
        let slaves = Arc::new(Slaves::new(Arc::clone(&core.store), Arc::clone(&core.settings)));
        let writer = Arc::new(MessageWriter::new(&core, &Arc::default(), &slaves));
        RuntimeInfo::new(&core, &writer, AtWork::default())
    }

    /// Stores `count` messages of 100 kB. Returns the end of the last one.
    fn put(store: &MessageStore, count: usize) -> LogOffset {
        let message = message(&[7; 100_000]);
        (0..count).map(|_| store.put(&message).unwrap().end).last().unwrap_or_default()
    }

    /// The rows that a Java tool reads from a working broker.
    #[test]
    fn what_the_store_counts_has_the_names_and_formats_of_java() {
        let folder = tempfile::tempdir().unwrap();
        let info = info(&folder);
        let end = put(&info.store, 3);
        assert_eq!(info.store.dispatched().wait_until(end, Instant::now() + Duration::from_secs(30)), Ok(true));
        let reads = [(Kind::BrokerFound, 20), (Kind::BrokerMissed, 40), (Kind::BrokerGet, 60)];
        reads.iter().for_each(|(kind, _)| info.stats.add(*kind, "c", 0));
        let now = Instant::now();
        info.stats.sample(now);
        reads.iter().for_each(|(kind, count)| info.stats.add(*kind, "c", *count));
        let table = info.table(now + SAMPLE_EVERY);
        let metrics = info.store.metrics();
        let reported = |name: &str| table.get(name).unwrap_or_else(|| panic!("{name} is not in {table:?}")).clone();
        assert_eq!((reported("commitLogMinOffset"), reported("commitLogMaxOffset")), ("0".to_owned(), end.to_string()));
        assert_eq!(
            (reported("dispatchBehindBytes"), reported("remainHowManyDataToFlush")),
            ("0".to_owned(), "293.2 KiB".into())
        );
        assert_eq!(reported("unregisteredNamesrvs"), "n1:9876;n2:9876");
        assert_eq!(reported("earliestMessageTimeStamp"), info.store.earliest_timestamp().unwrap().to_string());
        assert_eq!(
            (reported("putMessageTimesTotal"), reported("putMessageSizeTotal")),
            ("3".to_owned(), end.to_string())
        );
        assert_eq!(reported("putMessageEntireTimeMax"), metrics.put_times.max.as_millis().to_string());
        let classes: Vec<_> = reported("putMessageDistributeTime").split(' ').map(str::to_owned).collect();
        assert!(classes[12].starts_with("[10s~]:"), "{classes:?}");
        let counts = classes.iter().filter_map(|class| class.rsplit_once(':')?.1.parse::<u64>().ok());
        assert_eq!(counts.sum::<u64>(), 3);
        assert_eq!(reported("putLatency999"), format!("{:.2}", metrics.put_times.max.as_secs_f64() * 1000.0));
        for name in ["commitLogDiskRatio", "consumeQueueDiskRatio"] {
            assert!((0.0..=1.0).contains(&reported(name).parse::<f64>().unwrap()), "{}", reported(name));
        }
        assert!(
            reported("commitLogDirCapacity").starts_with("Total : ")
                && reported("commitLogDirCapacity").ends_with("iB.")
        );
        let rate = |name: &str| reported(name).split(' ').next().unwrap().parse::<f64>().unwrap().round();
        let names = ["getFoundTps", "getMissTps", "getTotalTps", "getTransferredTps", "getTransferedTps"];
        assert_eq!(names.map(rate), [2.0, 4.0, 6.0, 6.0, 6.0]);
        info.store.close().unwrap();
    }

    /// The sizes of queues were always 0, and no test covered a stalled dispatch.
    #[test]
    fn what_waits_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let (go_on, held) = std::sync::mpsc::channel::<()>();
        let held = parking_lot::Mutex::new(held);
        // Dispatch stays at the first message until `go_on` is dropped.
        let info = info_with(&folder, vec![rmq_store::arrivals(move |_| _ = held.lock().recv())]);
        let end = put(&info.store, 2);
        let working = [(); 4].map(|()| info.at_work.enter().unwrap());
        let table = info.table(Instant::now());
        assert_eq!(table["dispatchBehindBytes"], end.to_string());
        let queues = ["send", "pull", "litePull", "query", "ack"].map(|pool| {
            ["Size", "Capacity", "HeadWaitTimeMills"].map(|what| &*table[&format!("{pool}ThreadPoolQueue{what}")])
        });
        let shared = ["3", "10000", "0"];
        assert_eq!(queues, [["0", "2147483647", "0"], shared, shared, shared, ["0", "0", "0"]]);
        let held_for: u64 = table["pageCacheLockTimeMills"].parse().unwrap();
        assert!(held_for <= LOCK_TIMEOUT.as_millis() as u64 + 60_000, "{held_for}");
        drop((go_on, working));
        assert_eq!(info.store.dispatched().wait_until(end, Instant::now() + Duration::from_secs(30)), Ok(true));
        let table = info.table(Instant::now());
        assert_eq!((&*table["dispatchBehindBytes"], &*table["pullThreadPoolQueueSize"]), ("0", "0"));
        info.store.close().unwrap();
    }

    #[test]
    fn bytes_have_the_unit_of_their_size() {
        let texts = [0, 1023, 1024, 1536, 7065, 321_465_872_384, u64::MAX].map(bytes);
        assert_eq!(texts, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "6.9 KiB", "299.4 GiB", "16.0 EiB"]);
    }

    /// The values that `clusterList` subtracts: the totals at the last two midnights, and now.
    #[test]
    fn the_totals_of_midnights_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let info = info(&folder);
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
    fn metrics_read_at_different_moments_do_not_underflow() {
        let (five, seven) = (LogOffset::new(5), LogOffset::new(7));
        assert_eq!((behind(seven, five), behind(five, seven)), (2, 0));
    }
}
