//! The open transactions, and when each is due for its check.
//!
//! Half messages are stored in the order of their offsets, in the log as in the queue, so the slots
//! form one sorted list that is searched by either. A finished transaction leaves an empty slot,
//! which is removed when the slots before it are, or when a quarter of the list is empty. A slot
//! takes 40 bytes and its place in the schedule 16; with the spare room of both containers an open
//! transaction takes 70 to 140 bytes.

use super::{
    groups::{GroupId, Groups},
    topics::{TopicId, Topics},
};
use rmq_store::{LogOffset, QueueOffset};
use std::{collections::VecDeque, sync::Arc};

/// Empty slots that may always remain.
const SPARE: usize = 64;

/// Whose transaction it is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Owner<'a> {
    /// The producer group. `None` as long as the half message is not read, or if it names none.
    pub(super) group: Option<&'a str>,
    /// The topic of the message, or nothing.
    pub(super) topic: &'a str,
}

/// A half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Half {
    /// Its offset in the half queue.
    pub(crate) offset: QueueOffset,
    /// The position of its record in the log.
    pub(crate) position: LogOffset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Until its outcome arrives, or its check is due.
    Waits,
    /// Its outcome, or a copy of it, is being stored.
    Claimed,
    /// Finished. The record that says so was not taken from the log yet.
    Finished,
    Empty,
}

struct Slot {
    position: LogOffset,
    offset: QueueOffset,
    /// In milliseconds of the clock of [`super::Transactions`].
    due: u64,
    group: GroupId,
    topic: TopicId,
    state: State,
}

/// The outcome of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimed {
    Yes,
    /// Another request or check has claimed it.
    Busy,
    NotOpen,
}

/// Why one more transaction is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many are open in all, and of the group.
    Open { all: usize, of_group: usize },
    /// So many groups have open transactions.
    Groups(usize),
}

/// All open transactions.
#[derive(Default)]
pub(super) struct Open {
    slots: VecDeque<Slot>,
    empty: usize,
    /// Waiting or claimed.
    open: usize,
    groups: Groups,
    pub(super) topics: Topics,
}

impl Open {
    /// Transactions whose outcome is not known.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// The first half message that a start would have to read again.
    pub(super) fn oldest(&self) -> Option<QueueOffset> {
        self.slots.iter().find(|slot| slot.state != State::Empty).map(|slot| slot.offset)
    }

    /// Whether one more transaction of the group may be begun. A group may hold as many as are free
    /// then, so no group takes all.
    pub(super) fn admit(&self, group: &str, max: usize, max_groups: usize) -> Result<(), Refused> {
        let known = self.groups.open_of(group);
        if known.is_none() && self.groups.len() >= max_groups {
            return Err(Refused::Groups(self.groups.len()));
        }
        let of_group = known.unwrap_or_default();
        if of_group >= max.saturating_sub(self.open) {
            return Err(Refused::Open { all: self.open, of_group });
        }
        Ok(())
    }

    /// Adds the next half message of the queue. One that is known already is ignored.
    pub(super) fn push(&mut self, half: Half, owner: Owner<'_>, due: u64) {
        let Half { offset, position } = half;
        if self.slots.back().is_none_or(|last| last.offset < offset && last.position < position) {
            let slot = self.enter(half, owner, due);
            self.slots.push_back(slot);
        }
    }

    /// Puts half messages that are not read yet, in their order, before all others. They are due at
    /// once.
    pub(super) fn put_before(&mut self, halves: impl DoubleEndedIterator<Item = Half>) {
        for half in halves.rev() {
            let Half { offset, position } = half;
            if self.slots.front().is_none_or(|first| offset < first.offset && position < first.position) {
                let slot = self.enter(half, Owner::default(), 0);
                self.slots.push_front(slot);
            }
        }
    }

    fn enter(&mut self, half: Half, owner: Owner<'_>, due: u64) -> Slot {
        let Half { offset, position } = half;
        let (group, topic) = (self.groups.enter(owner.group), self.topics.enter(owner.topic));
        self.open += 1;
        self.groups.schedule(group, due, offset);
        Slot { position, offset, due, group, topic, state: State::Waits }
    }

    fn leave(&mut self, group: GroupId, topic: TopicId) {
        self.open -= 1;
        self.groups.leave(group);
        self.topics.leave(topic);
    }

    /// Claims a transaction for the one who finishes it, or asks for its outcome.
    pub(super) fn claim(&mut self, half: Half) -> Claimed {
        let Some(slot) = self.find_mut(half.offset).filter(|slot| slot.position == half.position) else {
            return Claimed::NotOpen;
        };
        match slot.state {
            State::Waits => {
                let (due, group) = (slot.due, slot.group);
                slot.state = State::Claimed;
                self.groups.unschedule(group, due, half.offset);
                Claimed::Yes
            }
            State::Claimed => Claimed::Busy,
            State::Finished | State::Empty => Claimed::NotOpen,
        }
    }

    /// Gives a claim back: the transaction waits again, until `due` if that is given.
    pub(super) fn release(&mut self, offset: QueueOffset, due: Option<u64>) {
        let Some(slot) = self.find_mut(offset).filter(|slot| slot.state == State::Claimed) else { return };
        slot.state = State::Waits;
        slot.due = due.unwrap_or(slot.due);
        let (due, group) = (slot.due, slot.group);
        self.groups.schedule(group, due, offset);
    }

    /// Gives a claim back, with what the half message says.
    pub(super) fn adopt(&mut self, offset: QueueOffset, owner: Owner<'_>, due: u64) {
        let Some(index) = self.index(offset) else { return };
        if let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.state == State::Claimed) {
            let before = (slot.group, slot.topic);
            (slot.group, slot.topic) = (self.groups.enter(owner.group), self.topics.enter(owner.topic));
            self.groups.leave(before.0);
            self.topics.leave(before.1);
        }
        self.release(offset, Some(due));
    }

    /// The claimed transaction is finished.
    pub(super) fn finish(&mut self, offset: QueueOffset) {
        if let Some(slot) = self.find_mut(offset).filter(|slot| slot.state == State::Claimed) {
            slot.state = State::Finished;
            let (group, topic) = (slot.group, slot.topic);
            self.leave(group, topic);
        }
    }

    /// The log says that the transaction is finished. Returns false if it is not known.
    pub(super) fn remove(&mut self, offset: QueueOffset) -> bool {
        let found = self.index(offset);
        found.is_some_and(|index| self.empty_slot(index))
    }

    /// The same for the half message at a position. Returns its offset.
    pub(super) fn remove_at(&mut self, position: LogOffset) -> Option<QueueOffset> {
        let index = self.slots.binary_search_by_key(&position, |slot| slot.position).ok()?;
        let offset = self.slots.get(index)?.offset;
        self.empty_slot(index).then_some(offset)
    }

    /// Removes the half messages at or behind a position that the log has lost.
    pub(super) fn truncate(&mut self, to: LogOffset) {
        while self.slots.back().is_some_and(|slot| slot.position >= to) {
            self.empty_slot_at(self.slots.len() - 1);
            self.slots.pop_back();
            self.empty -= 1;
        }
    }

    /// Removes the half messages before a position that the log no longer has. Returns how many
    /// were open.
    pub(super) fn trim(&mut self, log_min: LogOffset) -> usize {
        self.empty_first(self.slots.partition_point(|slot| slot.position < log_min))
    }

    /// Removes the half messages before an offset: everything before it is finished.
    pub(super) fn pass(&mut self, offset: QueueOffset) {
        self.empty_first(self.slots.partition_point(|slot| slot.offset < offset));
    }

    fn empty_first(&mut self, count: usize) -> usize {
        let before = self.open;
        (0..count).for_each(|index| {
            self.empty_slot_at(index);
        });
        self.compact();
        before - self.open
    }

    /// The half message at an offset, if its transaction is open.
    pub(super) fn half(&self, offset: QueueOffset) -> Option<Half> {
        let slot = self.slots.get(self.index(offset)?)?;
        let open = matches!(slot.state, State::Waits | State::Claimed);
        open.then_some(Half { offset, position: slot.position })
    }

    /// The time at which the next group has a turn.
    pub(super) fn next_turn(&self) -> Option<u64> {
        self.groups.next_turn()
    }

    /// The group whose turn it is, and its name.
    pub(super) fn turn(&self, now: u64) -> Option<(GroupId, Option<Arc<str>>)> {
        self.groups.turn(now)
    }

    /// Whether the number is still that of the group.
    pub(super) fn is(&self, group: GroupId, name: Option<&str>) -> bool {
        self.groups.name(group) == name
    }

    /// The group gets no further turn before `until`.
    pub(super) fn pause(&mut self, group: GroupId, until: u64) {
        self.groups.pause(group, until);
    }

    /// Claims transactions of the group that are due at `until`, `max` at most.
    pub(super) fn claim_due(&mut self, group: GroupId, until: u64, max: usize) -> Vec<Half> {
        let due = self.groups.due(group, until, max);
        let mut claimed = Vec::with_capacity(due.len());
        for offset in due {
            if let Some(half) = self.half(offset)
                && self.claim(half) == Claimed::Yes
            {
                claimed.push(half);
            }
        }
        claimed
    }

    fn index(&self, offset: QueueOffset) -> Option<usize> {
        self.slots.binary_search_by_key(&offset, |slot| slot.offset).ok()
    }

    fn find_mut(&mut self, offset: QueueOffset) -> Option<&mut Slot> {
        let index = self.index(offset)?;
        self.slots.get_mut(index)
    }

    fn empty_slot(&mut self, index: usize) -> bool {
        let emptied = self.empty_slot_at(index);
        self.compact();
        emptied
    }

    fn empty_slot_at(&mut self, index: usize) -> bool {
        let Some(slot) = self.slots.get_mut(index) else { return false };
        let before = std::mem::replace(&mut slot.state, State::Empty);
        let (group, topic, due, offset) = (slot.group, slot.topic, slot.due, slot.offset);
        match before {
            State::Empty => return false,
            State::Finished => {}
            State::Waits | State::Claimed => {
                if before == State::Waits {
                    self.groups.unschedule(group, due, offset);
                }
                self.leave(group, topic);
            }
        }
        self.empty += 1;
        true
    }

    fn compact(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.state == State::Empty) {
            self.slots.pop_front();
            self.empty -= 1;
        }
        if self.empty > SPARE + self.slots.len() / 4 {
            self.slots.retain(|slot| slot.state != State::Empty);
            self.empty = 0;
        }
        if self.slots.capacity() > 4 * (self.slots.len() + SPARE) {
            self.slots.shrink_to(2 * (self.slots.len() + SPARE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::groups::UNREAD, *};

    fn of(group: &str) -> Owner<'_> {
        Owner { group: Some(group), topic: "T" }
    }

    fn half(number: u64) -> Half {
        Half { offset: number.into(), position: LogOffset::new(number * 100) }
    }

    fn open(halves: impl IntoIterator<Item = (u64, &'static str, u64)>) -> Open {
        let mut open = Open::default();
        for (number, group, due) in halves {
            open.push(half(number), of(group), due);
        }
        open
    }

    #[test]
    fn a_transaction_is_claimed_once_and_leaves_with_its_record() {
        let mut open = open([(3, "g", 10), (4, "g", 10), (7, "h", 10)]);
        assert_eq!(open.claim(Half { position: LogOffset::new(1), ..half(3) }), Claimed::NotOpen, "another record");
        assert_eq!((open.claim(half(3)), open.claim(half(3))), (Claimed::Yes, Claimed::Busy));
        open.release(3.into(), None);
        assert_eq!(open.claim(half(3)), Claimed::Yes);
        open.finish(3.into());
        assert_eq!((open.len(), open.claim(half(3)), open.oldest()), (2, Claimed::NotOpen, Some(3.into())));
        assert_eq!(open.remove_at(LogOffset::new(300)), Some(3.into()));
        assert_eq!(
            (open.oldest(), open.remove_at(LogOffset::new(300)), open.remove(3.into())),
            (Some(4.into()), None, false)
        );
        assert!(open.remove(7.into()) && open.remove(4.into()));
        assert_eq!((open.len(), open.oldest(), open.next_turn(), open.slots.len()), (0, None, None, 0));
        assert_eq!((open.groups.len(), open.topics.counts().collect()), (0, vec![("T", 0)]));
    }

    #[test]
    fn groups_take_turns_and_a_paused_one_delays_none() {
        let mut open = open((0..100).map(|number| (number, if number < 90 { "many" } else { "few" }, number)));
        let (many, name) = open.turn(200).unwrap();
        assert_eq!(name.as_deref(), Some("many"));
        assert_eq!(open.claim_due(many, 200, 64).len(), 64);
        open.pause(many, 300);
        let (few, name) = open.turn(200).unwrap();
        assert_eq!((name.as_deref(), open.claim_due(few, 200, 64).len()), (Some("few"), 10));
        assert_eq!((open.turn(200), open.next_turn()), (None, Some(300)));
        assert_eq!(open.claim_due(many, 300, 64).len(), 26);
        (0..100).for_each(|number| open.release(number.into(), Some(1000)));
        assert_eq!(open.next_turn(), Some(1000));
    }

    #[test]
    fn one_group_cannot_take_all_and_the_limits_are_named() {
        let mut open = open((0..5).map(|number| (number, "greedy", 0)));
        assert_eq!(open.admit("greedy", 10, 2), Err(Refused::Open { all: 5, of_group: 5 }));
        assert_eq!(open.admit("other", 10, 2), Ok(()));
        open.push(half(5), of("other"), 0);
        assert_eq!(open.admit("third", 10, 2), Err(Refused::Groups(2)));
        assert_eq!(open.admit("other", 6, 2), Err(Refused::Open { all: 6, of_group: 1 }));
    }

    #[test]
    fn what_was_read_back_stands_before_what_came_since_and_gets_its_group_later() {
        let mut open = open([(9, "g", 50)]);
        open.put_before([half(2), half(5), half(9)].into_iter());
        assert_eq!((open.len(), open.oldest(), open.turn(0)), (3, Some(2.into()), Some((UNREAD, None))));
        let read = open.claim_due(UNREAD, 0, 10);
        assert_eq!(read, [half(2), half(5)]);
        open.adopt(2.into(), of("h"), 40);
        open.adopt(5.into(), of("g"), 60);
        assert_eq!(open.turn(40).unwrap().1.as_deref(), Some("h"));
        assert_eq!(open.topics.counts().collect::<Vec<_>>(), [("T", 3)]);
        open.truncate(LogOffset::new(500));
        assert_eq!((open.len(), open.groups.len()), (1, 1));
        assert_eq!(open.trim(LogOffset::new(201)), 1);
        assert_eq!((open.len(), open.groups.len(), open.next_turn()), (0, 0, None));
    }

    #[test]
    fn a_million_with_gaps_take_little_room() {
        let mut open = Open::default();
        for number in 0..1_000_000 {
            open.push(half(number), of("g"), number / 100);
            if number % 10 != 0 {
                open.remove((number - number % 3).into());
            }
        }
        assert_eq!(size_of::<Slot>(), 40);
        assert!(open.slots.len() <= open.len() * 4 / 3 + 2 * SPARE, "{} for {}", open.slots.len(), open.len());
        assert!(open.slots.capacity() <= 4 * (open.slots.len() + SPARE));
    }
}
