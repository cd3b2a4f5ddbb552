//! Manifests from files: the same refusals as the API server, without one.
//!
//! `load` reads YAML files of one or more documents, fills in the defaults of the schema, checks
//! structure (`schema.rs`) and then the CEL rules of the definitions, transition rules included
//! when an earlier state is known. What `kubectl apply` would refuse is refused here with the same
//! words; what only a reconcile can see is reported by `cluster::validate`. All problems of all
//! files are reported at once, each with file, document, object and field.
//!
//! May touch files, which it reads. Knows no API server and no broker.

mod schema;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use kube::{CustomResourceExt, Resource, ResourceExt, core::cel};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::api::{self, RocketMQCluster, RocketMQConsumerGroup, RocketMQTopic};

/// Documents beyond this many in one call are refused: no such file is written by hand.
const MAX_DOCUMENTS: usize = 20_000;
/// Where an object without a namespace lives when there is no cluster to ask.
const DEFAULT_NAMESPACE: &str = "default";

/// Our objects, as found in files, defaults filled in and every namespace written out.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// Clusters in order of appearance.
    pub clusters: Vec<RocketMQCluster>,
    /// Topics in order of appearance.
    pub topics: Vec<RocketMQTopic>,
    /// Consumer groups in order of appearance.
    pub consumer_groups: Vec<RocketMQConsumerGroup>,
    /// Documents of other kinds (a Namespace, say), as `kind/name`: left alone.
    pub ignored: Vec<String>,
    places: Places,
}

/// File and document of each object, by kind, namespace and name.
type Places = BTreeMap<(String, String, String), (PathBuf, usize)>;

impl Manifest {
    /// A problem with an object of this manifest that only its reader could find.
    pub fn problem<K>(&self, object: &K, field: impl Into<String>, message: impl Into<String>) -> Problem
    where
        K: Resource<DynamicType = ()>,
    {
        let (kind, name) = (K::kind(&()).into_owned(), object.name_any());
        let object_name = format!("{kind}/{name}");
        let place = self.places.get(&(kind, object.namespace().unwrap_or_default(), name));
        let (file, document) = place.cloned().unwrap_or_default();
        Place { file: &file, document, object: object_name }.problem(field, message)
    }
}

/// One thing that is wrong in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Which document of the file, from 1; 0: the file as a whole.
    pub document: usize,
    /// `kind/name` as far as known.
    pub object: String,
    /// Path of the field as `spec.brokers.groups`; empty: the object as a whole.
    pub field: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.document > 0 {
            write!(f, ", document {}", self.document)?;
        }
        for part in [&self.object, &self.field] {
            if !part.is_empty() {
                write!(f, ", {part}")?;
            }
        }
        write!(f, ": {}", self.message)
    }
}

/// A document's place, for problems found later.
struct Place<'a> {
    file: &'a Path,
    document: usize,
    object: String,
}

impl Place<'_> {
    fn problem(&self, field: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            file: self.file.to_owned(),
            document: self.document,
            object: self.object.clone(),
            field: field.into(),
            message: message.into(),
        }
    }
}

/// Reads the files. With `previous`, an object that was there before must also pass the rules about
/// change.
///
/// # Errors
/// Every problem of every file; then nothing of it should be used.
pub fn load(files: &[PathBuf], previous: Option<&Manifest>) -> Result<Manifest, Vec<Problem>> {
    let mut reading = Reading { previous, ..Reading::default() };
    for file in files {
        match fs::read_to_string(file) {
            Ok(text) => reading.file(file, &text),
            Err(error) => {
                let place = Place { file, document: 0, object: String::new() };
                reading.problems.push(place.problem("", format!("cannot be read: {error}")));
            }
        }
    }
    reading.finish()
}

/// Reads one text as if it were a file of that name.
///
/// # Errors
/// As `load`.
pub fn parse(name: &Path, text: &str, previous: Option<&Manifest>) -> Result<Manifest, Vec<Problem>> {
    let mut reading = Reading { previous, ..Reading::default() };
    reading.file(name, text);
    reading.finish()
}

#[derive(Default)]
struct Reading<'a> {
    previous: Option<&'a Manifest>,
    found: Manifest,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn file(&mut self, file: &Path, text: &str) {
        // Option: a document of comments alone is null, and no mistake.
        let documents: Vec<Option<Value>> = match serde_saphyr::from_multiple(text) {
            Ok(documents) => documents,
            Err(error) => {
                let place = Place { file, document: 0, object: String::new() };
                return self
                    .problems
                    .push(place.problem("", format!("is not YAML: {}", first_line(&error.to_string()))));
            }
        };
        if documents.len() > MAX_DOCUMENTS {
            let place = Place { file, document: 0, object: String::new() };
            return self.problems.push(place.problem("", format!("holds more than {MAX_DOCUMENTS} documents")));
        }
        for (index, document) in documents.into_iter().enumerate() {
            if let Some(document) = document {
                self.document(file, index + 1, document);
            }
        }
    }

    fn document(&mut self, file: &Path, document: usize, tree: Value) {
        let kind = tree["kind"].as_str().unwrap_or_default().to_owned();
        let name = tree["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let place = Place { file, document, object: format!("{kind}/{name}") };
        let api_version = tree["apiVersion"].as_str().unwrap_or_default();
        if kind.is_empty() || api_version.is_empty() {
            let place = Place { object: String::new(), ..place };
            return self.problems.push(place.problem("", "is no Kubernetes object: apiVersion and kind are missing"));
        }
        if api_version.split('/').next() != Some(api::GROUP) {
            return self.found.ignored.push(place.object);
        }
        let ours = format!("{}/{}", api::GROUP, api::VERSION);
        if api_version != ours {
            return self
                .problems
                .push(place.problem("apiVersion", format!("{api_version} is not served: write {ours}")));
        }
        if name.is_empty() {
            return self.problems.push(place.problem("metadata.name", "is missing: every object needs a name"));
        }
        let previous = self.previous;
        match kind.as_str() {
            "RocketMQCluster" => {
                let object = self.object::<RocketMQCluster>(&place, tree, previous.map(|old| old.clusters.as_slice()));
                self.found.clusters.extend(object);
            }
            "RocketMQTopic" => {
                let object = self.object::<RocketMQTopic>(&place, tree, previous.map(|old| old.topics.as_slice()));
                self.found.topics.extend(object);
            }
            "RocketMQConsumerGroup" => {
                let old = previous.map(|old| old.consumer_groups.as_slice());
                let object = self.object::<RocketMQConsumerGroup>(&place, tree, old);
                self.found.consumer_groups.extend(object);
            }
            _ => {
                let message = format!(
                    "{kind} is no kind of {ours}: write RocketMQCluster, RocketMQTopic or RocketMQConsumerGroup"
                );
                self.problems.push(place.problem("kind", message));
            }
        }
    }

    /// Defaults, structure, rules, then the typed object; `None` after a problem.
    fn object<K>(&mut self, place: &Place<'_>, mut tree: Value, previous: Option<&[K]>) -> Option<K>
    where
        K: CustomResourceExt + Resource<DynamicType = ()> + DeserializeOwned + Serialize,
    {
        let metadata = tree["metadata"].as_object_mut()?;
        let namespace = metadata.entry("namespace").or_insert_with(|| DEFAULT_NAMESPACE.into()).clone();
        let namespace = namespace.as_str().unwrap_or_default().to_owned();
        let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();

        let key = (K::kind(&()).into_owned(), namespace.clone(), name.clone());
        if let Some((file, document)) = self.found.places.insert(key, (place.file.to_owned(), place.document)) {
            let message = format!("stands already in {}, document {document}: remove one", file.display());
            self.problems.push(place.problem("metadata.name", message));
            return None;
        }

        let schema = openapi::<K>();
        let tree = cel::apply_defaults(&schema, &tree);
        let mut wrong = schema::check_object(&schema, &tree);
        if wrong.is_empty() {
            let old = previous
                .and_then(|objects| {
                    objects
                        .iter()
                        .find(|old| old.name_any() == name && old.namespace().as_deref() == Some(namespace.as_str()))
                })
                .and_then(|old| serde_json::to_value(old).ok());
            if let Err(errors) = cel::Validator::new().validate(&schema, &tree, old.as_ref()) {
                // A rule's own fieldPath begins with a '.', a path made by walking does not.
                let place = |path: &str| path.trim_start_matches('.').to_owned();
                wrong.extend(errors.into_iter().map(|error| (place(&error.field_path), error.message)));
            }
        }
        let clean = wrong.is_empty();
        self.problems.extend(wrong.into_iter().map(|(field, message)| place.problem(field, message)));
        if !clean {
            return None;
        }
        match serde_json::from_value(tree) {
            Ok(object) => Some(object),
            Err(error) => {
                self.problems.push(place.problem("", error.to_string()));
                None
            }
        }
    }

    fn finish(mut self) -> Result<Manifest, Vec<Problem>> {
        if self.problems.is_empty() {
            self.references();
        }
        if self.problems.is_empty() { Ok(self.found) } else { Err(self.problems) }
    }

    /// What joins objects: the cluster exists and admits the namespace, and no two objects name one
    /// topic or group.
    fn references(&mut self) {
        let mut claimed: BTreeMap<(&'static str, String, String), String> = BTreeMap::new();
        let topics = self.found.topics.iter().map(|topic| {
            ("RocketMQTopic", "topic", topic.name_any(), topic.namespace(), &topic.spec.cluster_ref, topic.topic_name())
        });
        let groups = self.found.consumer_groups.iter().map(|group| {
            let (kind, namespace) = ("RocketMQConsumerGroup", group.namespace());
            (kind, "consumer group", group.name_any(), namespace, &group.spec.cluster_ref, group.group_name())
        });
        for (kind, what, name, namespace, reference, claims) in topics.chain(groups) {
            let namespace = namespace.unwrap_or_default();
            let Some((file, document)) = self.found.places.get(&(kind.to_owned(), namespace.clone(), name.clone()))
            else {
                continue;
            };
            let place = Place { file, document: *document, object: format!("{kind}/{name}") };
            let home = reference.namespace.as_deref().unwrap_or(&namespace);
            let cluster =
                self.found.clusters.iter().find(|cluster| {
                    cluster.name_any() == reference.name && cluster.namespace().as_deref() == Some(home)
                });
            let problem = match cluster {
                None => {
                    Some(format!("names the RocketMQCluster {home}/{}, which these files do not hold", reference.name))
                }
                Some(cluster) if !crate::api::reference::admits(cluster, home, &namespace) => {
                    Some(crate::api::reference::not_admitted(&reference.name, home, &namespace))
                }
                Some(_) => claimed
                    .insert((kind, format!("{home}/{}", reference.name), claims.to_owned()), name.clone())
                    .map(|other| format!("{kind}/{other} names the same {what} {claims}: remove one")),
            };
            if let Some(message) = problem {
                self.problems.push(place.problem("spec.clusterRef", message));
            }
        }
    }
}

/// The schema of a kind as the API server holds it.
pub(crate) fn openapi<K: CustomResourceExt>() -> Value {
    let crd = K::crd();
    let schema = crd.spec.versions.into_iter().next().and_then(|version| version.schema);
    serde_json::to_value(schema.and_then(|schema| schema.open_api_v3_schema)).unwrap_or_default()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
