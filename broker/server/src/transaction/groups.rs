//! The producer groups with open transactions, and when each has its turn.
//!
//! Each group has a schedule of its own, and the groups take turns: a group without a connected
//! producer, or with very many due transactions, delays no other group.

use rmq_store::QueueOffset;
use rustc_hash::FxHashMap;
use std::{collections::BTreeSet, sync::Arc};

/// The transactions whose producer group is not known: their half messages were not read since the
/// start, or name none.
pub(super) const UNREAD: GroupId = GroupId(0);

/// The number of a producer group, while it has open transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupId(u32);

#[derive(Default)]
struct Group {
    /// `None` for [`UNREAD`].
    name: Option<Arc<str>>,
    /// Transactions that are waiting or claimed.
    open: usize,
    /// Those that are waiting, by the time of their check.
    due: BTreeSet<(u64, QueueOffset)>,
    /// The group gets no turn before.
    not_before: u64,
    /// Its key in [`Groups::turns`].
    turn: Option<u64>,
}

pub(super) struct Groups {
    groups: Vec<Group>,
    free: Vec<GroupId>,
    names: FxHashMap<Arc<str>, GroupId>,
    /// The groups by the time of their next turn.
    turns: BTreeSet<(u64, GroupId)>,
}

impl Default for Groups {
    fn default() -> Self {
        Self { groups: vec![Group::default()], free: Vec::new(), names: FxHashMap::default(), turns: BTreeSet::new() }
    }
}

impl Groups {
    /// Groups with open transactions.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Open transactions of a group. `None` if it has none.
    pub(super) fn open_of(&self, name: &str) -> Option<usize> {
        let id = self.names.get(name)?;
        self.groups.get(id.0 as usize).map(|group| group.open)
    }

    /// The group has one more open transaction. Its number is valid until the last has left.
    pub(super) fn enter(&mut self, name: Option<&str>) -> GroupId {
        let id = name.map_or(UNREAD, |name| self.id(name));
        self.of(id).open += 1;
        id
    }

    /// The group has one less.
    pub(super) fn leave(&mut self, id: GroupId) {
        let group = self.of(id);
        group.open -= 1;
        if group.open == 0
            && let Some(name) = group.name.take()
        {
            self.names.remove(&name);
            self.free.push(id);
        }
    }

    fn id(&mut self, name: &str) -> GroupId {
        if let Some(known) = self.names.get(name) {
            return *known;
        }
        let name: Arc<str> = name.into();
        let new = Group { name: Some(Arc::clone(&name)), ..Group::default() };
        let id = match self.free.pop() {
            Some(id) => {
                *self.of(id) = new;
                id
            }
            None => {
                self.groups.push(new);
                GroupId(self.groups.len() as u32 - 1)
            }
        };
        self.names.insert(name, id);
        id
    }

    /// The name of a group. `None` for [`UNREAD`], and if it has left.
    pub(super) fn name(&self, id: GroupId) -> Option<&str> {
        self.groups.get(id.0 as usize)?.name.as_deref()
    }

    fn of(&mut self, id: GroupId) -> &mut Group {
        &mut self.groups[id.0 as usize]
    }

    pub(super) fn schedule(&mut self, id: GroupId, due: u64, offset: QueueOffset) {
        self.of(id).due.insert((due, offset));
        self.set_turn(id);
    }

    pub(super) fn unschedule(&mut self, id: GroupId, due: u64, offset: QueueOffset) {
        self.of(id).due.remove(&(due, offset));
        self.set_turn(id);
    }

    /// Transactions of the group that are due at `until`, `max` at most.
    pub(super) fn due(&self, id: GroupId, until: u64, max: usize) -> Vec<QueueOffset> {
        let Some(group) = self.groups.get(id.0 as usize) else { return Vec::new() };
        let due = group.due.iter().take_while(|(at, _)| *at <= until).take(max);
        due.map(|(_, offset)| *offset).collect()
    }

    /// The time at which the next group has a turn.
    pub(super) fn next_turn(&self) -> Option<u64> {
        self.turns.first().map(|(at, _)| *at)
    }

    /// The group whose turn it is, and its name.
    pub(super) fn turn(&self, now: u64) -> Option<(GroupId, Option<Arc<str>>)> {
        let (at, id) = self.turns.first()?;
        let group = self.groups.get(id.0 as usize).filter(|_| *at <= now)?;
        Some((*id, group.name.clone()))
    }

    /// The group gets no further turn before `until`.
    pub(super) fn pause(&mut self, id: GroupId, until: u64) {
        self.of(id).not_before = until;
        self.set_turn(id);
    }

    fn set_turn(&mut self, id: GroupId) {
        let group = self.of(id);
        let first = group.due.first().map(|(due, _)| (*due).max(group.not_before));
        let before = std::mem::replace(&mut group.turn, first);
        if before == first {
            return;
        }
        if let Some(before) = before {
            self.turns.remove(&(before, id));
        }
        if let Some(first) = first {
            self.turns.insert((first, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_given_again_is_another_groups() {
        let mut groups = Groups::default();
        let first = groups.enter(Some("first"));
        assert_eq!((groups.name(first), groups.open_of("first")), (Some("first"), Some(1)));
        groups.leave(first);
        assert_eq!((groups.name(first), groups.open_of("first"), groups.len()), (None, None, 0));
        assert_eq!((groups.enter(Some("second")), groups.name(first)), (first, Some("second")));
        assert_eq!((groups.enter(None), groups.name(UNREAD)), (UNREAD, None));
    }
}
