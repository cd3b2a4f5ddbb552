//! Directories and blocks: the calls whose outcome decides what is durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::fail_point;
use crate::mapped_file::region;

/// Creates `path` and its parents. A caller that needs their names to be durable syncs them.
pub(crate) fn create(path: &Path) -> Result<()> {
    fail_point::at("directory::create", || fs::create_dir_all(path)).map_err(Error::io("create the directory", path))
}

/// Creates `path` and its parents and makes their names durable.
pub(crate) fn create_durably(path: &Path) -> Result<()> {
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let created: Vec<&Path> = path.ancestors().take_while(missing).collect();
    create(path)?;
    for parent in created.into_iter().rev().filter_map(Path::parent) {
        sync(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
    }
    Ok(())
}

/// Makes the names in `path` durable: files created, renamed or deleted there.
pub(crate) fn sync(path: &Path) -> Result<()> {
    let dir = fail_point::at("directory::open", || File::open(path)).map_err(Error::io("open the directory", path))?;
    fail_point::at("directory::sync", || dir.sync_all()).map_err(Error::sync(path))
}

/// The entries of a directory whose names are decimal numbers, in numeric order; none if the
/// directory does not exist.
pub(crate) fn numbered(path: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match fail_point::at("directory::read", || fs::read_dir(path)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read the directory", path)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read the directory", path))?;
        let path = entry.path();
        if let Some(number) = number(&path) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The number that is the name of a file, if it is one.
pub(crate) fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.parse().ok())?
}

/// The name of a file that begins at this offset: 20 digits.
pub(crate) fn file_name(offset: u64) -> String {
    format!("{offset:020}")
}

/// Preallocates a range of a file, so that writing there cannot run out of space.
pub(crate) fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, from, to.saturating_sub(from)) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP) => {
            // Some network and user-space file systems allocate blocks only for written bytes.
            write_zeros(file, from, to)
        }
        Err(error) => Err(error.into()),
    }
}

/// Zeros of one write, which ends at a multiple of this size in the file: the system keeps its
/// pages as one folio, and no other thread of the CPU waits longer for them.
pub(crate) const ZEROS_AT_ONCE: u64 = 256 << 10;

/// Writes zeros to a range of a file.
pub(crate) fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; ZEROS_AT_ONCE as usize] = [0; ZEROS_AT_ONCE as usize];
    let mut at = from;
    while at < to {
        let end = to.min((at + 1).next_multiple_of(ZEROS_AT_ONCE));
        file.write_all_at(&ZEROS[..(end - at) as usize], at)?;
        at = end;
    }
    Ok(())
}

/// Zeroes the file from `from` to its end and frees its blocks.
pub(crate) fn zero_tail(file: &File, from: u64) -> io::Result<()> {
    let len = file.metadata()?.len();
    if from >= len {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, len - from) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP) => {
            let (mut chunk, mut at) = (vec![0; 1 << 20], from);
            while at < len {
                let part = (len - at).min(chunk.len() as u64) as usize;
                file.read_exact_at(&mut chunk[..part], at)?;
                if chunk[..part].iter().any(|byte| *byte != 0) {
                    chunk[..part].fill(0);
                    file.write_all_at(&chunk[..part], at)?;
                }
                at += part as u64;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Drops the clean pages of a file from `from` on from the page cache, so that they are read from
/// the disk. Dirty pages stay.
pub(crate) fn forget_clean_pages(path: &Path, from: u64) -> Result<()> {
    let file = fail_point::at("commit_log::open", || File::open(path)).map_err(Error::io("open", path))?;
    // This is advice: a file system that caches nothing, or is nothing but memory, has nothing to
    // drop.
    let _ = rustix::fs::fadvise(&file, from, None, rustix::fs::Advice::DontNeed);
    Ok(())
}

/// The first place at or behind `at` where a file has data; `None` if only a hole or its end
/// follows.
pub(crate) fn data_from(file: &File, at: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok(Some(at.max(data))),
        Err(Errno::NXIO) => Ok(None),
        // A file system without this information reports data everywhere.
        Err(Errno::INVAL) => Ok((at < file.metadata()?.len()).then_some(at)),
        Err(error) => Err(error.into()),
    }
}

/// Fills `into`, or as much of it as the file has from `at` on, and returns how many bytes that
/// was.
pub(crate) fn read_up_to(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(&mut into[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Used and total bytes of the volume that contains a path, as `df` counts them.
pub(crate) fn usage(path: &Path) -> Result<(u64, u64)> {
    let ask = || Ok(rustix::fs::statvfs(path)?);
    let stat = fail_point::at("directory::usage", ask).map_err(Error::io("ask for the free space of", path))?;
    let (total, free, available) = (stat.f_blocks, stat.f_bfree, stat.f_bavail);
    let used = total.saturating_sub(free);
    // Space reserved for root counts as neither used nor free.
    Ok((used * stat.f_frsize, (used + available) * stat.f_frsize))
}

/// Keeps other brokers out of the directory until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the store in `root`; the error names the process that holds it.
    ///
    /// A lock of the open file description: it conflicts with the POSIX lock that a Java broker
    /// takes and with a second store of this process, and only ends when this value is dropped. A
    /// POSIX lock would end when anything in the process closes the file. Not `flock`: Java does
    /// not see it, and NFS keeps it as a record lock that would conflict with this one.
    pub(crate) fn acquire(root: &Path) -> Result<Lock> {
        let path = root.join("lock");
        let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = fail_point::at("lock::open", open).map_err(Error::io("open", &path))?;
        take(&file, &path, true)?;
        let write = || file.set_len(0).and_then(|()| file.write_all(b"lock"));
        fail_point::at("lock::write", write).map_err(Error::io("write", &path))?;
        Ok(Lock { _file: file })
    }

    /// Keeps brokers out while the store in `root` is only read, and admits other readers. `None`
    /// if no broker ever used the directory; a read-only volume works too.
    pub(crate) fn acquire_shared(root: &Path) -> Result<Option<Lock>> {
        let path = root.join("lock");
        let file = match fail_point::at("lock::open", || File::open(&path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        take(&file, &path, false)?;
        Ok(Some(Lock { _file: file }))
    }
}

fn take(file: &File, path: &Path, exclusive: bool) -> Result<()> {
    match region::lock_description(file, exclusive) {
        Ok(()) => Ok(()),
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::AGAIN | Errno::ACCESS)) => {
            Err(Error::Locked { path: path.to_owned() })
        }
        Err(error) => Err(Error::io("lock", path)(error)),
    }
}

/// The file that exists while a store is open: if a start finds it, the last stop was not clean.
#[derive(Debug)]
pub(crate) struct AbortMark {
    path: PathBuf,
}

impl AbortMark {
    pub(crate) fn new(root: &Path) -> Self {
        AbortMark { path: root.join("abort") }
    }

    pub(crate) fn exists(&self) -> Result<bool> {
        fail_point::at("abort::look", || self.path.try_exists()).map_err(Error::io("look at", &self.path))
    }

    /// Whether the mark was left by a process of the current boot of the system. If so, everything
    /// that it wrote is still in the page cache or on the disk; after a reboot only synced data is
    /// certain. Java's marks do not contain the boot, nor do marks whose contents a power failure
    /// lost.
    pub(crate) fn is_of_this_boot(&self) -> bool {
        match fail_point::at("abort::read", || fs::read_to_string(&self.path)) {
            Ok(text) => boot_id().is_some_and(|boot| text.lines().nth(1) == Some(boot.as_str())),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot tell whether the system was restarted; taken for restarted");
                false
            }
        }
    }

    /// Writes the process id, as Java does, and below it the boot id of the system, if it has one.
    pub(crate) fn set(&self) -> Result<()> {
        let text = format!("{}\n{}", std::process::id(), boot_id().unwrap_or_default());
        let write = || fs::write(&self.path, text);
        fail_point::at("abort::write", write).map_err(Error::io("write", &self.path))?;
        self.sync_parent()
    }

    /// Removes the boot id from the mark: the last writes of the process are lost.
    pub(crate) fn set_lost(&self) -> Result<()> {
        let write = || fs::write(&self.path, std::process::id().to_string());
        fail_point::at("abort::write", write).map_err(Error::io("write", &self.path))
    }

    pub(crate) fn clear(&self) -> Result<()> {
        match fail_point::at("abort::delete", || fs::remove_file(&self.path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &self.path)(error)),
            _ => self.sync_parent(),
        }
    }

    fn sync_parent(&self) -> Result<()> {
        self.path.parent().map_or(Ok(()), sync)
    }
}

/// Linux generates a new one at each boot. It belongs to the kernel, not to a container.
fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_whether_the_system_was_restarted_since() {
        let root = tempfile::tempdir().unwrap();
        let mark = AbortMark::new(root.path());
        mark.set().unwrap();
        assert!(mark.exists().unwrap() && mark.is_of_this_boot());
        for left in ["", "17", "17\nanother-boot", "\n"] {
            fs::write(root.path().join("abort"), left).unwrap();
            assert!(!mark.is_of_this_boot(), "{left:?}");
        }
        mark.clear().unwrap();
        assert!(!mark.is_of_this_boot());
    }

    #[test]
    fn a_second_store_in_the_same_process_is_kept_out() {
        let root = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(root.path()).unwrap();
        assert!(matches!(Lock::acquire(root.path()), Err(Error::Locked { .. })));
        drop(lock);
        Lock::acquire(root.path()).unwrap();
        assert_eq!(fs::read(root.path().join("lock")).unwrap(), b"lock");
    }

    /// A POSIX record lock ends with any descriptor of the file that the process closes.
    #[test]
    fn a_look_into_the_lock_file_does_not_let_a_java_broker_in() {
        use rustix::fs::{FlockOperation, fcntl_lock};
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let lock = Lock::acquire(root.path()).unwrap();
        drop(File::open(&path).unwrap());
        // The lock that Java's FileChannel requests.
        let java = File::options().write(true).open(&path).unwrap();
        assert_eq!(fcntl_lock(&java, FlockOperation::NonBlockingLockExclusive), Err(Errno::AGAIN));
        drop(lock);
        assert_eq!(fcntl_lock(&java, FlockOperation::NonBlockingLockExclusive), Ok(()));
        assert!(matches!(Lock::acquire(root.path()), Err(Error::Locked { .. })));
        // The file that was opened for that attempt and closed again has released Java's lock, as
        // it would in a Java process.
        assert_eq!(fcntl_lock(&java, FlockOperation::NonBlockingLockExclusive), Ok(()));
        assert!(matches!(Lock::acquire_shared(root.path()), Err(Error::Locked { .. })));
        drop(java);
        let readers = [(); 2].map(|()| Lock::acquire_shared(root.path()).unwrap());
        assert!(matches!(Lock::acquire(root.path()), Err(Error::Locked { .. })));
        drop(readers);
        Lock::acquire(root.path()).unwrap();
    }

    #[test]
    fn zeroing_a_tail_keeps_the_size_and_what_lies_before() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 10_000], 0).unwrap();
        zero_tail(&file, 5001).unwrap();
        let mut bytes = vec![1; 10_000];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes[..5001].iter().all(|byte| *byte == 7) && bytes[5001..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn only_numbers_are_file_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["00000000000000000020", "00000000000000000003", "x", "+5", "00000000000000000007.tmp"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let offsets: Vec<_> = numbered(dir.path()).unwrap().into_iter().map(|(offset, _)| offset).collect();
        assert_eq!(offsets, [3, 20]);
        assert_eq!(file_name(1 << 30), "00000000001073741824");
        assert!(numbered(&dir.path().join("none")).unwrap().is_empty());
    }
}
