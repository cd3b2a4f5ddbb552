//! Judgement on a spec that the API server cannot make: needs the whole object or the world around
//! it. No client.
//!
//! The answer is a type, `Validated`, that holds all that later steps need; builders never see the
//! raw object.

use k8s_openapi::{api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource, ResourceExt};
use serde_json::{Map, Value, json};

use super::topology::{self, Kind, Properties, Topology};
use crate::api::{
    RocketMQCluster,
    cluster::{AntiAffinity, Image, PodTemplate, Storage},
    settings::Readers,
};

/// A spec that can be built.
#[derive(Clone, Debug, PartialEq)]
pub struct Validated {
    /// Name of the RocketMQCluster.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What every child points back to.
    pub owner: OwnerReference,
    /// What all pods run.
    pub image: Image,
    /// Which processes. Where scaling down was refused it holds more groups than the spec.
    pub topology: Topology,
    /// DNS domain of the Kubernetes cluster.
    pub domain: String,
    /// The disks of brokers.
    pub storage: Storage,
    /// Where members of a group may run.
    pub anti_affinity: AntiAffinity,
    /// Overlay on namesrv pods.
    pub namesrv_overlay: PodTemplateSpec,
    /// Overlay on broker pods.
    pub broker_overlay: PodTemplateSpec,
    /// Groups that were asked for, when more exist.
    pub scale_down_refused: Option<u32>,
    /// What the readers of its settings want its author to know.
    pub notes: Vec<String>,
}

/// What validation must know besides the object.
#[derive(Clone, Debug)]
pub struct Environment<'a> {
    /// Image of a cluster whose spec names none.
    pub default_image: &'a Image,
    /// DNS domain of the Kubernetes cluster.
    pub domain: &'a str,
    /// Groups that were made and may hold messages, as highest index + 1.
    pub existing_groups: u32,
    /// Readers of the settings.
    pub readers: Readers,
}

/// A field, and what is wrong with it.
pub type Violation = (String, String);

/// Checks a cluster.
///
/// # Errors
/// All that is wrong, at least one entry; each with the field and what to write instead.
pub fn validate(cluster: &RocketMQCluster, environment: &Environment<'_>) -> Result<Validated, Vec<Violation>> {
    let mut wrong = Vec::new();
    let mut spec = cluster.spec.clone();
    config_keys("spec.namesrv.config", spec.namesrv.config.keys(), &mut wrong);
    config_keys("spec.brokers.config", spec.brokers.config.keys(), &mut wrong);
    let namesrv_overlay = overlay(&spec.namesrv.pod_template, Kind::Namesrv, &mut wrong);
    let broker_overlay = overlay(&spec.brokers.pod_template, Kind::Broker, &mut wrong);

    let asked = topology::bounded(spec.brokers.groups, 1, topology::MAX_GROUPS);
    let refused = asked < environment.existing_groups;
    if refused {
        spec.brokers.groups = i32::try_from(environment.existing_groups).unwrap_or(spec.brokers.groups);
    }
    let name = cluster.name_any();
    let (Some(owner), Some(namespace)) = (cluster.controller_owner_ref(&()), cluster.namespace()) else {
        // Only an object that never was in a cluster lacks a uid.
        return Err(vec![("metadata".to_owned(), "has no uid or namespace".to_owned())]);
    };
    let (Some(namesrv_overlay), Some(broker_overlay), true) = (namesrv_overlay, broker_overlay, wrong.is_empty())
    else {
        return Err(wrong);
    };
    let topology = topology::plan(&name, &spec);
    let as_it_is = |config: &Properties| config.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let notes = settings(&topology, environment.readers, as_it_is)?;
    Ok(Validated {
        topology,
        image: spec.image.clone().unwrap_or_else(|| environment.default_image.clone()),
        domain: environment.domain.to_owned(),
        storage: spec.brokers.storage.clone(),
        anti_affinity: spec.brokers.anti_affinity,
        scale_down_refused: refused.then_some(asked),
        notes,
        name,
        namespace,
        owner,
        namesrv_overlay,
        broker_overlay,
    })
}

/// Reads the settings of a namesrv and of a master as the processes will, so that a value that
/// makes no sense is found before anything is started or changed. `placed` gives a configuration
/// the addresses and folders of where it will run.
///
/// # Errors
/// What is wrong, in the readers' text; at least one entry.
pub fn settings(
    topology: &Topology,
    readers: Readers,
    placed: impl Fn(&Properties) -> Vec<(String, String)>,
) -> Result<Vec<String>, Vec<Violation>> {
    let namesrv = ("spec.namesrv.config", (readers.namesrv)(&placed(&topology.namesrv.config)));
    // All groups are alike, and a slave differs from its master in nothing that a manifest can say.
    let broker = topology.groups.first().map(|group| ("spec.brokers.config", (readers.broker)(&placed(&group.config))));
    let (mut notes, mut wrong) = (Vec::new(), Vec::new());
    for (field, read) in std::iter::once(namesrv).chain(broker) {
        match read {
            Ok(more) => notes.extend(more),
            Err(error) => wrong.push((field.to_owned(), error)),
        }
    }
    if wrong.is_empty() { Ok(notes) } else { Err(wrong) }
}

/// Checks of a spec that need no Kubernetes; `rocketmq up` makes them after `manifest::load`.
pub fn check(cluster: &RocketMQCluster) -> Vec<Violation> {
    let mut wrong = Vec::new();
    config_keys("spec.namesrv.config", cluster.spec.namesrv.config.keys(), &mut wrong);
    config_keys("spec.brokers.config", cluster.spec.brokers.config.keys(), &mut wrong);
    overlay(&cluster.spec.namesrv.pod_template, Kind::Namesrv, &mut wrong);
    overlay(&cluster.spec.brokers.pod_template, Kind::Broker, &mut wrong);
    wrong
}

/// The sentence for a spec that asks for fewer groups than there are.
pub fn scale_down_refused(existing: usize, asked: u32) -> String {
    format!(
        "{existing} groups exist and brokers.groups asks for {asked}: removing one would lose its \
         messages and draining is not served yet; write groups: {existing}"
    )
}

/// A key with a blank, '=' or ':' would be read as another key, or as none.
fn config_keys<'a>(field: &str, keys: impl Iterator<Item = &'a String>, wrong: &mut Vec<Violation>) {
    for key in keys {
        let plain =
            key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric());
        if !plain {
            wrong.push((
                format!("{field}.{key}"),
                "is no key of RocketMQ: write letters and digits, as in fileReservedTime".to_owned(),
            ));
        }
    }
}

/// The overlay as a typed template. What Kubernetes would drop silently (a misspelt field) is found
/// by writing the typed value out again and looking for what did not come back.
fn overlay(template: &PodTemplate, kind: Kind, wrong: &mut Vec<Violation>) -> Option<PodTemplateSpec> {
    let field = match kind {
        Kind::Namesrv => "spec.namesrv.podTemplate",
        Kind::Broker => "spec.brokers.podTemplate",
    };
    let before = wrong.len();
    for key in template.metadata.labels.keys().chain(template.metadata.annotations.keys()) {
        if key.starts_with("app.kubernetes.io/") || key.starts_with("rocketmq.rs/") {
            wrong.push((format!("{field}.metadata"), format!("{key} is set by the operator: remove it")));
        }
    }
    for owned in ["restartPolicy", "hostname", "subdomain"] {
        if template.spec.contains_key(owned) {
            wrong.push((format!("{field}.spec.{owned}"), "is set by the StatefulSet: remove it".to_owned()));
        }
    }
    containers(template, kind, field, wrong);

    let mut spec = template.spec.clone();
    spec.entry("containers").or_insert_with(|| json!([]));
    let given = json!({ "metadata": template.metadata, "spec": spec });
    match serde_json::from_value::<PodTemplateSpec>(given.clone()) {
        Ok(typed) => {
            let back = serde_json::to_value(&typed).unwrap_or_default();
            lost(&given, &back, field, wrong);
            (wrong.len() == before).then_some(typed)
        }
        Err(error) => {
            wrong.push((field.to_owned(), format!("is no pod template: {error}")));
            None
        }
    }
}

/// The container of the process itself may be tuned, not replaced.
fn containers(template: &PodTemplate, kind: Kind, field: &str, wrong: &mut Vec<Violation>) {
    for (index, container) in
        template.spec.get("containers").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        let path = format!("{field}.spec.containers[{index}]");
        match container.get("name").and_then(Value::as_str) {
            None => wrong.push((
                format!("{path}.name"),
                format!("is missing: write {} for the process's own container", kind.as_str()),
            )),
            Some(name) if name == kind.as_str() => {
                for (owned, instead) in [("image", "spec.image"), ("command", "config"), ("args", "config")] {
                    if container.get(owned).is_some() {
                        wrong.push((format!("{path}.{owned}"), format!("is set by the operator: write {instead}")));
                    }
                }
            }
            Some(_) if container.get("image").is_none() => {
                let message =
                    format!("is missing: a further container needs one ({} is the process's own)", kind.as_str());
                wrong.push((format!("{path}.image"), message));
            }
            Some(_) => {}
        }
    }
}

fn lost(given: &Value, back: &Value, path: &str, wrong: &mut Vec<Violation>) {
    match (given, back) {
        (Value::Object(given), Value::Object(back)) => {
            for (key, value) in given {
                let place = format!("{path}.{key}");
                match back.get(key) {
                    Some(kept) => lost(value, kept, &place, wrong),
                    None if is_empty(value) => {}
                    None => {
                        wrong.push((place, "is no field of a pod template: check its spelling and place".to_owned()))
                    }
                }
            }
        }
        (Value::Array(given), Value::Array(back)) => {
            for (index, (value, kept)) in given.iter().zip(back).enumerate() {
                lost(value, kept, &format!("{path}[{index}]"), wrong);
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fixtures::{cluster, environment};

    #[track_caller]
    fn refused(spec: Value, field: &str, part: &str) {
        let cluster = cluster(spec);
        let wrong = validate(&cluster, &environment()).expect_err("must be refused");
        assert!(wrong.iter().any(|(path, text)| path == field && text.contains(part)), "{wrong:#?}");
        assert_eq!(wrong, check(&cluster), "the same without Kubernetes");
    }

    #[test]
    fn a_plain_cluster_is_valid_and_takes_the_operators_image() {
        let valid = validate(&cluster(json!({})), &environment()).unwrap();
        assert_eq!(valid.image.reference(), "example/rocketmq:1");
        assert_eq!(valid.scale_down_refused, None);
        let own = cluster(json!({"image": {"repository": "r", "tag": "sha256:ab"}}));
        assert_eq!(validate(&own, &environment()).unwrap().image.reference(), "r@sha256:ab");
    }

    #[test]
    fn scaling_down_keeps_the_groups_that_exist() {
        let few = cluster(json!({"brokers": {"groups": 1}}));
        let valid = validate(&few, &Environment { existing_groups: 3, ..environment() }).unwrap();
        assert_eq!((valid.topology.groups.len(), valid.scale_down_refused), (3, Some(1)));
    }

    #[test]
    fn overlays_are_typed_and_misspelling_is_found() {
        refused(
            json!({"brokers": {"podTemplate": {"spec": {"tolerationz": [{}]}}}}),
            "spec.brokers.podTemplate.spec.tolerationz",
            "spelling",
        );
        let nested = json!({"namesrv": {"podTemplate": {"spec": {"containers": [{"name": "namesrv", "resources": {"limit": {"cpu": "1"}}}]}}}});
        refused(nested, "spec.namesrv.podTemplate.spec.containers[0].resources.limit", "spelling");
        refused(
            json!({"brokers": {"podTemplate": {"spec": {"nodeSelector": []}}}}),
            "spec.brokers.podTemplate",
            "is no pod template",
        );
        refused(
            json!({"brokers": {"podTemplate": {"spec": {"hostname": "a"}}}}),
            "spec.brokers.podTemplate.spec.hostname",
            "remove it",
        );
        let label = json!({"brokers": {"podTemplate": {"metadata": {"labels": {"app.kubernetes.io/name": "x"}}}}});
        refused(label, "spec.brokers.podTemplate.metadata", "is set by the operator");
    }

    #[test]
    fn the_processs_own_container_is_tuned_not_replaced() {
        let container = |container: Value| json!({"brokers": {"podTemplate": {"spec": {"containers": [container]}}}});
        let path = "spec.brokers.podTemplate.spec.containers[0]";
        refused(container(json!({"name": "broker", "args": ["x"]})), &format!("{path}.args"), "write config");
        refused(container(json!({"name": "broker", "image": "x"})), &format!("{path}.image"), "write spec.image");
        refused(container(json!({"name": "sidecar"})), &format!("{path}.image"), "needs one");
        refused(container(json!({"resources": {}})), &format!("{path}.name"), "write broker");
        let tuned = container(json!({"name": "broker", "resources": {"limits": {"memory": "1Gi"}}}));
        assert!(validate(&cluster(tuned), &environment()).is_ok());
    }

    /// A misspelt key once passed, was rolled out, and the first pod that read it never came back.
    #[test]
    fn settings_that_a_process_would_refuse_are_refused_with_its_message() {
        let readers = Readers {
            namesrv: |pairs| {
                assert!(pairs.contains(&("listenPort".to_owned(), "9876".to_owned())), "the whole file: {pairs:?}");
                Ok(vec!["orderMessageEnable is for brokers that are older".to_owned()])
            },
            broker: |pairs| match pairs.iter().find(|(key, _)| key == "fileReservdTime") {
                Some((key, _)) => Err(format!("{key} is no key, did you mean fileReservedTime")),
                None => Ok(Vec::new()),
            },
        };
        let environment = Environment { readers, ..environment() };
        let misspelt = cluster(json!({"brokers": {"config": {"fileReservdTime": "48"}}}));
        let said = "fileReservdTime is no key, did you mean fileReservedTime";
        let wrong = validate(&misspelt, &environment).expect_err("must be refused");
        assert_eq!(wrong, [("spec.brokers.config".to_owned(), said.to_owned())]);
        let valid = validate(&cluster(json!({})), &environment).unwrap();
        assert_eq!(valid.notes, ["orderMessageEnable is for brokers that are older"]);
    }

    #[test]
    fn keys_that_a_properties_file_would_tear_are_refused() {
        refused(json!({"brokers": {"config": {"a=b": "c"}}}), "spec.brokers.config.a=b", "letters and digits");
        refused(json!({"namesrv": {"config": {"": "c"}}}), "spec.namesrv.config.", "letters and digits");
    }
}
