//! The group's offsets in its queues: on the broker for clustering, in a file for broadcasting.
//!
//! The file is `<dir>/<client id>/<group>/offsets.json`, in the form of Java's client:
//! `{"offsetTable":{{"brokerName":..,"queueId":..,"topic":..}:offset}}`. It is replaced as a whole,
//! so a crash leaves the old one or the new one.

use super::queue::Queue;
use crate::{Error, link::none_if, session::Session};
use parking_lot::Mutex;
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{MessageModel, QueueMap},
    fastjson, header,
    message::MessageQueue,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

pub(super) struct Offsets {
    group: String,
    session: Session,
    file: Option<OffsetFile>,
}

#[derive(Clone)]
struct OffsetFile {
    path: PathBuf,
    /// Includes queues that are not consumed now. The lock is also held while the file is written,
    /// on a blocking thread, so that writes do not overlap.
    table: Arc<Mutex<BTreeMap<MessageQueue, i64>>>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Stored {
    offset_table: QueueMap<i64>,
}

impl Offsets {
    /// # Errors
    /// The offset file exists and cannot be read.
    pub(super) async fn open(group: &str, model: MessageModel, dir: &Path, session: Session) -> Result<Self, Error> {
        let file = match model {
            MessageModel::Clustering => None,
            MessageModel::Broadcasting => {
                let path = dir.join(&*session.client_id).join(group).join("offsets.json");
                let read = off_reactor(&path, |path| read(&path)).await?;
                Some(OffsetFile { path, table: Arc::new(Mutex::new(read)) })
            }
        };
        Ok(Self { group: group.to_owned(), session, file })
    }

    /// The group's offset in a queue; `None` if it has none.
    pub(super) async fn load(&self, queue: &MessageQueue) -> Result<Option<i64>, Error> {
        if let Some(file) = &self.file {
            return Ok(file.table.lock().get(queue).copied());
        }
        let address = self.master(queue).await?;
        let request = header::QueryConsumerOffset {
            consumer_group: &self.group,
            topic: &queue.topic,
            queue_id: queue.queue_id,
            set_zero_if_not_found: None,
        };
        match none_if(
            self.session.link.ask(&address, RequestCode::QueryConsumerOffset, &request).await,
            ResponseCode::QueryNotFound,
        )? {
            // Old brokers answer -1 for "none".
            Some(response) => {
                Ok(Some(response.header::<header::OffsetResponse>()?.offset).filter(|offset| *offset >= 0))
            }
            None => Ok(None),
        }
    }

    /// Commits the offsets of these queues, without waiting for the brokers. A lost commit is
    /// repeated with the next change.
    pub(super) async fn persist(&self, queues: &[Arc<Queue>]) {
        if self.file.is_some() {
            return self.persist_file(queues).await;
        }
        for queue in queues {
            let Some(offset) = changed(queue) else { continue };
            let sent = match self.master(&queue.name).await {
                Ok(address) => {
                    let command =
                        Command::request(RequestCode::UpdateConsumerOffset, &self.update(&queue.name, offset));
                    self.session.link.remoting().one_way(&address, command).await.map_err(Error::from)
                }
                Err(error) => Err(error),
            };
            match sent {
                Ok(()) => queue.committed.store(offset, Relaxed),
                Err(error) => tracing::debug!(queue = ?queue.name, %error, "an offset was not stored"),
            }
        }
    }

    /// The same, waiting for the responses: for the stop, after which there is no further commit.
    pub(super) async fn persist_surely(&self, queues: &[Arc<Queue>]) {
        if self.file.is_some() {
            return self.persist_file(queues).await;
        }
        let stored = queues.iter().map(async |queue| {
            // Includes offsets that were sent before: it is unknown whether they arrived.
            let offset = queue.commit();
            if queue.moved.load(Relaxed) {
                return;
            }
            match self.set(&queue.name, offset).await {
                Ok(()) => queue.committed.store(offset, Relaxed),
                Err(error) => tracing::warn!(queue = ?queue.name, %error, "an offset was not stored; its messages will be consumed again"),
            }
        });
        futures::future::join_all(stored).await;
    }

    /// Sets an offset, whatever was consumed.
    pub(super) async fn set(&self, queue: &MessageQueue, offset: i64) -> Result<(), Error> {
        if let Some(file) = &self.file {
            file.table.lock().insert(queue.clone(), offset);
            return file.write().await;
        }
        let address = self.master(queue).await?;
        self.session
            .link
            .ask(&address, RequestCode::UpdateConsumerOffset, &self.update(queue, offset))
            .await
            .map(|_| ())
    }

    async fn persist_file(&self, queues: &[Arc<Queue>]) {
        let Some(file) = &self.file else { return };
        let changed: Vec<_> = queues.iter().filter_map(|queue| Some((queue, changed(queue)?))).collect();
        if changed.is_empty() {
            return;
        }
        file.table.lock().extend(changed.iter().map(|(queue, offset)| (queue.name.clone(), *offset)));
        match file.write().await {
            Ok(()) => changed.iter().for_each(|(queue, offset)| queue.committed.store(*offset, Relaxed)),
            Err(error) => tracing::warn!(%error, "the offsets were not stored"),
        }
    }

    fn update<'a>(&'a self, queue: &'a MessageQueue, commit_offset: i64) -> header::UpdateConsumerOffset<'a> {
        header::UpdateConsumerOffset {
            consumer_group: &self.group,
            topic: &queue.topic,
            queue_id: queue.queue_id,
            commit_offset,
        }
    }

    async fn master(&self, queue: &MessageQueue) -> Result<String, Error> {
        let route = self.session.routes.existing(&queue.topic).await?;
        // Java asks any member if there is no master; a slave forwards such requests or answers
        // from its copy.
        let member = route.member(&queue.broker_name, 0).map(|(address, _)| address.to_owned());
        member.ok_or_else(|| Error::NoBroker { group: queue.broker_name.clone() })
    }
}

/// The offset to store, if it differs from the stored one.
fn changed(queue: &Queue) -> Option<i64> {
    let offset = queue.commit();
    (!queue.moved.load(Relaxed) && queue.committed.load(Relaxed) != offset).then_some(offset)
}

impl OffsetFile {
    async fn write(&self) -> Result<(), Error> {
        let table = Arc::clone(&self.table);
        off_reactor(&self.path, move |path| {
            let table = table.lock();
            let stored = Stored { offset_table: QueueMap(table.clone()) };
            replace(&path, &fastjson::to_vec(&stored))
        })
        .await
    }
}

async fn off_reactor<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(PathBuf) -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let own = path.to_owned();
    let done = tokio::task::spawn_blocking(move || work(own)).await.map_err(|_| Error::Stopped)?;
    done.map_err(|source| Error::File { path: path.display().to_string(), source })
}

fn read(path: &Path) -> io::Result<BTreeMap<MessageQueue, i64>> {
    match fs::read(path) {
        Ok(bytes) => {
            let stored: Stored =
                fastjson::from_slice(&bytes).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
            Ok(stored.offset_table.0)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// Write, sync, rename, sync the directory.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let temporary = path.with_extension("json.tmp");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_back_and_a_damaged_one_is_reported() {
        let dir = std::env::temp_dir().join(format!("rmq-client-offsets-{}", std::process::id()));
        let path = dir.join("g").join("offsets.json");
        assert!(read(&path).unwrap().is_empty());
        let queue = MessageQueue { broker_name: "b".into(), queue_id: 3, topic: "t".into() };
        let stored = Stored { offset_table: [(queue.clone(), 7)].into_iter().collect() };
        replace(&path, &fastjson::to_vec(&stored)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), br#"{"offsetTable":{{"brokerName":"b","queueId":3,"topic":"t"}:7}}"#);
        assert_eq!(read(&path).unwrap().get(&queue), Some(&7));
        replace(&path, b"{").unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::remove_dir_all(dir).unwrap();
    }
}
