//! What tools and operators ask, one file a family.

pub(crate) mod broker;
pub(crate) mod consumer;
pub(crate) mod subscription_group;
pub(crate) mod topic;
