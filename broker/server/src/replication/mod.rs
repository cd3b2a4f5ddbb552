//! Replication: a master's commit log, byte for byte, to its slaves.
//!
//! ```text
//! slave                                   master (its HA port)
//!   |-- connect ----------------------------->|
//!   |-- 8 bytes: where to begin ------------->|   0: my log is empty, start at your first byte
//!   |<- 8 bytes offset, 4 bytes n, n bytes ---|   n = 0: a heartbeat
//!   |-- 8 bytes: end of my log -------------->|   after each piece, and every few seconds
//! ```
//!
//! Pieces follow each other without a gap. The filler at the end of a file is data too, so offsets
//! stay equal. The slave builds its own indexes from the log. This is Java's classic protocol: a
//! Java master or slave can be on either side. Java's slaves begin at the end of their log, and its
//! masters start an empty slave at their last file. A slave of ours begins a little before its end,
//! and compares.
//!
//! | file | what |
//! |---|---|
//! | [`wire`] | the three messages |
//! | [`compare`] | whether two logs are the same where both reach |
//! | [`log_check`] | whether a master may take writes after a start |
//! | [`master`] | one task per slave; the offset of each; the confirmed offset |
//! | [`slave`] | follows the master |
//! | [`unsent`] | the files that wait for a slave that has yet to copy them |
//! | [`metrics`], [`requests`] | metrics, and requests of slaves and tools |
//! | [`tables`] | topics, groups and offsets from the master |
//!
//! The **confirmed** offset is the one that `inSyncReplicas` members have reached, including the
//! master: the end of the log if one member is enough. Only a SYNC_MASTER waits for it. What a
//! slave reports is in its memory, and not yet on its disk. A confirmed message is safe against the
//! loss of one machine, but not of all machines at once.

mod compare;
pub(crate) mod log_check;
pub(crate) mod master;
pub(crate) mod metrics;
pub(crate) mod requests;
pub(crate) mod slave;
pub(crate) mod tables;
mod unsent;
mod wire;

pub(crate) use log_check::{LogCheck, note_new_store};
pub(crate) use master::Slaves;
pub(crate) use slave::Following;
