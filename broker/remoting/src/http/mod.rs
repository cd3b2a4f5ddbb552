//! The HTTP server of a process, for kubelets and Prometheus: `/healthz`, `/readyz`, `/metrics`.
//!
//! It has a port of its own, so that it responds while the command ports are full. Its connections
//! are limited in number and time, and a new connection always gets a place: see [`Places`].
//! Metrics are rendered on a blocking thread, once for all scrapes that arrive meanwhile: on a
//! large broker they are megabytes and take half a second.

mod places;

pub use places::{Places, serve_routes};

use crate::Shared;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use std::{io, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const PATHS: &str = "/healthz\n/readyz\n/metrics\n";

/// What a process reports about itself.
pub trait Health: Send + Sync + 'static {
    /// Liveness: whether this process can go on, or has to be restarted.
    ///
    /// # Errors
    /// Why it has to be restarted, in words for an operator.
    fn live(&self) -> Result<(), String>;

    /// Readiness: whether clients and brokers may be sent here. `Ok` holds a warning in words for
    /// an operator; it is empty if there is none.
    ///
    /// # Errors
    /// Why it is not ready, in words for an operator.
    fn ready(&self) -> Result<String, String>;

    /// The metrics in Prometheus' text format, see [`crate::metrics::text`].
    fn metrics(&self) -> String;
}

/// Serves until `stop` is cancelled: `/healthz` gives 200, or 503 with the reason why this process
/// has to be restarted; `/readyz` gives 200 with the warning, or 503 with the reason; `/metrics`
/// gives the metrics; every other path gives 404 with a list of the paths.
///
/// # Errors
/// None, except for a listener that is permanently broken.
pub async fn serve(
    listener: TcpListener,
    health: Arc<dyn Health>,
    places: Arc<Places>,
    stop: CancellationToken,
) -> io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(async || (StatusCode::NOT_FOUND, PATHS))
        .with_state(Sources { health, metrics: Arc::default() });
    serve_routes(listener, routes, places, stop).await
}

/// The state that responses are made from.
#[derive(Clone)]
struct Sources {
    health: Arc<dyn Health>,
    metrics: Arc<Shared<Bytes>>,
}

async fn live(State(sources): State<Sources>) -> Response {
    probe_response(sources.health.live().map(|()| String::new()))
}

async fn ready(State(sources): State<Sources>) -> Response {
    probe_response(sources.health.ready())
}

fn probe_response(outcome: Result<String, String>) -> Response {
    match outcome {
        Ok(detail) if detail.is_empty() => "ok\n".into_response(),
        Ok(detail) => format!("ok\n{detail}\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

async fn metrics(State(sources): State<Sources>) -> Response {
    let health = sources.health;
    match sources.metrics.answer_made_after_call(move || Bytes::from(health.metrics())).await {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics cannot be rendered: {error}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests;
