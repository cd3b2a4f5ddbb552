//! Runs work that waits for a disk, off the threads of the async runtime.

use crate::error::{Reason, Rejection};

/// Runs `work` on a blocking thread.
pub(crate) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Rejection>
where
    T: Send + 'static,
    E: Into<Rejection> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(error) => Err(Rejection::new(Reason::Failed, error.to_string())),
    }
}
