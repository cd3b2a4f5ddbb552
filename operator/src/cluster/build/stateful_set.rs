//! The pods of a set.
//!
//! **Roles and restarts.** Ordinal 0 of a group is its master, the others are slaves; roles do not
//! move. The StatefulSet runs with Kubernetes' own `RollingUpdate`, highest ordinal first, each pod
//! only when the one before is ready: slaves restart before the master, and while the master
//! restarts its group takes no writes (other groups do; producers go there by themselves).
//! `Parallel` start-up lets the members come up together, and lets a corrected template replace a
//! pod that is stuck on a bad one, which ordered start-up would wait for.
//!
//! **No shell.** The image holds one binary, so what differs by pod comes through Kubernetes'
//! expansion of `$(NAME)` in arguments: the number from the label `apps.kubernetes.io/pod-index`,
//! the name from the pod's own.

use std::collections::BTreeMap;

use k8s_openapi::{
    DeepMerge,
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
        },
        core::v1::{
            Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
            EnvVarSource, HTTPGetAction, LocalObjectReference, ObjectFieldSelector, PersistentVolumeClaim,
            PersistentVolumeClaimSpec, PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec,
            Probe, ResourceRequirements, SeccompProfile, SecurityContext, Volume, VolumeMount,
            VolumeResourceRequirements, WeightedPodAffinityTerm,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{
    CONFIG_HASH, TEMPLATE_HASH, config_file, fingerprint, labels, metadata, namesrv_addrs, service, service_domain,
};
use crate::{
    api::cluster::{Advertise, AntiAffinity, PullPolicy},
    cluster::{
        topology::{Data, Kind, Set},
        validate::Validated,
    },
};

/// The user of the image.
const USER: i64 = 1000;
/// Name of the volume of data.
const DATA_VOLUME: &str = "data";
const CONFIG_VOLUME: &str = "config";
const CONFIG_PATH: &str = "/etc/rocketmq";

/// Name of the claim that the StatefulSet controller binds to a pod of a set, and makes where there
/// is none. It is the only proof that a claim is ours: anyone can set labels.
pub(crate) fn claim_name(set: &str, ordinal: u32) -> String {
    format!("{DATA_VOLUME}-{set}-{ordinal}")
}

pub(super) fn of_set(cluster: &Validated, set: &Set) -> StatefulSet {
    let template = template(cluster, set);
    let mut metadata = metadata(cluster, &set.name, Some(set));
    // Types of the API serialise in a fixed order of fields, so equal templates have equal texts.
    let text = serde_json::to_string(&template).unwrap_or_default();
    metadata.annotations = Some(BTreeMap::from([(TEMPLATE_HASH.to_owned(), fingerprint(&text))]));
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            service_name: Some(set.name.clone()),
            replicas: i32::try_from(set.members).ok(),
            selector: LabelSelector {
                match_labels: Some(labels::selector(&cluster.name, set)),
                ..LabelSelector::default()
            },
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            revision_history_limit: Some(3),
            persistent_volume_claim_retention_policy: set.data.disk.is_some().then(|| retention(cluster)),
            volume_claim_templates: claim(cluster, set).map(|claim| vec![claim]),
            template,
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

fn template(cluster: &Validated, set: &Set) -> PodTemplateSpec {
    let overlay = match set.kind {
        Kind::Namesrv => &cluster.namesrv_overlay,
        Kind::Broker => &cluster.broker_overlay,
    };
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels::of_set(&cluster.name, set)),
            annotations: Some(BTreeMap::from([(CONFIG_HASH.to_owned(), fingerprint(&set.config.to_string()))])),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(cluster.name.clone()),
            automount_service_account_token: Some(false),
            // Variables for every Service of the namespace, which no process here reads.
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(match set.kind {
                Kind::Namesrv => 15,
                // Unregister, drain sockets, flush.
                Kind::Broker => 60,
            }),
            security_context: Some(pod_security()),
            affinity: affinity(cluster, set),
            image_pull_secrets: pull_secrets(cluster),
            containers: vec![container(cluster, set)],
            volumes: Some(volumes(set)),
            ..PodSpec::default()
        }),
    };
    template.merge_from(overlay.clone());
    template
}

fn container(cluster: &Validated, set: &Set) -> Container {
    Container {
        name: set.kind.as_str().to_owned(),
        image: Some(cluster.image.reference()),
        image_pull_policy: Some(
            match cluster.image.pull_policy {
                PullPolicy::IfNotPresent => "IfNotPresent",
                PullPolicy::Always => "Always",
                PullPolicy::Never => "Never",
            }
            .to_owned(),
        ),
        args: Some(args(cluster, set)),
        env: (set.kind == Kind::Broker).then(|| env(cluster)),
        ports: Some(
            service::ports(&set.ports)
                .into_iter()
                .map(|(name, number)| ContainerPort {
                    name: Some(name.to_owned()),
                    container_port: i32::from(number),
                    protocol: Some("TCP".to_owned()),
                    ..ContainerPort::default()
                })
                .collect(),
        ),
        // Recovery of a large store may take minutes; only then do the other probes begin.
        startup_probe: Some(probe("/healthz", 1, 600)),
        liveness_probe: Some(probe("/healthz", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        resources: Some(requests(set.kind)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
            ..SecurityContext::default()
        }),
        // The last lines of the log explain a crash in `kubectl describe`, and in the cluster's
        // status.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![
            VolumeMount {
                name: CONFIG_VOLUME.to_owned(),
                mount_path: CONFIG_PATH.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
            VolumeMount {
                name: DATA_VOLUME.to_owned(),
                mount_path: set.data.path.to_owned(),
                ..VolumeMount::default()
            },
        ]),
        ..Container::default()
    }
}

fn args(cluster: &Validated, set: &Set) -> Vec<String> {
    let mut args =
        vec![set.kind.as_str().to_owned(), "-c".to_owned(), format!("{CONFIG_PATH}/{}", config_file(set.kind))];
    if set.kind == Kind::Broker {
        let address = match cluster.topology.advertise {
            Advertise::PodDNS => format!("$(POD_NAME).{}", service_domain(cluster, set)),
            Advertise::PodIP => "$(POD_IP)".to_owned(),
        };
        args.extend(["-n".to_owned(), namesrv_addrs(cluster)]);
        // brokerIP2 is the address that slaves dial.
        let own = ["brokerId=$(POD_INDEX)".to_owned(), format!("brokerIP1={address}"), format!("brokerIP2={address}")];
        args.extend(own.into_iter().flat_map(|pair| ["--set".to_owned(), pair]));
    }
    args
}

/// What a broker must know of its own pod.
fn env(cluster: &Validated) -> Vec<EnvVar> {
    let name_or_ip = match cluster.topology.advertise {
        Advertise::PodDNS => ("POD_NAME", "metadata.name"),
        Advertise::PodIP => ("POD_IP", "status.podIP"),
    };
    [("POD_INDEX", "metadata.labels['apps.kubernetes.io/pod-index']"), name_or_ip]
        .into_iter()
        .map(|(name, path)| EnvVar {
            name: name.to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector { field_path: path.to_owned(), ..ObjectFieldSelector::default() }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        })
        .collect()
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

/// Enough to be scheduled sensibly; limits are the user's. The page cache of the store is not
/// counted against a broker until the node needs it back.
fn requests(kind: Kind) -> ResourceRequirements {
    let (cpu, memory) = match kind {
        Kind::Namesrv => ("20m", "32Mi"),
        Kind::Broker => ("100m", "128Mi"),
    };
    let requests =
        [("cpu", cpu), ("memory", memory)].map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())));
    ResourceRequirements { requests: Some(requests.into()), ..ResourceRequirements::default() }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        // Walking millions of files at each start would be the longest part of it.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
        ..PodSecurityContext::default()
    }
}

/// Keeps members of one set apart. Namesrvs always prefer it: they are alike and any may fail.
fn affinity(cluster: &Validated, set: &Set) -> Option<Affinity> {
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector {
            match_labels: Some(labels::selector(&cluster.name, set)),
            ..LabelSelector::default()
        }),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    let wanted = match set.kind {
        Kind::Namesrv => AntiAffinity::Preferred,
        Kind::Broker => cluster.anti_affinity,
    };
    let pod_anti_affinity = match wanted {
        AntiAffinity::None => return None,
        AntiAffinity::Preferred => PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                pod_affinity_term: term,
                weight: 100,
            }]),
            ..PodAntiAffinity::default()
        },
        AntiAffinity::Required => PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        },
    };
    Some(Affinity { pod_anti_affinity: Some(pod_anti_affinity), ..Affinity::default() })
}

fn pull_secrets(cluster: &Validated) -> Option<Vec<LocalObjectReference>> {
    let secrets = &cluster.image.pull_secrets;
    (!secrets.is_empty()).then(|| secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect())
}

fn volumes(set: &Set) -> Vec<Volume> {
    let mut volumes = vec![Volume {
        name: CONFIG_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource { name: set.name.clone(), ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    }];
    if let Data { disk: None, .. } = set.data {
        volumes.push(Volume {
            name: DATA_VOLUME.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        });
    }
    volumes
}

fn claim(cluster: &Validated, set: &Set) -> Option<PersistentVolumeClaim> {
    let size = set.data.disk.clone()?;
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DATA_VOLUME.to_owned()),
            labels: Some(labels::of_claims(&cluster.name, set)),
            annotations: Some(labels::kept()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: cluster.storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(size))])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}

fn retention(cluster: &Validated) -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_scaled: Some(cluster.storage.reclaim.on_scale_down.as_str().to_owned()),
        when_deleted: Some(cluster.storage.reclaim.on_delete.as_str().to_owned()),
    }
}
