//! The role of this member in its broker group.

use crate::error::{Reason, Rejection};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::watch;

/// The addresses of a slave's master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Master {
    /// For requests.
    pub(crate) address: String,
    /// For replication.
    pub(crate) replication_address: String,
}

/// A role. It is fixed by the settings. A slave learns from namesrvs which master it follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// Takes writes.
    Master,
    Slave {
        /// The master, once it is known.
        of: Option<Master>,
    },
}

impl Role {
    /// The master of a slave, once it is known.
    pub(crate) fn of(&self) -> Option<&Master> {
        match self {
            Self::Slave { of } => of.as_ref(),
            Self::Master => None,
        }
    }
}

/// The current role, and a way to wait for a change.
pub(crate) struct CurrentRole {
    watch: watch::Sender<Role>,
    /// True if the role is that of a slave. Each send reads it, and must not take a lock for it.
    slave: AtomicBool,
}

impl CurrentRole {
    pub(crate) fn new(role: Role) -> Self {
        let slave = AtomicBool::new(matches!(role, Role::Slave { .. }));
        Self { watch: watch::Sender::new(role), slave }
    }

    pub(crate) fn is_slave(&self) -> bool {
        self.slave.load(Relaxed)
    }

    /// Refuses a request on a slave for `reason`, with the advice `instead`.
    pub(crate) fn require_master(&self, reason: Reason, instead: &str) -> Result<(), Rejection> {
        if self.is_slave() {
            return Err(Rejection::new(reason, format!("this broker is a slave; {instead}")));
        }
        Ok(())
    }

    /// Whether this slave knows its master.
    pub(crate) fn knows_master(&self) -> bool {
        self.watch.borrow().of().is_some()
    }

    /// Watches the role from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<Role> {
        self.watch.subscribe()
    }

    /// Sets the address of this slave's master, from a namesrv's response. Has no effect on a
    /// master.
    pub(crate) fn learn(&self, master: Master) {
        self.watch.send_if_modified(|role| match role {
            Role::Slave { of } if of.as_ref() != Some(&master) => {
                *of = Some(master);
                true
            }
            _ => false,
        });
    }
}
