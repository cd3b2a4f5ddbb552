//! One of several replicas reconciles: the holder of a Lease.
//!
//! The holder renews every 2 s. Another takes the Lease when its record has not changed for 15 s *by the taker's own clock*: no two
//! clocks are compared, so a skewed one cannot make two leaders. A holder that could not renew for 10 s stops by itself, five
//! seconds before anybody may take over. Every write carries the version that was read, so of two takers one fails.
//!
//! At a planned stop the Lease is given back, and the next takes it at its next look.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};

use crate::error::plain;

/// How long a record must stay unchanged before another may take it.
const DURATION: Duration = Duration::from_secs(15);
/// How long a holder goes on without a renewal.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between looks and renewals.
const PERIOD: Duration = Duration::from_secs(2);

/// Which Lease, and who we are.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Our name in it; the pod's.
    pub holder: String,
}

/// A candidate for, or holder of, the Lease.
pub struct Elector {
    api: Api<Lease>,
    identity: Identity,
    /// The record as last seen, and since when it has stood so.
    seen: Option<(Option<LeaseSpec>, Instant)>,
}

/// What a record lets us do.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// Nobody has it, or its holder stopped renewing.
    Take,
    /// It is ours.
    Renew,
    /// Somebody else renews it.
    Wait,
}

fn claim(spec: Option<&LeaseSpec>, me: &str, unchanged: Duration) -> Claim {
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    match holder {
        "" => Claim::Take,
        holder if holder == me => Claim::Renew,
        _ => {
            let seconds =
                spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
            let duration = seconds.map_or(DURATION, Duration::from_secs);
            if unchanged > duration { Claim::Take } else { Claim::Wait }
        }
    }
}

impl Elector {
    /// A candidate.
    pub fn new(client: Client, identity: Identity) -> Self {
        Self { api: Api::namespaced(client, &identity.namespace), identity, seen: None }
    }

    /// Returns when the Lease is ours. Failures of the API server are waited out: there is nothing else to do.
    pub async fn acquire(&mut self) {
        loop {
            match self.round().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(error = plain(&error), "the Lease cannot be read or written"),
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Renews until it is lost: somebody else has it, or no renewal came through in time.
    pub async fn hold(&mut self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < DEADLINE {
            tokio::time::sleep(PERIOD).await;
            // A request that hangs must not outlast the deadline.
            match tokio::time::timeout(DEADLINE.saturating_sub(renewed.elapsed()), self.round()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(error = plain(&error), "the Lease cannot be renewed"),
                Err(_) => {}
            }
        }
    }

    /// Gives the Lease back, so that the next need not wait.
    pub async fn release(&mut self) {
        let free = LeaseSpec { holder_identity: None, ..LeaseSpec::default() };
        let given = async {
            let lease = self.api.get(&self.identity.name).await?;
            match lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) {
                Some(holder) if *holder == self.identity.holder => self.write(Some(lease), free).await,
                _ => Ok(false),
            }
        };
        if let Err(error) = given.await {
            tracing::warn!(
                error = plain(&error),
                "the Lease could not be given back; the next holder waits for it to expire"
            );
        }
    }

    /// One look, and a write if one is due. True when the Lease is ours afterwards.
    async fn round(&mut self) -> kube::Result<bool> {
        let lease = self.api.get_opt(&self.identity.name).await?;
        let spec = lease.as_ref().and_then(|lease| lease.spec.clone());
        let now = Instant::now();
        let since = match &self.seen {
            Some((seen, since)) if *seen == spec => *since,
            _ => now,
        };
        self.seen = Some((spec.clone(), since));
        let claim = claim(spec.as_ref(), &self.identity.holder, now.duration_since(since));
        if claim == Claim::Wait {
            return Ok(false);
        }
        let moment = MicroTime(Timestamp::now());
        let old = spec.unwrap_or_default();
        let taken = claim == Claim::Take;
        let new = LeaseSpec {
            holder_identity: Some(self.identity.holder.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if taken { Some(moment.clone()) } else { old.acquire_time },
            renew_time: Some(moment),
            lease_transitions: Some(old.lease_transitions.unwrap_or(0).saturating_add(i32::from(taken))),
            ..LeaseSpec::default()
        };
        self.write(lease, new).await
    }

    /// Writes the record if nobody else did meanwhile.
    async fn write(&self, lease: Option<Lease>, spec: LeaseSpec) -> kube::Result<bool> {
        let written = match lease {
            Some(mut lease) => {
                lease.spec = Some(spec);
                self.api.replace(&self.identity.name, &PostParams::default(), &lease).await
            }
            None => {
                let metadata = ObjectMeta { name: Some(self.identity.name.clone()), ..ObjectMeta::default() };
                self.api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::ApiServer;

    fn record(holder: &str, seconds: Option<i32>) -> LeaseSpec {
        LeaseSpec { holder_identity: Some(holder.to_owned()), lease_duration_seconds: seconds, ..LeaseSpec::default() }
    }

    #[test]
    fn a_lease_is_taken_only_when_free_or_silent_for_its_whole_duration() {
        let second = Duration::from_secs;
        let table = [
            (None, second(0), Claim::Take),
            (Some(record("", None)), second(0), Claim::Take),
            (Some(record("me", Some(15))), second(99), Claim::Renew),
            (Some(record("other", Some(15))), second(15), Claim::Wait),
            (Some(record("other", Some(15))), second(16), Claim::Take),
            (Some(record("other", Some(60))), second(16), Claim::Wait),
            (Some(record("other", None)), second(14), Claim::Wait),
            (Some(record("other", Some(-1))), second(14), Claim::Wait),
        ];
        for (spec, unchanged, wanted) in table {
            assert_eq!(claim(spec.as_ref(), "me", unchanged), wanted, "{spec:?} unchanged for {unchanged:?}");
        }
    }

    #[tokio::test]
    async fn of_two_replicas_one_leads_and_hands_over_at_once() {
        let (api, client) = ApiServer::start().await;
        let elector = |holder: &str| {
            let identity = Identity { namespace: "mq".into(), name: "operator".into(), holder: holder.into() };
            Elector::new(client.clone(), identity)
        };
        let (mut first, mut second) = (elector("a"), elector("b"));
        assert!(first.round().await.unwrap(), "nobody had it");
        assert!(!second.round().await.unwrap());
        assert!(first.round().await.unwrap(), "renewed");
        second.release().await;
        assert!(!second.round().await.unwrap(), "what another holds cannot be given back");
        first.release().await;
        assert!(second.round().await.unwrap());
        assert!(!first.round().await.unwrap());
        let path = "/apis/coordination.k8s.io/v1/namespaces/mq/leases/operator";
        assert_eq!(api.object(path).unwrap()["spec"]["holderIdentity"], "b");
    }

    #[tokio::test]
    async fn who_loses_the_race_for_a_write_does_not_lead() {
        let (api, client) = ApiServer::start().await;
        let path = "/apis/coordination.k8s.io/v1/namespaces/mq/leases/operator";
        api.insert(path, serde_json::json!({"metadata": {"name": "operator"}, "spec": {}}));
        let identity = Identity { namespace: "mq".into(), name: "operator".into(), holder: "a".into() };
        let mut elector = Elector::new(client, identity);
        api.fail(axum::http::Method::PUT, "/leases/", 409, "the object has been modified");
        assert!(!elector.round().await.unwrap());
        api.heal();
        api.fail(axum::http::Method::PUT, "/leases/", 403, "forbidden");
        assert!(elector.round().await.is_err(), "an error is not leadership either");
    }

    #[test]
    fn a_holder_stops_before_another_may_begin() {
        assert!(DEADLINE + PERIOD < DURATION);
    }
}
