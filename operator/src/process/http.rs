//! `/healthz`, `/readyz` and `/metrics` of the operator.
//!
//! Healthy: the process answers. Ready: it has reached the API server once, and no controller is
//! stalled; a replica that stands by for the Lease is ready too, or a rollout of the operator would
//! never end. What else does not go well, as a watch that is refused, is in the text of the
//! response.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, http::StatusCode, routing::get};
use parking_lot::Mutex;
use rmq_remoting::http::{Places, serve_routes};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    process::{metrics::Metrics, watchdog::Watchdog},
};

/// What `/readyz` answers from.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether the API server has answered once.
    reached: AtomicBool,
    /// Of the controllers, while they run.
    watchdog: Mutex<Option<Arc<Watchdog>>>,
}

impl Readiness {
    /// The API server has answered.
    pub fn reached(&self) {
        // A flag that guards nothing else.
        self.0.reached.store(true, Ordering::Relaxed);
    }

    /// Controllers begin, and with them what there is to know about them.
    pub(crate) fn controllers(&self, watchdog: Arc<Watchdog>) {
        *self.0.watchdog.lock() = Some(watchdog);
    }

    pub(crate) fn response(&self) -> (StatusCode, String) {
        if !self.0.reached.load(Ordering::Relaxed) {
            return (StatusCode::SERVICE_UNAVAILABLE, "the API server has not answered yet\n".to_owned());
        }
        let watchdog = self.0.watchdog.lock().clone();
        let health = watchdog.map(|watchdog| watchdog.health(tokio::time::Instant::now())).unwrap_or_default();
        let (status, state) = match health.faults.is_empty() {
            true => (StatusCode::OK, "ready"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
        };
        let lines = health.faults.iter().chain(&health.notes);
        (status, lines.fold(format!("{state}\n"), |text, line| text + line + "\n"))
    }
}

/// Opens the port, then serves until the stop. The returned future ends with the last
/// connection.
///
/// # Errors
/// The port is taken or not ours to open, or `metrics` has a port already.
pub async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(SocketAddr, impl Future<Output = ()>), Error> {
    let listening = TcpListener::bind(address).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (bound, listener) = listening.map_err(|source| Error::Listen { address, source })?;
    let ready = move || async move { readiness.response() };
    let places = Arc::new(Places::new().and_then(|places| metrics.add(&places).map(|()| places))?);
    let scrape = move || async move { ([("content-type", "text/plain; version=0.0.4")], metrics.text()) };
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape));
    let serving = serve_routes(listener, routes, places, stop);
    Ok((bound, async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the port for health and metrics failed");
        }
    }))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn request(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    #[tokio::test]
    async fn health_readiness_and_metrics_are_served_until_the_stop() {
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, serving) = serve(local, readiness.clone(), Metrics::new().unwrap(), stop.clone()).await.unwrap();
        let serving = tokio::spawn(serving);
        assert!(request(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(request(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        readiness.reached();
        assert!(request(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(request(address, "/metrics").await.contains("rocketmq_operator_leader 0"));
        stop.cancel();
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    /// The port had no limits: connections that ask nothing took descriptors for as long as they
    /// liked.
    #[tokio::test]
    async fn connections_that_ask_nothing_are_closed_for_new_ones() {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, serving) =
            serve(local, Readiness::default(), Metrics::new().unwrap(), CancellationToken::new()).await.unwrap();
        tokio::spawn(serving);
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut others = Vec::new();
        for _ in 0..70 {
            others.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(request(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let end = tokio::time::timeout(std::time::Duration::from_secs(60), silent.read(&mut [0; 1])).await;
        assert!(matches!(end.expect("closed in time"), Ok(0) | Err(_)));
        assert!(request(address, "/metrics").await.contains("rocketmq_http_closed_for_others_total"));
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_with_its_address() {
        let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = holder.local_addr().unwrap();
        let result = serve(address, Readiness::default(), Metrics::new().unwrap(), CancellationToken::new()).await;
        let text = result.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains(&address.to_string()), "{text}");
    }
}
