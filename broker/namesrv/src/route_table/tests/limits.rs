//! The limits on the data of registrations.

use super::*;
use crate::capacity::{MAX_BROKERS, MAX_MEMBERS, MAX_NAME};

fn many(from: usize, count: usize) -> BTreeMap<String, TopicConfig> {
    let topic = |n: usize| (format!("t{n}"), TopicConfig::new(format!("t{n}"), 4, 4, 6));
    (from..from + count).map(topic).collect()
}

/// 233 registrations of 1,000 topics each over one connection, and a namesrv of 64 MiB was killed.
#[test]
fn registrations_are_refused_before_routes_fill_the_memory() {
    let mut table = table();
    let master = registrant("first", 0, "m");
    register(&mut table, &master, version(1), &many(0, 100)).unwrap();
    let mut registered = 0;
    let refused = loop {
        let broker = registrant(&format!("b{registered}"), 0, &format!("a{registered}"));
        match register(&mut table, &broker, version(1), &many(1000 * (registered + 1), 1000)) {
            Ok(_) => registered += 1,
            Err(refused) => break refused,
        }
        assert!(registered < 10);
    };
    assert!(matches!(refused, Error::RoutesFull { most: LIMIT, .. }) && registered > 2, "{registered} {refused}");
    assert!(table.snapshot.bytes() <= LIMIT);
    assert_eq!((table.live.len(), route(&table, "t50").is_some()), (registered + 1, true));

    // A registered topic may be renewed, and the broker is alive although it exceeds a limit.
    table.register(SECOND * 100, &master, version(1), Some(&many(0, 100)), Missing::Keep).unwrap();
    table.register(SECOND * 200, &master, version(2), Some(&many(0, 5000)), Missing::Keep).unwrap_err();
    let _ = table.evict(SECOND * 300);
    assert_eq!((table.live.len(), route(&table, "t50").is_some(), route(&table, "t150")), (1, true, None));
    // The others are removed, so there is room.
    table.register(SECOND * 300, &master, version(2), Some(&many(0, 3000)), Missing::Keep).unwrap();
    assert_eq!(table.snapshot.topic_count(), 3000);
}

#[test]
fn an_operator_cannot_fill_the_memory_either() {
    let mut table = table();
    register(&mut table, &registrant("a", 0, "m"), version(1), &two()).unwrap();
    let queues = QueueData { broker_name: "a".into(), ..QueueData::default() };
    let queues = std::slice::from_ref(&queues);
    assert!(table.register_topic("more", queues).unwrap());
    assert!(matches!(table.register_topic(&"x".repeat(MAX_NAME + 1), queues), Err(Error::TooLong { .. })));
    let refused = (0..10_000).find_map(|n| table.register_topic(&format!("x{n}"), queues).err());
    assert!(matches!(refused, Some(Error::RoutesFull { .. })), "{refused:?}");
}

#[test]
fn names_members_and_brokers_have_limits() {
    let mut table = RouteTable::new(Arc::new(ArcSwap::from_pointee(Snapshot::default())), 1 << 30);
    let long = "x".repeat(MAX_NAME + 1);
    for broker in [
        registrant(&long, 0, "m"),
        registrant("a", 0, &long),
        Registrant { cluster: long.clone(), ..registrant("a", 0, "m") },
    ] {
        let refused = register(&mut table, &broker, version(1), &two()).unwrap_err();
        assert!(matches!(refused, Error::TooLong { bytes, most: MAX_NAME, .. } if bytes == MAX_NAME + 1), "{refused}");
    }
    let refused =
        register(&mut table, &registrant("a", 0, "m"), version(1), &topics([(&long, 6), ("t", 6)])).unwrap_err();
    assert_eq!(refused.to_string(), format!("the topic {:?}... has 513 bytes; 512 are possible", "x".repeat(32)));
    assert_eq!((table.live.len(), table.snapshot.bytes()), (0, 0));

    for id in 0..MAX_MEMBERS as i64 {
        register(&mut table, &registrant("a", id, &format!("m{id}")), version(1), &two()).unwrap();
    }
    let refused = register(&mut table, &registrant("a", 1000, "one more"), version(1), &two()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "with this registration of a there would be 129 members of one broker group; 128 are possible"
    );
    // Taking over a place adds none.
    register(&mut table, &registrant("a", 7, "another"), version(1), &two()).unwrap();

    let brokers = MAX_BROKERS + 1 - table.live.len();
    let refused = table.check_room(&size::Growth { group: "b", brokers, members: 1, topics: 0, bytes: 0 }).unwrap_err();
    assert!(
        matches!(refused, Error::TooMany { number, most: MAX_BROKERS, .. } if number == MAX_BROKERS + 1),
        "{refused}"
    );
}
