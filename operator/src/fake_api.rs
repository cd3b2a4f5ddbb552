//! An API server in memory, for tests of what a real one will not do on demand: refuse, fail, lose a race.
//!
//! It knows objects, lists by label, server-side apply (as a deep merge), merge patches and replacement with a version,
//! finalizers and deletion;
//! no watches, no schema and no controllers. Whoever needs those needs a real one.

use std::{collections::BTreeMap, sync::Arc};

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

#[derive(Clone, Default)]
pub(crate) struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    failures: Vec<Failure>,
    writes: Vec<String>,
}

impl ApiServer {
    /// Serves on a loopback port for as long as the test runs.
    pub(crate) async fn start() -> (Self, Client) {
        let server = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(handle).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut config = kube::Config::new(format!("http://{address}").parse().unwrap());
        // The client's own retries would hide what a test provokes.
        config.read_timeout = Some(std::time::Duration::from_secs(10));
        (server, Client::try_from(config).unwrap())
    }

    /// Puts an object there as if somebody else had made it.
    pub(crate) fn insert(&self, path: &str, object: impl serde::Serialize) -> Value {
        let mut state = self.0.lock();
        let object = serde_json::to_value(object).unwrap();
        state.store(path, object)
    }

    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.0.lock().objects.get(path).cloned()
    }

    /// Changes an object as if somebody else had.
    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut state = self.0.lock();
        let mut object = state.objects.get(path).cloned().unwrap();
        change(&mut object);
        state.store(path, object)
    }

    /// Removes an object as if somebody else had, its pods left alone.
    pub(crate) fn remove(&self, path: &str) {
        self.0.lock().objects.remove(path);
    }

    pub(crate) fn paths(&self, part: &str) -> Vec<String> {
        self.0.lock().objects.keys().filter(|path| path.contains(part)).cloned().collect()
    }

    /// Fails matching requests from now on.
    pub(crate) fn fail(&self, method: Method, part: &'static str, code: u16, message: &'static str) {
        self.0.lock().failures.push((method, part, code, message));
    }

    pub(crate) fn heal(&self) {
        self.0.lock().failures.clear();
    }

    /// Writes that changed something since the last call, as `METHOD path`; events are left out.
    pub(crate) fn writes(&self) -> Vec<String> {
        let mut writes = std::mem::take(&mut self.0.lock().writes);
        writes.retain(|write| !write.contains("/events"));
        writes
    }

    /// Reasons of all events so far, in order of name, each as often as it was told: repetitions are a count in one object.
    pub(crate) fn events(&self) -> Vec<String> {
        let state = self.0.lock();
        let events = state.objects.iter().filter(|(path, _)| path.contains("/events/"));
        let told = |event: &Value| usize::try_from(event["series"]["count"].as_u64().unwrap_or(1)).unwrap();
        let reason = |event: &Value| event["reason"].as_str().unwrap_or_default().to_owned();
        events.flat_map(|(_, event)| std::iter::repeat_n(reason(event), told(event))).collect()
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
        let mut before = old.cloned().unwrap_or_default();
        let version = before.get("metadata").map(|metadata| metadata["resourceVersion"].clone());
        before.get_mut("metadata").and_then(Value::as_object_mut).map(|metadata| metadata.remove("resourceVersion"));
        if before == object {
            object["metadata"]["resourceVersion"] = version.unwrap_or_default();
        } else {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        }
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn list(&self, path: &str, query: &str) -> Value {
        let selector = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector=")).unwrap_or_default();
        let selector = selector.replace("%2F", "/").replace("%3D", "=").replace("%2C", ",");
        let fits = |object: &Value| {
            selector.split(',').filter(|term| !term.is_empty()).all(|term| {
                let (key, value) = term.split_once('=').unwrap();
                object["metadata"]["labels"][key] == value
            })
        };
        let prefix = format!("{path}/");
        let below =
            |(found, _): &(&String, &Value)| found.strip_prefix(&prefix).is_some_and(|name| !name.contains('/'));
        let items: Vec<&Value> =
            self.objects.iter().filter(below).map(|(_, object)| object).filter(|object| fits(object)).collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": self.version.to_string()}, "items": items})
    }
}

async fn handle(Extract(server): Extract<ApiServer>, method: Method, uri: Uri, body: Bytes) -> Response {
    let mut state = server.0.lock();
    let path = uri.path().to_owned();
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
        (&Method::GET, None) if is_collection(&target) => state.list(&target, uri.query().unwrap_or_default()),
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
                state.objects.remove(&target);
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
            state.writes.push(format!("DELETE {target}"));
            if finalizers(&object) == 0 {
                state.objects.remove(&target);
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

/// `/api/v1/namespaces/x/kinds` has a last part at an even place, one of its objects at an odd one.
fn is_collection(path: &str) -> bool {
    let after = path.split("/namespaces/").nth(1).unwrap_or_default();
    after.split('/').count() == 2
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
