//! Requests that no official client sends, and data that no broker of this version wrote: what they
//! may not do to others.

mod delay;
mod names;
mod numbers;
mod wire;
