//! Counters of the broker and their output. Metrics have the names, units and labels of Java 5.x if
//! Java has the metric, so that its dashboards work. Each feature writes its own metrics.
//!
//! | file | what |
//! |---|---|
//! | [`requests`] | requests by code |
//! | [`request_code`] | Java's names of requests |
//! | [`stats`] | counters by topic and group, and their rates for tools |
//! | [`store`], [`durations`] | the store's metrics |

mod durations;
mod request_code;
pub(crate) mod requests;
pub(crate) mod stats;
pub(crate) mod store;
