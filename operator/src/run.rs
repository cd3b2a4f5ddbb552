//! The process: port, Lease, controllers, and their end.
//!
//! ```text
//! port open -> API server answers (ready) -> Lease is ours -> controllers run
//!      stop asked for: controllers finish what they began -> Lease given back -> port closed -> Ok
//!      Lease lost:     controllers are dropped, as another may have begun -> Err(LeaseLost)
//!      a controller is stalled: all are dropped, Lease given back -> Err(Stalled)
//! ```

use std::time::Duration;

use kube::{Client, Config};
use tokio_util::sync::CancellationToken;

use crate::{
    brokers::admin::Admin,
    controllers,
    error::{Error, plain},
    process::{
        Options,
        http::{self, Readiness},
        lease::Elector,
        metrics::Metrics,
        watches::REFUSED_FOR,
    },
};

/// Between tries to reach the API server at the start.
const RETRY: Duration = Duration::from_secs(2);
/// How long the API server may be silent in an answer or a watch. It ends a quiet watch itself
/// after 290 s; without this, a connection that is cut without a word would be waited for for ever.
const SILENCE: Duration = Duration::from_secs(300);

/// Runs the operator until `shutdown` ends.
///
/// # Errors
/// No configuration for the API server is found, the port is taken, the Lease was lost, or a
/// controller is stalled; then the process should end, and its supervisor starts it anew.
pub async fn run<A: Admin>(options: Options, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
    let metrics = Metrics::new()?;
    let stop = CancellationToken::new();
    let readiness = Readiness::default();
    let (address, serving) = http::serve(options.http, readiness.clone(), metrics.clone(), stop.clone()).await?;
    let serving = tokio::spawn(serving);
    let client = connect().await?;
    tracing::info!(%address, "operator started");

    let ending = async {
        let work = lead::<A>(&options, &client, &metrics, &readiness, &stop);
        tokio::pin!(work, shutdown);
        tokio::select! {
            result = &mut work => result,
            () = &mut shutdown => {
                tracing::info!("stopping");
                stop.cancel();
                work.await
            }
        }
    };
    let result = ending.await;
    stop.cancel();
    // It only ends early by a panic, which has been logged.
    let _ = serving.await;
    result
}

/// A client for the API server that the environment or a kubeconfig names.
async fn connect() -> Result<Client, Error> {
    let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    config.read_timeout.get_or_insert(SILENCE);
    // A connection that was idle before a request is not silent during it.
    config.reset_reader_on_write = true;
    Ok(Client::try_from(config)?)
}

/// Waits for the Lease and reconciles while it is ours.
async fn lead<A: Admin>(
    options: &Options,
    client: &Client,
    metrics: &Metrics,
    readiness: &Readiness,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let answer = async {
        loop {
            match client.apiserver_version().await {
                Ok(version) => return tracing::info!(kubernetes = version.git_version, "the API server answers"),
                Err(error) => tracing::warn!(error = plain(&error), "the API server does not answer"),
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = answer => readiness.reached(),
        () = stop.cancelled() => return Ok(()),
    }
    let Some(identity) = options.lease.clone() else {
        metrics.leading(true);
        return controllers::run::<A>(options, client, metrics, readiness, stop, REFUSED_FOR).await;
    };
    let mut elector = Elector::new(client.clone(), identity.clone());
    tokio::select! {
        () = elector.acquire() => {}
        () = stop.cancelled() => return Ok(()),
    }
    tracing::info!(lease = identity.name, holder = identity.holder, "leading");
    metrics.leading(true);
    let result = tokio::select! {
        result = controllers::run::<A>(options, client, metrics, readiness, stop, REFUSED_FOR) => result,
        loss = elector.hold() => Err(Error::LeaseLost(loss)),
    };
    metrics.leading(false);
    if !matches!(result, Err(Error::LeaseLost(_))) {
        elector.release().await;
    }
    result
}
