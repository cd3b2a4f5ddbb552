//! An API server in memory, for tests of what a real one will not do on demand: refuse, fail, lose
//! a race.
//!
//! It knows objects, lists by label and in pages, watches, server-side apply (as a deep merge),
//! merge patches and replacement with a version, finalizers and deletion; no schema and no
//! controllers. A test that needs those needs a real one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::State as Extract,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Method, part of a path, answer.
type Failure = (Method, &'static str, u16, &'static str);

/// How long a watch stays open without changes.
const QUIET: Duration = Duration::from_secs(5);

/// What a watch delivers.
struct Event {
    version: u64,
    kind: &'static str,
    path: String,
    object: Value,
}

#[derive(Clone, Default)]
pub(crate) struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    failures: Vec<Failure>,
    writes: Vec<String>,
    /// Every change since the start, in order of version.
    events: Vec<Event>,
    /// Watches from before this version cannot go on.
    expired: u64,
    /// Told the version of each change.
    changed: tokio::sync::watch::Sender<u64>,
    /// How long each page of a list takes, by part of its path.
    slow: Vec<(&'static str, Duration)>,
    /// Requests that are never answered, by part of their path.
    silent: Vec<&'static str>,
    /// How often each path was asked for.
    requests: BTreeMap<String, usize>,
}

impl ApiServer {
    /// Serves on a loopback port for as long as the test runs, and says where.
    pub(crate) async fn listen() -> (Self, String) {
        let server = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(handle).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, format!("http://{address}"))
    }

    /// The same with a client.
    pub(crate) async fn start() -> (Self, Client) {
        let (server, address) = Self::listen().await;
        let mut config = kube::Config::new(address.parse().unwrap());
        // The client's own retries would hide what a test provokes.
        config.read_timeout = Some(std::time::Duration::from_secs(10));
        (server, Client::try_from(config).unwrap())
    }

    /// Stores an object as if another client had made it.
    pub(crate) fn insert(&self, path: &str, object: impl serde::Serialize) -> Value {
        let mut state = self.0.lock();
        let object = serde_json::to_value(object).unwrap();
        state.store(path, object)
    }

    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.0.lock().objects.get(path).cloned()
    }

    /// Changes an object as if another client had.
    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut state = self.0.lock();
        let mut object = state.objects.get(path).cloned().unwrap();
        change(&mut object);
        state.store(path, object)
    }

    /// Removes an object as if another client had, its pods left alone.
    pub(crate) fn remove(&self, path: &str) {
        self.0.lock().forget(path);
    }

    /// From now on each page of a matching list takes this long.
    pub(crate) fn slow_down(&self, part: &'static str, page: Duration) {
        self.0.lock().slow.push((part, page));
    }

    /// From now on no matching request is answered.
    pub(crate) fn fall_silent(&self, part: &'static str) {
        self.0.lock().silent.push(part);
    }

    /// Requests so far whose path holds this.
    pub(crate) fn requests(&self, part: &str) -> usize {
        self.0.lock().requests.iter().filter(|(path, _)| path.contains(part)).map(|(_, count)| count).sum()
    }

    /// Ends all watches as too old to go on: their clients must list anew.
    pub(crate) fn expire_watches(&self) {
        let mut state = self.0.lock();
        state.events.clear();
        state.version += 1;
        state.expired = state.version;
        let version = state.version;
        state.changed.send_replace(version);
    }

    pub(crate) fn paths(&self, part: &str) -> Vec<String> {
        self.0.lock().objects.keys().filter(|path| path.contains(part)).cloned().collect()
    }

    /// Fails matching requests from now on.
    pub(crate) fn fail(&self, method: Method, part: &'static str, code: u16, message: &'static str) {
        self.0.lock().failures.push((method, part, code, message));
    }

    pub(crate) fn heal(&self) {
        let mut state = self.0.lock();
        state.failures.clear();
        state.silent.clear();
    }

    /// Writes that changed something since the last call, as `METHOD path`; events are left out.
    pub(crate) fn writes(&self) -> Vec<String> {
        let mut writes = std::mem::take(&mut self.0.lock().writes);
        writes.retain(|write| !write.contains("/events"));
        writes
    }

    /// Reasons of all events so far, in order of name, each as often as it was published:
    /// repetitions are a count in one object.
    pub(crate) fn events(&self) -> Vec<String> {
        let state = self.0.lock();
        let events = state.objects.iter().filter(|(path, _)| path.contains("/events/"));
        let occurrences = |event: &Value| usize::try_from(event["series"]["count"].as_u64().unwrap_or(1)).unwrap();
        let reason = |event: &Value| event["reason"].as_str().unwrap_or_default().to_owned();
        events.flat_map(|(_, event)| std::iter::repeat_n(reason(event), occurrences(event))).collect()
    }
}

impl State {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        let old = self.objects.get(path);
        let same = |left: &Value, right: &Value, part: &str| left[part] == right[part];
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.entry("uid").or_insert_with(|| format!("uid-of-{path}").into());
        metadata.entry("creationTimestamp").or_insert_with(|| "2026-01-01T00:00:00Z".into());
        metadata.remove("resourceVersion");
        let generation = old.and_then(|old| old["metadata"]["generation"].as_i64()).unwrap_or(0);
        let respecified = old.is_none_or(|old| !same(old, &object, "spec"));
        object["metadata"]["generation"] = json!(generation + i64::from(respecified));
        let old_is_none = old.is_none();
        let mut before = old.cloned().unwrap_or_default();
        let version = before.get("metadata").map(|metadata| metadata["resourceVersion"].clone());
        before.get_mut("metadata").and_then(Value::as_object_mut).map(|metadata| metadata.remove("resourceVersion"));
        if before == object {
            object["metadata"]["resourceVersion"] = version.unwrap_or_default();
        } else {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.publish(if old_is_none { "ADDED" } else { "MODIFIED" }, path, object.clone());
        }
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn forget(&mut self, path: &str) {
        if let Some(mut object) = self.objects.remove(path) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.publish("DELETED", path, object);
        }
    }

    fn publish(&mut self, kind: &'static str, path: &str, object: Value) {
        // No client watches events.
        if !path.contains("/events/") {
            self.events.push(Event { version: self.version, kind, path: path.to_owned(), object });
            self.changed.send_replace(self.version);
        }
    }

    /// Lines of a watch after a version, and the version of the last one seen.
    fn after(&self, version: u64, path: &str, query: &str) -> (Vec<u8>, u64) {
        if version < self.expired {
            let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
            return (json!({"type": "ERROR", "object": gone}).to_string().into_bytes(), self.version);
        }
        let fresh = &self.events[self.events.partition_point(|event| event.version <= version)..];
        let selector = Selector::of(query);
        let mut lines = Vec::new();
        for event in fresh.iter().filter(|event| within(&event.path, path) && selector.fits(&event.object)) {
            serde_json::to_writer(&mut lines, &json!({"type": event.kind, "object": event.object})).unwrap();
            lines.push(b'\n');
        }
        (lines, self.version)
    }

    /// A page of a list; what follows it is named by the number of objects before.
    fn list(&self, path: &str, query: &str) -> Value {
        let selector = Selector::of(query);
        let number = |name| parameter(query, name).and_then(|number| number.parse::<usize>().ok());
        let (begin, limit) = (number("continue").unwrap_or(0), number("limit").unwrap_or(usize::MAX));
        let below = |(found, object): &(&String, &Value)| within(found, path) && selector.fits(object);
        let mut found = self.objects.iter().filter(below).map(|(_, object)| object).skip(begin);
        let items: Vec<&Value> = found.by_ref().take(limit).collect();
        let more = found.next().map(|_| (begin + items.len()).to_string());
        json!({
            "kind": "List", "apiVersion": "v1", "items": items,
            "metadata": {"resourceVersion": self.version.to_string(), "continue": more},
        })
    }
}

/// Labels and their values, all of which an object must have.
struct Selector(Vec<(String, String)>);

impl Selector {
    fn of(query: &str) -> Self {
        let text = parameter(query, "labelSelector").unwrap_or_default();
        let text = text.replace("%2F", "/").replace("%3D", "=").replace("%2C", ",");
        let terms = text.split(',').filter_map(|term| term.split_once('='));
        Self(terms.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn fits(&self, object: &Value) -> bool {
        self.0.iter().all(|(key, value)| object["metadata"]["labels"][key] == **value)
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Whether an object lies in a collection: of its namespace, or of all (`/apis/g/v1/kinds`).
fn within(object: &str, collection: &str) -> bool {
    let Some((found, name)) = object.rsplit_once('/') else { return false };
    let (group, kind) = collection.rsplit_once('/').unwrap_or_default();
    let everywhere = || {
        let rest = found.strip_prefix(group).and_then(|rest| rest.strip_prefix("/namespaces/"));
        rest.and_then(|rest| rest.split_once('/')).is_some_and(|(_, found)| found == kind)
    };
    !name.is_empty() && (found == collection || !collection.contains("/namespaces/") && everywhere())
}

/// Lines of a watch until its client goes.
fn watch(server: ApiServer, path: String, query: String) -> Response {
    let version = parameter(&query, "resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    let changed = server.0.lock().changed.subscribe();
    let lines = futures::stream::unfold((version, changed), move |(mut version, mut changed)| {
        let (server, path, query) = (server.clone(), path.clone(), query.clone());
        let next = async move {
            loop {
                let (lines, looked_at) = server.0.lock().after(version, &path, &query);
                if !lines.is_empty() {
                    return Some((Ok::<_, std::convert::Infallible>(lines), (looked_at, changed)));
                }
                version = looked_at;
                changed.wait_for(|last| *last > version).await.ok()?;
            }
        };
        // A quiet watch ends, as a real one does, and before its client takes it for dead.
        async move { tokio::time::timeout(QUIET, next).await.ok()? }
    });
    (StatusCode::OK, axum::body::Body::from_stream(lines)).into_response()
}

async fn handle(Extract(server): Extract<ApiServer>, method: Method, uri: Uri, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    let query = uri.query().unwrap_or_default();
    let collection = method == Method::GET && is_collection(&path);
    let (silent, pause) = {
        let mut state = server.0.lock();
        *state.requests.entry(path.clone()).or_default() += 1;
        let pause = state.slow.iter().find(|(part, _)| collection && path.contains(part)).map(|(_, pause)| *pause);
        (state.silent.iter().any(|part| path.contains(part)), pause)
    };
    if silent {
        std::future::pending::<()>().await;
    }
    if let Some(pause) = pause {
        tokio::time::sleep(pause).await;
    }
    let mut state = server.0.lock();
    if let Some((_, _, code, message)) = state.failures.iter().find(|(m, part, ..)| *m == method && path.contains(part))
    {
        return status(*code, message);
    }
    let (target, subresource) = match path.strip_suffix("/status") {
        Some(target) => (target.to_owned(), true),
        None => (path.clone(), false),
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let known = state.objects.get(&target).cloned();
    let answer = match (&method, known) {
        (&Method::GET, Some(object)) => object,
        (&Method::GET, None) if collection && parameter(query, "watch").is_some() => {
            drop(state);
            return watch(server, target, query.to_owned());
        }
        (&Method::GET, None) if collection => state.list(&target, query),
        (&Method::POST, _) => {
            let name = body["metadata"]["name"].as_str().unwrap().to_owned();
            let target = format!("{target}/{name}");
            if state.objects.contains_key(&target) {
                return status(409, "already exists");
            }
            let stored = state.store(&target, body);
            state.writes.push(format!("POST {target}"));
            stored
        }
        (&Method::PATCH, known) => {
            let version = &body["metadata"]["resourceVersion"];
            if version.is_string()
                && known.as_ref().is_some_and(|known| known["metadata"]["resourceVersion"] != *version)
            {
                return status(409, "the object has been modified");
            }
            if known.is_none() && (subresource || uri.query().is_none_or(|query| !query.contains("fieldManager"))) {
                return status(404, "not found");
            }
            let mut object = known.clone().unwrap_or_else(|| json!({"metadata": {}}));
            if subresource {
                object["status"] = body["status"].clone();
            } else {
                merge(&mut object, &body);
            }
            let stored = state.store(&target, object);
            if known.as_ref() != Some(&stored) {
                state.writes.push(format!("PATCH {path}"));
            }
            if stored["metadata"]["deletionTimestamp"].is_string() && finalizers(&stored) == 0 {
                state.forget(&target);
            }
            stored
        }
        (&Method::PUT, Some(known)) => {
            if known["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] {
                return status(409, "the object has been modified");
            }
            state.writes.push(format!("PUT {target}"));
            state.store(&target, body)
        }
        (&Method::DELETE, Some(object)) => {
            let uid = &body["preconditions"]["uid"];
            if uid.is_string() && object["metadata"]["uid"] != *uid {
                return status(409, "the uid in the precondition differs");
            }
            state.writes.push(format!("DELETE {target}"));
            if finalizers(&object) == 0 {
                state.forget(&target);
            } else {
                let mut object = object.clone();
                object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
                state.store(&target, object);
            }
            object
        }
        _ => return status(404, "not found"),
    };
    (StatusCode::OK, axum::body::Body::from(answer.to_string())).into_response()
}

fn finalizers(object: &Value) -> usize {
    object["metadata"]["finalizers"].as_array().map_or(0, Vec::len)
}

/// `/api/v1/namespaces/x/kinds` has a last part at an even place, one of its objects at an odd one;
/// `/apis/g/v1/kinds` is all.
fn is_collection(path: &str) -> bool {
    match path.split_once("/namespaces/") {
        Some((_, after)) => after.split('/').count() == 2,
        None => {
            path.starts_with("/apis/") && path.split('/').count() == 5
                || path.starts_with("/api/v1/") && path.split('/').count() == 4
        }
    }
}

fn merge(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(patch) => {
            if !target.is_object() {
                *target = json!({});
            }
            for (key, value) in patch {
                match value {
                    Value::Null => drop(target.as_object_mut().map(|target| target.remove(key))),
                    value => merge(&mut target[key], value),
                }
            }
        }
        other => *target = other.clone(),
    }
}

fn status(code: u16, message: &str) -> Response {
    let reason = if code == 404 { "NotFound" } else { "Test" };
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    (StatusCode::from_u16(code).unwrap(), axum::body::Body::from(body.to_string())).into_response()
}
