//! Small files that are replaced as a whole: the configuration tables of the broker.
//!
//! The order makes every moment safe: the new contents are complete and durable under a temporary
//! name before any existing name changes; then the old file becomes `.bak`; then the new one takes
//! its name. A reader finds the new file, or the old one as `.bak`. The files and the fallback are
//! the same as in Java.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::dir;
use crate::error::{Error, Result};
use crate::fail_point;

/// Replaces the contents of `path`; the previous contents stay in the file of the same name with
/// `.bak`.
pub fn replace(path: &Path, contents: &[u8]) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    dir::create_durably(parent)?;
    let temporary = with_suffix(path, ".tmp");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(contents)?;
        Ok(file)
    };
    let file = fail_point::at("durable_file::write", write).map_err(Error::io("write", &temporary))?;
    fail_point::at("durable_file::sync", || file.sync_all()).map_err(Error::sync(&temporary))?;
    match fail_point::at("durable_file::rename", || fs::rename(path, backup(path))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("rename", path)(error)),
        _ => {}
    }
    let rename = || fs::rename(&temporary, path);
    fail_point::at("durable_file::rename", rename).map_err(Error::io("rename", &temporary))?;
    dir::sync(parent)
}

/// Reads `path` through `parse`, or its `.bak` if it is missing or cannot be parsed. `None` if
/// neither exists; the error of `path` itself if there is no usable backup.
pub fn load<T, E: From<Error>>(path: &Path, parse: impl Fn(&[u8]) -> Result<T, E>) -> Result<Option<T>, E> {
    let backup = backup(path);
    match read(path)?.map(|contents| parse(&contents)) {
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(error)) => match read(&backup)?.map(|contents| parse(&contents)) {
            Some(Ok(value)) => {
                tracing::warn!(path = %path.display(), "the file cannot be read, its backup is used");
                Ok(Some(value))
            }
            _ => Err(error),
        },
        None => read(&backup)?.map(|contents| parse(&contents)).transpose(),
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fail_point::at("durable_file::read", || fs::read(path)) {
        Ok(contents) => Ok(Some(contents)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

fn backup(path: &Path) -> PathBuf {
    with_suffix(path, ".bak")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(contents: &[u8]) -> Result<String> {
        String::from_utf8(contents.to_vec()).map_err(|error| Error::Config(error.to_string()))
    }

    #[test]
    fn the_old_contents_become_the_backup() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config/topics.json");
        assert_eq!(load(&path, text).unwrap(), None);
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(load(&path, text).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::read(dir.path().join("config/topics.json.bak")).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path().join("config")).unwrap().count(), 2);
    }

    #[test]
    fn the_backup_stands_in_for_a_missing_or_broken_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("topics.json");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        fs::write(&path, [0xFF]).unwrap();
        assert_eq!(load(&path, text).unwrap().as_deref(), Some("one"));
        fs::remove_file(&path).unwrap();
        assert_eq!(load(&path, text).unwrap().as_deref(), Some("one"));
    }

    #[test]
    fn without_a_good_backup_the_fault_of_the_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("topics.json");
        fs::write(&path, [0xFF]).unwrap();
        assert!(matches!(load(&path, text), Err(Error::Config(_))));
    }
}
