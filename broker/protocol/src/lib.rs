//! RocketMQ's binary formats: commands on a connection and records in a commit log.
//!
//! Pure functions from bytes to types and back: no sockets, files, clocks, async or logging, so
//! that the broker, the clients and the tools share one implementation and its tests run in
//! microseconds. Everything is big-endian; strings are UTF-8.
//!
//! | module | contents |
//! |---|---|
//! | [`frame`], [`command`], [`fields`] | a command: [`json_header`], [`binary_header`] |
//! | [`code`], [`language`], [`version`] | request and response codes, languages, releases |
//! | [`header`] | the named fields of each request and response |
//! | [`body`], [`fastjson`] | JSON bodies, written and read like Java's fastjson |
//! | [`address`] | `host:port`, and lists of them |
//! | [`java_properties`] | configuration files, and configuration in bodies |
//! | [`message`] | a message, its stored record, batches, properties, ids |
//!
//! Compatibility means: what Java writes decodes here, what is encoded here decodes in Java, and
//! for stored records the bytes are equal. The repository's `tests/golden/` holds bytes written by
//! the Java libraries; this package's tests of that name compare with them.

pub mod address;
pub mod binary_header;
pub mod body;
pub mod code;
pub mod command;
pub mod fastjson;
pub mod fields;
pub mod frame;
pub mod header;
pub mod java_properties;
pub mod json_header;
pub mod language;
pub mod message;
pub mod names;
pub mod version;

pub use code::{RequestCode, ResponseCode};
pub use command::{Body, Command, Reply, Serialization};
pub use fields::Fields;
