//! No import runs from a lower room to a higher one. Tests may import anything.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// From the lowest to the highest.
const ROOMS: [&str; 11] = [
    "error",
    "api",
    "manifest",
    "process",
    "brokers",
    "kubernetes",
    "provision",
    "cluster",
    "crds",
    "controllers",
    "run",
];
/// Files that only tests compile.
const TESTS: [&str; 6] = ["fake.rs", "fake_api.rs", "fixtures.rs", "memory.rs", "rooms.rs", "tests.rs"];

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|known| *known == room)
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.is_dir() {
            true if name != "tests" => sources(&path, found),
            false if !TESTS.contains(&name.as_str()) => found.push(path),
            _ => {}
        }
    }
}

/// The rooms that a text names: first parts of `crate::room` and of `use crate::{room, room::..}`.
fn named(text: &str) -> Vec<&str> {
    let mut rooms = Vec::new();
    for after in text.split("crate::").skip(1) {
        let (mut depth, mut begins) = (0, true);
        for (at, letter) in after.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => begins = true,
                letter if begins && letter.is_ascii_lowercase() => {
                    let rest = &after[at..];
                    rooms.push(rest.split(|c: char| !c.is_ascii_lowercase()).next().unwrap());
                    begins = false;
                }
                _ => {}
            }
            if depth == 0 && (!begins || letter == '}') {
                break;
            }
        }
    }
    rooms
}

#[test]
fn no_import_runs_to_a_higher_room() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut wrong) = (Vec::new(), Vec::new());
    sources(&root, &mut files);
    assert!(files.len() > 40, "the sources are not where they were: {} files", files.len());
    for file in files {
        let place = file.strip_prefix(&root).unwrap();
        let room = place.iter().next().unwrap().to_string_lossy().replace(".rs", "");
        let Some(own) = rank(&room) else {
            assert_eq!(room, "lib", "{} is in no room", place.display());
            continue;
        };
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for other in named(code) {
            let rank = rank(other).unwrap_or_else(|| panic!("{}: {other} is no room", place.display()));
            if rank > own {
                wrong.push(format!("{}: {other}", place.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(
        named("use crate::{\n    api::{A, b::C},\n    error::E,\n};\ncrate::pool::x(a::b)"),
        ["api", "error", "pool"]
    );
}
