//! A slave's side: follow the master.

use super::wire::{HEADER, MAX_PIECE, Piece};
use crate::{clock::now_millis, config::Live, registration::Master};
use bytes::BytesMut;
use parking_lot::Mutex;
use rmq_protocol::body::{HaClientRuntimeInfo, HaRuntimeInfo};
use rmq_store::MessageStore;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Pause before the master is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// Bytes taken off the socket at once.
const READ: usize = 256 * 1024;

/// How this slave follows its master.
pub(crate) struct Following {
    store: Arc<MessageStore>,
    settings: Arc<Live>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    master: String,
    connected: bool,
    last_read: i64,
    last_write: i64,
    /// Where the master stood when it spoke last.
    master_end: u64,
    rate: i64,
    rate_since: (u64, i64),
}

impl Following {
    pub(crate) fn new(store: Arc<MessageStore>, settings: Arc<Live>) -> Self {
        Self { store, settings, state: Mutex::default() }
    }

    /// Bytes that this slave lacks of what the master has sent or announced; `None` without a master.
    pub(crate) fn lag(&self) -> Option<u64> {
        let state = self.state.lock();
        state.connected.then(|| state.master_end.saturating_sub(self.store.max_physical_offset()))
    }

    /// As `haStatus` tells it.
    pub(crate) fn describe(&self) -> HaRuntimeInfo {
        let state = self.state.lock();
        HaRuntimeInfo {
            ha_client_runtime_info: HaClientRuntimeInfo {
                last_read_timestamp: state.last_read,
                last_write_timestamp: state.last_write,
                master_addr: state.master.clone(),
                master_flush_offset: 0,
                max_offset: self.store.max_physical_offset() as i64,
                transferred_byte_in_second: state.rate,
            },
            master: false,
            master_commit_log_max_offset: state.master_end as i64,
            ..HaRuntimeInfo::default()
        }
    }

    /// Follows whoever `masters` names, until `stop`. `ask_again` is called when that one cannot be followed: it may have moved.
    pub(crate) async fn run(
        &self,
        mut masters: watch::Receiver<Option<Master>>,
        ask_again: impl Fn() + Send,
        stop: CancellationToken,
    ) {
        loop {
            let Some(address) = self.master_address(&mut masters, &stop).await else { return };
            tokio::select! {
                () = stop.cancelled() => return,
                ended = self.follow(&address) => {
                    let reason = ended.err().map_or_else(|| "it closed the connection".to_owned(), |error| error.to_string());
                    tracing::warn!(master = %address, reason, "not following the master; trying again");
                    ask_again();
                }
                // Another master: drop this one.
                _ = masters.wait_for(|master| self.configured().is_none() && master.as_ref().is_some_and(|m| m.replication_address != address)) => {}
            }
            self.state.lock().connected = false;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    fn configured(&self) -> Option<String> {
        Some(self.settings.load().replication.master_address.clone()).filter(|address| !address.is_empty())
    }

    async fn master_address(
        &self,
        masters: &mut watch::Receiver<Option<Master>>,
        stop: &CancellationToken,
    ) -> Option<String> {
        if let Some(address) = self.configured() {
            return Some(address);
        }
        tokio::select! {
            () = stop.cancelled() => None,
            master = masters.wait_for(Option::is_some) => {
                master.ok().and_then(|master| master.as_ref().map(|master| master.replication_address.clone()))
            }
        }
    }

    async fn follow(&self, address: &str) -> io::Result<()> {
        let mut stream = tokio::time::timeout(CONNECT, TcpStream::connect(address))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {CONNECT:?}")))??;
        stream.set_nodelay(true)?;
        self.begin(address);
        self.report(&mut stream).await?;
        tracing::info!(master = %address, offset = self.store.max_physical_offset(), "following the master");
        let (heartbeat, silence) = {
            let settings = self.settings.load();
            (settings.replication.heartbeat.0, settings.replication.housekeeping.0)
        };
        let mut buffer = BytesMut::with_capacity(READ);
        let mut last_read = Instant::now();
        loop {
            let read = async {
                buffer.reserve(READ);
                stream.read_buf(&mut buffer).await
            };
            match tokio::time::timeout(heartbeat, read).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(read) => {
                    read?;
                    last_read = Instant::now();
                    if self.take_pieces(&mut buffer).await? {
                        self.report(&mut stream).await?;
                    }
                }
                Err(_) if last_read.elapsed() > silence => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("the master is silent for {silence:?}"),
                    ));
                }
                Err(_) => self.report(&mut stream).await?,
            }
        }
    }

    fn begin(&self, address: &str) {
        let mut state = self.state.lock();
        state.master = address.to_owned();
        state.connected = true;
        state.rate_since = (self.store.max_physical_offset(), now_millis());
    }

    async fn report(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(&self.store.max_physical_offset().to_be_bytes()).await?;
        self.state.lock().last_write = now_millis();
        Ok(())
    }

    /// Appends every whole piece; true if there was one.
    async fn take_pieces(&self, buffer: &mut BytesMut) -> io::Result<bool> {
        let mut any = false;
        while let Some(header) = buffer.first_chunk::<HEADER>() {
            let piece = Piece::decode(*header);
            if piece.size > MAX_PIECE {
                return Err(io::Error::other(format!("a piece of {} bytes: this is no master", piece.size)));
            }
            if buffer.len() < HEADER + piece.size {
                break;
            }
            let bytes = buffer.split_to(HEADER + piece.size);
            let end = self.store.max_physical_offset();
            if piece.size > 0 {
                if end != 0 && piece.offset != end {
                    return Err(io::Error::other(format!(
                        "the master sends offset {}, our log ends at {end}",
                        piece.offset
                    )));
                }
                self.append(piece.offset, bytes).await?;
                any = true;
            }
            self.note(piece.offset + piece.size as u64);
        }
        Ok(any)
    }

    /// Appends what follows the header of a piece: here while there are blocks for it, as a rule, and else where the disk may be waited for, as other tasks
    /// need this thread. Whoever ends the wait before it is over, for a stop or another master, leaves an append behind that may yet happen; it goes to its
    /// place in the log or nowhere, as if the connection had been dropped a moment later.
    async fn append(&self, offset: u64, piece: BytesMut) -> io::Result<()> {
        let appended = self.store.append_replica_at_hand(offset, &piece[HEADER..]).map_err(io::Error::other)?;
        let rest = HEADER + appended;
        if rest == piece.len() {
            return Ok(());
        }
        let (store, offset) = (Arc::clone(&self.store), offset + appended as u64);
        let append = move || store.append_replica(offset, &piece[rest..]).map_err(io::Error::other);
        tokio::task::spawn_blocking(append).await?
    }

    fn note(&self, master_end: u64) {
        let (now, end) = (now_millis(), self.store.max_physical_offset());
        let mut state = self.state.lock();
        state.last_read = now;
        state.master_end = state.master_end.max(master_end);
        let (bytes, since) = state.rate_since;
        if now - since >= 1000 {
            state.rate = end.saturating_sub(bytes) as i64 * 1000 / (now - since);
            state.rate_since = (end, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{member, message};

    /// The stream of a master: its log in pieces that end anywhere, a heartbeat behind each.
    fn stream(log: &[u8], piece: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        let mut offset = 0;
        for bytes in log.chunks(piece) {
            stream.extend(Piece { offset, size: bytes.len() }.encode());
            stream.extend(bytes);
            offset += bytes.len() as u64;
            stream.extend(Piece { offset, size: 0 }.encode());
        }
        stream
    }

    #[tokio::test]
    async fn a_stream_that_comes_byte_by_byte_makes_the_same_log() {
        let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (_, master) = member(roots[0].path(), &[]);
        for n in 0..20_u8 {
            master.put(&message(&[n; 150])).unwrap();
        }
        let end = master.max_physical_offset();
        let log = master.read(0, end as usize).unwrap();
        let (settings, store) = member(roots[1].path(), &[]);
        let following = Following::new(Arc::clone(&store), settings);
        let mut buffer = BytesMut::new();
        let mut pieces = 0;
        for byte in stream(&log, 100) {
            buffer.extend([byte]);
            pieces += usize::from(following.take_pieces(&mut buffer).await.unwrap());
        }
        assert_eq!(pieces, log.len().div_ceil(100));
        assert_eq!((store.max_physical_offset(), buffer.len()), (end, 0));
        assert_eq!(store.read(0, end as usize).unwrap(), log);
    }

    #[tokio::test]
    async fn what_no_master_sends_ends_the_connection() {
        let root = tempfile::tempdir().unwrap();
        let (settings, store) = member(root.path(), &[]);
        store.put(&message(b"here")).unwrap();
        let end = store.max_physical_offset();
        let following = Following::new(store, settings);
        for piece in [
            Piece { offset: end, size: MAX_PIECE + 1 },
            Piece { offset: end + 1, size: 1 },
            Piece { offset: 0, size: 1 },
        ] {
            let mut bytes = BytesMut::from(&piece.encode()[..]);
            bytes.extend([0]);
            assert!(following.take_pieces(&mut bytes).await.is_err(), "{piece:?}");
        }
    }
}
