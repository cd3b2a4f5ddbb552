//! What the broker does with each request, one file a family.
//!
//! Each handler owns a small struct of the handles it uses: that struct says what it depends on. A handler answers with a reply or a
//! [`Rejection`](crate::error::Rejection); it spawns no tasks, owns no locks and does not know other handlers. Those that must wait are async, and
//! [`dispatch`](crate::dispatch) gives them a task.

pub(crate) mod admin;
pub(crate) mod consumer_offset;
pub(crate) mod heartbeat;
pub(crate) mod lock_queue;
pub(crate) mod pull;
pub(crate) mod query_message;
pub(crate) mod relay;
pub(crate) mod replication;
pub(crate) mod reply;
mod rewrite;
pub(crate) mod send;
pub(crate) mod send_back;

use crate::error::Rejection;
use rmq_protocol::ResponseCode;

/// Tries after which a message is dead, if nobody says otherwise.
const DEFAULT_TRIES: i32 = 16;

/// Runs what waits for the disk on a thread that may wait.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Rejection>
where
    T: Send + 'static,
    E: Into<Rejection> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(error) => Err(Rejection::new(ResponseCode::SystemError, error.to_string())),
    }
}
