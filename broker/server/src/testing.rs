//! A small broker's store, and messages for it.

use crate::{
    config::{Config, Live},
    core::Core,
    filter::Filters,
    group::{offsets::ConsumerOffsets, subscription::SubscriptionGroups},
    registration::Registration,
    role::{CurrentRole, Role},
    timer::delay::Delay,
    topic::Topics,
    transaction::Transactions,
};
use rmq_store::{Follower, MessageStore, NewMessage};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// A member of a broker group with small files. `more` are settings besides its name and its path.
pub(crate) fn member(root: &Path, more: &[(&str, &str)]) -> (Arc<Live>, Arc<MessageStore>) {
    let root = root.display().to_string();
    let settings = [("brokerName", "b"), ("mappedFileSizeCommitLog", "16777216"), ("storePathRootDir", &*root)];
    let (config, _) = Config::from_properties(settings.into_iter().chain(more.iter().copied())).unwrap();
    let store = MessageStore::open(config.for_store().unwrap(), Vec::new()).unwrap();
    (Arc::new(Live::new(config, None)), Arc::new(store))
}

/// The dependencies of features, for a master with these settings.
pub(crate) fn core(config: Config, followers: Vec<Arc<dyn Follower>>, runtime: Handle) -> Core {
    let root = PathBuf::from(&config.store.root);
    let store = Arc::new(MessageStore::open(config.for_store().unwrap(), followers).unwrap());
    let topics = Arc::new(Topics::open(&root, &config).unwrap());
    let delay = Arc::new(Delay::open(&root, config.delay_levels().unwrap()).unwrap());
    let (settings, role) = (Arc::new(Live::new(config, None)), Arc::new(CurrentRole::new(Role::Master)));
    let budget = rmq_remoting::Budget::of_process();
    let offsets = Arc::new(ConsumerOffsets::open(&root).unwrap());
    let transactions =
        Transactions::open(&root, Arc::clone(&settings), Arc::clone(&role), Arc::clone(&offsets)).unwrap();
    Core {
        registration: Arc::new(Registration::new(
            Arc::clone(&settings),
            Arc::clone(&role),
            Arc::clone(&topics),
            budget,
        )),
        store_host: SocketAddr::from(([127, 0, 0, 1], 10911)),
        groups: Arc::new(SubscriptionGroups::open(&root).unwrap()),
        offsets,
        transactions: Arc::new(transactions),
        producers: Arc::default(),
        consumers: Arc::default(),
        filters: Arc::new(Filters::open(&root).unwrap()),
        stats: Arc::default(),
        tasks: TaskTracker::new(),
        settings,
        role,
        store,
        topics,
        delay,
        runtime,
    }
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
