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
                    if self.take_pieces(&mut buffer)? {
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
    fn take_pieces(&self, buffer: &mut BytesMut) -> io::Result<bool> {
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
                self.store.append_replica(piece.offset, &bytes[HEADER..]).map_err(io::Error::other)?;
                any = true;
            }
            self.note(piece.offset + piece.size as u64);
        }
        Ok(any)
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
