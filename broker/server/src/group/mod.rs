//! Consumer groups: their settings, members, queue locks and offsets.
//!
//! | file | what |
//! |---|---|
//! | [`subscription`] | the groups' settings, in `config/subscriptionGroup.json` |
//! | [`members`] | connected clients, producers too; nothing of it is stored |
//! | [`queue_locks`] | locks of queues that are consumed in order |
//! | [`offsets`] | the offsets that each group has consumed, in `config/consumerOffset.json` |
//! | [`progress`] | the metrics of these offsets |

pub(crate) mod members;
pub(crate) mod offsets;
pub(crate) mod progress;
mod queue_locks;
pub(crate) mod subscription;

pub(crate) use queue_locks::QueueLocks;
