//! Everything that can stop a reconcile, as conditions with a remedy.

use std::time::Duration;

/// Why a reconcile could not finish. What a user's spec got wrong is no error: it is a condition of
/// the object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or could not be reached; retried with growing pauses.
    #[error("the API server: {}", plain(.0))]
    Kubernetes(#[from] kube::Error),
    /// An object of a planned name exists and has another owner; it is never touched.
    #[error("{kind} {name} exists and is not this cluster's: delete or rename one of the two")]
    Foreign {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A broker or namesrv could not be asked or refused.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The object lacks what the API server gives every object.
    #[error("the object has no {0}")]
    Incomplete(&'static str),
    /// Another replica holds the Lease, or it could not be renewed in time.
    #[error(transparent)]
    LeaseLost(#[from] Loss),
    /// A reconcile did not end in time and was given up; it is tried again.
    #[error("the reconcile did not end within {} s and was cancelled", .0.as_secs())]
    Deadline(Duration),
    /// A controller is stalled: a fault of this process that only a restart clears.
    #[error(
        "{controller} has reconciled nothing for {seconds} s while {waiting} objects wait: the \
         process ends to begin afresh"
    )]
    Stalled {
        /// Which controller.
        controller: String,
        /// Objects that no reconcile began for.
        waiting: usize,
        /// Reconciles that began and did not end.
        running: usize,
        /// How long.
        seconds: u64,
    },
    /// A metric could not be registered.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The port for health and metrics cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

impl Error {
    /// The API server makes nothing in a namespace that is being deleted. It says so with the code
    /// of a missing right.
    pub(crate) fn is_of_a_terminating_namespace(&self) -> bool {
        let Self::Kubernetes(kube::Error::Api(status)) = self else { return false };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        status.code == 403 && causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
    }

    /// Label of metrics; one word for each variant.
    pub fn label(&self) -> &'static str {
        match self {
            Error::Kubernetes(_) => "kubernetes",
            Error::Foreign { .. } => "foreign",
            Error::Admin(AdminError::Unreachable { .. }) => "unreachable",
            Error::Admin(AdminError::Refused { .. }) => "refused",
            Error::Incomplete(_) => "incomplete",
            Error::Listen { .. } => "listen",
            Error::Deadline(_) => "deadline",
            Error::Stalled { .. } => "stalled",
            Error::LeaseLost(_) => "lease",
            Error::Metrics(_) => "metrics",
        }
    }
}

/// The sentence of the API server without the structure around it, which is meant for programs.
pub(crate) fn plain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} (code {})", status.message, status.code),
        other => other.to_string(),
    }
}

/// How an admin call fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// No answer: nothing listens there, the network is cut, or the deadline has passed. What a
    /// write did is then unknown.
    #[error("{target} cannot be reached: {why}")]
    Unreachable {
        /// Address that was dialled, or `namesrv`.
        target: String,
        /// What the connection said.
        why: String,
    },
    /// An answer other than success.
    #[error("{target} refused with code {code}: {remark}")]
    Refused {
        /// Address that answered.
        target: String,
        /// RocketMQ's response code.
        code: i32,
        /// Its sentence.
        remark: String,
    },
}

/// Why a holder holds the Lease no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// The record names another.
    #[error("the Lease is held by {0} now: this replica ends and stands by after its restart")]
    Taken(String),
    /// Nothing is known but that it could not be renewed.
    #[error("the Lease could not be renewed for {} s ({last}): another replica may take it, so this one ends", silent.as_secs())]
    Silent {
        /// For how long.
        silent: Duration,
        /// What the last try said.
        last: String,
    },
}
