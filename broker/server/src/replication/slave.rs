//! The slave's side: follows the master.

use super::{
    compare::Overlap,
    wire::{HEADER, MAX_OFFSET, MAX_PIECE, Piece},
};
use crate::{clock::now_millis, config::Live, role::Role};
use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use rmq_protocol::body::{HaClientRuntimeInfo, HaRuntimeInfo};
use rmq_store::{LogOffset, MessageStore};
use std::{fmt, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// The pause before the next attempt to follow the master.
const RETRY: Duration = Duration::from_secs(1);
/// The pause after a failed comparison of the logs. Only an administrator or another log changes
/// that.
const RETRY_MISMATCH: Duration = Duration::from_secs(10);
/// The timeout for opening a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// The most bytes read from the socket at once.
const READ: usize = 256 * 1024;

/// How this slave follows its master.
pub(crate) struct Following {
    store: Arc<MessageStore>,
    settings: Arc<Live>,
    state: Mutex<State>,
    /// Whether the log was compared with the master's log over the present connection.
    in_step: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    master: String,
    last_read: i64,
    last_write: i64,
    /// The end of the master's log in its last message.
    master_end: LogOffset,
    rate: i64,
    rate_since: (LogOffset, i64),
    /// Why the logs do not match, until a comparison succeeds.
    mismatch: Option<Mismatch>,
    /// The start of the other log, once the master has refused to send what lies before.
    peer_min: LogOffset,
}

/// Why this log must not take what the other side sends. The text never advises to delete anything:
/// this may be the only copy of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// The logs have different bytes at the same offset.
    Differs { at: LogOffset, end: LogOffset },
    /// The other log ends before this one does.
    Longer { end: LogOffset, other: LogOffset },
    /// The other log begins behind the end of this one: the bytes in between were deleted there.
    Behind { end: LogOffset, min: LogOffset },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs { at, end } => write!(
                f,
                "the logs differ: this one ends at {end}, and at {at} the other has other bytes, so one of them was begun anew; \
                 nothing is copied. Keep both stores until you know which messages are needed; the member that is to give way \
                 then begins anew with an empty storePathRootDir"
            ),
            Self::Longer { end, other } => write!(
                f,
                "this log ends at {end}, the other at {other}: it lacks messages that are here, and nothing is copied. Keep this \
                 store; `rocketmq admin broker recover` copies it to a master that waits, or accepts the loss"
            ),
            // The other log is complete and newer, so it may be copied from scratch. But only its
            // owner knows whether it is permanent.
            Self::Behind { end, min } => write!(
                f,
                "this log ends at {end}, and the other begins at {min}: what lies between was deleted there when its time was over \
                 or the disk was full, so nothing can be copied behind this log. Keep this store while the other member is away, \
                 takes no writes, or lacks messages that are needed. Otherwise let this member copy everything anew: start it with \
                 an empty storePathRootDir; in Kubernetes delete the volume claim data-<pod> of this member's pod, and then the pod"
            ),
        }
    }
}

/// How a connection to a master ends.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Mismatch(Mismatch),
}

impl Ended {
    fn protocol(words: impl Into<String>) -> Self {
        Self::Io(io::Error::other(words.into()))
    }
}

/// The result of handling the bytes of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Taken {
    /// There is something to report.
    news: bool,
    /// The other side has nothing more than this one.
    caught_up: bool,
}

/// How long to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// As long as the connection lasts.
    Closed,
    /// Until both logs end at the same offset.
    CaughtUp,
}

impl Following {
    pub(crate) fn new(store: Arc<MessageStore>, settings: Arc<Live>) -> Self {
        Self { store, settings, state: Mutex::default(), in_step: watch::Sender::new(false) }
    }

    /// The bytes that this slave lacks of what the master has sent or announced. `None` without a
    /// master whose log agrees with this one.
    pub(crate) fn lag(&self) -> Option<u64> {
        let in_step = *self.in_step.borrow();
        in_step.then(|| self.state.lock().master_end.saturating_since(self.store.max_physical_offset()))
    }

    /// True while this slave is connected to a master whose log agrees with its own. Until then no
    /// table of the master may replace one here: the master may be new and empty.
    pub(crate) fn in_step(&self) -> watch::Receiver<bool> {
        self.in_step.subscribe()
    }

    /// Why the master cannot be followed although it answers.
    pub(crate) fn mismatch(&self) -> Option<Mismatch> {
        self.state.lock().mismatch
    }

    /// A description for people. Its first word is `following`, `behind`, `mismatch` or
    /// `connecting`.
    pub(crate) fn describe_state(&self) -> String {
        let limit = self.settings.load().replication.max_gap;
        match (self.lag(), self.mismatch()) {
            (Some(lag), _) if lag > limit => format!("behind: {lag} bytes behind the master, more than {limit}"),
            (Some(lag), _) => format!("following: {lag} bytes behind the master"),
            (None, Some(mismatch)) => format!("mismatch: {mismatch}"),
            (None, None) => "connecting: there is no connection to a master".to_owned(),
        }
    }

    /// The state as `haStatus` shows it.
    pub(crate) fn describe(&self) -> HaRuntimeInfo {
        let state = self.state.lock();
        HaRuntimeInfo {
            ha_client_runtime_info: HaClientRuntimeInfo {
                last_read_timestamp: state.last_read,
                last_write_timestamp: state.last_write,
                master_addr: state.master.clone(),
                master_flush_offset: 0,
                max_offset: self.store.max_physical_offset().to_wire(),
                transferred_byte_in_second: state.rate,
            },
            master: false,
            master_commit_log_max_offset: state.master_end.to_wire(),
            ..HaRuntimeInfo::default()
        }
    }

    /// Follows the master that `roles` names, until `stop`. `ask_again` is called when the master
    /// cannot be followed, because it may have moved.
    pub(crate) async fn run(
        &self,
        mut roles: watch::Receiver<Role>,
        ask_again: impl Fn() + Send,
        stop: CancellationToken,
    ) {
        loop {
            let Some(address) = self.master_address(&mut roles, &stop).await else { return };
            let mut pause = RETRY;
            tokio::select! {
                () = stop.cancelled() => return,
                ended = self.follow(&address, Until::Closed) => {
                    if self.judge(&address, ended) {
                        pause = RETRY_MISMATCH;
                    }
                    ask_again();
                }
                // There is another master: this connection ends.
                _ = roles.wait_for(|role| self.configured().is_none() && role.of().is_some_and(|m| m.replication_address != address)) => {}
            }
            self.in_step.send_replace(false);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Logs why a connection ended. Returns true if the logs do not match. A mismatch is logged as
    /// an error once, and not at each attempt.
    fn judge(&self, master: &str, ended: Result<(), Ended>) -> bool {
        match ended {
            Err(Ended::Mismatch(mismatch)) => {
                let before = self.state.lock().mismatch.replace(mismatch);
                if before != Some(mismatch) {
                    tracing::error!(%master, "not following the master: {mismatch}");
                }
                true
            }
            ended => {
                let reason =
                    ended.err().map_or_else(|| "it closed the connection".to_owned(), |error| error.to_string());
                tracing::warn!(%master, reason, "not following the master; trying again");
                false
            }
        }
    }

    /// Copies another member's log, which must agree with this one, until both end at the same
    /// offset.
    ///
    /// # Errors
    /// A description: no connection, or the logs do not match.
    pub(crate) async fn copy_from(&self, address: &str) -> Result<(), String> {
        let copied = self.follow(address, Until::CaughtUp).await;
        self.in_step.send_replace(false);
        copied.map_err(|error| error.to_string())
    }

    fn configured(&self) -> Option<String> {
        Some(self.settings.load().replication.master_address.clone()).filter(|address| !address.is_empty())
    }

    async fn master_address(&self, roles: &mut watch::Receiver<Role>, stop: &CancellationToken) -> Option<String> {
        if let Some(address) = self.configured() {
            return Some(address);
        }
        tokio::select! {
            () = stop.cancelled() => None,
            role = roles.wait_for(|role| role.of().is_some()) => {
                role.ok().and_then(|role| role.of().map(|master| master.replication_address.clone()))
            }
        }
    }

    async fn follow(&self, address: &str, until: Until) -> Result<(), Ended> {
        let store = Arc::clone(&self.store);
        let peer_min = self.state.lock().peer_min;
        let overlap = tokio::task::spawn_blocking(move || Overlap::read(&store, peer_min));
        let overlap = overlap.await.map_err(io::Error::other)?;
        let mut overlap = overlap.map_err(io::Error::other)?;
        let mut stream = tokio::time::timeout(CONNECT, TcpStream::connect(address))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {CONNECT:?}")))??;
        stream.set_nodelay(true)?;
        self.begin(address);
        self.report(&mut stream, overlap.begin()).await?;
        if overlap.is_complete() {
            self.agreed(address);
        }
        let (heartbeat, silence) = {
            let settings = self.settings.load();
            (settings.replication.heartbeat.0, settings.replication.housekeeping.0)
        };
        let mut buffer = BytesMut::with_capacity(READ);
        let mut last_read = Instant::now();
        // Reports have a deadline of their own. If received bytes moved it, the heartbeats of an
        // idle master, whose interval is that of the reports, would keep moving it, and the master
        // would close this slave's connection as silent.
        let mut report_due = Instant::now() + heartbeat;
        loop {
            let read = async {
                buffer.reserve(READ);
                stream.read_buf(&mut buffer).await
            };
            let mut taken = Taken::default();
            match tokio::time::timeout_at(report_due, read).await {
                Ok(Ok(0)) if until == Until::CaughtUp => {
                    return Err(Ended::protocol("the other side closed the connection before its log was copied"));
                }
                Ok(Ok(0)) => return Ok(()),
                Ok(read) => {
                    read?;
                    last_read = Instant::now();
                    let compared = overlap.is_complete();
                    taken = match self.take_pieces(&mut buffer, &mut overlap).await {
                        Err(ended @ Ended::Mismatch(Mismatch::Longer { end, .. })) => {
                            // The master must know what this slave lacks.
                            self.report(&mut stream, end).await?;
                            return Err(ended);
                        }
                        taken => taken?,
                    };
                    if overlap.is_complete() && !compared {
                        self.agreed(address);
                    }
                }
                Err(_) if last_read.elapsed() > silence => {
                    return Err(Ended::Io(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("the master is silent for {silence:?}"),
                    )));
                }
                Err(_) => {}
            }
            if taken.news || Instant::now() >= report_due {
                // A report before the logs were compared would count as an acknowledgement.
                if overlap.is_complete() {
                    self.report(&mut stream, self.store.max_physical_offset()).await?;
                }
                report_due = Instant::now() + heartbeat;
            }
            if taken.caught_up && until == Until::CaughtUp {
                return Ok(());
            }
        }
    }

    fn begin(&self, address: &str) {
        let mut state = self.state.lock();
        state.master = address.to_owned();
        state.master_end = LogOffset::ZERO;
        state.rate_since = (self.store.max_physical_offset(), now_millis());
    }

    /// Records that the logs agree as far as both reach.
    fn agreed(&self, address: &str) {
        tracing::info!(master = %address, offset = self.store.max_physical_offset().get(), "following the master");
        self.state.lock().mismatch = None;
        self.in_step.send_replace(true);
    }

    async fn report(&self, stream: &mut TcpStream, end: LogOffset) -> io::Result<()> {
        stream.write_all(&end.get().to_be_bytes()).await?;
        self.state.lock().last_write = now_millis();
        Ok(())
    }

    /// Compares or appends every whole piece.
    async fn take_pieces(&self, buffer: &mut BytesMut, overlap: &mut Overlap) -> Result<Taken, Ended> {
        let mut taken = Taken::default();
        while let Some(header) = buffer.first_chunk::<HEADER>() {
            let piece = Piece::decode(*header);
            if piece.size > MAX_PIECE || piece.offset > MAX_OFFSET {
                return Err(Ended::protocol(format!(
                    "a piece of {} bytes at offset {}, beyond {MAX_PIECE} bytes or offset {MAX_OFFSET}: this is no master",
                    piece.size, piece.offset
                )));
            }
            if buffer.len() < HEADER + piece.size {
                break;
            }
            let bytes = buffer.split_to(HEADER + piece.size);
            taken.caught_up = piece.size == 0 && self.heartbeat(piece.offset, overlap)?;
            if piece.size > 0 {
                self.take(piece.offset, bytes, overlap).await?;
                taken.news |= overlap.is_complete();
            }
            self.note(piece.offset + piece.size as u64);
        }
        Ok(taken)
    }

    /// Handles a heartbeat: the master has nothing to send and reports the end of its log. Returns
    /// true if that is the end of this log.
    fn heartbeat(&self, offset: LogOffset, overlap: &Overlap) -> Result<bool, Ended> {
        let end = self.store.max_physical_offset();
        if !overlap.is_complete() {
            if offset <= overlap.next() {
                return Err(Ended::Mismatch(Mismatch::Longer { end, other: offset }));
            }
            self.state.lock().peer_min = offset;
            return Err(match overlap.can_begin_later(offset) {
                true => Ended::protocol(format!("its log begins at {offset}; the comparison begins there next time")),
                false => Ended::Mismatch(Mismatch::Behind { end, min: offset }),
            });
        }
        Ok(offset == end)
    }

    async fn take(&self, offset: LogOffset, mut bytes: BytesMut, overlap: &mut Overlap) -> Result<(), Ended> {
        let end = self.store.max_physical_offset();
        let expected = if overlap.is_complete() { end } else { overlap.next() };
        if expected != LogOffset::ZERO && offset != expected {
            return Err(Ended::protocol(format!("the master sends offset {offset}, {expected} is wanted")));
        }
        let compared = overlap
            .compare(&bytes[HEADER..])
            .map_err(|differs| Ended::Mismatch(Mismatch::Differs { at: differs.at, end }))?;
        bytes.advance(HEADER + compared);
        if !bytes.is_empty() {
            self.append(offset + compared as u64, bytes).await?;
        }
        Ok(())
    }

    /// Appends bytes of the log. The append runs here while disk blocks are preallocated for it,
    /// which is the common case, and otherwise on a blocking thread. A stop or another master ends
    /// the wait for that thread, but not its append. The bytes go to their place in the log or
    /// nowhere, as if the connection had been lost a moment later.
    async fn append(&self, offset: LogOffset, bytes: BytesMut) -> io::Result<()> {
        let appended = self.store.append_replica_nonblocking(offset, &bytes).map_err(io::Error::other)?;
        if appended == bytes.len() {
            return Ok(());
        }
        let (store, offset) = (Arc::clone(&self.store), offset + appended as u64);
        let append = move || store.append_replica(offset, &bytes[appended..]).map_err(io::Error::other);
        tokio::task::spawn_blocking(append).await?
    }

    fn note(&self, master_end: LogOffset) {
        let (now, end) = (now_millis(), self.store.max_physical_offset());
        let mut state = self.state.lock();
        state.last_read = now;
        state.master_end = state.master_end.max(master_end);
        let (bytes, since) = state.rate_since;
        if now - since >= 1000 {
            state.rate = end.saturating_since(bytes) as i64 * 1000 / (now - since);
            state.rate_since = (end, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{member, message};

    /// The stream of a master: its log in pieces of any length, a heartbeat behind each.
    fn stream(log: &[u8], piece: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        let mut offset = LogOffset::ZERO;
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
        let log = master.read(LogOffset::ZERO, end.get() as usize).unwrap();
        let (settings, store) = member(roots[1].path(), &[]);
        let following = Following::new(Arc::clone(&store), settings);
        let mut buffer = BytesMut::new();
        let mut overlap = Overlap::default();
        let mut pieces = 0;
        for byte in stream(&log, 100) {
            buffer.extend([byte]);
            pieces += usize::from(following.take_pieces(&mut buffer, &mut overlap).await.unwrap().news);
        }
        assert_eq!(pieces, log.len().div_ceil(100));
        assert_eq!((store.max_physical_offset(), buffer.len()), (end, 0));
        assert_eq!(store.read(LogOffset::ZERO, end.get() as usize).unwrap(), log);
    }

    /// The heartbeats of a master without traffic moved the deadline of the slave's reports each
    /// time, and after `haHousekeepingInterval` the master closed the connection: once a minute or
    /// so.
    #[tokio::test]
    async fn a_slave_reports_to_an_idle_master_whose_heartbeats_come_just_before_each_report() {
        let root = tempfile::tempdir().unwrap();
        let (settings, store) = member(root.path(), &[("haSendHeartbeatInterval", "200")]);
        let following = Following::new(store, settings);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let master = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut reports, mut heartbeats) = (0, 0);
            let mut report = [0; 8];
            let mut received = 0;
            let mut ticks = tokio::time::interval(Duration::from_millis(120));
            while heartbeats < 20 {
                tokio::select! {
                    read = stream.read(&mut report[received..]) => {
                        received = (received + read.unwrap()) % report.len();
                        reports += usize::from(received == 0);
                    }
                    _ = ticks.tick() => {
                        stream.write_all(&Piece { offset: LogOffset::ZERO, size: 0 }.encode()).await.unwrap();
                        heartbeats += 1;
                    }
                }
            }
            reports
        };
        let reports = tokio::select! {
            reports = master => reports,
            ended = following.follow(&address, Until::Closed) => panic!("{ended:?}"),
        };
        // 19 gaps of 120 ms hold 11 intervals of 200 ms. A busy machine may lose some, but a first
        // report alone is none.
        assert!(reports >= 5, "{reports} reports during 20 heartbeats");
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
            Piece { offset: LogOffset::ZERO, size: 1 },
            Piece { offset: MAX_OFFSET + 1, size: 1 },
            Piece { offset: LogOffset::MAX, size: 1 },
        ] {
            let mut bytes = BytesMut::from(&piece.encode()[..]);
            bytes.extend([0]);
            let mut overlap = Overlap::default();
            assert!(following.take_pieces(&mut bytes, &mut overlap).await.is_err(), "{piece:?}");
        }
    }
}
