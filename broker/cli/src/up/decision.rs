//! Masters that take no writes until a person decides about their logs: whether a group has one,
//! and the commands that decide.

use super::place::{self, Group};
use rmq_operator::{
    brokers::admin::Admin,
    cluster::members::{Report, State},
};

/// What the master of a group waits for, with the commands that decide; `None` when it waits for no
/// decision, or does not answer.
pub(super) async fn needed<A: Admin>(admin: &A, group: &Group) -> Option<String> {
    let master = group.members.first()?;
    let address = master.address.to_string();
    let State::Undecided(reason) = Report::of(admin, &address).await.ok()?.state else { return None };
    let program = std::env::current_exe().map_or_else(|_| "rocketmq".to_owned(), |path| place::short(&path));
    Some(text(&reason, &format!("{program} admin broker recover {address}"), group.members.len() > 1))
}

fn text(reason: &str, command: &str, has_slaves: bool) -> String {
    let mut text = format!("{reason}. It takes no messages until you decide, with one of\n");
    if has_slaves {
        text.push_str(&format!("{command} --copy\n  copies the log of the slave that has most\n"));
    }
    text.push_str(&format!("{command} --accept-loss\n  goes on without what is missing"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stand_on_lines_of_their_own() {
        let decision = text("the store is new", "rocketmq admin broker recover a:1", true);
        let lines: Vec<&str> = decision.lines().collect();
        assert!(lines[0].starts_with("the store is new. "), "{decision}");
        assert_eq!(lines[1], "rocketmq admin broker recover a:1 --copy");
        assert_eq!(lines[3], "rocketmq admin broker recover a:1 --accept-loss");
        assert!(!text("", "", false).contains("--copy"), "without slaves there is no log to copy");
    }
}
