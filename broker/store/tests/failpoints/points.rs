//! Which points there are and what lets them fail; and that no step on the disk stands outside of
//! one.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

/// A life of a store meets each of these: [`crate::every_step`].
pub(crate) const LIFE: [&str; 48] = [
    "abort::delete",
    "abort::look",
    "abort::read",
    "abort::write",
    "checkpoint::open",
    "checkpoint::sync",
    "checkpoint::write",
    "commit_log::allocate",
    "commit_log::copy",
    "commit_log::create",
    "commit_log::cut",
    "commit_log::delete",
    "commit_log::fetch",
    "commit_log::map",
    "commit_log::open",
    "commit_log::rename",
    "commit_log::scan",
    "commit_log::sync",
    "commit_log::sync_cut",
    "commit_log::sync_new",
    "commit_log::touch",
    "consume_queue::create",
    "consume_queue::cut",
    "consume_queue::delete",
    "consume_queue::load",
    "consume_queue::open",
    "consume_queue::read",
    "consume_queue::sync",
    "consume_queue::write",
    "directory::create",
    "directory::open",
    "directory::read",
    "directory::sync",
    "directory::usage",
    "durable_file::read",
    "durable_file::rename",
    "durable_file::sync",
    "durable_file::write",
    "index::allocate",
    "index::create",
    "index::delete",
    "index::map",
    "index::open",
    "index::read",
    "index::sync",
    "index::write",
    "lock::open",
    "lock::write",
];
/// Very many queues: [`crate::sync`].
pub(crate) const MANY: [&str; 1] = ["consume_queue::sync_all"];
/// What is left behind by a step that failed is removed; that may fail too: [`crate::every_step`].
pub(crate) const CLEANUPS: [(&str, &str); 2] =
    [("commit_log::clean", "commit_log::copy"), ("index::clean", "index::map")];
/// A check from outside: [`crate::offline`].
pub(crate) const CHECK: [&str; 3] = ["checkpoint::read", "consume_queue::inspect", "index::inspect"];
/// A repair: [`crate::offline`].
pub(crate) const REPAIR: [&str; 7] = [
    "repair::copy",
    "repair::cut",
    "repair::delete",
    "repair::extend",
    "repair::open",
    "repair::rename",
    "repair::sync",
];

/// What touches the disk. Questions about a file, such as its length or whether there is one, are
/// no steps, and neither is advice to the system.
const CALLS: [&str; 36] = [
    "File::open(",
    "File::create(",
    "File::options()",
    "OpenOptions::new()",
    "fs::read(",
    "fs::read_dir(",
    "fs::read_to_string(",
    "fs::write(",
    "fs::copy(",
    "fs::rename(",
    "fs::remove_",
    "fs::create_dir",
    "fs::hard_link(",
    "io::copy(",
    ".try_exists()",
    ".set_len(",
    ".set_modified(",
    ".sync_all()",
    ".sync_data()",
    ".read_at(",
    ".read_exact(",
    ".read_exact_at(",
    ".read_to_end(",
    ".write_all(",
    ".write_all_at(",
    "rustix::fs::fallocate(",
    "rustix::fs::statvfs(",
    "rustix::fs::syncfs(",
    "rustix::io::p",
    "Region::map(",
    "Words::map(",
    "region.fetch(",
    "region.flush(",
    "region.make_ready(",
    "words.flush(",
    "dir::",
];
/// Of [`CALLS`] these alone are meant by `dir::`: they leave it to their callers to be a step.
const PARTS_OF_STEPS: [&str; 5] = ["allocate", "write_zeros", "zero_tail", "data_from", "read_up_to"];
/// Files without points: mapped memory, whose callers have them, and the points themselves.
const WITHOUT: [&str; 2] = ["mapped_file/region.rs", "fail_point.rs"];
/// Steps that need none.
const EXEMPT: [(&str, &str); 2] = [
    // Kernel files: an error means that the system does not say.
    ("dir.rs", "/proc/sys/kernel/random/boot_id"),
    // It takes what the system has in memory. An error means that it has not, and the disk is
    // asked.
    ("consume_queue/files.rs", "rustix::io::preadv2"),
];

/// The sources of the store without their tests and comments.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    for path in crate::support::files(&root) {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        if name.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let lines = product.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
        sources.push((name, lines.collect::<Vec<_>>().join("\n")));
    }
    sources
}

#[test]
fn the_table_names_every_point_of_the_sources() {
    let mut found = BTreeSet::new();
    for (_, text) in sources() {
        for call in text.split("fail_point::at(").skip(1) {
            found.insert(call.split('"').nth(1).unwrap().to_owned());
        }
    }
    let all = LIFE.into_iter().chain(CLEANUPS.map(|(point, _)| point)).chain(MANY).chain(CHECK).chain(REPAIR);
    let listed: BTreeSet<String> = all.map(str::to_owned).collect();
    assert_eq!(found, listed);
}

/// Where the brackets that open at or behind `from` are closed again, or a statement ends outside
/// of them.
fn end_of(text: &str, from: usize, statement: bool) -> usize {
    let mut depth = 0;
    for (at, byte) in text.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'{' | b'[' => depth += 1,
            b')' | b'}' | b']' => {
                depth -= 1;
                if depth == 0 && !statement {
                    return at;
                }
            }
            b';' if depth == 0 && statement => return at,
            _ => {}
        }
    }
    text.len()
}

/// The parts of a text that are done inside a point.
fn inside_points(text: &str) -> Vec<Range<usize>> {
    let mut inside: Vec<Range<usize>> =
        text.match_indices("fail_point::at(").map(|(at, _)| at..end_of(text, at, false)).collect();
    for part in PARTS_OF_STEPS {
        let body = text.find(&format!("fn {part}(")).and_then(|at| Some(at + text[at..].find('{')?));
        inside.extend(body.map(|at| at..end_of(text, at, false)));
    }
    // A closure that was given a name before.
    for (at, _) in text.match_indices("let ") {
        let Some((name, value)) = text[at + 4..].split_once(" = ").filter(|(_, value)| value.starts_with(['|'])) else {
            continue;
        };
        let name = name.trim_start_matches("mut ");
        let end = text.len() - value.len() + end_of(value, 0, true);
        let is_use = |used: &usize| {
            let follows = text[used + name.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '_');
            !follows && !text[..*used].ends_with("let ")
        };
        let used = text[end..].match_indices(name).map(|(used, _)| end + used).find(is_use);
        if let Some(used) = used
            && inside.iter().any(|part| part.contains(&used))
        {
            inside.push(at..end);
        }
    }
    inside
}

/// The steps of a text that stand outside of any point, by their lines.
fn outside_points(text: &str) -> Vec<(usize, String)> {
    let inside = inside_points(text);
    let mut outside = Vec::new();
    for call in CALLS {
        for (at, _) in text.match_indices(call) {
            let rest = &text[at..];
            // `MappedFile::open(` is another.
            let is_whole = !call.starts_with(char::is_alphanumeric) || !text[..at].ends_with(char::is_alphanumeric);
            let is_step =
                call != "dir::" || PARTS_OF_STEPS.iter().any(|part| rest[5..].starts_with(&format!("{part}(")));
            if is_whole && is_step && !inside.iter().any(|part| part.contains(&at)) {
                let line = text[..at].matches('\n').count();
                outside.push((line + 1, text.lines().nth(line).unwrap_or_default().trim().to_owned()));
            }
        }
    }
    outside
}

#[test]
fn every_step_on_the_disk_stands_in_a_point() {
    let mut without = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| !WITHOUT.contains(&&**name)) {
        for (number, line) in outside_points(&text) {
            if !EXEMPT.iter().any(|(file, call)| name == *file && line.contains(call)) {
                without.push(format!("{name}:{number}: {line}"));
            }
        }
    }
    assert!(without.is_empty(), "{without:#?}");
}

#[test]
fn a_step_without_a_point_is_seen() {
    let inside = "let open = || File::open(path)?;\nfail_point::at(\"a::b\", open)?;\nfail_point::at(\"a::c\", || fs::remove_file(path))?;";
    assert_eq!(outside_points(inside), []);
    let outside =
        "let open = || File::open(path)?;\nopen()?;\nfail_point::at(\"a::b\", || Ok(()))?;\ndir::zero_tail(&file, 3)?;";
    assert_eq!(outside_points(outside).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 4]);
}
