//! When to stop.

use std::{io, thread, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// Waits for SIGTERM or Ctrl-C, and if `with_stdin` for the end of standard input. After that a
/// second signal ends the process at once.
pub(crate) async fn wanted(with_stdin: bool) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = end_of_stdin(), if with_stdin => {}
    }
    tracing::info!("stopping; a second signal ends the process at once");
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("stopped in the middle; the next start recovers as after a crash");
        std::process::exit(1);
    });
    Ok(())
}

/// Runs what ends a process. After `timeout`, which the setting `key` says, the process ends as it
/// is: whoever sent the signal would kill it otherwise, and no log line would tell why.
pub(crate) async fn within<T, E>(
    timeout: Duration,
    key: &str,
    stop: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(timeout, stop).await {
        Ok(stopped) => stopped,
        Err(_) => {
            tracing::error!("not stopped within {timeout:?} ({key}); the next start recovers as after a crash");
            std::process::exit(1);
        }
    }
}

/// A thread of its own reads: nothing else can wait for a file that may be anything.
async fn end_of_stdin() {
    let (ended, end) = oneshot::channel();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = ended.send(());
    });
    let _ = end.await;
}
