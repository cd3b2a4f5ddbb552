//! Copies the master's tables to a slave: topics, groups, consumer offsets and delay positions.
//!
//! The tables are copied only from a master whose log this slave follows. A master that lost its
//! volume has empty tables, and they would overwrite the last copy of the consumers' offsets in the
//! group.
//!
//! The slave polls the master every few seconds. A table is replaced if its version differs.
//! Offsets change all the time and are copied as a whole.

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

/// The time between two rounds.
const EVERY: Duration = Duration::from_secs(5);
/// The timeout of one answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The tables that are copied.
pub(crate) struct MetadataSync {
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<SubscriptionGroups>,
    pub(crate) offsets: Arc<ConsumerOffsets>,
    pub(crate) delay: Arc<Delay>,
    /// The memory budget of the broker's network buffers.
    pub(crate) budget: Arc<Budget>,
}

impl MetadataSync {
    /// Copies from the master that `roles` names, until `stop`. `in_step` is true while the
    /// master's log is followed.
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
                    // The tables may be those of another process at the same address.
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

    /// Replaces the tables with those of another member. The error describes which table cannot be
    /// written.
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

    /// Copies all tables of another member and writes them to disk, including consumer offsets,
    /// which are otherwise written every few seconds.
    ///
    /// # Errors
    /// A description: no answer, or a table that cannot be written.
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
