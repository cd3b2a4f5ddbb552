//! 905: notifies the members of a broker group that its lowest id has changed.
//!
//! One-way and at most once: members also poll their group every second. So nothing is retried, and
//! a notification that cannot be sent is dropped.

use crate::route_table::LowestIdChanged;
use rmq_protocol::{Command, RequestCode, header::NotifyMinBrokerIdChange};
use rmq_remoting::{Client, Limits};
use std::sync::Arc;
use tokio::{runtime::Handle, sync::Semaphore};

/// Notifications in flight: a connection to a broker that is gone takes seconds to fail.
const ON_THE_WAY: usize = 256;

/// Sends notifications to brokers over connections of its own, as brokers expect it. Cheap to
/// clone.
#[derive(Clone)]
pub(crate) struct Notifier {
    client: Client,
    runtime: Handle,
    places: Arc<Semaphore>,
}

impl Notifier {
    /// Sends on the runtime that it is created on.
    pub(crate) fn new(limits: Limits) -> Self {
        let client = Client::new(Arc::new(()), limits);
        Self { client, runtime: Handle::current(), places: Arc::new(Semaphore::new(ON_THE_WAY)) }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn lowest_id_changed(&self, changed: LowestIdChanged) {
        let (id, address) = &changed.lowest;
        tracing::info!(broker = %changed.broker, id, address, members = ?changed.to, "notifying a group of its new lowest id");
        let header = NotifyMinBrokerIdChange {
            min_broker_id: Some(*id),
            broker_name: Some(&changed.broker),
            min_broker_address: Some(address),
            offline_broker_address: changed.offline.as_deref(),
            ha_broker_address: changed.ha_address.as_deref(),
        };
        let command = Command::request(RequestCode::NotifyMinBrokerIdChange, &header);
        for member in changed.to {
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                tracing::warn!(member, "too many notifications wait; a broker is skipped");
                continue;
            };
            let (client, command) = (self.client.clone(), command.clone());
            self.runtime.spawn(async move {
                if let Err(error) = client.one_way(&member, command).await {
                    tracing::warn!(member, %error, "a broker could not be notified of its group's new lowest id");
                }
                drop(place);
            });
        }
    }
}
