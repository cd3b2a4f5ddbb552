use super::finding::Verdict;
use super::*;
use crate::testing::{member, message};

fn check(root: &std::path::Path) -> LogCheck {
    let (settings, store) = member(root, &[("checkLogBeforeWrites", "true"), ("expectedSlaves", "1")]);
    store.put(&message(b"here")).unwrap();
    LogCheck::new(store, settings)
}

fn decide(check: &LogCheck, action: &str, from: Option<&str>) -> Result<(), Rejection> {
    check.decide(&owned::RecoverMaster { action: action.to_owned(), from: from.map(str::to_owned) })
}

fn slave(address: &str, end: u64) -> Slave {
    Slave { address: address.into(), end: LogOffset::new(end) }
}

fn finding(doubt: Doubt, end: u64, slaves: &[u64], expected: usize) -> Finding {
    let slaves = slaves.iter().map(|end| slave("a:1", *end)).collect();
    Finding { doubt, end: LogOffset::new(end), slaves, expected, failed: None }
}

#[test]
fn what_is_known_decides_whether_a_master_opens_waits_or_asks_for_a_decision() {
    use Verdict::{Asking, Closed, Open};
    let table = [
        ("a slave has as much", Doubt::None, 7, vec![7], 1, [Open, Open]),
        ("a slave has less", Doubt::None, 7, vec![3], 1, [Open, Open]),
        ("a slave has more", Doubt::None, 7, vec![8], 1, [Closed, Closed]),
        ("one of two has more", Doubt::None, 7, vec![7, 8], 2, [Closed, Closed]),
        ("a slave is away", Doubt::None, 7, vec![], 1, [Asking, Open]),
        ("a slave is away after a power cut", Doubt::Lost, 7, vec![], 1, [Asking, Closed]),
        ("all answer after a power cut", Doubt::Lost, 7, vec![7], 1, [Open, Open]),
        ("no slaves after a power cut", Doubt::Lost, 7, vec![], 0, [Open, Open]),
        ("a group without messages", Doubt::None, 0, vec![0], 1, [Open, Open]),
        ("the same with a lost volume", Doubt::New, 0, vec![0], 1, [Open, Open]),
        ("a lost volume", Doubt::New, 0, vec![8], 1, [Closed, Closed]),
        ("a lost volume and no slave", Doubt::New, 0, vec![], 0, [Closed, Closed]),
        ("a lost volume and the slave is away", Doubt::New, 0, vec![], 1, [Closed, Closed]),
        ("a copy that was cut off", Doubt::New, 8, vec![8], 1, [Closed, Closed]),
    ];
    for (what, doubt, end, slaves, expected, verdicts) in table {
        let finding = finding(doubt, end, &slaves, expected);
        let longest = LogOffset::new(slaves.iter().copied().max().unwrap_or(0));
        assert_eq!([false, true].map(|waited| finding.judge(longest, waited)), verdicts, "{what}");
    }
    assert_eq!(finding(Doubt::None, 7, &[], 1).judge(LogOffset::new(8), true), Closed, "it was seen and is gone again");
}

#[test]
fn nothing_is_decided_about_a_master_that_is_open() {
    let root = tempfile::tempdir().unwrap();
    let check = check(root.path());
    assert!(!check.is_open());
    check.open();
    assert!(decide(&check, "accept-loss", None).unwrap_err().remark.contains("nothing to decide"));
}

#[tokio::test]
async fn a_decision_is_one_of_two_and_names_a_member_by_an_address() {
    let root = tempfile::tempdir().unwrap();
    let check = check(root.path());
    let end = check.store.max_physical_offset();
    check.store.dispatched().reached(end).await.unwrap();
    let closed = |slaves| Stage::Closed(Finding { slaves, ..finding(Doubt::None, 7, &[], 1) });
    check.set(closed(Vec::new()));
    for (action, from) in [
        ("", None),
        ("drop", None),
        ("accept-loss", Some("a:1")),
        ("copy", None),
        ("copy", Some("a")),
        ("copy", Some(":1")),
        ("copy", Some("a:0")),
        ("copy", Some("a:65536")),
    ] {
        let refused = decide(&check, action, from).unwrap_err();
        assert_eq!(refused.reason, Reason::Invalid, "{action} {from:?}");
    }
    assert_eq!(check.state.lock().decision, None);
    check.set(closed(vec![slave("a:1", 8), slave("b:1", 9)]));
    decide(&check, "copy", None).unwrap();
    assert_eq!(check.state.lock().decision, Some(Decision::Copy { from: "b:1".into() }), "the longest");
    decide(&check, "accept-loss", None).unwrap();
    assert_eq!(check.state.lock().decision, Some(Decision::AcceptLoss));
}

fn note_new(root: &Path) {
    let root = root.display().to_string();
    let settings = [("brokerName", "b"), ("storePathRootDir", root.as_str()), ("checkLogBeforeWrites", "true")];
    note_new_store(&Config::from_properties(settings).unwrap().0).unwrap();
}

/// The next start found the files of the first one and took writes.
#[tokio::test]
async fn a_first_start_that_is_killed_leaves_a_store_that_counts_as_new() {
    let root = tempfile::tempdir().unwrap();
    note_new(root.path());
    // The files that an opening leaves, without a clean stop.
    let (_, store) = member(root.path(), &[("checkLogBeforeWrites", "true")]);
    drop(store);
    note_new(root.path());
    let (settings, store) = member(root.path(), &[("checkLogBeforeWrites", "true")]);
    assert_eq!(LogCheck::new(store, settings).doubt().await, Doubt::New);
}

/// A second start found an existing store, and opened it.
#[tokio::test]
async fn what_speaks_against_a_log_is_known_after_a_restart_and_until_it_is_open() {
    let root = tempfile::tempdir().unwrap();
    let start = || {
        note_new(root.path());
        let (settings, store) = member(root.path(), &[("checkLogBeforeWrites", "true")]);
        LogCheck::new(store, settings)
    };
    let first = start();
    assert_eq!(first.doubt().await, Doubt::New);
    first.store.close().unwrap();
    drop(first);
    let second = start();
    assert_eq!(second.doubt().await, Doubt::New);
    second.forget_doubt().await;
    second.store.close().unwrap();
    drop(second);
    let third = start();
    assert_eq!(third.doubt().await, Doubt::None);
}

#[tokio::test]
async fn those_who_wait_are_told_of_the_end_of_the_check_and_of_the_broker() {
    let root = tempfile::tempdir().unwrap();
    let stopped = Arc::new(check(root.path()));
    let task = tokio::spawn({
        let stopped = Arc::clone(&stopped);
        async move { stopped.until_open().await }
    });
    stopped.stop();
    assert!(!task.await.unwrap());
    stopped.open();
    assert!(stopped.until_open().await && stopped.is_open());
}
