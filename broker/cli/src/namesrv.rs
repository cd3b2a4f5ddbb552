//! `rocketmq namesrv`.

use crate::{
    settings::{self, Location},
    shutdown,
};
use rmq_namesrv::{Config, Namesrv, Overrides, Reading};

#[derive(clap::Args)]
#[command(after_help = "Example: rocketmq namesrv -c namesrv.conf --set listenPort=9876")]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: settings::Arguments,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = &arguments.settings;
    let mut given = settings.given()?;
    // As in Java: settings that are changed at run time go to the file they came from.
    if let Some(file) = &settings.config {
        given.put_first(Location::Option("-c"), "configStorePath".to_owned(), file.display().to_string());
    }
    let Reading { config, warnings, wrong } = Config::read(&given.pairs());
    let (warnings, verdict) = given.judge(warnings, wrong);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    verdict?;
    // Of so few settings all matter.
    if settings.check || settings.check_important {
        return settings::print(config.describe().into_iter().map(|row| {
            let live = if row.live { " (may change while it runs)" } else { "" };
            (row.key.to_owned(), row.value, row.default, format!("{}{live}", row.meaning))
        }));
    }
    let namesrv = Namesrv::start(config, Overrides::default()).await?;
    tracing::info!(address = %namesrv.local_addr(), "the namesrv serves");
    let failed = tokio::select! {
        wanted = shutdown::wanted(arguments.settings.stop_with_stdin) => wanted.map(|()| None)?,
        why = namesrv.failed() => Some(why),
    };
    namesrv.stop().await;
    if let Some(why) = failed {
        anyhow::bail!("ended for a restart: {why}");
    }
    tracing::info!("stopped");
    Ok(())
}
