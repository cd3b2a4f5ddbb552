//! Small durable files: replaced as a whole, with the previous one kept as `.bak`.
//!
//! ```text
//! write NAME.tmp, fsync
//!   -> NAME.bak becomes what NAME is (a second link, renamed into place)
//!   -> rename NAME.tmp to NAME
//!   -> fsync the directory
//! ```
//!
//! If the process or the machine stops at any time, NAME is a complete file, old or new.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The path of the file before the last [`replace`].
pub(crate) fn backup(path: &Path) -> PathBuf {
    with_suffix(path, ".bak")
}

/// Replaces the contents of the file, and creates missing directories. Blocks until they are on
/// disk.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let new = with_suffix(path, ".tmp");
    write(&new, content)?;
    if path.exists() {
        keep_backup(path)?;
    }
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

fn keep_backup(path: &Path) -> io::Result<()> {
    let link = with_suffix(path, ".bak.tmp");
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if fs::hard_link(path, &link).is_err() {
        // Some network volumes do not support links.
        write(&link, &fs::read(path)?)?;
    }
    fs::rename(&link, backup(path))
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_before_is_kept_and_folders_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/kvConfig.json");
        for (content, before) in [("1", None), ("2", Some("1")), ("3", Some("2"))] {
            replace(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::read_to_string(backup(&path)).ok().as_deref(), before);
        }
        let names: Vec<_> =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
}
