//! Requests of tools and operators, one file per family.

pub(crate) mod broker;
pub(crate) mod consumer;
pub(crate) mod group;
pub(crate) mod query_message;
pub(crate) mod relay;
pub(crate) mod runtime_info;
pub(crate) mod topic;
