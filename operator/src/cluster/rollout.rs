//! Which groups may be given a new pod template now. Pure.
//!
//! Within a group Kubernetes restarts one pod at a time. Between groups nobody would wait: two masters down at once leave a small
//! cluster without a writable queue. So one group at a time gets its new template, and the next one only when every pod of every
//! group is ready and up to date. A group that is not settled goes first: if a bad template is what unsettled it, the corrected
//! one must not wait for it.

/// A group as it is, beside the template that it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Whether its StatefulSet exists.
    pub(crate) exists: bool,
    /// Whether all its pods are ready and run its present template.
    pub(crate) settled: bool,
    /// Whether its present template is the wanted one.
    pub(crate) current: bool,
}

/// For each group whether its StatefulSet may be applied. Those whose template does not change always may (a replica count, a
/// label), and so may those that do not exist yet.
pub(crate) fn admit(groups: &[Group]) -> Vec<bool> {
    let changes = |group: &&Group| group.exists && !group.current;
    let unsettled = groups.iter().position(|group| changes(&group) && !group.settled);
    let all_settled = groups.iter().filter(|group| group.exists).all(|group| group.settled);
    let next = unsettled.or_else(|| groups.iter().position(|group| changes(&group)).filter(|_| all_settled));
    groups.iter().enumerate().map(|(index, group)| !changes(&group) || Some(index) == next).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEW: Group = Group { exists: false, settled: false, current: false };
    const DONE: Group = Group { exists: true, settled: true, current: true };
    const OLD: Group = Group { exists: true, settled: true, current: false };
    const ROLLING: Group = Group { exists: true, settled: false, current: true };
    const STUCK: Group = Group { exists: true, settled: false, current: false };

    #[test]
    fn one_group_at_a_time_and_a_stuck_one_first() {
        let table: [(&str, Vec<Group>, Vec<bool>); 7] = [
            ("all are made at once", vec![NEW, NEW], vec![true, true]),
            ("the first of several old ones", vec![OLD, OLD, OLD], vec![true, false, false]),
            ("the second waits while the first rolls", vec![ROLLING, OLD], vec![true, false]),
            ("the second after the first", vec![DONE, OLD], vec![true, true]),
            ("the correction of a stuck one does not wait", vec![OLD, STUCK], vec![false, true]),
            ("another edit waits for the stuck one", vec![OLD, ROLLING], vec![false, true]),
            ("a new group waits for nobody", vec![ROLLING, NEW], vec![true, true]),
        ];
        for (what, groups, admitted) in table {
            assert_eq!(admit(&groups), admitted, "{what}");
        }
    }

    proptest! {
        #[test]
        fn never_two_templates_at_once(groups in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..8)) {
            let groups: Vec<Group> = groups.into_iter().map(|(exists, settled, current)| Group { exists, settled, current }).collect();
            let admitted = admit(&groups);
            let changed = groups.iter().zip(&admitted).filter(|(group, admitted)| group.exists && !group.current && **admitted);
            prop_assert!(changed.count() <= 1);
        }
    }
}
