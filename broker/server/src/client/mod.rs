//! Requests of clients about themselves and their groups.
//!
//! | file | what |
//! |---|---|
//! | [`heartbeat`] | clients connect and disconnect |
//! | [`lock_queue`] | locks of queues that are consumed in order |
//! | [`offsets`] | the progress of a group, and the bounds of a queue |

pub(crate) mod heartbeat;
pub(crate) mod lock_queue;
pub(crate) mod offsets;
