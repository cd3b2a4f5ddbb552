//! One of several replicas reconciles: the holder of a Lease.
//!
//! The holder renews every 2 s. Another takes the Lease when its record has not changed for 30 s
//! *by the taker's own clock*: no two clocks are compared, so a skewed one cannot make two leaders.
//! A holder goes on without a renewal for 25 s, counted from before the last one was sent, and then
//! stops by itself, five seconds before another may take over: a restart of the API server is
//! survived. The price is that after the death of a node up to 32 s pass before another replica
//! leads; brokers do not notice. Every write carries the version that was read, so of two takers
//! one fails. A holder whose write fails so has lost nothing yet: the other change may have been of
//! a label. It reads again.
//!
//! At a planned stop the Lease is given back, and the next takes it at its next try.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};

use crate::error::{Loss, plain};

/// How long a record must stay unchanged before another may take it.
const DURATION: Duration = Duration::from_secs(30);

/// How a candidate and a holder spend their time. client-go calls the first two renewDeadline and
/// retryPeriod.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// How long a holder goes on without a renewal.
    deadline: Duration,
    /// Between reads and renewals.
    period: Duration,
    /// How long one of them may take: a connection that is dead must not use up the deadline.
    attempt: Duration,
}

const TIMING: Timing =
    Timing { deadline: Duration::from_secs(25), period: Duration::from_secs(2), attempt: Duration::from_secs(5) };

/// Which Lease, and our name in it.
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
    timing: Timing,
    /// Before the last write was sent that made the Lease ours.
    renewed: Instant,
}

/// What one read and write came to.
#[derive(Debug, PartialEq, Eq)]
enum Round {
    /// The Lease is ours, written just now.
    Ours,
    /// Held by another, of this name.
    Held(String),
    /// The record changed between our read and our write; its holder is not known.
    Contended,
}

/// What a record lets us do.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// It has no holder, or its holder stopped renewing.
    Take,
    /// It is ours.
    Renew,
    /// Another holder renews it.
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
        let api = Api::namespaced(client, &identity.namespace);
        Self { api, identity, seen: None, timing: TIMING, renewed: Instant::now() }
    }

    /// Returns when the Lease is ours. Failures of the API server are waited out: there is nothing
    /// else to do.
    pub async fn acquire(&mut self) {
        loop {
            match self.attempt(self.timing.attempt).await {
                Ok(Round::Ours) => return,
                Ok(Round::Held(_) | Round::Contended) => {}
                Err(why) => tracing::warn!(error = why, "the Lease cannot be read or written"),
            }
            tokio::time::sleep(self.timing.period).await;
        }
    }

    /// Renews until it is lost: another holds it, or no renewal came through in time.
    pub async fn hold(&mut self) -> Loss {
        let mut last = "no answer".to_owned();
        loop {
            tokio::time::sleep(self.timing.period.min(self.left())).await;
            let left = self.left();
            if left.is_zero() {
                return Loss::Silent { silent: self.renewed.elapsed(), last };
            }
            match self.attempt(self.timing.attempt.min(left)).await {
                Ok(Round::Ours) => {}
                Ok(Round::Held(holder)) => return Loss::Taken(holder),
                Ok(Round::Contended) => last = "another client changed it at the same time".to_owned(),
                Err(why) => {
                    tracing::warn!(error = why, left = ?self.left(), "the Lease cannot be renewed; this replica leads until its deadline");
                    // The last try of all is cut short, and what it says is not why.
                    if left >= self.timing.attempt {
                        last = why;
                    }
                }
            }
        }
    }

    /// How long we may go on without a renewal.
    fn left(&self) -> Duration {
        self.timing.deadline.saturating_sub(self.renewed.elapsed())
    }

    /// A round that takes no longer than this, or what went wrong.
    async fn attempt(&mut self, limit: Duration) -> Result<Round, String> {
        let began = Instant::now();
        let round = match tokio::time::timeout(limit, self.round()).await {
            Ok(round) => round.map_err(|error| plain(&error))?,
            Err(_) => return Err(format!("no response within {limit:?}")),
        };
        if round == Round::Ours {
            // Others count from when they see the write, which is not before it was sent.
            self.renewed = began;
        }
        Ok(round)
    }

    /// Gives the Lease back, so that the next need not wait.
    pub async fn release(&mut self) {
        let free = LeaseSpec { holder_identity: None, ..LeaseSpec::default() };
        let given = async {
            let lease = self.api.get(&self.identity.name).await?;
            match lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) {
                Some(holder) if *holder == self.identity.holder => self.write(Some(lease), free).await.map(drop),
                _ => Ok(()),
            }
        };
        let given = tokio::time::timeout(self.timing.attempt, given).await;
        let failed =
            given.map(|given| given.map_err(|error| plain(&error))).unwrap_or_else(|_| Err("no answer".to_owned()));
        if let Err(error) = failed {
            tracing::warn!(error, "the Lease could not be given back; the next holder waits for it to expire");
        }
    }

    /// One read, and a write if one is due.
    async fn round(&mut self) -> kube::Result<Round> {
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
            return Ok(Round::Held(spec.and_then(|spec| spec.holder_identity).unwrap_or_default()));
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
        Ok(if self.write(lease, new).await? { Round::Ours } else { Round::Contended })
    }

    /// Writes the record unless it was changed meanwhile.
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
    use crate::kubernetes::fake_api::ApiServer;

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

    const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/mq/leases/operator";

    fn elector(client: &Client, holder: &str) -> Elector {
        let identity = Identity { namespace: "mq".into(), name: "operator".into(), holder: holder.into() };
        Elector::new(client.clone(), identity)
    }

    /// Reads often and never gives up within a test.
    fn patient(client: &Client) -> Elector {
        let second = Duration::from_secs(1);
        Elector {
            timing: Timing { deadline: 600 * second, period: second / 100, attempt: second / 5 },
            ..elector(client, "a")
        }
    }

    /// Runs a holder until the condition holds; it must not give up before.
    async fn holds_until(elector: &mut Elector, condition: impl Fn() -> bool) {
        let condition = async {
            let began = Instant::now();
            while !condition() {
                assert!(began.elapsed() < Duration::from_secs(60), "the condition did not come");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            loss = elector.hold() => panic!("it gave up: {loss}"),
            () = condition => {}
        }
    }

    #[tokio::test]
    async fn of_two_replicas_one_leads_and_hands_over_at_once() {
        let (api, client) = ApiServer::start().await;
        let (mut first, mut second) = (elector(&client, "a"), elector(&client, "b"));
        assert_eq!(first.round().await.unwrap(), Round::Ours, "it had no holder");
        assert_eq!(second.round().await.unwrap(), Round::Held("a".into()));
        assert_eq!(first.round().await.unwrap(), Round::Ours, "renewed");
        second.release().await;
        assert_eq!(second.round().await.unwrap(), Round::Held("a".into()), "what another holds cannot be given back");
        first.release().await;
        assert_eq!(second.round().await.unwrap(), Round::Ours);
        assert_eq!(first.round().await.unwrap(), Round::Held("b".into()));
        assert_eq!(api.object(PATH).unwrap()["spec"]["holderIdentity"], "b");
    }

    #[tokio::test]
    async fn who_loses_the_race_for_a_write_does_not_lead() {
        let (api, client) = ApiServer::start().await;
        api.insert(PATH, serde_json::json!({"metadata": {"name": "operator"}, "spec": {}}));
        let mut elector = elector(&client, "a");
        api.fail(axum::http::Method::PUT, "/leases/", 409, "the object has been modified");
        assert_eq!(elector.round().await.unwrap(), Round::Contended);
        api.heal();
        api.fail(axum::http::Method::PUT, "/leases/", 403, "forbidden");
        assert!(elector.round().await.is_err(), "an error is not leadership either");
    }

    /// "Another replica goes on" was logged, the process ended, and the same pod led again two
    /// seconds later.
    #[tokio::test]
    async fn a_holder_whose_record_another_client_changed_reads_again_before_it_gives_up() {
        let (api, client) = ApiServer::start().await;
        let mut elector = patient(&client);
        elector.acquire().await;
        api.fail(axum::http::Method::PUT, "/leases/", 409, "the object has been modified");
        let before = api.requests("/leases/");
        holds_until(&mut elector, || api.requests("/leases/") > before + 6).await;
        api.heal();
        let renewal = || api.object(PATH).unwrap()["spec"]["renewTime"].clone();
        let last = renewal();
        holds_until(&mut elector, || renewal() != last).await;
    }

    /// With the API server away for 10 s the leader ended itself. Connections that were open then
    /// are never answered.
    #[tokio::test]
    async fn a_holder_survives_an_api_server_that_is_silent_for_less_than_the_deadline() {
        let (api, client) = ApiServer::start().await;
        let mut elector = patient(&client);
        elector.acquire().await;
        api.fall_silent("/leases/");
        let before = api.requests("/leases/");
        holds_until(&mut elector, || api.requests("/leases/") > before + 3).await;
        api.heal();
        let renewal = || api.object(PATH).unwrap()["spec"]["renewTime"].clone();
        let last = renewal();
        holds_until(&mut elector, || renewal() != last).await;
    }

    #[tokio::test]
    async fn a_holder_that_cannot_renew_says_so_and_claims_no_more() {
        let (api, client) = ApiServer::start().await;
        let mut elector = patient(&client);
        elector.acquire().await;
        elector.timing.deadline = Duration::from_millis(500);
        api.fail(axum::http::Method::GET, "/leases/", 500, "not now");
        let loss = elector.hold().await;
        assert!(
            matches!(&loss, Loss::Silent { silent, last } if *silent >= elector.timing.deadline && last.contains("not now"))
        );
        assert!(!loss.to_string().contains("goes on"), "{loss}");
    }

    #[tokio::test]
    async fn a_holder_that_sees_another_names_it() {
        let (api, client) = ApiServer::start().await;
        let mut elector = patient(&client);
        elector.acquire().await;
        api.change(PATH, |lease| lease["spec"]["holderIdentity"] = "b".into());
        assert_eq!(elector.hold().await, Loss::Taken("b".into()));
    }

    #[test]
    fn a_holder_stops_before_another_may_begin() {
        assert!(TIMING.deadline + TIMING.period < DURATION);
        assert!(TIMING.attempt * 2 < TIMING.deadline, "one dead connection must leave time for another");
    }
}
