//! The operator that all scenarios share: one Helm release of `charts/rocketmq-operator`, two
//! replicas, all namespaces.
//!
//! It is installed by the first scenario that asks and stays for the others. A scenario that takes
//! it away asks for it alone; then the others wait.

use std::process::Command;
use std::sync::{OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::namespace::{kubectl, run, until};

/// Namespace and name of the release.
pub(crate) const RELEASE: &str = "rocketmq-operator";
/// Its pods.
pub(crate) const PODS: &str = "app.kubernetes.io/name=rocketmq-operator";

static USE: RwLock<()> = RwLock::new(());
static INSTALLED: OnceLock<std::result::Result<(), String>> = OnceLock::new();

/// The right to rely on the operator, among others who do.
pub(crate) fn shared() -> Result<RwLockReadGuard<'static, ()>> {
    let guard = USE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    installed()?;
    Ok(guard)
}

/// The right to do what others would suffer from.
pub(crate) fn alone() -> Result<RwLockWriteGuard<'static, ()>> {
    let guard = USE.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    installed()?;
    Ok(guard)
}

fn installed() -> Result<()> {
    let first = INSTALLED.get_or_init(|| install().map_err(|error| format!("{error:#}")));
    first.clone().map_err(anyhow::Error::msg)
}

/// Installs the release, or brings the one that is there to the charts and the image of now.
pub(crate) fn install() -> Result<()> {
    // An image that was packed anew has the old name; a new annotation replaces the pods.
    let run = format!("podAnnotations.run={:08x}", rand::random::<u32>());
    let [repository, tag] = image_values();
    helm(&[
        "upgrade",
        "--install",
        RELEASE,
        &chart("rocketmq-operator"),
        "--namespace",
        RELEASE,
        "--create-namespace",
        "--set",
        &repository,
        "--set-string",
        &tag,
        "--set-string",
        &run,
        "--wait",
        "--timeout",
        "2m",
    ])?;
    leader().map(drop)
}

/// Values of the operator's chart that name the image of this build.
pub(crate) fn image_values() -> [String; 2] {
    ["image.repository=rocketmq-tests/rocketmq".to_owned(), "image.tag=1".to_owned()]
}

/// A chart of the project.
pub(crate) fn chart(name: &str) -> String {
    format!("{}/../charts/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs `helm`.
pub(crate) fn helm(arguments: &[&str]) -> Result<String> {
    run(Command::new("helm").args(arguments), "")
}

/// Runs `kubectl` in the operator's namespace.
pub(crate) fn kubectl_operator(arguments: &[&str]) -> Result<String> {
    kubectl(&[&["--namespace", RELEASE], arguments].concat())
}

/// Waits until a pod that exists holds the Lease; returns its name.
pub(crate) fn leader() -> Result<String> {
    until("an operator that holds the Lease", Duration::from_secs(60), || {
        let holder = kubectl_operator(&["get", "lease", RELEASE, "--output", "jsonpath={.spec.holderIdentity}"])?;
        let pods = kubectl_operator(&["get", "pods", "--selector", PODS, "--output", "name"])?;
        let is_pod = pods.lines().any(|pod| pod == format!("pod/{holder}"));
        Ok(is_pod.then_some(holder))
    })
}

/// What the replicas that run now have logged.
pub(crate) fn logs() -> Result<String> {
    let logs = kubectl_operator(&["logs", "--selector", PODS, "--tail=-1", "--prefix"])?;
    ensure!(!logs.trim().is_empty(), "the operator logged nothing");
    Ok(logs)
}

/// Whether the API server lets the operator's ServiceAccount do this, as `kubectl auth can-i` sees
/// it.
pub(crate) fn may(account: &str, arguments: &[&str]) -> Result<bool> {
    let output =
        Command::new("kubectl").args(["auth", "can-i", "--as", account]).args(arguments).output().context("kubectl")?;
    Ok(output.status.success())
}
