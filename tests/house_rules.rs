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

/// Numbers of the comment lines that are wider than 100 columns. Rows of tables, code and drawings
/// between fences, and lines without a place to break them may be.
fn wide_comments(text: &str) -> Vec<usize> {
    let (mut wide, mut fenced) = (Vec::new(), false);
    for (number, line) in (1..).zip(text.lines()) {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            fenced = false;
            continue;
        };
        let body = comment.trim_start_matches(['/', '!']).trim();
        if body.starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !body.starts_with('|') && body.contains(' ') && line.chars().count() > 100 {
            wide.push(number);
        }
    }
    wide
}

#[test]
fn comment_lines_have_at_most_100_columns() {
    let wide: Vec<_> = sources()
        .into_iter()
        .flat_map(|(path, text)| {
            wide_comments(&text).into_iter().map(move |number| format!("{}:{number}", path.display()))
        })
        .collect();
    assert_eq!(wide, Vec::<String>::new());
}

#[test]
fn a_wide_comment_is_one_that_could_be_broken() {
    let long = "words and more ".repeat(10);
    let text =
        format!("/// {long}\n/// | {long} |\n/// ```\n/// {long}\n/// ```\nlet a = \"{long}\";\n    // {long}\n");
    assert_eq!(wide_comments(&format!("{text}//! https://{}\n", long.replace(' ', "-"))), [1, 7]);
}

/// Whether a source has the constant `NAME = value`, or sets the field `name: value`.
fn has_limit(text: &str, limit: &str) -> bool {
    let Some((name, value)) = limit.split_once(" = ") else {
        return [",", " "].iter().any(|end| text.contains(&format!("{limit}{end}")));
    };
    let definition = format!("const {name}: ");
    text.split(&definition)
        .skip(1)
        .filter_map(|rest| rest.split(';').next()?.split_once(" = "))
        .any(|(_, is)| is == value)
}

#[test]
fn the_page_of_limits_says_what_the_code_says() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (page, settings) = (read("docs/limits.md"), read("broker/server/src/config/settings.rs"));
    let (mut checked, mut wrong) = (0, Vec::new());
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what |")) {
        let [_, limits, place, _, _] = row.split(" | ").collect::<Vec<_>>()[..] else { panic!("five columns: {row}") };
        let links = place.split("](../").skip(1).filter_map(|rest| rest.split(')').next());
        let files: Vec<String> = links.map(read).collect();
        let has_setting = |limit: &str| {
            let row = limit.split_once(" = ").map(|(key, value)| format!("\"{key}\", {value}, "));
            place.contains("setting") && row.is_some_and(|row| settings.contains(&row))
        };
        for limit in limits.split('`').skip(1).step_by(2) {
            checked += 1;
            if !has_setting(limit) && !files.iter().any(|text| has_limit(text, limit)) {
                wrong.push(limit);
            }
        }
    }
    assert_eq!(wrong, Vec::<&str>::new());
    assert!(checked > 150, "the page's form is another one: {checked} limits");
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

/// The rooms of `broker/server/src`, from the lowest to the highest.
const SERVER_ROOMS: [&str; 27] = [
    "clock",
    "address",
    "config",
    "error",
    "admission",
    "blocking",
    "role",
    "metrics_page",
    "response",
    "feature",
    "rows",
    "table",
    "observe",
    "filter",
    "topic",
    "registration",
    "group",
    "timer",
    "core",
    "replication",
    "client",
    "send",
    "pull",
    "admin",
    "request",
    "start",
    "testing",
];

/// The rooms of `operator/src`, from the lowest to the highest.
const OPERATOR_ROOMS: [&str; 11] = [
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
const TEST_FILES: [&str; 6] = ["fake.rs", "fake_api.rs", "fixtures.rs", "memory.rs", "testing.rs", "tests.rs"];

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
                letter if begins && letter.is_ascii_alphabetic() => {
                    let rest = &after[at..];
                    let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
                    // What stands in lib.rs itself belongs to no room.
                    let is_room = letter.is_ascii_lowercase();
                    rooms.extend(is_room.then_some(name));
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

/// Imports of a package from a lower room to a higher one. Tests may import anything.
fn upward_imports(package: &str, rooms: &[&str]) -> Vec<String> {
    let rank = |room: &str| rooms.iter().position(|known| *known == room);
    let (source, mut wrong) = (Path::new(package).join("src"), Vec::new());
    for (path, text) in sources() {
        let Ok(place) = path.strip_prefix(&source) else { continue };
        let parts: Vec<_> = place.iter().map(|part| part.to_string_lossy()).collect();
        let is_test = |part: &str| part == "tests" || TEST_FILES.contains(&part);
        if place == Path::new("lib.rs") || parts.iter().any(|part| is_test(part)) {
            continue;
        }
        let room = parts[0].trim_end_matches(".rs");
        let own = rank(room).unwrap_or_else(|| panic!("{} is in no room", path.display()));
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let code: Vec<_> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for other in named(&code.join("\n")) {
            let rank = rank(other).unwrap_or_else(|| panic!("{}: {other} is no room", path.display()));
            if rank > own {
                wrong.push(format!("{}: {other}", path.display()));
            }
        }
    }
    wrong
}

#[test]
fn no_import_runs_to_a_higher_room() {
    assert_eq!(upward_imports("broker/server", &SERVER_ROOMS), Vec::<String>::new());
    assert_eq!(upward_imports("operator", &OPERATOR_ROOMS), Vec::<String>::new());
    let text = "use crate::{\n    api::{A, b::C},\n    error::E,\n};\ncrate::queue_locks::x(a::b)";
    assert_eq!(named(text), ["api", "error", "queue_locks"]);
}
