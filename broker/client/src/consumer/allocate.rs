//! The allocation of queues to the members of a group. Every member computes it for itself, and all
//! must get the same result, including Java's members.

/// The share of `client` of `queues`, as Java's `AllocateMessageQueueAveragely` computes it:
/// consecutive queues, and the first members get one more if the division leaves a remainder. Both
/// lists must be sorted. A client that is not a member gets nothing.
pub(super) fn averagely<'a, T>(client: &str, clients: &[String], queues: &'a [T]) -> &'a [T] {
    let Some(index) = clients.iter().position(|member| member == client) else {
        return &[];
    };
    let (each, rest) = (queues.len() / clients.len(), queues.len() % clients.len());
    let start = index * each + index.min(rest);
    let len = each + usize::from(index < rest);
    &queues[start..start + len]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Java's arithmetic, step by step.
    fn java(index: usize, clients: usize, queues: usize) -> Vec<usize> {
        let rest = queues % clients;
        let average = match () {
            () if queues <= clients => 1,
            () if rest > 0 && index < rest => queues / clients + 1,
            () => queues / clients,
        };
        let start = if rest > 0 && index < rest { index * average } else { index * average + rest };
        let range = average.min(queues.saturating_sub(start));
        (0..range).map(|step| (start + step) % queues).collect()
    }

    #[test]
    fn shares_are_those_of_java_and_cover_every_queue_once() {
        for clients in 1..9 {
            let members: Vec<String> = (0..clients).map(|number| format!("10.0.0.1@{number}")).collect();
            for count in 0..20 {
                let queues: Vec<usize> = (0..count).collect();
                let shares: Vec<_> =
                    members.iter().map(|member| averagely(member, &members, &queues).to_vec()).collect();
                let expected: Vec<_> = (0..clients).map(|index| java(index, clients, count)).collect();
                assert_eq!(shares, expected, "{clients} members, {count} queues");
                assert_eq!(shares.concat(), queues);
            }
        }
    }

    #[test]
    fn a_stranger_gets_nothing() {
        assert!(averagely("x", &["a".into()], &[1, 2]).is_empty());
        assert!(averagely("x", &[], &[1, 2]).is_empty());
    }
}
