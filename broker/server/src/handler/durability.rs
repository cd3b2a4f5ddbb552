//! When a stored message may be acknowledged.

use crate::{
    config::{Flush, Live, Role},
    error::Rejection,
    ha::Slaves,
};
use rmq_protocol::ResponseCode;
use rmq_store::MessageStore;
use std::{sync::Arc, time::Duration};

/// Waits for disk and slaves as the settings demand.
pub(crate) struct Durability {
    pub(crate) store: Arc<MessageStore>,
    pub(crate) slaves: Arc<Slaves>,
    pub(crate) settings: Arc<Live>,
}

/// What one message has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    disk: Option<Duration>,
    slaves: Option<Duration>,
}

impl Wanted {
    /// It may be acknowledged at once.
    pub(crate) fn nothing(self) -> bool {
        self == Self::default()
    }
}

impl Durability {
    /// What a message has to wait for; asked before it is stored, as too few slaves are a reason not to store it.
    pub(crate) fn wanted(&self, wait: bool) -> Result<Wanted, Rejection> {
        if !wait {
            return Ok(Wanted::default());
        }
        let settings = self.settings.load();
        let disk = (settings.store.flush == Flush::Sync).then_some(settings.store.sync_flush_timeout.0);
        let mut slaves = None;
        if settings.identity.role == Role::SyncMaster {
            let needed =
                self.slaves.needed().map_err(|error| Rejection::new(ResponseCode::SystemError, error.to_string()))?;
            slaves = (needed > 1).then_some(settings.replication.timeout.0);
        }
        Ok(Wanted { disk, slaves })
    }

    /// Waits until everything before `end` is where it has to be. A timeout is a kind of success: the message is stored, and may yet get there.
    pub(crate) async fn reached(&self, end: u64, wanted: Wanted) -> Result<ResponseCode, Rejection> {
        let disk = async {
            match wanted.disk {
                None => Ok(ResponseCode::Success),
                Some(timeout) => match tokio::time::timeout(timeout, self.store.flushed().reached(end)).await {
                    Ok(Ok(())) => Ok(ResponseCode::Success),
                    Ok(Err(halt)) => Err(Rejection::new(
                        ResponseCode::SystemError,
                        format!("the message may not be on disk: {halt}"),
                    )),
                    Err(_) => Ok(ResponseCode::FlushDiskTimeout),
                },
            }
        };
        let slaves = async {
            match wanted.slaves {
                None => Ok(ResponseCode::Success),
                Some(timeout) => match tokio::time::timeout(timeout, self.store.confirmed().reached(end)).await {
                    Ok(Ok(())) => Ok(ResponseCode::Success),
                    Ok(Err(halt)) => Err(Rejection::new(
                        ResponseCode::SystemError,
                        format!("the message may not be on a slave: {halt}"),
                    )),
                    Err(_) => Ok(ResponseCode::FlushSlaveTimeout),
                },
            }
        };
        let (disk, slaves) = tokio::join!(disk, slaves);
        let (disk, slaves) = (disk?, slaves?);
        Ok(if disk == ResponseCode::Success { slaves } else { disk })
    }
}
