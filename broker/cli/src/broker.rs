//! `rocketmq broker`.

use crate::{
    settings::{self, Location},
    shutdown,
};
use rmq_server::{
    Broker,
    config::{Config, Reading, SETTINGS},
};

#[derive(clap::Args)]
#[command(after_help = "Example: rocketmq broker -c broker.conf -n 127.0.0.1:9876")]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: settings::Arguments,
    /// The namesrvs, joined by ';' (over what the file says)
    #[arg(short, long = "namesrv", alias = "namesrvAddr", env = "NAMESRV_ADDR", value_name = "ADDRESSES")]
    namesrv: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = &arguments.settings;
    let mut given = settings.given()?;
    if let Some(addresses) = arguments.namesrv {
        given.push(Location::Option("-n or NAMESRV_ADDR"), "namesrvAddr".to_owned(), addresses);
    }
    let Reading { config, warnings, wrong } = Config::read(&given.pairs());
    let (mut warnings, verdict) = given.judge(warnings, wrong);
    if config.namesrv.addresses.is_empty() {
        warnings.push(
            "no namesrv is named (namesrvAddr, -n or NAMESRV_ADDR): clients will not find this broker".to_owned(),
        );
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    verdict?;
    if settings.check || settings.check_important {
        let defaults = Config::default();
        let shown = SETTINGS.iter().filter(|setting| settings.check || setting.is_important());
        return settings::print(shown.map(|setting| {
            let text = |config: &Config| config.text(setting.key).unwrap_or_default();
            let hot = if setting.hot { " (may change while it runs)" } else { "" };
            (setting.key.to_owned(), text(&config), text(&defaults), format!("{}{hot}", setting.meaning))
        }));
    }
    let (identity, stop_timeout) = (config.identity.clone(), config.network.stop_timeout.0);
    let with_stdin = arguments.settings.stop_with_stdin;
    let broker = Broker::start(config, arguments.settings.config).await?;
    tracing::info!(
        name = identity.broker_name,
        id = identity.broker_id,
        role = %identity.role,
        cluster = identity.cluster_name,
        address = %broker.address(),
        "the broker serves"
    );
    let failed = tokio::select! {
        wanted = shutdown::wanted(with_stdin) => wanted.map(|()| None)?,
        why = broker.failed() => Some(why),
    };
    if let Some(why) = &failed {
        tracing::error!(reason = why, "this broker has failed; it exits, so that its supervisor restarts it");
    }
    let stopped = shutdown::within(stop_timeout, "shutdownWaitTimeSeconds", broker.stop()).await;
    match failed {
        // What could not be written follows from that.
        Some(why) => anyhow::bail!("ended for a restart: {why}"),
        None => stopped?,
    }
    tracing::info!("stopped");
    Ok(())
}
