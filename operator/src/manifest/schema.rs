//! The part of OpenAPI that our definitions use, checked on a value: types, enums, bounds, required
//! and unknown fields.
//!
//! Not a general validator: a keyword that our own schemas do not hold is not checked, and a test
//! says which they hold.

use rmq_protocol::java_properties;
use serde_json::{Map, Value};

/// Path and text of each mismatch.
pub(super) type Violation = Vec<(String, String)>;

/// Checks an object against the schema of its kind. `apiVersion`, `kind` and `metadata` are
/// Kubernetes' own and were read before.
pub(super) fn check_object(schema: &Value, object: &Value) -> Violation {
    let mut wrong = Violation::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        match name.as_str() {
            "apiVersion" | "kind" | "metadata" => {}
            "spec" => check(&schema["properties"]["spec"], value, "spec", &mut wrong),
            // A manifest taken from a running cluster carries one; the operator writes its own.
            "status" => {}
            other => wrong.push((other.to_owned(), "is no field here: write it under spec".to_owned())),
        }
    }
    if object.get("spec").is_none() {
        wrong.push(("spec".to_owned(), "is missing".to_owned()));
    }
    wrong
}

fn check(schema: &Value, value: &Value, path: &str, wrong: &mut Violation) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    let fits = match (schema["type"].as_str(), value) {
        (Some("object"), Value::Object(_)) | (Some("array"), Value::Array(_)) => true,
        (Some("string"), Value::String(_)) | (Some("boolean"), Value::Bool(_)) => true,
        (Some("integer"), Value::Number(number)) => number.is_i64() || number.is_u64(),
        (None, _) => true,
        _ => false,
    };
    if !fits {
        let wanted = schema["type"].as_str().unwrap_or_default();
        return wrong.push((path.to_owned(), format!("must be {} {wanted}, is {}", article(wanted), describe(value))));
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        let list: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        wrong.push((path.to_owned(), format!("is {}: write one of {}", describe(value), list.join(", "))));
    }
    match value {
        Value::Object(map) => check_map(schema, map, path, wrong),
        Value::Array(items) => {
            bounds(schema, ["minItems", "maxItems"], items.len(), "entries", path, wrong);
            for (index, item) in items.iter().enumerate() {
                check(&schema["items"], item, &format!("{path}[{index}]"), wrong);
            }
        }
        Value::String(text) => {
            bounds(schema, ["minLength", "maxLength"], text.chars().count(), "characters", path, wrong);
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            if schema["minimum"].as_f64().is_some_and(|least| number < least)
                || schema["maximum"].as_f64().is_some_and(|most| number > most)
            {
                let [least, most] = ["minimum", "maximum"].map(|bound| schema[bound].as_f64().unwrap_or_default());
                wrong.push((path.to_owned(), format!("is {value}: write a number from {least} to {most}")));
            }
        }
        _ => {}
    }
}

fn check_map(schema: &Value, map: &Map<String, Value>, path: &str, wrong: &mut Violation) {
    bounds(schema, ["minProperties", "maxProperties"], map.len(), "keys", path, wrong);
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !map.contains_key(required) {
            wrong.push((format!("{path}.{required}"), "is missing".to_owned()));
        }
    }
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    for (name, value) in map {
        let place = format!("{path}.{name}");
        if let Some(property) = properties.get(name) {
            check(property, value, &place, wrong);
        } else if schema["additionalProperties"].is_object() {
            check(&schema["additionalProperties"], value, &place, wrong);
        } else if !open {
            let hint = match java_properties::nearest(name, properties.keys().map(String::as_str)) {
                Some(known) => format!("is no field here: did you mean {known}?"),
                None => {
                    format!("is no field here: known are {}", properties.keys().cloned().collect::<Vec<_>>().join(", "))
                }
            };
            wrong.push((place, hint));
        }
    }
}

fn bounds(schema: &Value, keys: [&str; 2], size: usize, unit: &str, path: &str, wrong: &mut Violation) {
    let size = size as u64;
    if let Some(least) = schema[keys[0]].as_u64().filter(|&least| size < least) {
        wrong.push((path.to_owned(), format!("has {size} {unit}: write at least {least}")));
    }
    if let Some(most) = schema[keys[1]].as_u64().filter(|&most| size > most) {
        wrong.push((path.to_owned(), format!("has {size} {unit}: write at most {most}")));
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) => format!("'{text}'"),
        other => other.to_string(),
    }
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}
