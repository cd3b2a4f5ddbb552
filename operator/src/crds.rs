//! The CustomResourceDefinitions as YAML: generated from `api`, checked in under `crds/` and in the
//! chart.
//!
//! The chart carries its own copies as templates, because Helm installs a chart's `crds/` folder
//! once and never upgrades it. The copies keep the definitions when the chart is uninstalled, by
//! Helm and by Argo CD: deleting a definition deletes every object of its kind.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::api::{RocketMQCluster, RocketMQConsumerGroup, RocketMQTopic};

/// Our definitions, clusters first.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![RocketMQCluster::crd(), RocketMQTopic::crd(), RocketMQConsumerGroup::crd()]
}

/// All definitions as one YAML stream, ready for `kubectl apply --server-side -f -`.
pub fn yaml() -> String {
    crds().iter().map(|crd| format!("---\n{}", document(crd))).collect()
}

/// One definition as a YAML document.
fn document(crd: &CustomResourceDefinition) -> String {
    let mut tree = serde_json::to_value(crd).unwrap_or_default();
    drop_titles(&mut tree);
    // A tree of maps, lists and scalars has a YAML form; there is nothing in it that could fail.
    serde_saphyr::to_string(&tree).unwrap_or_default()
}

/// Titles repeat the names of Rust types, which no reader of `kubectl explain` knows.
fn drop_titles(tree: &mut Value) {
    match tree {
        Value::Object(map) => {
            if map.get("title").is_some_and(Value::is_string) {
                map.remove("title");
            }
            map.values_mut().for_each(drop_titles);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_titles),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const GENERATED: &str =
        "# Generated from operator/src/api; UPDATE_GENERATED=1 cargo test -p rmq-operator crds writes it anew.\n";

    /// Helm would read `{{` in a description as its own.
    fn chart_template(crd: &CustomResourceDefinition) -> String {
        let mut kept = crd.clone();
        let annotations = kept.metadata.annotations.get_or_insert_default();
        annotations.insert("helm.sh/resource-policy".into(), "keep".into());
        annotations.extend(crate::cluster::build::labels::kept());
        let body = document(&kept);
        assert!(!body.contains("{{"), "a description would be read as a Helm action");
        format!("{GENERATED}{{{{- if .Values.crds.install }}}}\n{body}{{{{- end }}}}\n")
    }

    fn check(path: &Path, wanted: &str) {
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, wanted).unwrap();
        }
        let found = fs::read_to_string(path).unwrap_or_default();
        assert!(found == wanted, "{} is stale: run UPDATE_GENERATED=1 cargo test -p rmq-operator crds", path.display());
    }

    #[test]
    fn crds_in_the_repository_are_those_of_the_code() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for crd in crds() {
            let file = format!("{}.yaml", crd.spec.names.plural);
            check(&root.join("crds").join(&file), &format!("{GENERATED}{}", document(&crd)));
            check(&root.join("charts/rocketmq-operator/templates/crds").join(&file), &chart_template(&crd));
        }
    }

    /// The chart of a cluster checks its values by the same schemas, before anything reaches an API
    /// server.
    #[test]
    fn values_of_the_cluster_chart_are_checked_by_the_schemas_of_the_code() {
        let spec = |crd: &CustomResourceDefinition, given_by_the_chart: Option<&str>| {
            let tree = serde_json::to_value(crd).unwrap();
            let mut schema = tree["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone();
            if let Some(field) = given_by_the_chart {
                schema["properties"].as_object_mut().unwrap().remove(field);
                schema.as_object_mut().unwrap().remove("required");
            }
            json_schema(&mut schema);
            if given_by_the_chart.is_some() {
                // `orders:` alone means all defaults.
                schema["type"] = serde_json::json!(["object", "null"]);
            }
            schema
        };
        let [cluster, topic, group] = crds().try_into().unwrap();
        let objects = |spec: Value| serde_json::json!({"type": "object", "additionalProperties": spec});
        let schema = serde_json::json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "$comment": GENERATED.trim_start_matches("# ").trim_end(),
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "global": {"type": "object"},
                "name": {"type": "string", "maxLength": 40},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "cluster": spec(&cluster, None),
                "topics": objects(spec(&topic, Some("clusterRef"))),
                "consumerGroups": objects(spec(&group, Some("clusterRef"))),
            },
        });
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        check(&root.join("charts/rocketmq-cluster/values.schema.json"), &text);
    }

    /// Kubernetes' dialect to draft 7: its own keywords go, unknown fields are refused as the API
    /// server would drop them.
    fn json_schema(schema: &mut Value) {
        let Some(map) = schema.as_object_mut() else { return };
        let open = map.get("x-kubernetes-preserve-unknown-fields").is_some();
        map.retain(|key, _| !key.starts_with("x-kubernetes") && key != "nullable" && key != "format" && key != "title");
        if map.contains_key("properties") && !open {
            map.insert("additionalProperties".into(), false.into());
        }
        for key in ["properties", "items", "additionalProperties"] {
            match (key, map.get_mut(key)) {
                ("properties", Some(Value::Object(properties))) => properties.values_mut().for_each(json_schema),
                (_, Some(inner)) => json_schema(inner),
                _ => {}
            }
        }
    }

    #[test]
    fn every_field_is_explained_and_bounded_where_rules_read_it() {
        for crd in crds() {
            let tree = serde_json::to_value(&crd).unwrap();
            let schema = &tree["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            let mut silent = Vec::new();
            undescribed(&schema["properties"]["spec"], "spec", &mut silent);
            assert!(silent.is_empty(), "{}: no description: {silent:?}", crd.spec.names.kind);
            let conditions = &schema["properties"]["status"]["properties"]["conditions"];
            assert_eq!(conditions["x-kubernetes-list-type"], "map");
            assert_eq!(conditions["x-kubernetes-list-map-keys"], serde_json::json!(["type"]));
        }
    }

    /// A column whose path leads nowhere is shown empty and is no error.
    #[test]
    fn printer_columns_show_fields_that_exist() {
        for crd in crds() {
            let tree = serde_json::to_value(&crd).unwrap();
            let version = &tree["spec"]["versions"][0];
            let columns = version["additionalPrinterColumns"].as_array().unwrap();
            assert!(columns.len() >= 5, "{}", crd.spec.names.kind);
            for column in columns {
                let path = column["jsonPath"].as_str().unwrap();
                let field = field_at(&version["schema"]["openAPIV3Schema"], path);
                let wanted = match column["type"].as_str().unwrap() {
                    "date" => "string",
                    shown => shown,
                };
                let found = field.unwrap_or_else(|| panic!("{}: {path} leads nowhere", crd.spec.names.kind));
                assert_eq!(found, wanted, "{}: {path}", crd.spec.names.kind);
            }
        }
    }

    /// The type of the field that a path leads to. Of filters only the one that picks a condition
    /// is known.
    fn field_at(schema: &Value, path: &str) -> Option<String> {
        if path == ".metadata.creationTimestamp" {
            return Some("string".to_owned());
        }
        let path = path.replace(".status.conditions[?(@.type=='Ready')].", ".status.conditions[].");
        let field = path.strip_prefix('.')?.split('.').try_fold(schema, |at, step| match step.strip_suffix("[]") {
            Some(list) => at["properties"].get(list)?.get("items"),
            None => at["properties"].get(step),
        })?;
        Some(field["type"].as_str()?.to_owned())
    }

    fn undescribed(schema: &Value, path: &str, silent: &mut Vec<String>) {
        if schema["description"].as_str().is_none_or(str::is_empty) {
            silent.push(path.to_owned());
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            undescribed(property, &format!("{path}.{name}"), silent);
        }
    }
}
