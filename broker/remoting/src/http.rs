//! The HTTP side of a process, for kubelets and Prometheus: `/healthz`, `/readyz`, `/metrics`.
//!
//! It stands on a port of its own, so that it answers while the command ports are full. Whoever can reach that port
//! could still waste memory with it, hence the caps below; connections over the cap wait in the kernel's queue, since
//! a probe that comes a second late is better than one that is refused. Figures are read on a blocking thread, once for all who ask
//! meanwhile: on a large broker they are megabytes and take half a second.

use crate::Shared;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// How long a request's header may take, the wait between two requests included.
const HEADER: Duration = Duration::from_secs(30);
/// How long a connection may last, so that no slow reader keeps its place for ever. Scrapers open another.
const LIFE: Duration = Duration::from_secs(600);
/// How long the answer in hand may take when the connection is to end.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes of a request's header.
const HEADER_BYTES: usize = 16 * 1024;
/// Pause after an accept that failed for want of memory or file descriptors.
const BACK_OFF: Duration = Duration::from_millis(100);

const PATHS: &str = "/healthz\n/readyz\n/metrics\n";

/// What a process says of itself.
pub trait Health: Send + Sync + 'static {
    /// Can this process go on, or does it have to be restarted?
    ///
    /// # Errors
    /// Why it has to, in words for a person.
    fn live(&self) -> Result<(), String>;

    /// May clients and brokers be sent here? If so, what is amiss all the same, in words for a person; empty if nothing is.
    ///
    /// # Errors
    /// Why not, likewise.
    fn ready(&self) -> Result<String, String>;

    /// The figures in Prometheus' text form, see [`crate::metrics::text`].
    fn metrics(&self) -> String;
}

/// Answers until `stop` is cancelled: `/healthz` 200, or 503 with the reason why this process has to be restarted; `/readyz`
/// 200, with what is amiss all the same, or 503 with the reason; `/metrics` the figures, all else 404 with the paths there are.
///
/// # Errors
/// None but a listener that is broken for good.
pub async fn serve(listener: TcpListener, health: Arc<dyn Health>, stop: CancellationToken) -> io::Result<()> {
    listener.local_addr()?;
    let routes = Router::new()
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(async || (StatusCode::NOT_FOUND, PATHS))
        .with_state(Asked { health, metrics: Arc::default() });
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => drop(connections.spawn(connection(stream, routes.clone(), stop.clone(), place))),
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection; waiting a little");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn connection(stream: TcpStream, routes: Router, stop: CancellationToken, place: OwnedSemaphorePermit) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = std::pin::pin!(connection);
    // How it ends is the peer's business: a scraper that hangs up is not worth a line.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = tokio::time::sleep(LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, connection).await;
    drop(place);
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
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Ready, and failed.
    struct Process(AtomicBool, AtomicBool);

    impl Health for Process {
        fn live(&self) -> Result<(), String> {
            if self.1.load(Relaxed) { Err("a sync has failed".to_owned()) } else { Ok(()) }
        }

        fn ready(&self) -> Result<String, String> {
            if self.0.load(Relaxed) {
                Ok("one of two is away".to_owned())
            } else {
                Err("recovering the commit log".to_owned())
            }
        }

        fn metrics(&self) -> String {
            "up 1\n".to_owned()
        }
    }

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(10), read).await.expect("an answer in time").unwrap();
        answer
    }

    #[tokio::test]
    async fn probes_and_scrapers_are_answered_until_the_stop() {
        let listener = crate::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (process, stop) =
            (Arc::new(Process(AtomicBool::new(false), AtomicBool::new(false))), CancellationToken::new());
        let server = tokio::spawn(serve(listener, Arc::clone(&process) as Arc<dyn Health>, stop.clone()));
        let get = async |path: &str| {
            ask(address, &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await
        };
        let live = get("/healthz").await;
        assert!(live.starts_with("HTTP/1.1 200") && live.ends_with("\r\n\r\nok\n"), "{live}");
        let early = get("/readyz").await;
        assert!(early.starts_with("HTTP/1.1 503") && early.ends_with("recovering the commit log\n"), "{early}");
        process.0.store(true, Relaxed);
        let amiss = get("/readyz").await;
        assert!(amiss.starts_with("HTTP/1.1 200") && amiss.ends_with("\r\n\r\nok\none of two is away\n"), "{amiss}");
        process.1.store(true, Relaxed);
        let failed = get("/healthz").await;
        assert!(failed.starts_with("HTTP/1.1 503") && failed.ends_with("a sync has failed\n"), "{failed}");
        let metrics = get("/metrics").await;
        assert!(
            metrics.contains("content-type: text/plain; version=0.0.4\r\n") && metrics.ends_with("up 1\n"),
            "{metrics}"
        );
        let unknown = get("/metric").await;
        assert!(unknown.starts_with("HTTP/1.1 404") && unknown.ends_with(PATHS), "{unknown}");
        assert!(ask(address, "nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));

        let mut idle = TcpStream::connect(address).await.unwrap();
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), server).await.expect("ends in time").unwrap().unwrap();
        let mut rest = Vec::new();
        let _ = idle.read_to_end(&mut rest).await;
        assert!(rest.is_empty() && TcpStream::connect(address).await.is_err());
    }
}
