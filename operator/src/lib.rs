//! The Kubernetes operator.
pub mod api;
pub mod crds;
pub mod manifest;
pub mod reference;
