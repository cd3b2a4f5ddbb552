//! Rules of CONTRIBUTING.md that a program can check.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test, and says where")]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust source file of the project with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("broker"), root().join("operator"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() > 100, "the sources are not where they were: {} files", found.len());
    found
}

fn offenders(wrong: impl Fn(&Path, &str) -> bool) -> Vec<PathBuf> {
    sources().into_iter().filter(|(path, text)| wrong(path, text)).map(|(path, _)| path).collect()
}

#[test]
fn unsafe_code_stands_in_one_file() {
    let word = concat!("un", "safe");
    let permitted = Path::new("broker/store/src/mapped_file/region.rs");
    let used = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        [format!("{word} {{"), format!("{word} impl"), format!("{word} fn")].iter().any(|form| code.contains(form))
    };
    assert_eq!(offenders(|path, text| path != permitted && text.lines().any(used)), Vec::<PathBuf>::new());
}

#[test]
fn every_room_has_a_head() {
    let is_room =
        |path: &Path| path.file_name().is_some_and(|name| name == "mod.rs" || name == "lib.rs" || name == "main.rs");
    let headless = offenders(|path, text| is_room(path) && !text.trim_start().starts_with("//! "));
    assert_eq!(headless, Vec::<PathBuf>::new());
}

#[test]
fn no_file_has_outgrown_its_reader() {
    assert_eq!(offenders(|_, text| text.lines().count() > 800), Vec::<PathBuf>::new());
}

/// No container engine makes the image that is tested, so what it is to hold is written twice.
#[test]
fn the_image_that_is_tested_holds_what_the_dockerfile_says() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (dockerfile, archive) = (read("Dockerfile"), read("tests/kubernetes/archive"));
    let users = dockerfile.split("printf '").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
    assert!(archive.contains(&format!("passwd = b\"{users}\"")), "the users differ: {users}");
    let user = dockerfile.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(archive.contains(&format!("\"User\": \"{user}\"")), "another user than {user}");
    assert!(
        dockerfile.contains("ENTRYPOINT [\"/rocketmq\"]") && archive.contains("\"Entrypoint\": [f\"/{entrypoint}\"]")
    );
    assert!(
        dockerfile.contains("mkdir -m 1777 /root-fs/tmp") && archive.contains("add(archive, \"tmp\", mode=0o1777)")
    );
    assert!(dockerfile.contains("FROM scratch\n") && dockerfile.contains("+crt-static"));
}
