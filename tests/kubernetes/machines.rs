//! What the harness itself promises to the other scenarios, shown with a small program (`probe.rs`)
//! in place of a broker. When one of these fails, the cluster is at fault and the rest need no
//! reading.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::namespace::{Namespace, kubectl, scenario};

const CONNECT: Duration = Duration::from_secs(5);

/// Two pods under the restrictions that brokers have, each with a volume, behind a headless and an
/// ordinary service.
const PROBES: &str = "
apiVersion: v1
kind: Service
metadata: {name: probe}
spec: {clusterIP: None, publishNotReadyAddresses: true, selector: {app: probe}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: any-probe}
spec: {selector: {app: probe}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: probe}
spec:
  serviceName: probe
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: probe
        image: rocketmq-tests/probe:1
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}
";

/// A scenario that begins with both probes ready.
fn with_probes(name: &str, body: impl FnOnce(&Namespace) -> Result<()>) -> Result<()> {
    scenario(name, |namespace| {
        namespace.apply(PROBES)?;
        namespace.until_ready("probe", 2)?;
        body(namespace)
    })
}

/// Sends one line to a probe and reads its answer.
fn ask(address: impl ToSocketAddrs, question: &str) -> Result<String> {
    let address = address.to_socket_addrs()?.next().context("the name has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_read_timeout(Some(CONNECT))?;
    writeln!(stream, "{question}")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.trim().to_owned())
}

fn pod_ip(namespace: &Namespace, pod: &str) -> Result<IpAddr> {
    let pod = namespace.read(&format!("pod/{pod}"))?;
    Ok(pod["status"]["podIP"].as_str().context("the pod has no address")?.parse()?)
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn every_node_is_ready_and_the_api_server_answers_by_name() -> Result<()> {
    let nodes: serde_json::Value = serde_json::from_str(&kubectl(&["get", "nodes", "--output", "json"])?)?;
    let nodes = nodes["items"].as_array().context("no list of nodes")?;
    ensure!(!nodes.is_empty(), "the cluster has no node");
    for node in nodes {
        let conditions = node["status"]["conditions"].as_array().context("a node without conditions")?;
        ensure!(
            conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"),
            "not ready: {}",
            node["metadata"]["name"]
        );
    }
    TcpStream::connect("kubernetes.default.svc.cluster.local:443")?;
    Ok(())
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn pods_are_reached_by_name_by_address_and_through_a_service_from_outside() -> Result<()> {
    with_probes("reach", |namespace| {
        let ip = pod_ip(namespace, "probe-1")?;
        ensure!(ask((ip, 8080), "starts")? == "1");
        let name = format!("probe-1.probe.{}.svc.cluster.local:8080", namespace.name());
        let resolved: Vec<IpAddr> = namespace.until("the pod's name", Duration::from_secs(10), |_| {
            Ok(Some(name.to_socket_addrs()?.map(|a| a.ip()).collect()))
        })?;
        ensure!(resolved == [ip], "{name} stands for {resolved:?}, the pod has {ip}");
        ensure!(ask(&name, "starts")? == "1");
        let service = format!("any-probe.{}.svc:80", namespace.name());
        namespace.until("the service", Duration::from_secs(10), |_| Ok((ask(&service, "starts")? == "1").then_some(())))
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn a_static_program_in_an_empty_image_resolves_short_and_full_names() -> Result<()> {
    with_probes("names", |namespace| {
        let [first, second] = [pod_ip(namespace, "probe-0")?, pod_ip(namespace, "probe-1")?];
        let full = format!("probe-1.probe.{}.svc.cluster.local:1", namespace.name());
        for name in ["probe-1.probe:1", &full] {
            namespace.until(name, Duration::from_secs(10), |_| {
                Ok((ask((first, 8080), name)? == format!("{second}:1")).then_some(()))
            })?;
        }
        let unknown = ask((first, 8080), "nobody.probe:1")?;
        ensure!(unknown.starts_with("error"), "a name that nobody has was answered: {unknown}");
        Ok(())
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn a_volume_is_writable_without_root_and_outlives_its_pod() -> Result<()> {
    with_probes("volume", |namespace| {
        ensure!(ask((pod_ip(namespace, "probe-0")?, 8080), "starts")? == "1");
        let uid = namespace.read("pod/probe-0")?["metadata"]["uid"].clone();
        namespace.kubectl(&["delete", "pod", "probe-0"])?;
        namespace.until("another probe-0", Duration::from_secs(60), |namespace| {
            let replaced = namespace.read("pod/probe-0")?["metadata"]["uid"] != uid;
            Ok((replaced && ask((pod_ip(namespace, "probe-0")?, 8080), "starts")? == "2").then_some(()))
        })
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn a_volume_grows_with_its_claim_and_goes_with_it() -> Result<()> {
    with_probes("growth", |namespace| {
        let claim = namespace.read("pvc/data-probe-0")?;
        let volume = format!("pv/{}", claim["spec"]["volumeName"].as_str().context("the claim has no volume")?);
        let folder =
            namespace.read(&volume)?["spec"]["local"]["path"].as_str().context("not a local volume")?.to_owned();
        namespace.kubectl(&[
            "patch",
            "pvc/data-probe-0",
            "--patch",
            r#"{"spec":{"resources":{"requests":{"storage":"32Mi"}}}}"#,
        ])?;
        namespace.until("the claim to grow", Duration::from_secs(10), |namespace| {
            Ok((namespace.read("pvc/data-probe-0")?["status"]["capacity"]["storage"] == "32Mi").then_some(()))
        })?;
        namespace.kubectl(&["delete", "statefulset/probe", "pvc/data-probe-0"])?;
        namespace.until("the volume to go", Duration::from_secs(60), |namespace| {
            Ok(namespace.read(&volume).is_err_and(|error| error.to_string().contains("NotFound")).then_some(()))
        })?;
        ensure!(!std::path::Path::new(&folder).exists(), "{folder} is still there");
        Ok(())
    })
}
