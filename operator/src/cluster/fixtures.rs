//! Objects for the tests of this room.

use kube::ResourceExt;
use serde_json::{Value, json};

use super::validate::{Environment, Validated, validate};
use crate::api::{
    RocketMQCluster,
    cluster::{Image, PullPolicy},
    settings::Readers,
};

/// A cluster as the API server would hand it out: defaults filled in, with a uid.
pub(crate) fn cluster(spec: Value) -> RocketMQCluster {
    let object = json!({
        "apiVersion": "rocketmq.rs/v1alpha1", "kind": "RocketMQCluster",
        "metadata": {"name": "prod", "namespace": "mq", "uid": "11111111-2222-3333-4444-555555555555", "generation": 3},
        "spec": spec,
    });
    let schema = crate::manifest::openapi::<RocketMQCluster>();
    serde_json::from_value(kube::core::cel::apply_defaults(&schema, &object)).unwrap()
}

/// Readers that are content with everything.
pub(crate) const READERS: Readers = Readers { namesrv: |_| Ok(Vec::new()), broker: |_| Ok(Vec::new()) };

/// A world without any group.
pub(crate) fn environment() -> Environment<'static> {
    static IMAGE: std::sync::LazyLock<Image> = std::sync::LazyLock::new(|| Image {
        repository: "example/rocketmq".to_owned(),
        tag: "1".to_owned(),
        pull_policy: PullPolicy::IfNotPresent,
        pull_secrets: Vec::new(),
    });
    Environment { default_image: &IMAGE, domain: "cluster.local", existing_groups: 0, readers: READERS }
}

/// A valid cluster of this spec.
pub(crate) fn validated(spec: Value) -> Validated {
    let cluster = cluster(spec);
    validate(&cluster, &environment()).unwrap_or_else(|wrong| panic!("{}: {wrong:?}", cluster.name_any()))
}
