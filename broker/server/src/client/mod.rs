//! Requests of clients about themselves and their groups.
//!
//! | file | what |
//! |---|---|
//! | [`heartbeat`] | clients come and go |
//! | [`lock_queue`] | locks of queues that are consumed in order |
//! | [`offsets`] | how far a group is, and what a queue holds |

pub(crate) mod heartbeat;
pub(crate) mod lock_queue;
pub(crate) mod offsets;
