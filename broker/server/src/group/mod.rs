//! Consumer groups: what they are told to be, who is in them, which queues they hold, how far they are.
//!
//! | file | what |
//! |---|---|
//! | [`subscription`] | the groups' settings, in `config/subscriptionGroup.json` |
//! | [`members`] | clients that are connected, producers too; nothing of it is stored |
//! | [`heartbeat`] | requests by which clients come and go |
//! | [`queue_locks`], [`lock_queue`] | locks of queues that are consumed in order, and their requests |
//! | [`offsets`] | how far each group has consumed, in `config/consumerOffset.json`, and its requests |

pub(crate) mod heartbeat;
pub(crate) mod lock_queue;
pub(crate) mod members;
pub(crate) mod offsets;
mod queue_locks;
pub(crate) mod subscription;

pub(crate) use queue_locks::QueueLocks;
