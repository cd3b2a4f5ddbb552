//! A slave's copy of its master's tables: topics, groups, consumer offsets and delay positions.
//!
//! Only a master is asked whose log this slave follows: one that lost its volume has empty tables,
//! and would take from the last copy of the group how far its consumers have come.
//!
//! The master is asked every few seconds; a table is replaced if its version is another. Offsets
//! change all the time and are taken whole.

use crate::{
    group::{
        offsets::{ConsumerOffsets, OffsetRows},
        subscription::{GroupRows, SubscriptionGroups},
    },
    role::Role,
    timer::delay::{Delay, DelayRows},
    topic::{TopicRows, Topics},
};
use rmq_protocol::{Command, RequestCode, ResponseCode, fastjson, header};
use rmq_remoting::{Budget, Client, Limits};
use serde::de::DeserializeOwned;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(5);
/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is copied.
pub(crate) struct MetadataSync {
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<SubscriptionGroups>,
    pub(crate) offsets: Arc<ConsumerOffsets>,
    pub(crate) delay: Arc<Delay>,
    /// Of the broker's network buffers.
    pub(crate) budget: Arc<Budget>,
}

impl MetadataSync {
    /// Copies from the master that `roles` names, until `stop`. `in_step` says whether the master's
    /// log is followed.
    pub(crate) async fn run(
        self,
        mut roles: watch::Receiver<Role>,
        mut in_step: watch::Receiver<bool>,
        stop: CancellationToken,
    ) {
        let client = Client::with_budget(Arc::new(()), Limits::default(), Arc::clone(&self.budget));
        let mut failing = false;
        loop {
            let master = roles.borrow_and_update().of().map(|master| master.address.clone());
            let in_step_now = *in_step.borrow_and_update();
            if let Some(master) = master.filter(|_| in_step_now) {
                let copied = match Tables::fetch(&client, &master).await {
                    // They may be those of another process at the same address.
                    Ok(_) if !*in_step.borrow() => Err("its log is not followed any more".to_owned()),
                    Ok(tables) => self.take(tables).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = &copied
                    && !failing
                {
                    tracing::warn!(%master, error, "cannot copy topics, groups and offsets from the master; trying again");
                }
                failing = copied.is_err();
            }
            tokio::select! {
                () = stop.cancelled() => break,
                changed = roles.changed() => if changed.is_err() { break },
                changed = in_step.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        client.close().await;
    }

    /// Puts the tables of another member in the place of those here. The error, in words: a table
    /// cannot be written.
    async fn take(&self, tables: Tables) -> Result<(), String> {
        if tables.topics.data_version != self.topics.version() {
            self.topics.replace(tables.topics);
            let topics = Arc::clone(&self.topics);
            blocking(move || topics.persist()).await?;
        }
        if tables.groups.data_version != self.groups.version() {
            self.groups.replace(tables.groups);
            let groups = Arc::clone(&self.groups);
            blocking(move || groups.persist()).await?;
        }
        self.offsets.replace(tables.offsets);
        self.delay.replace(tables.delay);
        let delay = Arc::clone(&self.delay);
        blocking(move || delay.persist()).await
    }

    /// Copies all tables of another member and writes them to disk, consumer offsets too, which are
    /// otherwise written every few seconds.
    ///
    /// # Errors
    /// In words: no answer, or a table that cannot be written.
    pub(crate) async fn copy_durably(&self, client: &Client, from: &str) -> Result<(), String> {
        self.take(Tables::fetch(client, from).await?).await?;
        let offsets = Arc::clone(&self.offsets);
        blocking(move || offsets.persist()).await
    }
}

/// All tables of a member.
struct Tables {
    topics: TopicRows,
    groups: GroupRows,
    offsets: OffsetRows,
    delay: DelayRows,
}

impl Tables {
    async fn fetch(client: &Client, from: &str) -> Result<Self, String> {
        Ok(Self {
            topics: fetch(client, from, RequestCode::AllTopicConfig).await?,
            groups: fetch(client, from, RequestCode::AllSubscriptionGroupConfig).await?,
            offsets: fetch(client, from, RequestCode::AllConsumerOffset).await?,
            delay: fetch(client, from, RequestCode::AllDelayOffset).await?,
        })
    }
}

async fn fetch<T: DeserializeOwned>(client: &Client, master: &str, code: RequestCode) -> Result<T, String> {
    let request = Command::request(code, &header::Empty {});
    let answer = client.request(master, request, TIMEOUT).await.map_err(|error| error.to_string())?;
    if answer.code != ResponseCode::Success.number() {
        return Err(format!("{} is answered with {} {}", code.name(), answer.code, answer.remark.unwrap_or_default()));
    }
    fastjson::from_slice(&answer.body).map_err(|error| format!("the answer to {}: {error}", code.name()))
}

async fn blocking(write: impl FnOnce() -> Result<(), rmq_store::Error> + Send + 'static) -> Result<(), String> {
    match tokio::task::spawn_blocking(write).await {
        Ok(written) => written.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
