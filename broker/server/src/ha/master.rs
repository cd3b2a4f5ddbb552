//! A master's side: send the log to each slave, and know what each has.

use super::wire::{HEADER, Piece, REPORT};
use crate::{clock::now_millis, config::Live};
use parking_lot::Mutex;
use rmq_protocol::body::{HaConnectionInfo, HaRuntimeInfo};
use rmq_store::MessageStore;
use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// More slaves than this are turned away: no group has as many.
const MAX_SLAVES: usize = 32;

/// The slaves of this master.
pub(crate) struct Slaves {
    store: Arc<MessageStore>,
    settings: Arc<Live>,
    connected: Mutex<BTreeMap<SocketAddr, State>>,
}

/// One slave. `acked <= sent`, and -1 before the first report.
#[derive(Debug, Clone, Copy)]
struct State {
    acked: i64,
    sent: i64,
    /// Bytes sent until, and when, the rate was last worked out.
    rate_since: (i64, i64),
    rate: i64,
}

impl Slaves {
    pub(crate) fn new(store: Arc<MessageStore>, settings: Arc<Live>) -> Self {
        Self { store, settings, connected: Mutex::default() }
    }

    /// Members, the master among them, that keep up: connected, and less than `haMaxGapNotInSync` behind.
    pub(crate) fn in_sync(&self) -> u32 {
        let (end, gap) = (self.store.max_physical_offset() as i64, self.settings.load().replication.max_gap as i64);
        1 + self.connected.lock().values().filter(|slave| slave.acked >= 0 && end - slave.acked <= gap).count() as u32
    }

    /// Members that must have a message before it is acknowledged, if there are enough of them: with `enableAutoInSyncReplicas` as many as keep up, but never fewer
    /// than `minInSyncReplicas`.
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

    /// Up to here as many members as a message needs have the log. Where the master alone is enough that is the end of the log, slaves or none; with fewer
    /// members than are needed it is where it was when there were enough of them. Worked out for who asks, as most masters have nobody who reports.
    pub(crate) fn confirmed(&self) -> u64 {
        let needed = self.needed().unwrap_or(self.settings.load().replication.in_sync).max(1) as usize;
        let mut ends: Vec<u64> =
            self.connected.lock().values().filter(|slave| slave.acked >= 0).map(|slave| slave.acked as u64).collect();
        ends.push(self.store.max_physical_offset());
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let before = self.store.confirmed().value();
        ends.get(needed - 1).map_or(before, |end| before.max(*end))
    }

    /// As `haStatus` tells it.
    pub(crate) fn describe(&self) -> HaRuntimeInfo {
        let end = self.store.max_physical_offset() as i64;
        let gap = self.settings.load().replication.max_gap as i64;
        let connected = self.connected.lock();
        let rows = connected.iter().map(|(address, slave)| HaConnectionInfo {
            addr: address.to_string(),
            diff: end - slave.acked,
            in_sync: slave.acked >= 0 && end - slave.acked <= gap,
            slave_ack_offset: slave.acked,
            transferred_byte_in_second: slave.rate,
            transfer_from_where: slave.sent,
        });
        let ha_connection_info: Vec<_> = rows.collect();
        HaRuntimeInfo {
            in_sync_slave_nums: ha_connection_info.iter().filter(|row| row.in_sync).count() as i32,
            ha_connection_info,
            master: true,
            master_commit_log_max_offset: end,
            ..HaRuntimeInfo::default()
        }
    }

    /// Bytes that the slave furthest behind lacks; `None` without a slave.
    pub(crate) fn lag(&self) -> Option<u64> {
        let end = self.store.max_physical_offset();
        self.connected.lock().values().map(|slave| end.saturating_sub(slave.acked.max(0) as u64)).max()
    }

    /// Serves slaves until `stop`.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((_, peer)) if self.connected.lock().len() >= MAX_SLAVES => {
                    tracing::warn!(%peer, "too many slaves; closing a new one");
                }
                Ok((stream, peer)) => {
                    let (slaves, stop) = (Arc::clone(&self), stop.clone());
                    tasks.spawn(async move { slaves.serve_one(stream, peer, stop).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a slave; waiting a little");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    async fn serve_one(&self, stream: TcpStream, peer: SocketAddr, stop: CancellationToken) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        tracing::info!(slave = %peer, "a slave has connected");
        self.connected.lock().insert(peer, State { acked: -1, sent: -1, rate_since: (0, now_millis()), rate: 0 });
        let outcome = async {
            stream.set_nodelay(true)?;
            let (reader, writer) = stream.into_split();
            let (found, begin) = watch::channel(None);
            tokio::select! {
                read = self.take_reports(reader, peer, found) => read,
                written = self.send_log(writer, peer, begin) => written,
                () = stop.cancelled() => Ok(()),
            }
        }
        .await;
        self.connected.lock().remove(&peer);
        match outcome {
            Ok(()) => tracing::info!(slave = %peer, "a slave has gone"),
            Err(error) => tracing::warn!(slave = %peer, %error, "the connection to a slave is lost"),
        }
    }

    /// Keeps what the slave says it has; the first time also tells `begin` where it goes on.
    async fn take_reports(
        &self,
        mut reader: OwnedReadHalf,
        peer: SocketAddr,
        begin: watch::Sender<Option<u64>>,
    ) -> io::Result<()> {
        let silence = self.settings.load().replication.housekeeping.0;
        let mut report = [0; REPORT];
        loop {
            match tokio::time::timeout(silence, reader.read_exact(&mut report)).await {
                Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no report for {silence:?}"))),
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Ok(read) => read?,
            };
            let end = u64::from_be_bytes(report);
            // Judged before it counts: who claims more than there is has another log, and confirms nothing of ours.
            if begin.borrow().is_none() {
                begin.send_replace(Some(self.first_offset(end)?));
            } else if end > self.store.max_physical_offset() {
                return Err(io::Error::other(format!("a report of {end}, which is beyond the end of our log")));
            }
            if let Some(slave) = self.connected.lock().get_mut(&peer) {
                slave.acked = end as i64;
            }
            self.store.confirmed().advance(self.confirmed());
        }
    }

    async fn send_log(
        &self,
        mut writer: OwnedWriteHalf,
        peer: SocketAddr,
        mut begin: watch::Receiver<Option<u64>>,
    ) -> io::Result<()> {
        let Ok(mut next) = begin.wait_for(Option::is_some).await.map(|first| first.unwrap_or(0)) else { return Ok(()) };
        tracing::info!(slave = %peer, offset = next, "sending the log");
        let heartbeat = self.settings.load().replication.heartbeat.0;
        loop {
            if self.store.max_physical_offset() <= next {
                let more = self.store.appended().reached(next + 1);
                if tokio::time::timeout(heartbeat, more).await.is_err() {
                    writer.write_all(&Piece { offset: next, size: 0 }.encode()).await?;
                }
                continue;
            }
            let batch = self.settings.load().replication.batch as usize;
            let bytes = self.store.read(next, batch).map_err(io::Error::other)?;
            if bytes.is_empty() {
                return Err(io::Error::other(format!("the log has nothing at {next}")));
            }
            let header = Piece { offset: next, size: bytes.len() }.encode();
            write_both(&mut writer, header, &bytes).await?;
            next += bytes.len() as u64;
            self.note_sent(peer, next);
        }
    }

    /// Where a slave begins whose log ends at `reported`.
    fn first_offset(&self, reported: u64) -> io::Result<u64> {
        let (min, max) = (self.store.min_physical_offset(), self.store.max_physical_offset());
        if reported == 0 {
            // A new slave starts at our last file: it gets what comes, and what is recent, not a copy of days.
            let size = self.settings.load().store.commit_log_file_size;
            return Ok((max - max % size).max(min));
        }
        if (min..=max).contains(&reported) {
            return Ok(reported);
        }
        Err(io::Error::other(format!(
            "its log ends at {reported}, ours reaches from {min} to {max}: it followed another master, or was away too long; empty its store to have it begin anew"
        )))
    }

    fn note_sent(&self, peer: SocketAddr, next: u64) {
        let now = now_millis();
        if let Some(slave) = self.connected.lock().get_mut(&peer) {
            slave.sent = next as i64;
            let (bytes, since) = slave.rate_since;
            if now - since >= 1000 {
                slave.rate = (slave.sent - bytes) * 1000 / (now - since);
                slave.rate_since = (slave.sent, now);
            }
        }
    }
}

/// Header and piece in as few writes as the socket allows.
async fn write_both(writer: &mut OwnedWriteHalf, header: [u8; HEADER], piece: &[u8]) -> io::Result<()> {
    let slices = [io::IoSlice::new(&header), io::IoSlice::new(piece)];
    let written = writer.write_vectored(&slices).await?;
    if written < HEADER {
        writer.write_all(&header[written..]).await?;
    }
    writer.write_all(&piece[written.saturating_sub(HEADER)..]).await
}

/// Too few members keep up for a message to be taken.
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

    /// It stayed 0 on a broker that has no slaves, as no slave ever reported.
    #[test]
    fn a_master_that_is_enough_by_itself_has_confirmed_what_it_has() {
        let root = tempfile::tempdir().unwrap();
        let alone = master(root.path(), "1");
        let end = alone.store.max_physical_offset();
        assert!(end > 0);
        assert_eq!(alone.confirmed(), end);
    }

    #[test]
    fn where_two_are_needed_the_second_decides_and_its_end_takes_nothing_back() {
        let root = tempfile::tempdir().unwrap();
        let two = master(root.path(), "2");
        assert_eq!(two.confirmed(), 0, "nobody else has it");
        let slave = SocketAddr::from(([127, 0, 0, 1], 2));
        let with = |acked| State { acked, sent: 0, rate_since: (0, 0), rate: 0 };
        two.connected.lock().insert(slave, with(-1));
        assert_eq!(two.confirmed(), 0, "it has not said what it has");
        two.connected.lock().insert(slave, with(7));
        assert_eq!(two.confirmed(), 7);
        two.store.confirmed().advance(two.confirmed());
        two.connected.lock().clear();
        assert_eq!(two.confirmed(), 7);
    }
}
