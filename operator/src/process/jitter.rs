//! Pauses that differ from each other.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// A duration 10 % shorter to 10 % longer, so that a thousand objects do not come at one moment.
pub fn jittered(duration: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 2001;
    duration.mul_f64(0.9 + 0.2 * random as f64 / 2000.0)
}
