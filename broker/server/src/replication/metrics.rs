//! Metrics of replication.

use super::{Following, LogCheck, Slaves};
use crate::{
    feature::Feature,
    metrics_page::{MetricsPage, Written},
    role::CurrentRole,
};
use std::sync::Arc;

/// The metrics of this member's replication.
pub(crate) struct Replication {
    pub(crate) role: Arc<CurrentRole>,
    pub(crate) slaves: Arc<Slaves>,
    pub(crate) following: Arc<Following>,
    pub(crate) log_check: Arc<LogCheck>,
}

impl Feature for Replication {
    fn stop(&self) {
        self.log_check.stop();
    }

    fn metrics(&self, to: &MetricsPage) -> Written {
        if self.role.is_slave() {
            let lag = self.following.lag();
            to.gauge(
                "rocketmq_broker_connected_to_master",
                "1 while this slave follows its master.",
                f64::from(u8::from(lag.is_some())),
            )?;
            to.gauge(
                "rocketmq_broker_log_mismatch",
                "1 while this slave copies nothing, as its log and its master's do not go together; /readyz says how they differ.",
                f64::from(u8::from(self.following.mismatch().is_some())),
            )?;
            return to.gauge(
                "rocketmq_broker_master_lag_bytes",
                "Bytes of its master's commit log that this slave lacks.",
                lag.unwrap_or(0) as f64,
            );
        }
        to.gauge(
            "rocketmq_broker_log_checked",
            "1 once this master takes writes; 0 while it compares its log with its slaves' or waits for a decision (checkLogBeforeWrites).",
            f64::from(u8::from(self.log_check.is_open())),
        )?;
        to.gauge(
            "rocketmq_store_confirmed_offset",
            "Up to here inSyncReplicas members have the commit log, this master among them; it stands still while too few follow.",
            self.slaves.confirmed().get() as f64,
        )?;
        to.gauge(
            "rocketmq_broker_in_sync_members",
            "Members that keep up, the master among them.",
            f64::from(self.slaves.in_sync()),
        )?;
        to.gauge(
            "rocketmq_broker_slave_lag_bytes",
            "Bytes the slave furthest behind lacks.",
            self.slaves.lag().unwrap_or(0) as f64,
        )
    }
}
