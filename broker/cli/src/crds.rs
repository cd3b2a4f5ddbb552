//! `rocketmq crds`.

use crate::output;

#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_arguments: &Arguments) -> anyhow::Result<()> {
    output::print(rmq_operator::crds::yaml().trim_end())
}
