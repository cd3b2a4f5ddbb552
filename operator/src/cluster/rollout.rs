//! Which groups may be given a new StatefulSet now. Pure.
//!
//! Within a group Kubernetes restarts one pod at a time. Between groups it would not wait: two
//! masters down at once leave a small cluster without a writable queue. So one group at a time is
//! changed, and the next one only when every pod of every group is ready and up to date, under
//! namesrvs that are.
//!
//! A group that is not settled goes first: if a bad template is what unsettled it, the corrected
//! one must not wait for it. But never beside a group that is on its way to the wanted template
//! already. Readiness alone does not tell a bad template from something that all groups suffer
//! alike: while a namesrv is away none is registered everywhere.

/// Whether a group's StatefulSet is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It never was.
    New,
    /// It was, and its pods may be: it was deleted around them to get larger claims, or by a user.
    Away,
    /// It is.
    Here,
}

/// A group as it is, beside the StatefulSet that it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) presence: Presence,
    /// Whether all its pods are ready and run its present template, and their processes say that
    /// nothing is wrong.
    pub(crate) settled: bool,
    /// Whether all that keeps it from settling is a slave whose log differs from its master's. Only
    /// a person ends that, so other groups do not wait for it.
    pub(crate) differs: bool,
    /// Whether its StatefulSet controller has seen the present template and so can have failed at
    /// it.
    pub(crate) observed: bool,
    /// Whether its present template and the size of its claims are the wanted ones.
    pub(crate) current: bool,
}

impl Group {
    fn changes(&self) -> bool {
        self.presence == Presence::Here && !self.current
    }

    /// Between what it was and what it should be.
    fn moves(&self) -> bool {
        match self.presence {
            Presence::New => false,
            Presence::Away => true,
            Presence::Here => self.current && !self.settled && !self.differs,
        }
    }

    /// Its present template can be what keeps it from settling.
    fn stuck(&self) -> bool {
        self.changes() && !self.settled && !self.differs && self.observed
    }
}

/// What changes of groups wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// No group has ever served, so there is nothing to protect: a bad first manifest is corrected
    /// everywhere at once.
    Idle,
    /// Namesrvs are as wanted and ready.
    Open,
    /// They are not: while one is away no broker is registered everywhere, and clients of the
    /// others depend on those that are left.
    Shut,
}

/// For each group whether its StatefulSet may be applied. Those whose template does not change
/// always may (a replica count, a label), and so may those that do not exist: they have nothing
/// that could be disturbed, or pods that no controller restarts meanwhile.
pub(crate) fn admit(gate: Gate, groups: &[Group]) -> Vec<bool> {
    let next = match gate {
        Gate::Open if !groups.iter().any(Group::moves) => {
            let mut here = groups.iter().filter(|group| group.presence == Presence::Here);
            let settled = here.all(|group| group.settled || group.differs);
            // One with a slave that differs is last: that slave never becomes ready, so its rollout
            // goes no further than to it.
            let alike = groups.iter().position(|group| group.changes() && !group.differs);
            let first = alike.or_else(|| groups.iter().position(Group::changes)).filter(|_| settled);
            groups.iter().position(Group::stuck).or(first)
        }
        _ => None,
    };
    let admitted = |(index, group): (usize, &Group)| !group.changes() || gate == Gate::Idle || Some(index) == next;
    groups.iter().enumerate().map(admitted).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEW: Group =
        Group { presence: Presence::New, settled: false, differs: false, observed: false, current: false };
    const AWAY: Group = Group { presence: Presence::Away, ..NEW };
    const DONE: Group =
        Group { presence: Presence::Here, settled: true, differs: false, observed: true, current: true };
    const OLD: Group = Group { current: false, ..DONE };
    const ROLLING: Group = Group { settled: false, ..DONE };
    const STUCK: Group = Group { settled: false, ..OLD };
    const DIFFERS: Group = Group { differs: true, ..ROLLING };
    const OLD_DIFFERS: Group = Group { differs: true, ..STUCK };
    const UNSEEN: Group = Group { observed: false, ..STUCK };

    #[test]
    fn one_group_at_a_time_and_a_stuck_one_first() {
        let table: [(&str, Vec<Group>, Vec<bool>); 13] = [
            ("all are made at once", vec![NEW, NEW], vec![true, true]),
            ("the first of several old ones", vec![OLD, OLD, OLD], vec![true, false, false]),
            ("the second waits while the first rolls", vec![ROLLING, OLD], vec![true, false]),
            ("the second after the first", vec![DONE, OLD], vec![true, true]),
            ("the correction of a stuck one does not wait", vec![OLD, STUCK], vec![false, true]),
            ("another edit waits for the stuck one", vec![OLD, ROLLING], vec![false, true]),
            ("a new group does not wait", vec![ROLLING, NEW], vec![true, true]),
            ("one whose set is away comes back and the others wait", vec![AWAY, OLD], vec![true, false]),
            ("an edit that Kubernetes has not seen did not fail", vec![UNSEEN, OLD], vec![false, false]),
            ("others do not wait for a slave that differs", vec![DIFFERS, OLD], vec![true, true]),
            ("its own group goes last", vec![OLD_DIFFERS, OLD], vec![false, true]),
            ("and goes", vec![OLD_DIFFERS, DONE], vec![true, true]),
            ("of several stuck ones the first", vec![DONE, STUCK, STUCK], vec![true, true, false]),
        ];
        for (what, groups, admitted) in table {
            assert_eq!(admit(Gate::Open, &groups), admitted, "{what}");
        }
    }

    /// No group is settled while a namesrv is away, whatever its template. That once made all
    /// groups look stuck, and two masters restarted together.
    #[test]
    fn groups_that_are_not_ready_because_of_a_namesrv_do_not_overtake_each_other() {
        assert_eq!(admit(Gate::Shut, &[OLD, OLD]), [false, false], "namesrvs roll first");
        assert_eq!(admit(Gate::Shut, &[STUCK, STUCK]), [false, false]);
        assert_eq!(admit(Gate::Open, &[STUCK, STUCK]), [true, false], "brokers have not come back yet");
        assert_eq!(admit(Gate::Open, &[ROLLING, STUCK]), [true, false], "the first is on its way");
        assert_eq!(admit(Gate::Idle, &[STUCK, STUCK]), [true, true], "none ever served");
    }

    fn group() -> impl Strategy<Value = Group> {
        let presence = prop_oneof![Just(Presence::New), Just(Presence::Away), Just(Presence::Here)];
        (presence, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(presence, settled, differs, observed, current)| Group {
                presence,
                settled,
                differs: differs && !settled,
                observed,
                current,
            },
        )
    }

    proptest! {
        #[test]
        fn never_two_groups_on_their_way_at_once(groups in prop::collection::vec(group(), 0..8)) {
            let admitted = admit(Gate::Open, &groups);
            let changed = groups.iter().zip(&admitted).filter(|(group, admitted)| group.changes() && **admitted).count();
            prop_assert!(changed <= 1);
            prop_assert!(changed == 0 || !groups.iter().any(Group::moves));
            prop_assert!(groups.iter().zip(&admitted).all(|(group, admitted)| group.changes() || *admitted));
        }
    }
}
