//! The rules of the table one by one, and all of them together against a simple model.

mod limits;
mod model;

use super::{register::Outcome, *};
use crate::Error;
use rmq_protocol::body::{QueueData, TopicConfig, TopicRoute};

const SECOND: Duration = Duration::from_secs(1);

/// Bytes that routes may take.
const LIMIT: usize = 1 << 20;

pub(super) fn table() -> RouteTable {
    RouteTable::new(Arc::new(ArcSwap::from_pointee(Snapshot::default())), LIMIT)
}

pub(super) fn registrant(broker: &str, id: i64, address: &str) -> Registrant {
    Registrant {
        cluster: "c".to_owned(),
        broker: broker.to_owned(),
        id,
        address: address.to_owned(),
        ha_address: format!("ha-{address}"),
        timeout: None,
        acting_master: None,
        connection: 1,
    }
}

/// One whose group permits acting masters.
fn modern(broker: &str, id: i64, address: &str) -> Registrant {
    Registrant { acting_master: Some(true), ..registrant(broker, id, address) }
}

fn version(counter: i64) -> DataVersion {
    DataVersion { counter, ..DataVersion::default() }
}

fn epoch(state_version: i64) -> DataVersion {
    DataVersion { state_version, ..DataVersion::default() }
}

pub(super) fn topics<const N: usize>(topics: [(&str, i32); N]) -> BTreeMap<String, TopicConfig> {
    topics.map(|(name, perm)| (name.to_owned(), TopicConfig::new(name, 4, 4, perm))).into()
}

/// Registers as the handler does: topics are decoded only if the table needs them.
pub(super) fn register(
    table: &mut RouteTable,
    registrant: &Registrant,
    version: DataVersion,
    topics: &BTreeMap<String, TopicConfig>,
) -> Result<Outcome, Error> {
    let topics = (!table.needs_no_topics(registrant, version)).then_some(topics);
    table.register(Duration::ZERO, registrant, version, topics, Missing::Keep)
}

pub(super) fn route(table: &RouteTable, topic: &str) -> Option<TopicRoute> {
    let json = table.published.load().route(topic, None, Flavour::Standard, true)?;
    Some(serde_json::from_slice(&json).unwrap())
}

fn perms(table: &RouteTable, topic: &str) -> Vec<(String, i32)> {
    let route = route(table, topic).unwrap_or_default();
    route.queue_datas.into_iter().map(|queues| (queues.broker_name, queues.perm)).collect()
}

fn perm(table: &RouteTable, topic: &str) -> Option<i32> {
    perms(table, topic).first().map(|(_, perm)| *perm)
}

fn members(table: &RouteTable, broker: &str) -> Vec<(i64, String)> {
    table.published.load().member_group("c", broker).broker_addrs.into_iter().collect()
}

fn two() -> BTreeMap<String, TopicConfig> {
    topics([("t", 6), ("u", 6)])
}

#[test]
fn slaves_learn_their_master_and_supply_no_topics() {
    let mut table = table();
    let early = register(&mut table, &registrant("a", 1, "s"), version(1), &two()).unwrap();
    assert_eq!(early, Outcome::default());
    assert_eq!(route(&table, "t"), None);
    let master = register(&mut table, &registrant("a", 0, "m"), version(1), &two()).unwrap();
    assert_eq!(master.master, None);
    let late =
        register(&mut table, &registrant("a", 1, "s"), version(7), &topics([("only-here", 6), ("t", 0)])).unwrap();
    assert_eq!(
        late.master.map(|master| (master.address, master.ha_address)),
        Some(("m".to_owned(), "ha-m".to_owned()))
    );
    assert_eq!((perm(&table, "t"), route(&table, "only-here")), (Some(6), None));
    let addresses = &route(&table, "t").unwrap().broker_datas[0].broker_addrs;
    assert_eq!(*addresses, [(0, "m".to_owned()), (1, "s".to_owned())].into());
}

#[test]
fn topics_are_taken_over_with_a_new_version_only() {
    let mut table = table();
    let master = registrant("a", 0, "m");
    register(&mut table, &master, version(1), &two()).unwrap();
    register(&mut table, &master, version(1), &topics([("t", 4), ("u", 4), ("new", 4)])).unwrap();
    assert_eq!((perm(&table, "t"), perm(&table, "new")), (Some(6), Some(4)));
    register(&mut table, &master, version(2), &topics([("t", 4), ("new", 6)])).unwrap();
    assert_eq!((perm(&table, "t"), perm(&table, "u"), perm(&table, "new")), (Some(4), Some(6), Some(6)));
    for different in [DataVersion { timestamp: 1, ..version(2) }, DataVersion { state_version: 1, ..version(2) }] {
        register(&mut table, &master, different, &topics([("t", 2), ("u", 6)])).unwrap();
        assert_eq!(perm(&table, "t"), Some(2));
        register(&mut table, &master, version(2), &two()).unwrap();
    }
}

#[test]
fn topics_that_are_not_named_stay_or_go_as_configured() {
    let mut table = table();
    let master = registrant("a", 0, "m");
    register(&mut table, &master, version(1), &two()).unwrap();
    table.register(SECOND, &master, version(2), Some(&topics([("t", 6)])), Missing::Keep).unwrap();
    assert!(route(&table, "u").is_some());
    table.register(SECOND, &master, version(3), Some(&topics([("t", 6)])), Missing::Delete).unwrap();
    assert!(route(&table, "u").is_none() && route(&table, "t").is_some());
}

#[test]
fn a_registration_that_says_nothing_new_changes_nothing() {
    let mut table = table();
    let master = registrant("a", 0, "m");
    for _ in 0..2 {
        assert!(!table.needs_no_topics(&master, version(1)));
        register(&mut table, &master, version(1), &two()).unwrap();
    }
    assert!(table.needs_no_topics(&master, version(1)) && !table.needs_no_topics(&master, version(2)));
    let before = table.published.load_full();
    table.register(SECOND, &master, version(1), None, Missing::Keep).unwrap();
    assert!(Arc::ptr_eq(&before, &table.published.load()));
    assert_eq!(table.live.get(&Address::new("c", "m")).unwrap().last_seen, SECOND);
}

#[test]
fn a_lost_registration_of_single_topics_is_repaired_by_the_next_whole_one() {
    let mut table = table();
    let master = registrant("a", 0, "m");
    for _ in 0..2 {
        register(&mut table, &master, version(1), &two()).unwrap();
    }
    // Version 2, with topic v, was lost; version 3 named only topic w.
    register(&mut table, &master, version(3), &topics([("w", 6)])).unwrap();
    register(&mut table, &master, version(3), &topics([("t", 6), ("u", 6), ("v", 6), ("w", 6)])).unwrap();
    assert!(route(&table, "v").is_some() && route(&table, "w").is_some());
}

#[test]
fn what_a_slave_registered_while_there_was_a_master_is_compared_when_it_supplies_the_topics() {
    let mut table = table();
    let (slave, lower) = (modern("a", 2, "s2"), modern("a", 1, "s1"));
    for _ in 0..2 {
        register(&mut table, &slave, version(1), &two()).unwrap();
    }
    table.register(SECOND, &lower, version(1), None, Missing::Keep).unwrap();
    register(&mut table, &slave, version(2), &topics([("v", 6), ("w", 6)])).unwrap();
    table.unregister("a", &Address::new("c", "s1"));
    register(&mut table, &slave, version(2), &topics([("t", 6), ("u", 6), ("v", 6), ("w", 6)])).unwrap();
    assert!(route(&table, "v").is_some() && route(&table, "w").is_some());
}

#[test]
fn a_deleted_topic_comes_back_with_the_next_registration() {
    let mut table = table();
    let master = registrant("a", 0, "m");
    for _ in 0..2 {
        register(&mut table, &master, version(1), &two()).unwrap();
    }
    table.delete_topic("t", None);
    assert_eq!(route(&table, "t"), None);
    register(&mut table, &master, version(1), &two()).unwrap();
    assert!(route(&table, "t").is_some());
}

#[test]
fn an_address_stands_once_in_its_group() {
    let mut table = table();
    register(&mut table, &registrant("a", 1, "x"), version(1), &two()).unwrap();
    register(&mut table, &registrant("a", 0, "x"), version(1), &two()).unwrap();
    assert_eq!(members(&table, "a"), [(0, "x".to_owned())]);
    assert!(route(&table, "t").is_some());
}

#[test]
fn a_process_that_comes_under_another_name_leaves_its_old_group() {
    let mut table = table();
    register(&mut table, &registrant("a", 0, "x"), version(1), &two()).unwrap();
    register(&mut table, &registrant("b", 0, "x"), version(1), &two()).unwrap();
    assert_eq!((members(&table, "a"), members(&table, "b")), (vec![], vec![(0, "x".to_owned())]));
    assert_eq!(perms(&table, "t"), [("b".to_owned(), 6)]);
}

#[test]
fn a_taken_id_goes_to_the_higher_epoch() {
    let mut table = table();
    register(&mut table, &registrant("a", 0, "old"), epoch(2), &two()).unwrap();
    register(&mut table, &registrant("a", 1, "loser"), epoch(1), &two()).unwrap();
    let refused = register(&mut table, &registrant("a", 0, "loser"), epoch(1), &topics([("t", 0), ("u", 0)])).unwrap();
    assert_eq!(refused, Outcome { ignored: true, ..Outcome::default() });
    assert_eq!((members(&table, "a"), perm(&table, "t")), (vec![(0, "old".to_owned())], Some(6)));
    assert_eq!(table.live.get(&Address::new("c", "loser")), None);

    register(&mut table, &registrant("a", 0, "new"), epoch(3), &topics([("t", 4), ("u", 4)])).unwrap();
    assert_eq!((members(&table, "a"), perm(&table, "t")), (vec![(0, "new".to_owned())], Some(4)));
    assert_eq!(table.live.get(&Address::new("c", "old")), None);
}

#[test]
fn a_single_topic_needs_a_registered_broker() {
    let mut table = table();
    let single = topics([("t", 6)]);
    for id in [0, 1] {
        let error = register(&mut table, &registrant("a", id, "x"), version(1), &single).unwrap_err();
        assert!(matches!(error, Error::NotRegisteredYet(_)), "{error}");
    }
    assert!(table.published.load().groups().next().is_none() && table.live.len() == 0);
    register(&mut table, &registrant("a", 0, "x"), version(1), &two()).unwrap();
    register(&mut table, &registrant("a", 0, "x"), version(2), &topics([("v", 6)])).unwrap();
    assert!(route(&table, "v").is_some());
    // A refusal leaves the table unchanged: the address still serves under its old id.
    register(&mut table, &registrant("a", 1, "x"), version(2), &single).unwrap_err();
    assert_eq!(members(&table, "a"), [(0, "x".to_owned())]);
}

#[test]
fn the_lowest_slave_supplies_topics_read_only_while_there_is_no_master() {
    let mut table = table();
    register(&mut table, &modern("a", 2, "s2"), version(1), &two()).unwrap();
    assert_eq!(perm(&table, "t"), Some(4));
    register(&mut table, &modern("a", 1, "s1"), version(1), &topics([("t", 6), ("v", 6)])).unwrap();
    register(&mut table, &modern("a", 2, "s2"), version(2), &topics([("w", 6), ("x", 6)])).unwrap();
    assert_eq!((perm(&table, "v"), route(&table, "w")), (Some(4), None));
    register(&mut table, &modern("a", 0, "m"), version(1), &two()).unwrap();
    assert_eq!(perm(&table, "t"), Some(6));
    let data = route(&table, "t").unwrap().broker_datas.remove(0);
    assert!(data.enable_acting_master && data.broker_addrs.len() == 3);
    // Slaves that may not act as master supply topics as they are: the header is present and false.
    let sober = Registrant { acting_master: Some(false), ..registrant("b", 3, "s3") };
    register(&mut table, &sober, version(1), &two()).unwrap();
    assert_eq!(perms(&table, "t"), [("a".to_owned(), 6), ("b".to_owned(), 6)]);
}

#[test]
fn a_master_that_goes_takes_the_write_permission_with_it_where_slaves_act() {
    for (acting, expected) in [(Some(true), 4), (Some(false), 6), (None, 6)] {
        let mut table = table();
        let member = |id, address| Registrant { acting_master: acting, ..registrant("a", id, address) };
        register(&mut table, &member(0, "m"), version(1), &two()).unwrap();
        register(&mut table, &member(1, "s"), version(1), &two()).unwrap();
        table.unregister("a", &Address::new("c", "m"));
        assert_eq!(perm(&table, "t"), Some(expected), "{acting:?}");
        let shown = &route(&table, "t").unwrap().broker_datas[0].broker_addrs;
        assert_eq!(shown.contains_key(&0), acting == Some(true), "{acting:?}");
        register(&mut table, &member(0, "m"), version(1), &two()).unwrap();
        assert_eq!(perm(&table, "t"), Some(6), "{acting:?}");
    }
}

#[test]
fn a_group_without_members_is_gone_with_its_queues() {
    let mut table = table();
    register(&mut table, &registrant("a", 0, "m"), version(1), &two()).unwrap();
    register(&mut table, &registrant("b", 0, "n"), version(1), &topics([("t", 6), ("v", 6)])).unwrap();
    table.unregister("a", &Address::new("c", "nobody"));
    assert_eq!(perms(&table, "t").len(), 2);
    table.unregister("a", &Address::new("c", "m"));
    assert_eq!((perms(&table, "t").len(), route(&table, "u")), (1, None));
    let info = table.published.load().cluster_info();
    assert_eq!(info.cluster_addr_table, [("c".to_owned(), vec!["b".to_owned()])].into());
}

#[test]
fn the_end_of_a_connection_removes_the_broker_that_registered_over_it_last() {
    let mut table = table();
    let over = |broker, address, connection| Registrant { connection, ..registrant(broker, 0, address) };
    register(&mut table, &over("a", "x", 7), version(1), &two()).unwrap();
    register(&mut table, &over("b", "y", 7), version(1), &two()).unwrap();
    register(&mut table, &over("c", "z", 8), version(1), &two()).unwrap();
    // a has registered again over a new connection before the end of its old one was noticed.
    register(&mut table, &over("a", "x", 9), version(1), &two()).unwrap();
    let gone = table.connection_closed(7);
    assert_eq!(gone.brokers, [Address::new("c", "y")]);
    assert_eq!(perms(&table, "t"), [("a".to_owned(), 6), ("c".to_owned(), 6)]);
}

#[test]
fn silence_is_measured_by_what_each_broker_promised() {
    let mut table = table();
    let promised =
        |broker, address, timeout, connection| Registrant { timeout, connection, ..registrant(broker, 0, address) };
    register(&mut table, &promised("a", "x", Some(10 * SECOND), 1), version(1), &two()).unwrap();
    register(&mut table, &promised("b", "y", None, 2), version(1), &two()).unwrap();
    assert_eq!(table.evict(10 * SECOND).brokers, []);
    assert!(table.seen(&Address::new("c", "x"), 5 * SECOND) && !table.seen(&Address::new("other", "x"), 5 * SECOND));
    assert_eq!(table.evict(15 * SECOND).brokers, []);
    let gone = table.evict(16 * SECOND);
    assert_eq!((gone.brokers, gone.connections), (vec![Address::new("c", "x")], vec![1]));
    assert_eq!(table.evict(120 * SECOND).brokers, []);
    assert_eq!(table.evict(121 * SECOND).brokers, [Address::new("c", "y")]);
    assert_eq!(route(&table, "t"), None);
}

#[test]
fn members_are_notified_when_their_lowest_id_changes() {
    let mut table = table();
    let first = register(&mut table, &modern("a", 2, "s2"), version(1), &two()).unwrap();
    assert_eq!(first.lowest_id_changed, None);
    let higher = register(&mut table, &modern("a", 3, "s3"), version(1), &two()).unwrap();
    assert_eq!(higher.lowest_id_changed, None);
    let came = register(&mut table, &modern("a", 0, "m"), version(1), &two()).unwrap().lowest_id_changed.unwrap();
    assert_eq!((came.lowest, came.offline, came.ha_address.as_deref()), ((0, "m".to_owned()), None, Some("ha-m")));
    assert_eq!(came.to, ["s2", "s3"]);
    assert_eq!(table.unregister("a", &Address::new("c", "s3")), None);
    let went = table.unregister("a", &Address::new("c", "m")).unwrap();
    assert_eq!(
        (went.lowest, went.offline.as_deref(), went.to),
        ((2, "s2".to_owned()), Some("m"), vec!["s2".to_owned()])
    );
    // Old brokers do not know the notification.
    register(&mut table, &registrant("b", 1, "y"), version(1), &two()).unwrap();
    assert_eq!(register(&mut table, &registrant("b", 0, "x"), version(1), &two()).unwrap().lowest_id_changed, None);
    assert_eq!(table.unregister("b", &Address::new("c", "x")), None);
}

#[test]
fn write_permission_is_wiped_until_the_next_version() {
    let mut table = table();
    let master = registrant("a", 0, "m");
    register(&mut table, &master, version(1), &topics([("t", 6), ("u", 4)])).unwrap();
    register(&mut table, &registrant("b", 0, "n"), version(1), &two()).unwrap();
    assert_eq!((table.wipe_write_perm("a"), table.wipe_write_perm("nobody")), (2, 0));
    register(&mut table, &master, version(1), &topics([("t", 6), ("u", 4)])).unwrap();
    assert_eq!(perms(&table, "t"), [("a".to_owned(), 4), ("b".to_owned(), 6)]);
    assert_eq!(table.add_write_perm("a"), 2);
    assert_eq!(perms(&table, "u"), [("a".to_owned(), 6), ("b".to_owned(), 6)]);
    register(&mut table, &master, version(2), &topics([("t", 6), ("u", 4)])).unwrap();
    assert_eq!(perm(&table, "u"), Some(4));
}

#[test]
fn topics_are_added_on_known_brokers_and_deleted_by_cluster() {
    let mut table = table();
    register(&mut table, &registrant("a", 0, "m"), version(1), &two()).unwrap();
    register(&mut table, &Registrant { cluster: "d".to_owned(), ..registrant("b", 0, "n") }, version(1), &two())
        .unwrap();
    let row = |broker: &str| QueueData {
        broker_name: broker.to_owned(),
        perm: 6,
        read_queue_nums: 1,
        ..QueueData::default()
    };
    assert!(
        !table.register_topic("new", &[row("a"), row("nobody")]).unwrap() && !table.register_topic("new", &[]).unwrap()
    );
    assert_eq!(route(&table, "new"), None);
    assert!(table.register_topic("new", &[row("a"), row("b")]).unwrap());
    assert_eq!(perms(&table, "new").len(), 2);
    table.delete_topic("new", Some("d"));
    table.delete_topic("new", Some("nowhere"));
    assert_eq!(perms(&table, "new"), [("a".to_owned(), 6)]);
    table.delete_topic("new", Some("c"));
    assert_eq!(route(&table, "new"), None);
}

/// They were mixed in one route, without any report.
#[test]
fn clusters_that_share_a_broker_name_are_reported_once_for_as_long_as_they_do() {
    let mut table = table();
    let of = |cluster: &str, broker: &str, address: &str| Registrant {
        cluster: cluster.to_owned(),
        ..registrant(broker, 0, address)
    };
    for (cluster, broker, address) in [("c", "a", "1"), ("c", "b", "2"), ("d", "e", "3")] {
        register(&mut table, &of(cluster, broker, address), version(1), &two()).unwrap();
    }
    assert_eq!((table.newly_shared(), table.shared_names()), (Vec::new(), 0));
    let reported = |clusters: &[&str]| vec![("a".into(), clusters.iter().map(|name| (*name).to_owned()).collect())];
    register(&mut table, &of("d", "a", "4"), version(1), &two()).unwrap();
    assert_eq!((table.newly_shared(), table.shared_names()), (reported(&["c", "d"]), 1));
    assert_eq!((table.newly_shared(), table.shared_names()), (Vec::new(), 1));
    register(&mut table, &of("e", "a", "5"), version(1), &two()).unwrap();
    assert_eq!(table.newly_shared(), reported(&["c", "d", "e"]));
    table.unregister("a", &Address::new("e", "5"));
    table.unregister("a", &Address::new("d", "4"));
    assert_eq!((table.newly_shared(), table.shared_names()), (Vec::new(), 0));
    register(&mut table, &of("d", "a", "4"), version(1), &two()).unwrap();
    assert_eq!(table.newly_shared(), reported(&["c", "d"]), "it is another occurrence");
}

fn over(connection: u64, registrant: Registrant) -> Registrant {
    Registrant { connection, ..registrant }
}

/// The second broker with one name and id took the first one's place in all routes without any
/// report, and after the second one's end the first was in no route for up to 30 s.
#[test]
fn two_brokers_with_one_name_and_id_are_reported_and_the_one_that_stays_registers_again() {
    let mut table = table();
    let (first, second) = (over(1, registrant("a", 0, "first")), over(2, registrant("a", 0, "second")));
    register(&mut table, &first, version(1), &two()).unwrap();
    let came = register(&mut table, &second, version(1), &two()).unwrap();
    // It may be the same broker after the loss of its node.
    assert_eq!((came.contested_by, came.contest_began, table.contests()), (None, false, 0));
    let back = register(&mut table, &first, version(1), &two()).unwrap();
    assert_eq!((back.contested_by.as_deref(), back.contest_began), (Some("second"), true));
    let again = register(&mut table, &second, version(1), &two()).unwrap();
    assert_eq!((again.contested_by.as_deref(), again.contest_began), (Some("first"), false));
    assert_eq!((table.contests(), table.freed_connections()), (1, vec![]));

    let _ = table.connection_closed(2);
    assert_eq!((table.contests(), table.freed_connections()), (0, vec![1]));
    let alone = register(&mut table, &first, version(1), &two()).unwrap();
    assert_eq!((alone.contested_by, alone.contest_began), (None, false));
    table.end_contests(SECOND * 1000);
    assert!(table.freed_connections().is_empty());
}

/// A new pod of a broker has another address, and the state of the old address must not look like
/// another broker.
#[test]
fn a_broker_that_comes_back_with_other_addresses_contests_nothing() {
    let mut table = table();
    for (connection, address) in (1..).zip(["first", "second", "first", "third", "first"]) {
        let outcome = register(&mut table, &over(connection, registrant("a", 0, address)), version(1), &two()).unwrap();
        assert_eq!((outcome.contested_by, outcome.contest_began), (None, false), "{connection}");
        // The old connection ends late, when its place is taken already.
        let _ = table.connection_closed(connection - 1);
        assert_eq!((table.contests(), table.freed_connections()), (0, vec![]));
    }
    // A process that changes its own address replaces no other broker.
    for address in ["second", "first", "second", "first"] {
        let outcome = register(&mut table, &over(9, registrant("b", 0, address)), version(1), &two()).unwrap();
        assert_eq!(outcome.contested_by, None, "{address}");
    }
}

#[test]
fn a_contest_ends_when_the_place_is_not_taken_back() {
    let mut table = table();
    for (connection, address) in [(1, "first"), (2, "second"), (1, "first")] {
        register(&mut table, &over(connection, registrant("a", 0, address)), version(1), &two()).unwrap();
    }
    table.end_contests(SECOND * 100);
    assert_eq!(table.contests(), 1);
    table.end_contests(SECOND * 200);
    assert_eq!(table.contests(), 0);
    // A member that changes its id leaves nothing behind under the old one.
    register(&mut table, &over(2, registrant("a", 0, "second")), version(1), &two()).unwrap();
    register(&mut table, &over(2, registrant("a", 3, "second")), version(1), &two()).unwrap();
    assert_eq!((table.contests(), table.freed_connections()), (0, vec![1]));
}
