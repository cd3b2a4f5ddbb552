//! Routes of topics, as producers and consumers use them, cached for as long as they are in use.
//!
//! A route is fetched on first use, again every [`REFRESH`], and when a send or pull has shown that
//! it is wrong. A topic that was not used for [`FORGET`] refreshes is removed, so the table is
//! bounded by the topics in use. Reading takes no lock.

use crate::{
    Error,
    link::{Link, none_if},
};
use arc_swap::{ArcSwap, ArcSwapOption};
use rmq_protocol::{
    RequestCode, ResponseCode,
    body::{BrokerData, TopicRoute, perm},
    header,
    message::MessageQueue,
    names::AUTO_CREATE_TOPIC,
};
use rustc_hash::FxHashMap;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How often routes in use are fetched again.
pub(crate) const REFRESH: Duration = Duration::from_secs(30);
/// Refreshes without use after which a topic is removed.
const FORGET: u32 = 20;
/// A route is not fetched again within this time, however often it is shown to be wrong; also how
/// long a template stands in for a missing route.
const SOONEST: Duration = Duration::from_secs(1);
/// The id of a master.
const MASTER: i64 = 0;

/// A route, ready to use.
#[derive(Debug)]
pub(crate) struct Route {
    /// Queues to write to, by broker group and number. Java's producers count them in the same
    /// order, so a key chooses the same queue there.
    pub(crate) write: Vec<WriteQueue>,
    /// Queues to read from.
    pub(crate) read: Vec<MessageQueue>,
    /// Addresses by id, by broker group.
    pub(crate) brokers: BTreeMap<String, BTreeMap<i64, String>>,
    fetched: Instant,
    /// Made from the template topic: the topic itself does not exist yet.
    template: bool,
}

/// A queue and the address of its master.
#[derive(Debug, Clone)]
pub(crate) struct WriteQueue {
    pub(crate) queue: MessageQueue,
    pub(crate) address: Arc<str>,
}

impl Route {
    fn new(topic: &str, route: TopicRoute) -> Self {
        let brokers: BTreeMap<_, _> = route
            .broker_datas
            .into_iter()
            .map(|BrokerData { broker_name, broker_addrs, .. }| (broker_name, broker_addrs))
            .collect();
        let queue = |broker_name: &str, queue_id| MessageQueue {
            broker_name: broker_name.to_owned(),
            queue_id,
            topic: topic.to_owned(),
        };

        let mut queues = route.queue_datas;
        queues.sort_by(|one, other| one.broker_name.cmp(&other.broker_name));
        let read = queues
            .iter()
            .filter(|data| perm::is_readable(data.perm))
            .flat_map(|data| (0..data.read_queue_nums).map(|id| queue(&data.broker_name, id)))
            .collect();
        // A fixed order lists its broker groups and queues itself.
        let written: Vec<(&str, i32)> = match route.order_topic_conf.as_deref().filter(|order| !order.is_empty()) {
            Some(order) => order
                .split(';')
                .filter_map(|part| part.split_once(':'))
                .filter_map(|(name, count)| Some((name, count.parse().ok()?)))
                .collect(),
            None => queues
                .iter()
                .filter(|data| perm::is_writable(data.perm))
                .map(|data| (data.broker_name.as_str(), data.write_queue_nums))
                .collect(),
        };
        let mut write = Vec::new();
        for (name, count) in written {
            if let Some(address) = brokers.get(name).and_then(|group| group.get(&MASTER)) {
                let address = Arc::<str>::from(address.as_str());
                write.extend((0..count).map(|id| WriteQueue { queue: queue(name, id), address: Arc::clone(&address) }));
            }
        }
        Self { write, read, brokers, fetched: Instant::now(), template: false }
    }

    /// A route for a topic that is to be created, derived from that of the template topic.
    fn from_template(topic: &str, template: &Route, queues: i32) -> Self {
        let write = template
            .write
            .iter()
            .filter(|target| target.queue.queue_id < queues)
            .map(|target| WriteQueue {
                queue: MessageQueue { topic: topic.to_owned(), ..target.queue.clone() },
                address: Arc::clone(&target.address),
            })
            .collect();
        Self { write, read: Vec::new(), brokers: template.brokers.clone(), fetched: Instant::now(), template: true }
    }

    /// The address of a broker group's master.
    pub(crate) fn master(&self, broker_name: &str) -> Option<&str> {
        self.brokers.get(broker_name)?.get(&MASTER).map(String::as_str)
    }

    /// The address of the member with this id, or else of the master, or else of any; and whether
    /// it is the master's.
    pub(crate) fn member(&self, broker_name: &str, preferred: i64) -> Option<(&str, bool)> {
        let group = self.brokers.get(broker_name)?;
        let (id, address) = group.get_key_value(&preferred).or_else(|| group.first_key_value())?;
        Some((address, *id == MASTER))
    }

    fn is_stale_template(&self) -> bool {
        self.template && self.fetched.elapsed() >= SOONEST
    }
}

/// The cached state of one topic.
#[derive(Default)]
pub(crate) struct Entry {
    route: ArcSwapOption<Route>,
    /// Held while the route is fetched, so that one of many concurrent callers fetches it.
    fetching: tokio::sync::Mutex<()>,
    unused_refreshes: AtomicU32,
    /// The next queue to write to.
    pub(crate) next: AtomicUsize,
}

/// The routes in use.
pub(crate) struct Routes {
    link: Link,
    table: ArcSwap<FxHashMap<String, Arc<Entry>>>,
}

impl Routes {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, table: ArcSwap::default() }
    }

    pub(crate) fn entry(&self, topic: &str) -> Arc<Entry> {
        if let Some(entry) = self.table.load().get(topic) {
            entry.unused_refreshes.store(0, Relaxed);
            return Arc::clone(entry);
        }
        let entry = Arc::new(Entry { next: AtomicUsize::new(rand::random::<u16>().into()), ..Entry::default() });
        self.table.rcu(|table| {
            let mut table = FxHashMap::clone(table);
            table.entry(topic.to_owned()).or_insert_with(|| Arc::clone(&entry));
            table
        });
        // Another task may have been first.
        self.table.load().get(topic).cloned().unwrap_or(entry)
    }

    /// The route of a topic that exists.
    pub(crate) async fn existing(&self, topic: &str) -> Result<Arc<Route>, Error> {
        self.of(&self.entry(topic), topic, None).await
    }

    /// The route of a topic; if there is none, one made from the template topic with at most
    /// `queues` queues a broker group.
    pub(crate) async fn of(&self, entry: &Entry, topic: &str, queues: Option<i32>) -> Result<Arc<Route>, Error> {
        let usable =
            |route: &Arc<Route>| if route.template { queues.is_some() && !route.is_stale_template() } else { true };
        if let Some(route) = entry.route.load_full().filter(usable) {
            return Ok(route);
        }
        let _one = entry.fetching.lock().await;
        if let Some(route) = entry.route.load_full().filter(usable) {
            return Ok(route);
        }
        if let Some(route) = self.fetch(topic).await? {
            let route = Arc::new(route);
            entry.route.store(Some(Arc::clone(&route)));
            return Ok(route);
        }
        let missing = || Error::NoRoute { topic: topic.to_owned() };
        let queues = queues.filter(|_| topic != AUTO_CREATE_TOPIC).ok_or_else(missing)?;
        let template = self.fetch(AUTO_CREATE_TOPIC).await?.ok_or_else(missing)?;
        let route = Arc::new(Route::from_template(topic, &template, queues));
        entry.route.store(Some(Arc::clone(&route)));
        Ok(route)
    }

    /// Fetches a route again that has proved wrong, unless that was just done.
    pub(crate) async fn renew(&self, topic: &str) {
        let entry = self.entry(topic);
        let _one = entry.fetching.lock().await;
        if entry.route.load().as_ref().is_none_or(|route| route.fetched.elapsed() >= SOONEST) {
            self.update(topic, &entry).await;
        }
    }

    /// Fetches all routes again, and removes unused ones.
    pub(crate) async fn refresh(&self) {
        for (topic, entry) in self.table.load_full().iter() {
            if entry.unused_refreshes.fetch_add(1, Relaxed) >= FORGET {
                self.table.rcu(|table| {
                    let mut table = FxHashMap::clone(table);
                    table.remove(topic);
                    table
                });
            } else {
                let _one = entry.fetching.lock().await;
                self.update(topic, entry).await;
            }
        }
    }

    async fn update(&self, topic: &str, entry: &Entry) {
        match self.fetch(topic).await {
            Ok(route) => entry.route.store(route.map(Arc::new)),
            // The old one is better than none: brokers serve without namesrvs.
            Err(error) => tracing::debug!(topic, %error, "the route cannot be refreshed"),
        }
    }

    async fn fetch(&self, topic: &str) -> Result<Option<Route>, Error> {
        let request = header::RouteInfo { topic, standard_json: None };
        let asked = self.link.ask_namesrv(RequestCode::RouteInfoByTopic, &request).await;
        match none_if(asked, ResponseCode::TopicNotExist)? {
            Some(response) => Ok(Some(Route::new(topic, response.body()?))),
            None => Ok(None),
        }
    }

    /// The addresses of all brokers in the routes, and whether each is a master.
    pub(crate) fn brokers(&self) -> BTreeMap<String, bool> {
        let mut brokers = BTreeMap::new();
        for entry in self.table.load().values() {
            if let Some(route) = entry.route.load_full() {
                let members = route.brokers.values().flatten();
                brokers.extend(members.map(|(id, address)| (address.clone(), *id == MASTER)));
            }
        }
        brokers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmq_protocol::body::QueueData;

    fn topic_route() -> TopicRoute {
        let broker = |name: &str, ids: &[i64]| BrokerData {
            broker_addrs: ids.iter().map(|id| (*id, format!("{name}:{id}"))).collect(),
            broker_name: name.into(),
            cluster: "c".into(),
            enable_acting_master: false,
        };
        let queues = |name: &str, perm, read, write| QueueData {
            broker_name: name.into(),
            perm,
            read_queue_nums: read,
            topic_sys_flag: 0,
            write_queue_nums: write,
        };
        TopicRoute {
            broker_datas: vec![broker("b", &[0, 1]), broker("a", &[0]), broker("orphan", &[1])],
            queue_datas: vec![queues("b", 6, 2, 1), queues("a", 4, 1, 1), queues("orphan", 6, 1, 1)],
            ..TopicRoute::default()
        }
    }

    fn names<'a>(queues: impl Iterator<Item = &'a MessageQueue>) -> Vec<String> {
        queues.map(|queue| format!("{}{}", queue.broker_name, queue.queue_id)).collect()
    }

    #[test]
    fn only_masters_with_permission_are_written_and_all_readable_queues_are_read() {
        let route = Route::new("t", topic_route());
        assert_eq!(names(route.write.iter().map(|target| &target.queue)), ["b0"]);
        assert_eq!(&*route.write[0].address, "b:0");
        assert_eq!(names(route.read.iter()), ["a0", "b0", "b1", "orphan0"]);
        assert_eq!(
            (route.member("b", 1), route.member("b", 7), route.member("orphan", 0)),
            (Some(("b:1", false)), Some(("b:0", true)), Some(("orphan:1", false)))
        );
        assert_eq!((route.master("orphan"), route.master("a")), (None, Some("a:0")));
    }

    #[test]
    fn a_fixed_order_names_the_queues() {
        let route = TopicRoute { order_topic_conf: Some("b:2;a:1;gone:4".into()), ..topic_route() };
        assert_eq!(names(Route::new("t", route).write.iter().map(|target| &target.queue)), ["b0", "b1", "a0"]);
    }

    #[test]
    fn a_template_lends_its_brokers_and_few_queues() {
        let mut template = topic_route();
        template.queue_datas[0].write_queue_nums = 8;
        let route = Route::from_template("new", &Route::new(AUTO_CREATE_TOPIC, template), 4);
        assert_eq!(names(route.write.iter().map(|target| &target.queue)), ["b0", "b1", "b2", "b3"]);
        assert!(route.write.iter().all(|target| target.queue.topic == "new") && route.template);
    }
}
