//! The expressions that groups have subscribed with: `config/consumerFilter.json`.
//!
//! A row belongs to a group and a topic. It follows the group's subscription, which its clients'
//! heartbeats bring ([`Filters::of`]); pulls take the parsed expression from it. When the group has
//! no clients, or none of them subscribes to the topic, the row is dead, and is removed a day
//! later. Java reads the file at its start. Here nothing depends on it: after a restart the first
//! heartbeat brings the subscription.
//!
//! Differences to Java: a row follows the subscription in force also if its version is not newer,
//! because a row of an earlier run, written when a clock was ahead, would filter by an expression
//! that no client subscribes with. Bits for Java's bloom filters are kept while the expression
//! stays, and not made.

use super::{Wanted, is_sql, parse, sql::Expression};
use crate::{
    Error,
    clock::now_millis,
    config::Live,
    error::{Reason, Rejection},
    feature::{Feature, Tasks},
    metrics_page::{MetricsPage, Written},
    table::{self, TableFile},
};
use parking_lot::RwLock;
use rmq_protocol::{
    body::{ConsumerFilter, ConsumerFilterTable, EXPRESSION_SQL92, Subscription, TopicFilters},
    fastjson,
};
use rustc_hash::FxHashMap;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// The rows, living and dead ones.
const MAX_FILTERS: usize = 10_000;
/// The bytes of all expressions. Parsed, they take some ten times as much.
const MAX_FILTER_BYTES: usize = 4 << 20;
/// The time between two writes of the file.
const WRITE: Duration = Duration::from_secs(10);

/// All rows.
pub(crate) struct Filters {
    state: RwLock<State>,
    /// Counts changes, so that an idle broker writes nothing.
    changes: AtomicU64,
    file: TableFile,
}

#[derive(Default)]
struct State {
    /// By group, then by topic.
    rows: FxHashMap<String, BTreeMap<String, Row>>,
    count: usize,
    bytes: usize,
}

struct Row {
    filter: ConsumerFilter,
    expression: Arc<Expression>,
}

impl Row {
    fn is(&self, subscription: &Subscription) -> bool {
        self.filter.expression == subscription.sub_string
    }

    /// Whether nothing about the row has to change for this subscription.
    fn is_current(&self, subscription: &Subscription) -> bool {
        self.is(subscription) && self.filter.client_version == subscription.sub_version && !self.filter.dead
    }
}

impl Filters {
    /// Reads `config/consumerFilter.json` below the store's root. All rows are dead until a
    /// heartbeat comes. A file that cannot be used is no reason not to start: clients bring what it
    /// held.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        let path = root.join("config/consumerFilter.json");
        let consequence = "the filters of groups are not read; the next heartbeats of their clients bring them again";
        let table: ConsumerFilterTable = table::load_or_default(&path, consequence)?;
        let mut state = State::default();
        let now = now_millis();
        for (topic, filters) in table.filter_data_by_topic {
            for (group, filter) in filters.group_filter_data {
                let row = ConsumerFilter { topic: topic.clone(), consumer_group: group, ..filter };
                state.read(row, now);
            }
        }
        Ok(Self { state: RwLock::new(state), changes: AtomicU64::new(0), file: TableFile::new(path) })
    }

    /// The expression of a SQL92 subscription that is in force for the group. Makes its row, or
    /// brings it up to date.
    ///
    /// # Errors
    /// The subscription is no expression, or there is no room for it; there is no row then.
    pub(crate) fn of(&self, group: &str, subscription: &Subscription) -> Result<Arc<Expression>, Rejection> {
        let topic = &subscription.topic;
        let known = |state: &State| {
            let row = state.rows.get(group)?.get(topic)?;
            row.is(subscription).then(|| (Arc::clone(&row.expression), row.is_current(subscription)))
        };
        // A look costs only a shared lock, and nothing is parsed under the other one.
        let expression = match known(&self.state.read()) {
            Some((expression, true)) => return Ok(expression),
            Some((expression, false)) => Ok(expression),
            None => parse(&subscription.sub_string),
        };
        let mut state = self.state.write();
        self.changes.fetch_add(1, Relaxed);
        let expression = expression.inspect_err(|_| state.remove(group, topic))?;
        if !state.revive(group, subscription) {
            state.put(row(group, subscription), Arc::clone(&expression))?;
            if let Some(column) = expression.ignored_from() {
                tracing::warn!(
                    group,
                    topic,
                    "a filter by properties ends before column {column}; what follows is ignored, as in Java"
                );
            }
        }
        Ok(expression)
    }

    /// The filter of a subscription that is in force for the group.
    ///
    /// # Errors
    /// Its type is unknown or not enabled, or as [`Filters::of`].
    pub(crate) fn wanted(
        &self,
        group: &str,
        subscription: &Arc<Subscription>,
        enabled: bool,
    ) -> Result<Wanted, Rejection> {
        Ok(match is_sql(&subscription.expression_type, enabled)? {
            true => Wanted::ByProperties(self.of(group, subscription)?),
            false => Wanted::ByTags(Arc::clone(subscription)),
        })
    }

    /// Declares the rows of the group dead whose topics it no longer subscribes to by SQL92.
    pub(crate) fn keep_only(&self, group: &str, subscriptions: &[Subscription]) {
        self.end(group, |topic| {
            subscriptions
                .iter()
                .any(|subscription| subscription.topic == topic && subscription.expression_type == EXPRESSION_SQL92)
        });
    }

    /// Declares the rows of a group dead that has no clients any more.
    pub(crate) fn left(&self, group: &str) {
        self.end(group, |_| false);
    }

    fn end(&self, group: &str, lives: impl Fn(&str) -> bool) {
        let dies = |topic: &str, row: &Row| !row.filter.dead && !lives(topic);
        let any = |topics: &BTreeMap<String, Row>| topics.iter().any(|(topic, row)| dies(topic, row));
        if !self.state.read().rows.get(group).is_some_and(any) {
            return;
        }
        let now = now_millis();
        for (topic, row) in self.state.write().rows.get_mut(group).into_iter().flatten() {
            if dies(topic, row) {
                row.filter.dead_time = now.max(row.filter.born_time);
                row.filter.dead = true;
            }
        }
        self.changes.fetch_add(1, Relaxed);
    }

    /// Removes rows that have been dead since `oldest` (milliseconds since 1970) or longer.
    pub(crate) fn expire(&self, oldest: i64) {
        let expired = |row: &Row| row.filter.dead && row.filter.dead_time <= oldest;
        if !self.state.read().rows.values().flat_map(BTreeMap::values).any(expired) {
            return;
        }
        self.state.write().retain(|row| !expired(row));
        self.changes.fetch_add(1, Relaxed);
    }

    fn table(&self) -> ConsumerFilterTable {
        let mut table = ConsumerFilterTable::default();
        for row in self.state.read().rows.values().flat_map(BTreeMap::values) {
            let filter = row.filter.clone();
            let topic = table
                .filter_data_by_topic
                .entry(filter.topic.clone())
                .or_insert_with(|| TopicFilters { topic: filter.topic.clone(), ..TopicFilters::default() });
            topic.group_filter_data.insert(filter.consumer_group.clone(), filter);
        }
        table
    }

    /// Returns when every change made before is on disk. Blocks.
    pub(crate) fn persist(&self) -> Result<(), rmq_store::Error> {
        self.file.cover(self.changes.load(Relaxed), || {
            let covered = self.changes.load(Relaxed);
            (covered, fastjson::to_vec_pretty(&self.table()))
        })
    }
}

/// A new row.
fn row(group: &str, subscription: &Subscription) -> ConsumerFilter {
    ConsumerFilter {
        bloom_filter_data: None,
        born_time: now_millis(),
        client_version: subscription.sub_version,
        consumer_group: group.to_owned(),
        dead: false,
        dead_time: 0,
        expression: subscription.sub_string.clone(),
        expression_type: EXPRESSION_SQL92.to_owned(),
        topic: subscription.topic.clone(),
    }
}

impl State {
    /// Takes a row of the file, if it can be used.
    fn read(&mut self, mut filter: ConsumerFilter, now: i64) {
        let (group, topic) = (filter.consumer_group.clone(), filter.topic.clone());
        let read = if filter.expression_type == EXPRESSION_SQL92 {
            parse(&filter.expression)
        } else {
            Err(Rejection::invalid(format!("the type is {}", filter.expression_type)))
        };
        let put = read.and_then(|expression| {
            if !(filter.born_time..=i64::MAX).contains(&filter.dead_time) {
                filter.dead_time = now.max(filter.born_time);
            }
            filter.dead = true;
            self.put(filter, expression)
        });
        if let Err(Rejection { remark, .. }) = put {
            tracing::warn!(
                group,
                topic,
                remark,
                "a filter is left out; the next heartbeat of its clients brings it again"
            );
        }
    }

    /// Brings the row up to date if it has the expression of the subscription.
    fn revive(&mut self, group: &str, subscription: &Subscription) -> bool {
        let row = self.rows.get_mut(group).and_then(|topics| topics.get_mut(&subscription.topic));
        let Some(row) = row.filter(|row| row.is(subscription)) else { return false };
        row.filter.client_version = subscription.sub_version;
        (row.filter.dead, row.filter.dead_time) = (false, 0);
        true
    }

    /// Adds a row, or replaces the one of its group and topic. If there is no room, dead rows make
    /// way.
    fn put(&mut self, filter: ConsumerFilter, expression: Arc<Expression>) -> Result<(), Rejection> {
        self.remove(&filter.consumer_group, &filter.topic);
        let bytes = filter.expression.len();
        let full = |state: &Self| state.count >= MAX_FILTERS || state.bytes + bytes > MAX_FILTER_BYTES;
        if full(self) {
            self.retain(|row| !row.filter.dead);
        }
        if full(self) {
            return Err(Rejection::new(
                Reason::Failed,
                format!(
                    "{} SQL92 subscriptions of {} bytes are here already, at most {MAX_FILTERS} of {MAX_FILTER_BYTES} may be; \
                    subscribe by tags, or with shorter expressions",
                    self.count, self.bytes
                ),
            ));
        }
        self.count += 1;
        self.bytes += bytes;
        let topics = self.rows.entry(filter.consumer_group.clone()).or_default();
        topics.insert(filter.topic.clone(), Row { filter, expression });
        Ok(())
    }

    fn remove(&mut self, group: &str, topic: &str) {
        let Some(topics) = self.rows.get_mut(group) else { return };
        if let Some(removed) = topics.remove(topic) {
            self.count -= 1;
            self.bytes -= removed.filter.expression.len();
        }
        if topics.is_empty() {
            self.rows.remove(group);
        }
    }

    fn retain(&mut self, keep: impl Fn(&Row) -> bool) {
        self.rows.retain(|_, topics| {
            topics.retain(|_, row| keep(row));
            !topics.is_empty()
        });
        let rows = || self.rows.values().flat_map(BTreeMap::values);
        (self.count, self.bytes) = (rows().count(), rows().map(|row| row.filter.expression.len()).sum());
    }
}

/// Writes the rows to disk periodically, and removes those that have been dead for long.
pub(crate) struct FilterWriter {
    pub(crate) filters: Arc<Filters>,
    pub(crate) settings: Arc<Live>,
}

impl Feature for FilterWriter {
    fn start(self: Arc<Self>, tasks: &Tasks) {
        let consequence = "the filters of groups cannot be written; clients bring them again";
        tasks.write_every("write filters", WRITE, consequence, move || {
            let keep = i64::try_from(self.settings.load().clients.keep_filters.0.as_millis()).unwrap_or(i64::MAX);
            self.filters.expire(now_millis().saturating_sub(keep));
            self.filters.persist()
        });
    }

    fn save(&self) -> Result<(), rmq_store::Error> {
        self.filters.persist()
    }

    fn metrics(&self, to: &MetricsPage) -> Written {
        to.count(
            "rocketmq_broker_filters",
            "SQL92 subscriptions of groups that are kept, dead ones included; 10,000 and 4 MiB of expressions at most.",
            self.filters.state.read().count,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(topic: &str, expression: &str, version: i64) -> Subscription {
        Subscription {
            topic: topic.to_owned(),
            sub_string: expression.to_owned(),
            expression_type: EXPRESSION_SQL92.to_owned(),
            sub_version: version,
            ..Subscription::default()
        }
    }

    fn row_of(filters: &Filters, topic: &str, group: &str) -> Option<ConsumerFilter> {
        filters.table().filter_data_by_topic.get(topic)?.group_filter_data.get(group).cloned()
    }

    #[test]
    fn a_row_follows_the_subscription_and_survives_a_restart_as_dead() {
        let folder = tempfile::tempdir().unwrap();
        let filters = Filters::open(folder.path()).unwrap();
        let first = filters.of("g", &subscription("t", "a = 1", 5)).unwrap();
        assert!(Arc::ptr_eq(&first, &filters.of("g", &subscription("t", "a = 1", 6)).unwrap()));
        assert_eq!(row_of(&filters, "t", "g").unwrap().client_version, 6);
        assert!(!filters.of("g", &subscription("t", "a = 2", 6)).unwrap().matches(b"a\x011"));
        filters.of("g", &subscription("u", "b = 1", 1)).unwrap();
        filters.keep_only("g", &[subscription("t", "a = 2", 6)]);
        assert_eq!(
            [row_of(&filters, "t", "g"), row_of(&filters, "u", "g")].map(|row| row.unwrap().dead),
            [false, true]
        );
        filters.persist().unwrap();

        let again = Filters::open(folder.path()).unwrap();
        let row = row_of(&again, "t", "g").unwrap();
        assert!(row.dead && row.dead_time >= row.born_time && row.expression == "a = 2");
        // Its version is older than the one in the file, whose clock was ahead.
        assert!(again.of("g", &subscription("t", "a = 3", 2)).unwrap().matches(b"a\x013"));
        assert_eq!(row_of(&again, "t", "g").unwrap().client_version, 2);
        again.left("g");
        again.expire(now_millis() - 60_000);
        assert!(row_of(&again, "t", "g").unwrap().dead);
        again.expire(now_millis());
        assert_eq!(again.table(), ConsumerFilterTable::default());
    }

    #[test]
    fn what_is_no_expression_leaves_no_row() {
        let folder = tempfile::tempdir().unwrap();
        let filters = Filters::open(folder.path()).unwrap();
        filters.of("g", &subscription("t", "a = 1", 1)).unwrap();
        let refused = filters.of("g", &subscription("t", "a = ", 2)).unwrap_err();
        assert!(refused.reason == Reason::WrongExpression && refused.remark.contains("column 5"), "{refused:?}");
        assert_eq!(filters.table(), ConsumerFilterTable::default());
        assert_eq!((filters.state.read().count, filters.state.read().bytes), (0, 0));
    }

    #[test]
    fn there_is_a_limit_and_dead_rows_make_way() {
        let folder = tempfile::tempdir().unwrap();
        let filters = Filters::open(folder.path()).unwrap();
        let long = format!("a = '{}'", "x".repeat(60_000));
        let fit = MAX_FILTER_BYTES / long.len();
        for group in 0..fit {
            filters.of(&format!("g{group}"), &subscription("t", &long, 1)).unwrap();
        }
        let refused = filters.of("one more", &subscription("t", &long, 1)).unwrap_err();
        assert!(refused.remark.contains("at most 10000 of 4194304"), "{refused:?}");
        filters.left("g0");
        filters.of("one more", &subscription("t", &long, 1)).unwrap();
        assert_eq!(filters.state.read().count, fit);
        assert!(row_of(&filters, "t", "g0").is_none());
    }

    #[test]
    fn a_file_of_java_is_read_and_a_broken_one_does_not_keep_the_broker_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config/consumerFilter.json");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::fs::write(
            &path,
            r#"{"filterDataByTopic":{"t":{"topic":"t","groupFilterData":{
                "g":{"bloomFilterData":{"bitNum":112,"bitPos":[1,2,3]},"bornTime":1,"clientVersion":7,"consumerGroup":"g","dead":false,
                    "deadTime":0,"expression":"a = 1","expressionType":"SQL92","topic":"t"},
                "h":{"expression":"a = ","expressionType":"SQL92"},"i":{"expression":"x","expressionType":"ODD"}}}}}"#,
        )
        .unwrap();
        let filters = Filters::open(folder.path()).unwrap();
        filters.of("g", &subscription("t", "a = 1", 8)).unwrap();
        let row = row_of(&filters, "t", "g").unwrap();
        assert_eq!((row.bloom_filter_data.unwrap().bit_pos, row.born_time, row.dead), (vec![1, 2, 3], 1, false));
        assert_eq!(filters.state.read().count, 1);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Filters::open(folder.path()).unwrap().table(), ConsumerFilterTable::default());
    }
}
