//! The part of the cluster that one scenario has to itself, and how scenarios talk to the API
//! server: by `kubectl`, as users do.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

/// Runs a scenario in a new namespace called after it, which is deleted at the end, and described
/// before that if the scenario failed.
pub(crate) fn scenario(name: &str, body: impl FnOnce(&Namespace) -> Result<()>) -> Result<()> {
    let mut namespace = Namespace::create(name)?;
    body(&namespace)?;
    namespace.passed = true;
    Ok(())
}

/// Where one scenario has its objects.
pub(crate) struct Namespace {
    name: String,
    passed: bool,
}

impl Namespace {
    fn create(scenario: &str) -> Result<Self> {
        // KUBECONFIG alone might be the one of the developer's own cluster.
        ensure!(std::env::var_os("ROCKETMQ_TEST_IN_CLUSTER").is_some(), "no cluster: use tests/kubernetes/run");
        let name = format!("{scenario}-{:08x}", rand::random::<u32>());
        kubectl(&["create", "namespace", &name])?;
        let namespace = Self { name, passed: false };
        namespace.until("the default service account", Duration::from_secs(30), |namespace| {
            Ok(namespace.kubectl(&["get", "serviceaccount", "default"]).is_ok().then_some(()))
        })?;
        Ok(namespace)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `kubectl` in this namespace and returns what it printed; what it complained of is the
    /// error.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        kubectl(&[&["--namespace", &self.name], arguments].concat())
    }

    /// Applies manifests, one or several YAML documents.
    pub(crate) fn apply(&self, manifests: &str) -> Result<String> {
        run(Command::new("kubectl").args(["--namespace", &self.name, "apply", "--filename", "-"]), manifests)
    }

    /// An object (`pod/probe-0`) or a list of them (`pods`) as the API server has it now.
    pub(crate) fn read(&self, what: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&["get", what, "--output", "json"])?)?)
    }

    /// Waits until `condition` finds a value, as [`until`] does.
    pub(crate) fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        until(what, limit, || condition(self))
    }

    /// What `kubectl apply` complains of; an error if it does not.
    pub(crate) fn refusal(&self, manifests: &str) -> Result<String> {
        match self.apply(manifests) {
            Ok(applied) => bail!("this was not refused: {applied}"),
            Err(refused) => Ok(refused.to_string()),
        }
    }

    /// Changes an object by a merge patch, written as JSON.
    pub(crate) fn patch(&self, what: &str, patch: &str) -> Result<()> {
        self.kubectl(&["patch", what, "--type", "merge", "--patch", patch]).map(drop)
    }

    /// Waits until a condition of an object, judged by its present spec, has this status and
    /// reason; returns its message.
    pub(crate) fn until_says(&self, what: &str, kind: &str, status: &str, reason: &str) -> Result<String> {
        self.until(&format!("{kind}={status} ({reason}) of {what}"), Duration::from_secs(150), |namespace| {
            let object = namespace.read(what)?;
            let condition = condition(&object, kind).with_context(|| format!("{what} has no condition {kind}"))?;
            let reported = format!("{} {}: {}", condition["status"], condition["reason"], condition["message"]);
            ensure!(
                condition["observedGeneration"] == object["metadata"]["generation"],
                "about an older spec: {reported}"
            );
            ensure!(condition["status"] == status && condition["reason"] == reason, "{reported}");
            Ok(Some(condition["message"].as_str().unwrap_or_default().to_owned()))
        })
    }

    /// Waits until an object is there no more.
    pub(crate) fn until_gone(&self, what: &str) -> Result<()> {
        self.until(&format!("{what} to go"), Duration::from_secs(90), |namespace| {
            let gone = namespace.read(what).is_err_and(|error| error.to_string().contains("NotFound"));
            Ok(gone.then_some(()))
        })
    }

    /// How many events with this reason an object has had.
    pub(crate) fn events(&self, kind: &str, name: &str, reason: &str) -> Result<u64> {
        let about = format!("regarding.kind={kind},regarding.name={name},reason={reason}");
        let events = self.kubectl(&["get", "events.events.k8s.io", "--field-selector", &about, "--output", "json"])?;
        let events: Value = serde_json::from_str(&events)?;
        // A repeated event is one object with a count.
        let times = |event: &Value| event["series"]["count"].as_u64().unwrap_or(1);
        Ok(events["items"].as_array().context("no list of events")?.iter().map(times).sum())
    }

    /// Waits until that many pods of a StatefulSet are ready.
    pub(crate) fn until_ready(&self, stateful_set: &str, replicas: u64) -> Result<()> {
        let what = format!("{replicas} ready pods of {stateful_set}");
        self.until(&what, Duration::from_secs(120), |namespace| {
            let set = namespace.read(&format!("statefulset/{stateful_set}"))?;
            let current = set["status"]["observedGeneration"] == set["metadata"]["generation"];
            Ok((current && set["status"]["readyReplicas"] == replicas).then_some(()))
        })
    }

    /// Prints what a reader of a failure asks for first: the objects, what happened to them, the
    /// last lines of each container.
    fn describe(&self) {
        let print = |arguments: &[&str]| {
            let text = self.kubectl(arguments).unwrap_or_else(|error| format!("{error:#}"));
            println!("--- {}\n{text}", arguments.join(" "));
        };
        print(&["get", "all,pvc,endpointslices,rocketmq", "--output", "wide"]);
        print(&["get", "events", "--sort-by", ".metadata.creationTimestamp"]);
        for pod in self.kubectl(&["get", "pods", "--output", "name"]).unwrap_or_default().lines() {
            print(&["logs", pod, "--all-containers", "--prefix", "--tail=50"]);
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.passed {
            self.describe();
        }
        // Not waited for: the next scenario has another namespace.
        if let Err(error) = kubectl(&["delete", "namespace", &self.name, "--wait=false", "--ignore-not-found"]) {
            println!("{error:#}");
        }
    }
}

/// Waits until `condition` finds a value. An error inside it counts as "not yet" and is told when
/// the time is over, since in a cluster that is starting or failing over any call may fail for a
/// while.
pub(crate) fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let last = match condition() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= deadline {
            let waited = format!("waited {limit:?} for {what}");
            return Err(last.unwrap_or_else(|| anyhow!("it did not come")).context(waited));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// A condition in the status of an object.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Runs `kubectl` outside of any namespace.
pub(crate) fn kubectl(arguments: &[&str]) -> Result<String> {
    run(Command::new("kubectl").args(arguments), "")
}

/// Runs a program to its end and returns what it printed; what it complained of is the error.
pub(crate) fn run(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    // Dropped here, so that the command sees the end of its input.
    child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
    let Output { status, stdout, stderr } = child.wait_with_output()?;
    if !status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&stderr).trim());
    }
    Ok(String::from_utf8(stdout)?)
}
