//! Messages that are delivered later.
//!
//! | folder | what |
//! |---|---|
//! | [`delay`] | the delay levels: fixed waits, a queue for each |

pub(crate) mod delay;
