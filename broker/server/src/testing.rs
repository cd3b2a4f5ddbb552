//! A small broker's store, and messages for it.

use crate::config::{Config, Live};
use rmq_store::{Arrival, MessageStore, NewMessage};
use std::{net::SocketAddr, path::Path, sync::Arc};

/// A member of a broker group, with more settings than its name, its place and small files.
pub(crate) fn member(root: &Path, more: &[(&str, &str)]) -> (Arc<Live>, Arc<MessageStore>) {
    let root = root.display().to_string();
    let settings = [("brokerName", "b"), ("mappedFileSizeCommitLog", "16777216"), ("storePathRootDir", &*root)];
    let (config, _) = Config::from_properties(settings.into_iter().chain(more.iter().copied())).unwrap();
    let store = MessageStore::open(config.for_store().unwrap(), Box::new(|_: &Arrival<'_>| ())).unwrap();
    (Arc::new(Live::new(config, None)), Arc::new(store))
}

pub(crate) fn message(body: &[u8]) -> NewMessage<'_> {
    let host = SocketAddr::from(([127, 0, 0, 1], 1));
    NewMessage {
        topic: "T",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        properties: b"",
        body,
    }
}
