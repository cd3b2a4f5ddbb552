//! 318, 319: the settings of this namesrv.

use super::Files;
use crate::{Error, dispatch::View, durable};
use rmq_protocol::{Command, Reply, java_properties};
use rmq_remoting::Connection;
use std::sync::Arc;

pub(crate) fn settings(view: &View, _request: &Command) -> Result<Reply, Error> {
    Ok(Reply::body(view.config.load().to_text()))
}

/// Changes take effect at once and are then written to `configStorePath`. If that file cannot be
/// written, for instance because it is a mounted ConfigMap, they last until the next start, and the
/// remark says so: a refusal would leave no way to change a running namesrv.
pub(crate) fn update(files: &mut Files, request: &Command, connection: &Connection) -> Result<Reply, Error> {
    let pairs = java_properties::parse(&String::from_utf8_lossy(&request.body));
    let config = files.config.load().changed(&pairs)?;
    let text = config.to_text();
    let path = config.config_store_path.clone();
    files.config.store(Arc::new(config));
    let keys = pairs.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(", ");
    tracing::info!(keys, peer = %connection.peer(), "settings changed");
    if let Err(error) = durable::replace(&path, text.as_bytes()) {
        tracing::warn!(path = %path.display(), %error, "settings that changed cannot be saved");
        return Ok(
            Reply::ok().remark(format!("in force until the next start only: cannot write {}: {error}", path.display()))
        );
    }
    Ok(Reply::ok())
}
