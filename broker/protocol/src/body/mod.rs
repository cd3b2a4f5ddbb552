//! JSON bodies, one file per family. Fields are declared in the order in which fastjson writes
//! them, which is alphabetical, so that the bytes match too.
//!
//! Every struct reads missing fields as their defaults and ignores unknown ones: clients of the
//! last ten years connect to a current broker.

mod client;
mod connection;
mod consumer_filter;
mod data_version;
mod ha;
mod kv_table;
mod lock;
mod offset;
mod queue_map;
mod register_broker;
mod register_broker_json;
mod route;
mod stats;
mod subscription_group;
mod topic_config;

pub use client::*;
pub use connection::*;
pub use consumer_filter::*;
pub use data_version::DataVersion;
pub use ha::*;
pub use kv_table::KvTable;
pub use lock::*;
pub use offset::*;
pub use queue_map::QueueMap;
pub use register_broker::*;
pub use route::*;
pub use stats::*;
pub use subscription_group::*;
pub use topic_config::*;

/// Rows of `brokerStatus` that Java does not have. The first word of each value, up to a colon, is
/// machine-readable.
pub mod runtime_info {
    /// Of a master: `open` once it accepts writes; before, `asking`, `closed` or `copying`, with
    /// the reason.
    pub const LOG_CHECK: &str = "logCheck";
    /// Of a slave: `following` once it keeps up; before, `connecting` or `behind`; `mismatch` if
    /// its log and its master's diverge.
    pub const SLAVE_STATE: &str = "slaveState";
    /// Addresses of the namesrvs that a broker is not registered with, joined by `;`.
    pub const UNREGISTERED: &str = "unregisteredNamesrvs";
}

/// Permission bits of a topic or broker.
pub mod perm {
    /// Topics made after this one take its permission.
    pub const INHERIT: i32 = 1;
    /// May be written.
    pub const WRITE: i32 = 2;
    /// May be read.
    pub const READ: i32 = 4;

    /// True if `perm` has `READ`.
    pub fn is_readable(perm: i32) -> bool {
        perm & READ != 0
    }

    /// True if `perm` has `WRITE`.
    pub fn is_writable(perm: i32) -> bool {
        perm & WRITE != 0
    }

    /// True if `perm` has `INHERIT`.
    pub fn is_inherited(perm: i32) -> bool {
        perm & INHERIT != 0
    }
}
