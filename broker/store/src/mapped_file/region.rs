//! Mapped memory. This is the only unsafe code of the workspace, so the one system call that no
//! safe crate offers is here, too: [`lock_description`].
//!
//! The hazards of a mapping, and how this module prevents them:
//!
//! * *Blocks.* A write to a page for which the file system has no block kills the process (SIGBUS).
//!   Nothing above `ready` is ever touched, and `ready` is only raised over blocks that are really
//!   allocated.
//! * *Bad sectors.* A read of a page that the disk cannot deliver kills the process as well. Pages
//!   that may not be in memory are prefetched before an access, so that this is an error; kernels
//!   before 5.14 cannot do that.
//! * *Another process* that truncates the file has the same effect. The store's lock file keeps
//!   other brokers out.
//! * *Aliasing.* Bytes below `published` never change again, so shared slices of them are sound.
//!   Bytes above it belong to the only [`Cursor`] of the region; no reader can access them.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::io::Errno;

/// How the pages of a file that takes appends are faulted in. The system keeps pages that were
/// faulted in together as one folio of up to 2 MiB, and writes them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    /// One by one. For small syncs: each would otherwise write the whole folio, and the next append
    /// would pay for a fault in all of it.
    Single,
    /// Many together, which costs less if a sync writes much at once.
    Many,
}

/// A file mapped for appending: `published <= ready <= len`.
#[derive(Debug)]
pub(crate) struct Region {
    map: MmapRaw,
    published: AtomicUsize,
    ready: AtomicUsize,
}

impl Region {
    /// Maps `len` bytes of `file`, of which the first `published` can be read and will not change
    /// any more. The cursor appends behind them, once [`Region::make_ready`] has prepared pages
    /// there.
    pub(crate) fn map(file: &File, len: usize, published: usize) -> io::Result<(Arc<Region>, Cursor)> {
        if file.metadata()?.len() < len as u64 || published > len {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is shorter than its mapping"));
        }
        Ok(Self::over(MmapOptions::new().len(len).map_raw(file)?, published))
    }

    fn over(map: MmapRaw, published: usize) -> (Arc<Region>, Cursor) {
        let region =
            Arc::new(Region { map, published: AtomicUsize::new(published), ready: AtomicUsize::new(published) });
        let cursor = Cursor { region: Arc::clone(&region), at: published };
        (region, cursor)
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Bytes that can be read.
    pub(crate) fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// Bytes whose pages can be written without a fatal fault.
    pub(crate) fn ready(&self) -> usize {
        self.ready.load(Ordering::Acquire)
    }

    /// The bytes from `at`; `None` if not all of them are published.
    pub(crate) fn bytes(&self, at: usize, len: usize) -> Option<&[u8]> {
        let end = at.checked_add(len)?;
        if end > self.published() {
            return None;
        }
        // SAFETY: at..end lies within the mapping because published <= len. The cursor only writes
        // at or above `published`, and published bytes were written before the Release store this
        // thread's Acquire load has seen, so no thread writes to them while the slice lives; the
        // mapping lives as long as `self`.
        Some(unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(at), len) })
    }

    /// Prefetches published bytes, as far as the disk can read them. To touch them if it cannot
    /// would kill the process.
    pub(crate) fn fetch(&self, at: usize, len: usize) -> io::Result<()> {
        let len = len.min(self.published().saturating_sub(at));
        if len == 0 {
            return Ok(());
        }
        match self.map.advise_range(Advice::PopulateRead, at, len) {
            // Kernels before 5.14 do not support this.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            Err(error) if error.raw_os_error() == Some(Errno::FAULT.raw_os_error()) => Err(Errno::IO.into()),
            outcome => outcome,
        }
    }

    /// Whether those of the bytes that are published are in memory. Only the owner of the file may
    /// ask: to other users the system reports every page as resident.
    pub(crate) fn is_resident(&self, at: usize, len: usize) -> bool {
        let end = at.saturating_add(len).min(self.published());
        let page = rustix::param::page_size();
        let at = at - at % page;
        if end <= at {
            return true;
        }
        let mut pages = vec![0_u8; (end - at).div_ceil(page)];
        // SAFETY: at..end lies within the mapping because published <= len, and begins on a page,
        // as mappings do; `pages` has a byte for each page of it. The call reads nothing of the
        // mapping itself.
        let asked = unsafe { libc::mincore(self.map.as_mut_ptr().add(at).cast(), end - at, pages.as_mut_ptr()) };
        asked == 0 && pages.iter().all(|page| page & 1 == 1)
    }

    /// Prefaults pages up to `to` and lets the cursor write there. The caller has allocated their
    /// blocks. One thread at a time calls this.
    pub(crate) fn make_ready(&self, to: usize) -> io::Result<()> {
        let (from, to) = (self.ready(), to.min(self.len()));
        if to <= from {
            return Ok(());
        }
        match self.map.advise_range(Advice::PopulateWrite, from, to - from) {
            Ok(()) => {}
            // Kernels before 5.14 do not support this.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.touch_each(from, to),
            // Touching a page would kill the process. Its blocks were allocated, but on a full
            // volume ext4 may have no room for the metadata of the write.
            Err(error) if error.raw_os_error() == Some(Errno::FAULT.raw_os_error()) => {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Err(error) => return Err(error),
        }
        self.ready.fetch_max(to, Ordering::Release);
        Ok(())
    }

    fn touch_each(&self, from: usize, to: usize) {
        for at in (from..to).step_by(4096) {
            // SAFETY: from..to lies within the mapping, above what the cursor may write (it stays
            // below `ready`) and what readers may read (below `published` <= `ready`). An atomic
            // that adds nothing leaves the byte as it is whatever else maps the file.
            let byte = unsafe { AtomicU8::from_ptr(self.map.as_mut_ptr().add(at)) };
            byte.fetch_or(0, Ordering::Relaxed);
        }
    }

    /// Advises the system how to fault pages in from now on. A system that ignores it is only
    /// slower.
    pub(crate) fn advise(&self, pages: Pages) {
        let advice = match pages {
            Pages::Single => Advice::Random,
            Pages::Many => Advice::Normal,
        };
        let _ = self.map.advise(advice);
    }

    /// Syncs the bytes of a range.
    pub(crate) fn flush(&self, from: usize, to: usize) -> io::Result<()> {
        self.map.flush_range(from, to.saturating_sub(from))
    }
}

/// The only way to write to a [`Region`]: there is one for each, and it only moves forward.
#[derive(Debug)]
pub(crate) struct Cursor {
    region: Arc<Region>,
    at: usize,
}

impl Cursor {
    /// Lets `write` fill the next `len` bytes and publishes them. Returns `false`, with nothing
    /// written, if the region is not ready that far. If `write` panics nothing is published.
    pub(crate) fn append(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> bool {
        let end = match self.at.checked_add(len) {
            Some(end) if end <= self.region.ready() => end,
            _ => return false,
        };
        // SAFETY: at..end lies within the mapping because ready <= len. It lies above `published`,
        // which equals `at`, so no reader has a slice of it; `make_ready` only touches above
        // `ready`; and this is the region's only cursor, borrowed mutably, so no second writer
        // exists.
        write(unsafe { std::slice::from_raw_parts_mut(self.region.map.as_mut_ptr().add(self.at), len) });
        self.at = end;
        self.region.published.store(end, Ordering::Release);
        debug_assert!(self.at <= self.region.ready(), "the cursor is ahead of what is ready");
        true
    }
}

/// A mapped file of big-endian 32-bit words that are changed in place while others read them: each
/// word is an atomic.
#[derive(Debug)]
pub(crate) struct Words {
    map: MmapRaw,
    ready: AtomicUsize,
}

impl Words {
    /// Maps `len` bytes of `file`; the first `ready` of them have blocks.
    pub(crate) fn map(file: &File, len: usize, ready: usize) -> io::Result<Words> {
        if file.metadata()?.len() < len as u64 || ready > len {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is shorter than its mapping"));
        }
        Ok(Words { map: MmapOptions::new().len(len).map_raw(file)?, ready: AtomicUsize::new(ready) })
    }

    /// Allows access to words up to `ready` bytes: the caller has allocated their blocks.
    pub(crate) fn set_ready(&self, ready: usize) {
        self.ready.fetch_max(ready.min(self.map.len()), Ordering::Release);
    }

    pub(crate) fn ready(&self) -> usize {
        self.ready.load(Ordering::Acquire)
    }

    fn word(&self, at: usize) -> Option<&AtomicU32> {
        if !at.is_multiple_of(4) || at.checked_add(4)? > self.ready() {
            return None;
        }
        // SAFETY: at..at+4 lies within the mapping because ready <= len, and is aligned because
        // mappings begin on a page. All access to this memory goes through these atomics, so there
        // is no data race; it lives as long as `self`.
        Some(unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(at).cast()) })
    }

    /// The word at byte `at`; `None` outside of what is ready.
    pub(crate) fn load(&self, at: usize) -> Option<u32> {
        self.word(at).map(|word| u32::from_be(word.load(Ordering::Acquire)))
    }

    /// Sets the word at byte `at`; `false` outside of what is ready.
    pub(crate) fn store(&self, at: usize, value: u32) -> bool {
        self.word(at).map(|word| word.store(value.to_be(), Ordering::Release)).is_some()
    }

    /// Syncs everything.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.map.flush()
    }
}

/// Locks a whole file for its open file description (`F_OFD_SETLK`), shared or exclusive, without
/// blocking. The lock ends with the last descriptor of that description, whatever else of the
/// process opens and closes the file. It conflicts with the POSIX record locks of other processes
/// and of this one.
pub(crate) fn lock_description(file: &File, exclusive: bool) -> io::Result<()> {
    let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
    // A length of 0 means everything from the start on; the process id has to be 0.
    let lock = libc::flock { l_type: kind as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
    // SAFETY: the descriptor is open as long as `file` is borrowed, and the call only reads the
    // struct, which outlives it.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_file_of_the_workspace_allows_unsafe_code() {
        fn allowing(dir: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
                    allowing(&path, found);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let lint = ["allow(unsafe", "_code)"].concat();
                    if text.contains(&lint) || text.contains(&lint.replace("allow", "expect")) {
                        found.push(path);
                    }
                }
            }
        }
        let mut found = Vec::new();
        allowing(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), &mut found);
        assert!(found.len() == 1 && found[0].ends_with("store/src/mapped_file/region.rs"), "{found:?}");
    }

    fn file(len: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    }

    /// Runs the reads and writes of the SAFETY comments in an interpreter that checks them
    /// (`tests/run sanitizers`). It cannot map files, so the mapping is anonymous, and the parts
    /// that only a system provides are left out.
    mod miri {
        use super::*;
        use std::thread;

        #[cfg(miri)]
        const LEN: usize = 600;
        #[cfg(not(miri))]
        const LEN: usize = 600_000;

        fn memory(len: usize) -> MmapRaw {
            MmapOptions::new().len(len).map_anon().unwrap().into()
        }

        #[test]
        fn readers_keep_their_bytes_while_the_cursor_writes_and_pages_are_touched() {
            let (region, mut cursor) = Region::over(memory(LEN), 0);
            thread::scope(|scope| {
                let mut readers = Vec::new();
                for _ in 0..2 {
                    let region = &region;
                    readers.push(scope.spawn(move || {
                        let (mut seen, mut kept) = (0, Vec::new());
                        while seen < LEN {
                            let now = region.published();
                            kept.extend(region.bytes(seen, now - seen));
                            assert!(region.bytes(now, LEN + 1 - now).is_none());
                            seen = now;
                            thread::yield_now();
                        }
                        kept.concat().iter().enumerate().all(|(at, byte)| *byte == at as u8)
                    }));
                }
                scope.spawn(|| {
                    for to in (0..=LEN).step_by(LEN / 12) {
                        region.touch_each(region.ready(), to);
                        region.ready.fetch_max(to, Ordering::Release);
                        thread::yield_now();
                    }
                });
                while cursor.at < LEN {
                    let at = cursor.at;
                    let write =
                        |slot: &mut [u8]| slot.iter_mut().enumerate().for_each(|(i, byte)| *byte = (at + i) as u8);
                    if !cursor.append(LEN / 60, write) {
                        thread::yield_now();
                    }
                }
                assert!(readers.into_iter().all(|reader| reader.join().unwrap()));
            });
        }

        #[test]
        fn words_are_read_while_others_change_them() {
            let words = Words { map: memory(64), ready: AtomicUsize::new(64) };
            thread::scope(|scope| {
                scope.spawn(|| (1..=50).for_each(|value| assert!(words.store(60, value))));
                let mut last = 0;
                while last < 50 {
                    let now = words.load(60).unwrap();
                    assert!(now >= last, "{now} after {last}");
                    last = now;
                    thread::yield_now();
                }
            });
            assert_eq!((words.load(64), words.load(61), words.load(0)), (None, None, Some(0)));
        }
    }

    #[test]
    fn readers_see_what_is_published_and_nothing_else() {
        let (region, mut cursor) = Region::map(&file(10_000), 10_000, 0).unwrap();
        assert!(!cursor.append(1, |_| unreachable!()), "nothing is ready yet");
        region.make_ready(5000).unwrap();
        assert!(cursor.append(10, |slot| slot.copy_from_slice(b"0123456789")));
        assert_eq!(region.bytes(2, 3), Some(&b"234"[..]));
        assert_eq!(region.bytes(8, 3), None);
        assert_eq!(region.bytes(usize::MAX, 2), None);
        assert!(!cursor.append(4991, |_| unreachable!()));
        assert!(cursor.append(4990, |slot| slot.fill(7)));
        assert_eq!((region.published(), region.ready()), (5000, 5000));
        region.make_ready(20_000).unwrap();
        assert_eq!(region.ready(), 10_000);
        region.flush(0, 5000).unwrap();
    }

    #[test]
    fn a_panic_while_writing_publishes_nothing() {
        let (region, mut cursor) = Region::map(&file(4096), 4096, 0).unwrap();
        region.make_ready(4096).unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cursor.append(4, |_| panic!("torn"))));
        assert!(panicked.is_err());
        assert_eq!(region.published(), 0);
        assert!(cursor.append(4, |slot| slot.copy_from_slice(b"next")));
        assert_eq!(region.bytes(0, 4), Some(&b"next"[..]));
    }

    /// Every error was taken for that of an old kernel, and each page was then touched: the process
    /// was killed on a page without a block.
    #[test]
    fn a_page_that_cannot_be_had_is_an_error_and_no_signal() {
        let file = file(16 << 10);
        let (region, mut cursor) = Region::map(&file, 16 << 10, 0).unwrap();
        file.set_len(8 << 10).unwrap();
        assert_eq!(region.make_ready(16 << 10).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(!cursor.append(1, |_| unreachable!()));
        region.make_ready(8 << 10).unwrap();
        assert!(cursor.append(8 << 10, |slot| slot.fill(1)));
    }

    #[test]
    fn bytes_that_the_disk_does_not_give_are_an_error_and_no_signal() {
        let file = file(16 << 10);
        let (region, _) = Region::map(&file, 16 << 10, 12 << 10).unwrap();
        region.fetch(0, 12 << 10).unwrap();
        file.set_len(8 << 10).unwrap();
        assert_eq!(region.fetch(5000, 4000).unwrap_err().raw_os_error(), Some(Errno::IO.raw_os_error()));
        region.fetch(5000, 3000).unwrap();
        // No reader can access bytes that are not published.
        region.fetch(12 << 10, 100).unwrap();
        region.fetch(usize::MAX, usize::MAX).unwrap();
    }

    #[test]
    fn a_file_shorter_than_its_mapping_is_refused() {
        assert!(Region::map(&file(10), 11, 0).is_err());
        assert!(Words::map(&file(10), 11, 0).is_err());
    }

    #[test]
    fn words_are_big_endian_and_bounded_by_what_is_ready() {
        let file = file(64);
        let words = Words::map(&file, 64, 8).unwrap();
        assert!(words.store(4, 0x0102_0304));
        assert_eq!(words.load(4), Some(0x0102_0304));
        assert_eq!((words.load(8), words.load(5), words.store(8, 1)), (None, None, false));
        words.set_ready(100);
        assert!(words.store(60, 1) && words.load(64).is_none());
        let mut bytes = [0; 4];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 4).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4]);
    }
}
