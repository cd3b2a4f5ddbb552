//! Metrics of the store.

use super::durations::Durations;
use crate::{
    clock::now_millis,
    feature::Feature,
    metrics_page::{MetricsPage, Written},
};
use prometheus::{GaugeVec, Opts};
use rmq_store::{DiskUse, MessageStore};
use std::{path::Path, sync::Arc};

/// The store's metrics.
pub(crate) struct StoreMetrics(pub(crate) Arc<MessageStore>);

impl Feature for StoreMetrics {
    fn metrics(&self, to: &MetricsPage) -> Written {
        read(&self.0, to)
    }
}

/// Writes the store's counters, its watermarks and the use of its disks.
fn read(store: &MessageStore, to: &MetricsPage) -> Written {
    let f = store.metrics();
    let index_behind = f.behind("index");
    let age = store.earliest_timestamp().map_or(0, |oldest| (now_millis() - oldest.get()).max(0)) as u64;
    for (name, help, value) in [
        (
            "rocketmq_storage_size_bytes",
            "Bytes of commit log, from the oldest message to the end.",
            f.appended.saturating_since(f.min_offset),
        ),
        (
            "rocketmq_storage_flush_behind_bytes",
            "Bytes of commit log not yet on the disk: a power cut would take them.",
            f.appended.saturating_since(f.flushed),
        ),
        (
            "rocketmq_storage_dispatch_behind_bytes",
            "Bytes of commit log that consumers cannot see yet.",
            f.appended.saturating_since(f.dispatched),
        ),
        (
            "rocketmq_storage_message_reserve_time_milliseconds",
            "Age of the oldest message there is, in milliseconds.",
            age,
        ),
    ] {
        let gauge = GaugeVec::new(Opts::new(name, help), &["storage_type", "storage_medium"])?;
        gauge.with_label_values(&["local", "disk"]).set(value as f64);
        to.register(Box::new(gauge))?;
    }
    to.gauge(
        "rocketmq_store_held_bytes",
        "Bytes of expired commit log files that stay because a slave has yet to copy them, up to \
         diskSpaceCleanForciblyRatio.",
        f.held_bytes as f64,
    )?;
    to.gauge("rocketmq_store_appended_offset", "End of the commit log, in bytes.", f.appended.get() as f64)?;
    to.gauge("rocketmq_store_flushed_offset", "Up to here the commit log is on the disk.", f.flushed.get() as f64)?;
    to.gauge(
        "rocketmq_store_dispatched_offset",
        "Up to here consumers see the commit log.",
        f.dispatched.get() as f64,
    )?;
    to.gauge(
        "rocketmq_store_mapped_bytes",
        "Bytes of commit log and index files mapped: address space, of which the system keeps in memory what is used.",
        f.mapped_bytes as f64,
    )?;
    to.count("rocketmq_store_queues", "Consume queues: a queue of a topic has one once it got a message.", f.queues)?;
    to.count("rocketmq_store_open_files", "Consume queue files open, of 512 at most.", f.open_files)?;
    to.count("rocketmq_store_index_files", "Index files, which find messages by their keys.", f.index_files)?;
    to.gauge(
        "rocketmq_store_queue_buffer_bytes",
        "Bytes of consume queue entries not yet written to the disk.",
        f.consume_queue_pending as f64,
    )?;
    to.gauge(
        "rocketmq_store_queue_memory_bytes",
        "Memory of consume queue entries, as of when they were last written: the newest ones of \
         each queue stay for consumers that keep up.",
        f.consume_queue_memory as f64,
    )?;
    to.counter("rocketmq_store_put_messages_total", "Messages stored since the start.", f.put_messages)?;
    to.counter("rocketmq_store_put_bytes_total", "Bytes of the records stored since the start.", f.put_bytes)?;
    to.counter(
        "rocketmq_store_put_failures_total",
        "Messages refused with an error instead of being stored.",
        f.put_failures,
    )?;
    to.counter(
        "rocketmq_store_damages_passed_over_total",
        "Damaged records and queue entries that pulls passed over, each time one met them; the log \
         says which. Not 0: check the disk.",
        f.damages_passed_over,
    )?;
    to.counter(
        "rocketmq_store_late_blocks_total",
        "Sends that found no disk blocks ready and had to wait: many of them mean a disk too slow for what is sent.",
        f.puts_would_block,
    )?;
    to.counter(
        "rocketmq_store_cold_reads_total",
        "Pulls whose messages had left the memory and came from the disk.",
        f.gets_not_resident,
    )?;
    for (name, help, counted) in [
        ("rocketmq_store_put_seconds", "Time to store a message, without waiting for disk or slaves.", f.put_times),
        ("rocketmq_store_append_lock_seconds", "Waits for another message that was being stored.", f.lock_waits),
        ("rocketmq_store_flush_seconds", "Time the disk took to take what was stored.", f.flush_times),
        ("rocketmq_store_get_seconds", "Time to look messages up, found or not.", f.get_times),
    ] {
        to.register(Box::new(Durations::new(name, help, counted)?))?;
    }
    to.gauge(
        "rocketmq_store_index_behind_bytes",
        "Bytes of log that queries by key cannot find yet; more than 0 only after the disk was full or failed.",
        index_behind as f64,
    )?;
    to.gauge(
        "rocketmq_store_refuses_writes",
        "1 while no messages are taken.",
        f64::from(u8::from(f.refusing.is_some())),
    )?;
    match store.disk_use() {
        Ok(used) => read_disk_use(&used, &store.config().root, to),
        Err(error) => {
            tracing::warn!(%error, "how full the disks are cannot be shown");
            Ok(())
        }
    }
}

/// Writes the decisive disk use, and that of the volume of each directory that grows.
fn read_disk_use(used: &DiskUse, root: &Path, to: &MetricsPage) -> Written {
    to.gauge(
        "rocketmq_store_disk_used_ratio",
        "Used share, 0 to 1, that decides on deletion and refusal: of the emptiest commit log \
         disk, or of storePathRootDir's if fuller.",
        used.deciding() / 100.0,
    )?;
    let each = GaugeVec::new(
        Opts::new(
            "rocketmq_store_directory_disk_used_ratio",
            "Used share, 0 to 1, of the disk of each directory that gets new files.",
        ),
        &["directory"],
    )?;
    let directories = used.commit_log_dirs.iter().map(|(directory, percent)| (directory.as_path(), *percent));
    for (directory, percent) in directories.chain([(root, used.consume_queue)]) {
        each.with_label_values(&[&*directory.to_string_lossy()]).set(percent / 100.0);
    }
    to.register(Box::new(each))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full disk of consume queues caused refused writes while the metric showed the commit log's
    /// disk.
    #[test]
    fn the_disk_that_decides_is_shown_and_each_beside_it() {
        let used = DiskUse {
            commit_log: 30.0,
            commit_log_dirs: vec![("/a".into(), 30.0), ("/b".into(), 60.0)],
            consume_queue: 92.0,
        };
        let page = MetricsPage::new(&[]);
        read_disk_use(&used, Path::new("/store"), &page).unwrap();
        let text = page.into_text().unwrap();
        let rows: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let each = |path: &str, ratio: &str| {
            format!("rocketmq_store_directory_disk_used_ratio{{directory=\"{path}\"}} {ratio}")
        };
        let mut wanted = vec!["rocketmq_store_disk_used_ratio 0.92".to_owned()];
        wanted.extend([each("/a", "0.3"), each("/b", "0.6"), each("/store", "0.92")]);
        assert_eq!(rows, wanted);
    }
}
