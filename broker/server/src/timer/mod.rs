//! Messages that are delivered later.
//!
//! | folder | what |
//! |---|---|
//! | [`delay`] | the delay levels: fixed delays, one queue for each |

pub(crate) mod delay;
