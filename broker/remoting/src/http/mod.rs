//! The HTTP side of a process, for kubelets and Prometheus: `/healthz`, `/readyz`, `/metrics`.
//!
//! It has a port of its own, so that it answers while the command ports are full. Its connections
//! are limited in number and time, and a new one always gets a place: see [`Places`]. Metrics are
//! read on a blocking thread, once for all who ask meanwhile: on a large broker they are megabytes
//! and take half a second.

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

/// What a process says of itself.
pub trait Health: Send + Sync + 'static {
    /// Can this process go on, or does it have to be restarted?
    ///
    /// # Errors
    /// Why it has to, in words for a person.
    fn live(&self) -> Result<(), String>;

    /// May clients and brokers be sent here? If so, what is amiss all the same, in words for a
    /// person; empty if nothing is.
    ///
    /// # Errors
    /// Why not, likewise.
    fn ready(&self) -> Result<String, String>;

    /// The figures in Prometheus' text form, see [`crate::metrics::text`].
    fn metrics(&self) -> String;
}

/// Answers until `stop` is cancelled: `/healthz` 200, or 503 with the reason why this process has
/// to be restarted; `/readyz` 200, with what is amiss all the same, or 503 with the reason;
/// `/metrics` the figures, all else 404 with the paths there are.
///
/// # Errors
/// None but a listener that is broken for good.
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
        .with_state(Asked { health, metrics: Arc::default() });
    serve_routes(listener, routes, places, stop).await
}

/// What answers are made with.
#[derive(Clone)]
struct Asked {
    health: Arc<dyn Health>,
    metrics: Arc<Shared<Bytes>>,
}

async fn live(State(asked): State<Asked>) -> Response {
    answer(asked.health.live().map(|()| String::new()))
}

async fn ready(State(asked): State<Asked>) -> Response {
    answer(asked.health.ready())
}

fn answer(outcome: Result<String, String>) -> Response {
    match outcome {
        Ok(detail) if detail.is_empty() => "ok\n".into_response(),
        Ok(detail) => format!("ok\n{detail}\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

async fn metrics(State(asked): State<Asked>) -> Response {
    let health = asked.health;
    match asked.metrics.answer_made_after_call(move || Bytes::from(health.metrics())).await {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the figures cannot be read: {error}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests;
