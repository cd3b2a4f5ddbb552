//! Configuration files of Java's broker.

use crate::cases;
use rmq_protocol::{body, fastjson};
use rmq_store::{Error, durable_file};
use serde_json::Value;

/// What the broker keeps in a configuration file: the rows of its table, and their version.
fn table(name: &str, text: &[u8]) -> Result<(Value, Value), Error> {
    macro_rules! read {
        ($file:ident, $rows:ident) => {{
            let file: body::$file = fastjson::from_slice(text).map_err(|error| Error::Config(error.to_string()))?;
            (serde_json::to_value(file.$rows).unwrap(), serde_json::to_value(file.data_version).unwrap())
        }};
    }
    Ok(match name {
        "topics.json" => read!(TopicConfigTable, topic_config_table),
        "subscriptionGroup.json" => read!(SubscriptionGroupTable, subscription_group_table),
        "consumerOffset.json" => read!(ConsumerOffsetTable, offset_table),
        "delayOffset.json" => read!(DelayOffsetTable, offset_table),
        "consumerFilter.json" => {
            let file: body::ConsumerFilterTable =
                fastjson::from_slice(text).map_err(|error| Error::Config(error.to_string()))?;
            let mut rows = serde_json::to_value(file.filter_data_by_topic).unwrap();
            for groups in rows.as_object_mut().unwrap().values_mut() {
                let filters = groups["groupFilterData"].as_object_mut().unwrap().values_mut();
                // What Java derives from the times is no field.
                filters.for_each(|filter| drop(filter.as_object_mut().unwrap().remove("dead")));
            }
            (rows, Value::Null)
        }
        other => panic!("nobody handles {other}"),
    })
}

#[test]
fn configuration_files_of_java_are_loaded_and_stand_in_as_backups() {
    let root = tempfile::tempdir().unwrap();
    let cases = cases("config-files.json");
    assert!(!cases.is_empty());
    for case in cases {
        let (name, text) = (case["name"].as_str().unwrap(), case["text"].as_str().unwrap());
        let path = root.path().join("config").join(name);
        let version = if name == "consumerFilter.json" { &Value::Null } else { &case["dataVersion"] };
        let expected = Some((case["table"].clone(), version.clone()));
        let load = || durable_file::load(&path, |text| table(name, text)).unwrap();
        durable_file::replace(&path, text.as_bytes()).unwrap();
        assert_eq!(load(), expected, "{name}");
        // The next one is cut off: wherever that is, the one before it stands in.
        durable_file::replace(&path, b"").unwrap();
        for end in 0..text.len() {
            std::fs::write(&path, &text.as_bytes()[..end]).unwrap();
            assert_eq!(load(), expected, "{name} cut at {end}");
        }
    }
}
