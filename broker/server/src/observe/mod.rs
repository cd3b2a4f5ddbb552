//! What the broker counts, and how it is shown. Names, units and labels of metrics are those of
//! Java 5.x where it has the metric, so that its dashboards show them; each feature writes its own.
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
