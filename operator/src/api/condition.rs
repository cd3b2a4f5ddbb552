//! Conditions: the types and reasons that our kinds report, and the one way to write them.
//!
//! A list of conditions is a map by type. `set` moves `lastTransitionTime` only when the status
//! moves, so an unchanged world writes nothing; `observedGeneration` tells a reader whether the
//! sentence is about the spec he sees.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Every condition type of every kind. True means the sentence behind the name holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// All that was asked for is there and works.
    Ready,
    /// At least one namesrv answers and at least one group takes writes.
    Available,
    /// The operator still has steps to take.
    Progressing,
    /// The spec passes the checks that the API server cannot make.
    SpecValid,
    /// Every namesrv pod is ready.
    NamesrvReady,
    /// Every broker pod is ready and runs the wanted revision.
    BrokersReady,
    /// Every slave follows its master and keeps up.
    ReplicasInSync,
    /// No master waits for a decision, as its log is empty or shorter than a slave's.
    LogsComplete,
    /// Every volume has the size that the spec asks for.
    StorageHealthy,
    /// Fewer groups were asked for than exist; they stay.
    ScaleDownRefused,
    /// A broker differs from the object and management forbids to correct it.
    Drifted,
    /// Reconciling is switched off by annotation or spec.
    Paused,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The variants are spelled as Kubernetes shows them.
        fmt::Debug::fmt(self, f)
    }
}

/// The three answers of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The sentence holds.
    True,
    /// It does not.
    False,
    /// No answer came.
    Unknown,
}

impl Status {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::True => "True",
            Status::False => "False",
            Status::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Status::True } else { Status::False }
    }
}

/// One judgement, before it is written into a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Which sentence.
    pub kind: Kind,
    /// Whether it holds.
    pub status: Status,
    /// CamelCase word for programs and alerts; part of the API.
    pub reason: &'static str,
    /// Text for people: what is, and what to do.
    pub message: String,
}

impl Judgement {
    /// A judgement in one line.
    pub fn new(kind: Kind, status: impl Into<Status>, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, status: status.into(), reason, message: message.into() }
    }
}

/// How judgements are written into a list: [`set`] or [`update`].
pub type Write = fn(&[Condition], &[Judgement], Option<i64>, Timestamp) -> Vec<Condition>;

/// The previous list with these judgements written into it, in order of type. Types that were not
/// judged are dropped: a condition that no longer applies must not stand there for ever.
pub fn set(
    previous: &[Condition],
    judgements: &[Judgement],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut sorted: Vec<&Judgement> = judgements.iter().collect();
    sorted.sort_by_key(|judgement| judgement.kind);
    sorted
        .into_iter()
        .map(|judgement| {
            let type_ = judgement.kind.to_string();
            let status = judgement.status.as_str().to_owned();
            let same = previous.iter().find(|condition| condition.type_ == type_ && condition.status == status);
            let since = same.map_or(Time(now), |condition| condition.last_transition_time.clone());
            // The processes that do not answer differ between attempts. A message that named them
            // anew each time would cause a write, and with it a reconcile, at each attempt.
            let kept = same.filter(|old| {
                judgement.status == Status::Unknown
                    && old.reason == judgement.reason
                    && old.observed_generation == generation
            });
            let message = kept.map_or_else(|| judgement.message.clone(), |old| old.message.clone());
            Condition {
                type_,
                status,
                reason: judgement.reason.to_owned(),
                message,
                observed_generation: generation,
                last_transition_time: since,
            }
        })
        .collect()
}

/// As [`set`], and types that were not judged stay as they are: for a reconcile that came to an end
/// before it saw them. That reconciling is paused is seen by every reconcile, so it does not stay.
pub fn update(
    previous: &[Condition],
    judgements: &[Judgement],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = set(previous, judgements, generation, now);
    let paused = Kind::Paused.to_string();
    let judged = |type_: &String| judgements.iter().any(|judgement| judgement.kind.to_string() == *type_);
    conditions.extend(previous.iter().filter(|old| old.type_ != paused && !judged(&old.type_)).cloned());
    conditions
}

/// The status of one type in a list; `None` when it was never judged.
pub fn status_of(conditions: &[Condition], kind: Kind) -> Option<Status> {
    let type_ = kind.to_string();
    conditions.iter().find(|condition| condition.type_ == type_).map(|condition| match condition.status.as_str() {
        "True" => Status::True,
        "False" => Status::False,
        _ => Status::Unknown,
    })
}

/// Judgements whose status or reason is new against the previous list: what deserves an event.
/// Repeating a reason every minute would bury the one line that matters.
pub fn changes<'a>(previous: &[Condition], judgements: &'a [Judgement]) -> Vec<&'a Judgement> {
    judgements
        .iter()
        .filter(|judgement| {
            let type_ = judgement.kind.to_string();
            !previous.iter().any(|condition| {
                condition.type_ == type_
                    && condition.status == judgement.status.as_str()
                    && condition.reason == judgement.reason
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn transition_time_moves_only_with_the_status() {
        let ready = |holds, reason| Judgement::new(Kind::Ready, holds, reason, "");
        let first = set(&[], &[ready(false, "Starting")], Some(1), at(10));
        let same = set(&first, &[ready(false, "StillStarting")], Some(2), at(20));
        assert_eq!(same[0].last_transition_time, Time(at(10)));
        assert_eq!((same[0].reason.as_str(), same[0].observed_generation), ("StillStarting", Some(2)));
        let moved = set(&same, &[ready(true, "Up")], Some(2), at(30));
        assert_eq!(moved[0].last_transition_time, Time(at(30)));
        assert_eq!(status_of(&moved, Kind::Ready), Some(Status::True));
    }

    #[test]
    fn a_silence_is_reported_once_with_the_error_of_the_first_try() {
        let silent = |message: &str| Judgement::new(Kind::Ready, Status::Unknown, "Unreachable", message);
        let first = set(&[], &[silent("a did not answer")], Some(1), at(10));
        assert_eq!(set(&first, &[silent("b did not answer")], Some(1), at(20)), first);
    }

    #[test]
    fn what_is_no_longer_judged_is_dropped() {
        let before = set(&[], &[Judgement::new(Kind::Paused, true, "Annotation", "")], None, at(1));
        assert!(set(&before, &[], None, at(2)).is_empty());
    }

    #[test]
    fn what_a_short_check_did_not_judge_stays() {
        let judge = |kind, holds| Judgement::new(kind, holds, "Reason", "");
        let all = [judge(Kind::Ready, true), judge(Kind::Available, true), judge(Kind::Paused, true)];
        let before = set(&[], &all, Some(1), at(1));
        let short = [judge(Kind::Ready, false)];
        let after = update(&before, &short, Some(2), at(2));
        let types: Vec<&str> = after.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(types, ["Ready", "Available"]);
        assert_eq!(after[1], before[1], "the sentence is about the spec it was made for");
        assert_eq!(update(&after, &short, Some(2), at(3)), after, "the same look again writes nothing");
    }

    #[test]
    fn only_a_new_status_or_reason_is_news() {
        let one = [Judgement::new(Kind::ScaleDownRefused, true, "DrainNotServed", "3 to 2")];
        let before = set(&[], &one, None, at(1));
        assert!(changes(&before, &one).is_empty(), "the same reason again is no change");
        assert_eq!(changes(&[], &one).len(), 1);
    }
}
