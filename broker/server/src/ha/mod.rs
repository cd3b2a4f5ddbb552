//! Replication: a master's commit log, byte for byte, to its slaves.
//!
//! ```text
//! slave                                   master (its HA port)
//!   |-- connect ----------------------------->|
//!   |-- 8 bytes: end of my log -------------->|   0: start me at your last file
//!   |<- 8 bytes offset, 4 bytes n, n bytes ---|   n = 0: a heartbeat
//!   |-- 8 bytes: end of my log -------------->|   after each piece, and every few seconds
//! ```
//! Pieces follow each other without a gap; the filler at the end of a file is data too, so offsets stay equal. The slave indexes what it gets by itself.
//! This is Java's classic protocol: Java masters and slaves can stand on either side.
//!
//! | file | what |
//! |---|---|
//! | [`wire`] | the three messages |
//! | [`master`] | one task a slave; what each has; what is confirmed |
//! | [`slave`] | follow the master |
//! | [`metadata_sync`] | topics, groups and offsets from the master |
//!
//! **Confirmed** is the offset that `inSyncReplicas` members have, the master among them: the end of the log where one is enough. Only a SYNC_MASTER
//! waits for it. What a slave reports is in its memory, not yet on its disk: a message is then safe against the loss of a machine, not of all at once.

pub(crate) mod master;
pub(crate) mod metadata_sync;
pub(crate) mod slave;
mod wire;

pub(crate) use master::Slaves;
pub(crate) use slave::Following;
