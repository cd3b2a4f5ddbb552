//! Replication: a master's commit log, byte for byte, to its slaves.
//!
//! ```text
//! slave                                   master (its HA port)
//!   |-- connect ----------------------------->|
//!   |-- 8 bytes: where to begin ------------->|   0: my log is empty, start at your first byte
//!   |<- 8 bytes offset, 4 bytes n, n bytes ---|   n = 0: a heartbeat
//!   |-- 8 bytes: end of my log -------------->|   after each piece, and every few seconds
//! ```
//! Pieces follow each other without a gap; the filler at the end of a file is data too, so offsets
//! stay equal. The slave indexes what it gets by itself. This is Java's classic protocol: Java
//! masters and slaves can stand on either side. Java's slaves begin at the end of their log, and
//! its masters start an empty slave at their last file. A slave of ours begins a little before its
//! end, and compares.
//!
//! | file | what |
//! |---|---|
//! | [`wire`] | the three messages |
//! | [`compare`] | whether two logs are the same where both reach |
//! | [`log_check`] | whether a master may take writes after a start |
//! | [`master`] | one task a slave; what each has; what is confirmed |
//! | [`slave`] | follow the master |
//! | [`unsent`] | which files wait for a slave that has yet to copy them |
//! | [`metrics`], [`requests`] | what scrapers, slaves and tools are told |
//! | [`tables`] | topics, groups and offsets from the master |
//!
//! **Confirmed** is the offset that `inSyncReplicas` members have, the master among them: the end
//! of the log where one is enough. Only a SYNC_MASTER waits for it. What a slave reports is in its
//! memory, not yet on its disk: a message is then safe against the loss of a machine, not of all at
//! once.

mod compare;
pub(crate) mod log_check;
pub(crate) mod master;
pub(crate) mod metrics;
pub(crate) mod requests;
pub(crate) mod slave;
pub(crate) mod tables;
mod unsent;
mod wire;

pub(crate) use log_check::LogCheck;
pub(crate) use master::Slaves;
pub(crate) use slave::Following;
