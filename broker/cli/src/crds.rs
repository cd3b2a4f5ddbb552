//! `rocketmq crds`.

#[derive(clap::Args)]
pub(crate) struct Arguments {}

#[allow(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(_arguments: &Arguments) -> anyhow::Result<()> {
    print!("{}", rmq_operator::crds::yaml());
    Ok(())
}
