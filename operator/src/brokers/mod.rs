//! What is asked of brokers and namesrvs, over which connections, and how often.
//!
//! May touch brokers and namesrvs. Knows no API server and judges nothing: topics and consumer
//! groups are judged in `provision`, broker groups in `cluster`.
//!
//! | file | what |
//! |---|---|
//! | [`admin`] | the calls, as a trait |
//! | [`remote`] | the calls over the network; in tests, `fake.rs` answers them from memory |
//! | [`pool`] | a connection for each cluster; what its brokers hold, fetched once a minute |
//! | [`table`] | what many brokers hold alike, kept once |

pub mod admin;
#[cfg(test)]
pub(crate) mod fake;
pub mod pool;
pub mod remote;
pub mod table;
