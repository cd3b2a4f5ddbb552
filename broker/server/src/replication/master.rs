//! The master's side: sends the log to each slave, and tracks what each slave has.

use super::{
    unsent::Unsent,
    wire::{HEADER, Piece, REPORT},
};
use crate::{clock::now_millis, config::Live};
use bytes::Bytes;
use parking_lot::Mutex;
use rmq_protocol::body::{HaConnectionInfo, HaRuntimeInfo};
use rmq_remoting::{AcceptFailures, LogLimit};
use rmq_store::{LogOffset, MessageStore};
use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The limit of concurrent connections of slaves. Further ones are closed at once. A group has five
/// members at most.
const MAX_SLAVES: usize = 32;
/// The same limit for one address, so that one peer cannot keep all others out.
const MAX_SLAVES_OF_ADDRESS: usize = 8;

/// The number of log lines of a kind that are written before they are only counted: each slave of a
/// group that starts is named.
const LINES: u64 = MAX_SLAVES_OF_ADDRESS as u64;
static TOO_MANY: LogLimit = LogLimit::new(1, "connections of slaves were closed, as there were too many");
static CONNECTED: LogLimit = LogLimit::new(LINES, "more slaves have connected");
static SENDING: LogLimit = LogLimit::new(LINES, "the log is sent to more slaves");
static LOST: LogLimit = LogLimit::new(LINES, "more connections to slaves were lost");
static GONE: LogLimit = LogLimit::new(LINES, "more slaves have gone");

/// The slaves of this master.
pub(crate) struct Slaves {
    store: Arc<MessageStore>,
    settings: Arc<Live>,
    connected: Mutex<BTreeMap<SocketAddr, State>>,
    /// Tracks what expired files wait for.
    unsent: Arc<Unsent>,
}

/// One slave. `acked <= sent`.
#[derive(Debug, Clone, Copy)]
struct State {
    /// The slave has our log up to this offset. `None` until it has reported that: its first
    /// report, unless it is 0, is only the offset to begin at. A slave that compares its log with
    /// ours begins before its end.
    acked: Option<LogOffset>,
    sent: Option<LogOffset>,
    /// What was sent up to and the time, when the rate was last computed.
    rate_since: (LogOffset, i64),
    rate: i64,
}

impl Slaves {
    pub(crate) fn new(store: Arc<MessageStore>, settings: Arc<Live>) -> Self {
        let unsent = Arc::<Unsent>::default();
        let needs = Arc::clone(&unsent);
        store.set_needs(Box::new(move || needs.needed(Instant::now())));
        Self { store, settings, connected: Mutex::default(), unsent }
    }

    /// The number of members in sync, including the master: connected, and less than
    /// `haMaxGapNotInSync` bytes behind.
    pub(crate) fn in_sync(&self) -> u32 {
        let (end, gap) = (self.store.max_physical_offset(), self.settings.load().replication.max_gap);
        1 + self.connected.lock().values().filter(|slave| slave.keeps_up(end, gap)).count() as u32
    }

    /// The number of members that must have a message before it is acknowledged, if enough of them
    /// are in sync. With `enableAutoInSyncReplicas` it is the number in sync, but never less than
    /// `minInSyncReplicas`.
    pub(crate) fn needed(&self) -> Result<u32, NotEnough> {
        let settings = self.settings.load();
        let replication = &settings.replication;
        if replication.in_sync <= 1 {
            return Ok(1);
        }
        let in_sync = self.in_sync();
        let needed = if replication.auto_in_sync {
            in_sync.clamp(replication.min_in_sync, replication.in_sync)
        } else {
            replication.in_sync
        };
        if in_sync >= needed { Ok(needed) } else { Err(NotEnough { in_sync, needed }) }
    }

    /// The offset up to which the required number of members have the log. If the master alone is
    /// enough, that is the end of the log, with or without slaves. With fewer members than
    /// required, the offset stays where it was when there were enough. It is computed on request,
    /// because no slave reports to most masters.
    pub(crate) fn confirmed(&self) -> LogOffset {
        let needed = self.needed().unwrap_or(self.settings.load().replication.in_sync).max(1) as usize;
        let mut ends: Vec<LogOffset> = self.connected.lock().values().filter_map(|slave| slave.acked).collect();
        ends.push(self.store.max_physical_offset());
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let before = self.store.confirmed().value();
        ends.get(needed - 1).map_or(before, |end| before.max(*end))
    }

    /// The state as `haStatus` shows it.
    pub(crate) fn describe(&self) -> HaRuntimeInfo {
        let (end, gap) = (self.store.max_physical_offset(), self.settings.load().replication.max_gap);
        let connected = self.connected.lock();
        let rows = connected.iter().map(|(address, slave)| HaConnectionInfo {
            addr: address.to_string(),
            diff: end.saturating_since(slave.acked.unwrap_or_default()) as i64,
            in_sync: slave.keeps_up(end, gap),
            slave_ack_offset: slave.acked.map_or(-1, LogOffset::to_wire),
            transferred_byte_in_second: slave.rate,
            transfer_from_where: slave.sent.map_or(-1, LogOffset::to_wire),
        });
        let ha_connection_info: Vec<_> = rows.collect();
        HaRuntimeInfo {
            in_sync_slave_nums: ha_connection_info.iter().filter(|row| row.in_sync).count() as i32,
            ha_connection_info,
            master: true,
            master_commit_log_max_offset: end.to_wire(),
            ..HaRuntimeInfo::default()
        }
    }

    /// The bytes that the slave furthest behind lacks. `None` without a slave.
    pub(crate) fn lag(&self) -> Option<u64> {
        let end = self.store.max_physical_offset();
        self.connected.lock().values().map(|slave| end.saturating_since(slave.acked.unwrap_or_default())).max()
    }

    /// Serves slaves until `stop`.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let mut failures = AcceptFailures::new("a slave");
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => match Admitted::new(&self, peer) {
                    Some(admitted) => {
                        let stop = stop.clone();
                        tasks.spawn(async move { admitted.serve(stream, stop).await });
                    }
                    None if TOO_MANY.admits() => tracing::warn!(
                        %peer,
                        "{MAX_SLAVES} slaves are connected, or {MAX_SLAVES_OF_ADDRESS} from this address; closing a new one"
                    ),
                    None => {}
                },
                Err(error) => failures.pause(&error).await,
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Records the offsets that the slave reports. The first report also sets `begin`, where the
    /// slave continues.
    async fn take_reports(
        &self,
        mut reader: OwnedReadHalf,
        peer: SocketAddr,
        begin: watch::Sender<Option<Begin>>,
    ) -> io::Result<()> {
        let silence = self.settings.load().replication.housekeeping.0;
        let mut report = [0; REPORT];
        loop {
            match tokio::time::timeout(silence, reader.read_exact(&mut report)).await {
                Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no report for {silence:?}"))),
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Ok(read) => read?,
            };
            let end = LogOffset::new(u64::from_be_bytes(report));
            // The check comes before the report counts: a longer log is another log, and confirms
            // nothing of this one.
            let first = begin.borrow().is_none();
            if first {
                let from = self.check_end(end, Report::Begin).and_then(|()| self.first_offset(end));
                if let Ok(from) = from {
                    self.unsent.begin(peer, from, Instant::now());
                }
                begin.send_replace(Some(from));
                if end != LogOffset::ZERO {
                    continue;
                }
            }
            self.check_end(end, Report::End).map_err(|refused| io::Error::other(refused.why))?;
            self.unsent.reported(peer, end, Instant::now());
            if let Some(slave) = self.connected.lock().get_mut(&peer) {
                slave.acked = Some(end);
            }
            self.store.confirm(self.confirmed());
        }
    }

    async fn send_log(
        &self,
        mut writer: OwnedWriteHalf,
        peer: SocketAddr,
        mut begin: watch::Receiver<Option<Begin>>,
    ) -> io::Result<()> {
        let Ok(begin) = begin.wait_for(Option::is_some).await.map(|begin| begin.clone()) else { return Ok(()) };
        let mut next = match begin.unwrap_or(Ok(LogOffset::ZERO)) {
            Ok(first) => first,
            Err(Refused { why, heartbeat }) => {
                writer.write_all(&Piece { offset: heartbeat, size: 0 }.encode()).await?;
                return Err(io::Error::other(why));
            }
        };
        if SENDING.admits() {
            tracing::info!(slave = %peer, offset = next.get(), "sending the log");
        }
        let heartbeat = self.settings.load().replication.heartbeat.0;
        let mut told = false;
        loop {
            if self.store.max_physical_offset() <= next {
                // A slave that compares logs learns at once that nothing follows the bytes that it
                // received.
                if !std::mem::replace(&mut told, true) {
                    writer.write_all(&Piece { offset: next, size: 0 }.encode()).await?;
                }
                let more = self.store.appended().reached(next + 1);
                if tokio::time::timeout(heartbeat, more).await.is_err() {
                    writer.write_all(&Piece { offset: next, size: 0 }.encode()).await?;
                }
                continue;
            }
            let bytes = self.read(next).await?;
            if bytes.is_empty() {
                return Err(io::Error::other(format!("the log has nothing at {next}")));
            }
            let header = Piece { offset: next, size: bytes.len() }.encode();
            write_both(&mut writer, header, &bytes).await?;
            next += bytes.len() as u64;
            self.note_sent(peer, next);
        }
    }

    /// The next bytes to send. Bytes that are not in memory are prefetched by a blocking thread.
    /// Otherwise the write to the socket would block on page faults, and with it everything that
    /// runs on this thread.
    async fn read(&self, offset: LogOffset) -> io::Result<Bytes> {
        let most = self.settings.load().replication.batch as usize;
        if let Some(bytes) = self.store.read_resident(offset, most).map_err(io::Error::other)? {
            return Ok(bytes);
        }
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || store.read_from_disk(offset, most)).await?.map_err(io::Error::other)
    }

    /// The offset at which a slave that asks for `reported` begins. A new slave gets everything
    /// that is retained: it counts as in sync when it has caught up, so it must have what it would
    /// be asked for after a loss of this master. Java's masters begin at their last file.
    fn first_offset(&self, reported: LogOffset) -> Begin {
        let min = self.store.min_physical_offset();
        match reported {
            LogOffset::ZERO => Ok(min),
            reported if reported >= min => Ok(reported),
            reported => Err(Refused {
                why: format!(
                    "it wants this log from {reported} on, which begins at {min}: what lies before was deleted here when its time \
                     was over or the disk was full. The slave says in its log what can be done (slaveState in brokerStatus)"
                ),
                heartbeat: min,
            }),
        }
    }

    fn check_end(&self, reported: LogOffset, report: Report) -> Result<(), Refused> {
        let end = self.store.max_physical_offset();
        if reported <= end {
            return Ok(());
        }
        let its_log = match report {
            Report::Begin => "its log has what lies before",
            Report::End => "its log ends at",
        };
        Err(Refused {
            why: format!(
                "{its_log} {reported}, and this one ends at {end}: it has messages that this master lacks, or is of another master. \
                 Nothing is sent to it; keep its store until you know which messages are needed"
            ),
            heartbeat: end,
        })
    }

    fn note_sent(&self, peer: SocketAddr, next: LogOffset) {
        let now = now_millis();
        if let Some(slave) = self.connected.lock().get_mut(&peer) {
            slave.sent = Some(next);
            let (bytes, since) = slave.rate_since;
            if now - since >= 1000 {
                slave.rate = next.saturating_since(bytes) as i64 * 1000 / (now - since);
                slave.rate_since = (next, now);
            }
        }
    }
}

/// The meaning of an offset that a slave sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Report {
    /// The offset that it wants to begin at. A slave that compares its log with ours begins up to
    /// 64 KiB before the end of its log; a Java slave begins at the end.
    Begin,
    /// The end of its log.
    End,
}

/// Where a slave begins, or why it gets nothing.
type Begin = Result<LogOffset, Refused>;

/// The reason why a slave gets nothing.
#[derive(Debug, Clone)]
struct Refused {
    why: String,
    /// Offset of the heartbeat that informs the slave: the end of this log if it lies before the
    /// requested offset, its start if it lies behind.
    heartbeat: LogOffset,
}

impl State {
    fn keeps_up(&self, end: LogOffset, gap: u64) -> bool {
        self.acked.is_some_and(|acked| end.saturating_since(acked) <= gap)
    }
}

/// A slave's entry in the table of connected slaves, removed when dropped. It is created before the
/// connection's task, so that a burst of connections cannot exceed the limits.
struct Admitted {
    slaves: Arc<Slaves>,
    peer: SocketAddr,
}

impl Admitted {
    fn new(slaves: &Arc<Slaves>, peer: SocketAddr) -> Option<Self> {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let mut connected = slaves.connected.lock();
        let of_address = connected.keys().filter(|other| other.ip() == peer.ip()).count();
        if connected.len() >= MAX_SLAVES || of_address >= MAX_SLAVES_OF_ADDRESS {
            return None;
        }
        connected.insert(peer, State { acked: None, sent: None, rate_since: (LogOffset::ZERO, now_millis()), rate: 0 });
        Some(Self { slaves: Arc::clone(slaves), peer })
    }

    async fn serve(self, stream: TcpStream, stop: CancellationToken) {
        let peer = self.peer;
        if CONNECTED.admits() {
            tracing::info!(slave = %peer, "a slave has connected");
        }
        let outcome = async {
            stream.set_nodelay(true)?;
            let (reader, writer) = stream.into_split();
            let (found, begin) = watch::channel(None);
            tokio::select! {
                read = self.slaves.take_reports(reader, peer, found) => read,
                written = self.slaves.send_log(writer, peer, begin) => written,
                () = stop.cancelled() => Ok(()),
            }
        }
        .await;
        match outcome {
            Ok(()) if GONE.admits() => tracing::info!(slave = %peer, "a slave has gone"),
            Err(error) if LOST.admits() => tracing::warn!(slave = %peer, %error, "the connection to a slave is lost"),
            Ok(()) | Err(_) => {}
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.slaves.connected.lock().remove(&self.peer);
        self.slaves.unsent.end(self.peer);
    }
}

/// Writes header and piece in as few writes as the socket allows.
async fn write_both(writer: &mut OwnedWriteHalf, header: [u8; HEADER], piece: &[u8]) -> io::Result<()> {
    let slices = [io::IoSlice::new(&header), io::IoSlice::new(piece)];
    let written = writer.write_vectored(&slices).await?;
    if written < HEADER {
        writer.write_all(&header[written..]).await?;
    }
    writer.write_all(&piece[written.saturating_sub(HEADER)..]).await
}

/// Too few members are in sync to accept a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{in_sync} members of this broker group keep up, {needed} must have each message; bring the slaves back or lower inSyncReplicas"
)]
pub(crate) struct NotEnough {
    in_sync: u32,
    needed: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{member, message};

    fn master(root: &std::path::Path, in_sync: &str) -> Slaves {
        let (settings, store) = member(root, &[("inSyncReplicas", in_sync)]);
        store.put(&message(b"here")).unwrap();
        Slaves::new(store, settings)
    }

    /// The confirmed offset stayed 0 on a broker without slaves, because no slave ever reported.
    #[test]
    fn a_master_that_is_enough_by_itself_has_confirmed_what_it_has() {
        let root = tempfile::tempdir().unwrap();
        let alone = master(root.path(), "1");
        let end = alone.store.max_physical_offset();
        assert!(end > LogOffset::ZERO);
        assert_eq!(alone.confirmed(), end);
    }

    /// The end of a slave's log was shown 64 KiB too low: it was the offset at which the slave
    /// began to compare.
    #[test]
    fn where_a_slave_begins_is_not_told_as_its_end() {
        let root = tempfile::tempdir().unwrap();
        let master = master(root.path(), "1");
        let end = master.store.max_physical_offset();
        let words = master.check_end(end + 7, Report::Begin).unwrap_err().why;
        let begins = format!("its log has what lies before {}, and this one ends at {end}", end + 7);
        assert!(words.starts_with(&begins), "{words}");
        let words = master.check_end(end + 7, Report::End).unwrap_err().why;
        assert!(words.starts_with(&format!("its log ends at {}, and this one ends at {end}", end + 7)), "{words}");
    }

    #[test]
    fn where_two_are_needed_the_second_decides_and_its_end_takes_nothing_back() {
        let root = tempfile::tempdir().unwrap();
        let two = master(root.path(), "2");
        assert_eq!(two.confirmed(), LogOffset::ZERO, "nobody else has it");
        let slave = SocketAddr::from(([127, 0, 0, 1], 2));
        let with = |acked| State { acked, sent: acked, rate_since: (LogOffset::ZERO, 0), rate: 0 };
        two.connected.lock().insert(slave, with(None));
        assert_eq!(two.confirmed(), LogOffset::ZERO, "it has not said what it has");
        let acked = LogOffset::new(7);
        two.connected.lock().insert(slave, with(Some(acked)));
        assert_eq!(two.confirmed(), acked);
        two.store.confirm(two.confirmed());
        two.connected.lock().clear();
        assert_eq!(two.confirmed(), acked);
    }
}
