//! Release numbers as RocketMQ counts them: the position in Java's list of releases, each preceded by its snapshot.

/// A release, as commands carry it.
pub type Version = i32;

/// From here on retries carry their own maximum.
pub const V3_4_9: Version = 121;
/// The last release whose ACL signature leaves out `_UNIQUE_KEY_QUERY`.
pub const V4_9_3: Version = 399;
/// From here on clients read routes in standard JSON.
pub const V4_9_4: Version = 401;
/// From here on a compressed registration carries the static-topic part.
pub const V5_0_0: Version = 413;
/// The release whose behaviour this project follows, and what our own commands carry.
pub const CURRENT: Version = 513;
/// [`CURRENT`] in words, as `clusterList` prints it.
pub const CURRENT_NAME: &str = "V5_5_0";
