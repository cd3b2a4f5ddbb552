//! The manifest files: reading, judging, and noticing edits.
//!
//! Edits are found by looking at size and time of every file twice a second: no watch of the
//! operating system survives all the ways in which editors replace files. An edit is taken once two
//! polls in a row found the same, so that a file which is being written is left in peace.

use super::place;
use crate::settings::READERS;
use anyhow::Context;
use rmq_operator::{
    api::RocketMQCluster,
    cluster::{topology, validate},
    manifest::{self, Manifest, Problem},
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Between two polls.
const SCAN_PERIOD: Duration = Duration::from_millis(500);

/// What was given on the command line.
pub(super) struct Files {
    given: Vec<PathBuf>,
    /// As of the last manifest that was read, valid or not.
    read: Vec<Seen>,
}

/// A file at one poll; no time: it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    state: Option<(u64, SystemTime)>,
}

/// A manifest that may be run, and what its author should know.
pub(super) struct Reading {
    pub(super) manifest: Manifest,
    pub(super) notes: Vec<String>,
}

impl Files {
    /// # Errors
    /// A path that is not there, or a folder without manifests.
    pub(super) fn new(given: Vec<PathBuf>) -> anyhow::Result<Self> {
        for path in &given {
            let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
            if metadata.is_dir() {
                let found = manifests(path).with_context(|| format!("cannot read the folder {}", path.display()))?;
                anyhow::ensure!(!found.is_empty(), "{} holds no file that ends in .yaml or .yml", path.display());
            }
        }
        Ok(Self { given, read: Vec::new() })
    }

    /// Reads and judges everything. With `previous`, what changes must be allowed to change.
    ///
    /// # Errors
    /// All that is wrong.
    pub(super) fn read(&mut self, previous: Option<&Manifest>) -> Result<Reading, Vec<Problem>> {
        self.read = self.scan();
        let paths: Vec<PathBuf> = self.read.iter().map(|seen| seen.path.clone()).collect();
        judge(manifest::load(&paths, previous)?)
    }

    /// Returns when something is different from what was read last, and stays so for one poll.
    pub(super) async fn edited(&self) {
        let mut before = self.read.clone();
        loop {
            tokio::time::sleep(SCAN_PERIOD).await;
            let now = self.scan();
            if now == before && now != self.read {
                return;
            }
            before = now;
        }
    }

    /// Every file, those in folders included.
    fn scan(&self) -> Vec<Seen> {
        let mut paths = Vec::new();
        for path in &self.given {
            match manifests(path) {
                Ok(found) => paths.extend(found),
                // A file, or nothing; reading it will say what is wrong.
                Err(_) => paths.push(path.clone()),
            }
        }
        let state = |path: &Path| fs::metadata(path).and_then(|file| Ok((file.len(), file.modified()?))).ok();
        paths.into_iter().map(|path| Seen { state: state(&path), path }).collect()
    }

    /// The files as given, for people.
    pub(super) fn names(&self) -> String {
        self.given.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// The manifests of a folder in order of name.
fn manifests(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml")) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What a reconcile would find wrong, and what the processes would.
fn judge(manifest: Manifest) -> Result<Reading, Vec<Problem>> {
    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    for cluster in &manifest.clusters {
        let wrong = validate::check(cluster);
        let wrong = if wrong.is_empty() { settings(cluster, &mut notes) } else { wrong };
        problems.extend(wrong.into_iter().map(|(field, message)| manifest.problem(cluster, field, message)));
    }
    notes.extend(manifest.ignored.iter().map(|object| format!("{object} is not of a kind of RocketMQ and is ignored")));
    if problems.is_empty() { Ok(Reading { manifest, notes }) } else { Err(problems) }
}

/// What the processes would find wrong with their settings.
fn settings(cluster: &RocketMQCluster, notes: &mut Vec<String>) -> Vec<validate::Violation> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let topology = topology::plan(name, &cluster.spec);
    match validate::settings(&topology, READERS, |config| place::pairs(config, &place::Local::example())) {
        Ok(warnings) => {
            notes.extend(warnings.into_iter().map(|warning| format!("{name}: {warning}")));
            Vec::new()
        }
        Err(wrong) => wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "apiVersion: rocketmq.rs/v1alpha1\nkind: RocketMQCluster\nmetadata: {name: a}\nspec: ";

    #[test]
    fn a_folder_is_its_manifests_in_order_of_name() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Files::new(vec![folder.path().to_owned()]).is_err(), "nothing to read");
        for name in ["b.yml", "a.yaml", "c.txt", ".hidden"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let files = Files::new(vec![folder.path().to_owned()]).unwrap();
        let names: Vec<_> = files.scan().into_iter().map(|seen| seen.path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["a.yaml", "b.yml"]);
        assert!(Files::new(vec![folder.path().join("none.yaml")]).is_err());
    }

    #[tokio::test]
    async fn a_file_that_comes_goes_or_changes_is_an_edit() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
        fs::write(&first, format!("{CLUSTER}{{}}")).unwrap();
        let mut files = Files::new(vec![folder.path().to_owned()]).unwrap();
        assert!(files.read(None).is_ok());
        let edits: [&dyn Fn(); 3] = [
            &|| fs::write(&first, format!("{CLUSTER}{{brokers: {{groups: 2}}}}")).unwrap(),
            &|| fs::write(&second, "# nothing yet").unwrap(),
            &|| fs::remove_file(&second).unwrap(),
        ];
        for edit in edits {
            edit();
            files.edited().await;
            let reading = files.read(None).unwrap_or_else(|problems| panic!("{problems:?}"));
            assert_eq!(reading.manifest.clusters[0].spec.brokers.groups, 2);
        }
    }

    #[test]
    fn settings_are_read_as_the_processes_read_them() {
        let judged =
            |spec: &str| judge(manifest::parse(Path::new("a.yaml"), &format!("{CLUSTER}{spec}"), None).unwrap());
        let wrong =
            |spec: &str| judged(spec).err().unwrap_or_default().iter().map(Problem::to_string).collect::<Vec<_>>();
        assert_eq!(
            wrong("{brokers: {config: {fileReservedTime: soon}}}"),
            [
                r#"a.yaml, document 1, RocketMQCluster/a, spec.brokers.config: fileReservedTime cannot be "soon": a number from 0 to 18446744073709551615 is wanted"#
            ]
        );
        assert!(wrong("{namesrv: {config: {enableTopicLst: 'true'}}}")[0].contains("enableTopicList"));
        let reading = judged("{brokers: {config: {transientStorePoolEnable: 'false'}}}").ok().unwrap();
        assert!(reading.notes[0].starts_with("a: of a Java broker's settings"), "{:?}", reading.notes);
    }
}
