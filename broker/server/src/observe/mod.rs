//! What the broker says of itself.
//!
//! | folder | what |
//! |---|---|
//! | [`metrics`] | what probes and scrapers are answered |
//! | [`stats`] | counters by topic and group, and their rates for tools |

pub(crate) mod metrics;
pub(crate) mod stats;
