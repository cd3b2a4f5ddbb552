//! What a put costs: nanoseconds for each, by body size and number of threads, with dispatch and
//! index running beside it.
//!
//! `cargo bench -p rmq-store --bench append [DIR]` writes about 2 GiB below `DIR`, or the system's
//! temporary directory.

#![expect(clippy::print_stdout, reason = "its table is what it is for")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rmq_store::{Config, MessageStore, NewMessage};

const BYTES: u64 = 400 << 20;

fn main() {
    let parent = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).map(PathBuf::from);
    let parent = parent.unwrap_or_else(std::env::temp_dir);
    println!("| body | threads | ns per put | p99.9 below | CPU ns per put | dispatched after |");
    println!("|---|---|---|---|---|---|");
    for size in [128, 1024] {
        for threads in [1, 4] {
            let root = tempfile::tempdir_in(&parent).expect("a directory to write to");
            println!("{}", run(root.path(), size, threads));
        }
    }
}

fn run(root: &Path, size: usize, threads: u64) -> String {
    let mut config = Config::new(root);
    config.retention.refuse_writes = 100;
    let store = MessageStore::open(config, Vec::new()).expect("the store opens");
    let each = BYTES / (size as u64 + 200) / threads;
    let body = vec![7; size];
    put(&store, 0, &body);
    let (begun, cpu) = (Instant::now(), cpu_time());
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (store, body) = (&store, &body);
            scope.spawn(move || (0..each).for_each(|n| put(store, thread << 32 | n, body)));
        }
    });
    let took = begun.elapsed();
    let dispatched =
        store.dispatched().wait_until(store.max_physical_offset(), Instant::now() + Duration::from_secs(60));
    assert_eq!(dispatched, Ok(true));
    let settled = begun.elapsed() - took;
    let cpu = cpu_time() - cpu;
    let puts = (each * threads) as u128;
    let times = store.metrics().put_times;
    let mut left = times.count() / 1000;
    let p999 = (0..rmq_store::BUCKETS).rev().find(|bucket| {
        let above = times.buckets[*bucket] > left;
        left = left.saturating_sub(times.buckets[*bucket]);
        above
    });
    format!(
        "| {size} B | {threads} | {} | {} us | {} | {settled:.0?} |",
        took.as_nanos() * u128::from(threads) / puts,
        1u64 << p999.unwrap_or(0),
        cpu.as_nanos() / puts
    )
}

fn put(store: &MessageStore, n: u64, body: &[u8]) {
    let host = SocketAddr::from(([127, 0, 0, 1], 10911));
    let properties = format!("UNIQ_KEY\u{1}7F0000010A2B18B4AAC2{n:012X}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}");
    let message = NewMessage {
        topic: "BenchmarkTest",
        queue_id: (n % 8) as i32,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        properties: properties.as_bytes(),
        body,
    };
    store.put(&message).expect("the message is stored");
}

/// CPU time of the whole process.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
