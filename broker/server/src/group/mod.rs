//! Consumer groups: what they are told to be, who is in them, which queues they hold, how far they
//! are.
//!
//! | file | what |
//! |---|---|
//! | [`subscription`] | the groups' settings, in `config/subscriptionGroup.json` |
//! | [`members`] | clients that are connected, producers too; nothing of it is stored |
//! | [`queue_locks`] | locks of queues that are consumed in order |
//! | [`offsets`] | how far each group has consumed, in `config/consumerOffset.json` |
//! | [`progress`] | the same as metrics |

pub(crate) mod members;
pub(crate) mod offsets;
pub(crate) mod progress;
mod queue_locks;
pub(crate) mod subscription;

pub(crate) use queue_locks::QueueLocks;
