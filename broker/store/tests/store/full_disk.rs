use std::path::Path;
use std::process::Command;

use rmq_store::{Error, MessageStore};

use crate::support::*;

/// A small file system of its own, unmounted at the end.
struct Volume {
    dir: tempfile::TempDir,
    _image: Option<tempfile::NamedTempFile>,
}

impl Volume {
    /// `None` where this process may not mount one.
    fn memory(bytes: u64) -> Option<Volume> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        done(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()))?;
        Some(Volume { dir, _image: None })
    }

    /// The same on blocks: what is written goes there later, and metadata needs some too.
    fn blocks(bytes: u64) -> Option<Volume> {
        let (dir, image) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        image.as_file().set_len(bytes).unwrap();
        done(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-b", "4096", "-O", "^has_journal"]).arg(image.path()))?;
        done(Command::new("mount").args(["-o", "loop"]).arg(image.path()).arg(dir.path()))?;
        Some(Volume { dir, _image: Some(image) })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.dir.path()).status().unwrap();
    }
}

fn done(command: &mut Command) -> Option<()> {
    let status = command.stderr(std::process::Stdio::null()).status();
    status.is_ok_and(|status| status.success()).then_some(())
}

/// Puts until one is refused for want of space; returns how many messages were taken. There really
/// is none: a first refusal used to come when the next step ahead did not fit.
fn fill(store: &MessageStore, from: u64) -> u64 {
    let mut taken = from;
    loop {
        let mut body = taken.to_be_bytes().to_vec();
        body.resize(3000, 1);
        match store.put(&message("T", 0, &format!("KEYS\u{1}k{taken}\u{2}"), &body)) {
            Ok(_) => taken += 1,
            Err(Error::Full { .. }) => {
                let used = store.disk_use().unwrap().commit_log;
                assert!(used > 98.0, "message {taken} is refused at {used} %");
                return taken;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn numbers(store: &MessageStore) -> Vec<u64> {
    read_all(store, "T", 0).iter().map(|(_, body)| u64::from_be_bytes(body[..8].try_into().unwrap())).collect()
}

#[test]
fn a_full_volume_refuses_writes_serves_reads_and_takes_writes_again() {
    // On the smallest one ext4 gives all blocks away and then has no room for its own notes: pages
    // of theirs may not be had.
    for (volume, ballast, more) in [
        (Volume::memory(3 << 20), 1 << 20, 100),
        (Volume::blocks(16 << 20), 4 << 20, 100),
        (Volume::blocks(8 << 20), 1 << 20, 10),
    ] {
        match volume {
            Some(volume) => fill_and_make_room(&volume, ballast, more),
            None => skipped("this process may not mount a file system: run it as root, with mkfs.ext4"),
        }
    }
}

fn fill_and_make_room(volume: &Volume, ballast: usize, more: u64) {
    let root = volume.path().join("store");
    let mut config = config(&root);
    // A volume that could never hold a whole file.
    config.commit_log_file_size = 1 << 30;
    config.index.slots = 1000;
    config.index.entries = 10_000;
    config.allocation.step = 1 << 20;
    config.max_message_size = 16 << 20;
    let open = || MessageStore::open(config.clone(), Vec::new()).unwrap();
    let store = open();
    std::fs::write(volume.path().join("ballast"), vec![1; ballast]).unwrap();
    let mut first = fill(&store, 0);
    assert!(first > 100, "{first} messages fit");
    // Again and again an error and nothing else; a page that some other file gave back may still be
    // used.
    for _ in 0..20 {
        first = fill(&store, first);
    }
    settle(&store);
    assert!(numbers(&store).into_iter().eq(0..store.max_offset("T", 0).get()));

    std::fs::remove_file(volume.path().join("ballast")).unwrap();
    // What does not fit takes nothing from what does.
    let large = store.put(&message("Large", 0, "", &vec![1; 2 * ballast])).unwrap_err();
    assert!(matches!(large, Error::Full { .. }), "{large}");
    let second = fill(&store, first);
    assert!(second > first + more, "{second} messages fit after {first}");
    settle(&store);
    assert!(numbers(&store).into_iter().eq(0..second));
    drop(store);
    // A start on a full volume reads back everything, and writes wait for space.
    let store = open();
    settle(&store);
    assert!(numbers(&store).into_iter().eq(0..second));
}
