//! What topics and consumer groups are notified of: that a cluster came, went, or changed in what
//! they need of it. Each cluster is watched once, whatever the number of controllers; its status
//! changes more often than that, and thousands of objects may name it.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use futures::{Stream, StreamExt, stream};
use kube::{
    ResourceExt,
    core::DeserializeGuard,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::Event,
    },
};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    api::{RocketMQCluster, reference::ClusterKey},
    kubernetes::context::key,
    provision::Provisioned,
};

/// Compares what a watch delivers with what was known, and notifies of what differs.
pub(super) struct ChangeNotifier {
    store: Store<DeserializeGuard<RocketMQCluster>>,
    changed: broadcast::Sender<ClusterKey>,
    /// Fingerprints of the clusters in the store.
    known: HashMap<ClusterKey, u64>,
}

impl ChangeNotifier {
    pub(super) fn new(store: Store<DeserializeGuard<RocketMQCluster>>, changed: broadcast::Sender<ClusterKey>) -> Self {
        Self { store, changed, known: HashMap::new() }
    }

    /// Compares an event that is in the store already.
    pub(super) fn observe(&mut self, event: &Event<DeserializeGuard<RocketMQCluster>>) {
        match event {
            Event::Apply(cluster) => self.compare(key(cluster), fingerprint(cluster)),
            Event::Delete(cluster) => {
                let key = key(cluster);
                self.known.remove(&key);
                self.notify(key);
            }
            // Objects of a list are in the store when it is complete; what is not in it any more is
            // gone.
            Event::InitDone => {
                let listed: HashMap<_, _> =
                    self.store.state().iter().map(|cluster| (key(&**cluster), fingerprint(cluster))).collect();
                let gone = self.known.keys().filter(|key| !listed.contains_key(*key)).cloned();
                for key in gone.collect::<Vec<_>>() {
                    self.known.remove(&key);
                    self.notify(key);
                }
                for (key, fingerprint) in listed {
                    self.compare(key, fingerprint);
                }
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }

    fn compare(&mut self, key: ClusterKey, fingerprint: u64) {
        if self.known.insert(key.clone(), fingerprint) != Some(fingerprint) {
            self.notify(key);
        }
    }

    fn notify(&self, key: ClusterKey) {
        // Without a receiver there is no controller that could act on it.
        let _ = self.changed.send(key);
    }
}

/// Of all that `provision` reads of a cluster.
fn fingerprint(cluster: &DeserializeGuard<RocketMQCluster>) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let Ok(cluster) = &cluster.0 {
        let status = cluster.status.as_ref();
        let read = (
            &cluster.metadata.uid,
            cluster.metadata.deletion_timestamp.is_some(),
            &cluster.spec.cluster_name,
            &cluster.spec.topics,
            status.and_then(|status| status.namesrv_addrs.as_ref()),
            status.and_then(|status| status.broker_groups),
        );
        format!("{read:?}").hash(&mut hasher);
    }
    hasher.finish()
}

/// The objects that name the clusters that changed.
pub(super) fn naming<K: Provisioned>(
    changes: broadcast::Receiver<ClusterKey>,
    objects: Store<DeserializeGuard<K>>,
) -> impl Stream<Item = ObjectRef<DeserializeGuard<K>>> + Send + 'static {
    let clusters = stream::unfold(changes, |mut changes| async move {
        match changes.recv().await {
            Ok(key) => Some((Some(key), changes)),
            // What was missed is not known, so it may be any.
            Err(RecvError::Lagged(_)) => Some((None, changes)),
            Err(RecvError::Closed) => None,
        }
    });
    clusters.flat_map(move |cluster| {
        let names_it = |object: &DeserializeGuard<K>| {
            let object = object.0.as_ref().ok()?;
            let namespace = object.namespace().unwrap_or_default();
            let of = ClusterKey::of(object.cluster_ref(), &namespace);
            cluster
                .as_ref()
                .is_none_or(|cluster| of == *cluster)
                .then(|| ObjectRef::new(&object.name_any()).within(&namespace))
        };
        stream::iter(objects.state().iter().filter_map(|object| names_it(object)).collect::<Vec<_>>())
    })
}
