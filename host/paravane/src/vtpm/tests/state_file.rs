//! Tests of the state file: persistence, locking, refusals.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::{TempDir, tempdir};
use tpm_commands as commands;

use crate::vtpm::world::Shared;

struct Rig {
    folder: TempDir,
}

impl Rig {
    fn new() -> Self {
        Self { folder: tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The error for a refused file: one line, which must name the file.
fn refusal(path: &Path) -> String {
    let Err(error) = Shared::open(Some(path)) else { panic!("{} is taken", path.display()) };
    let line = format!("{error:#}");
    assert!(!line.contains('\n') && line.contains(path.to_str().unwrap()), "{line}");
    line
}

fn is_done(response: &[u8]) -> bool {
    commands::succeeded(response).is_ok()
}

/// Defines an NV index; false if it exists already.
fn define(tpm: &Shared, index: u32) -> bool {
    tpm.power_on();
    tpm.execute(&commands::startup(), 0);
    is_done(
        &tpm.execute(
            &commands::nv_define(index, commands::endorsement::CERTIFICATE_ATTRIBUTES, 8),
            0,
        ),
    )
}

#[test]
fn a_state_file_is_the_same_tpm_and_one_process_has_it() {
    let rig = Rig::new();
    let file = rig.path("state");
    let first = Shared::open(Some(&file)).unwrap();
    let content = fs::read(&file).unwrap();
    assert!(refusal(&file).contains("another process uses"));
    drop(first);
    drop(Shared::open(Some(&file)).unwrap());
    assert_eq!(fs::read(&file).unwrap(), content, "opening changes nothing");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(rig.folder.path()).unwrap().count(), 1, "nothing lies beside it");
}

#[test]
fn a_change_is_in_the_file_that_was_named_whatever_other_names_it_has() {
    let rig = Rig::new();
    let (file, other) = (rig.path("state"), rig.path("other"));
    drop(Shared::open(Some(&file)).unwrap());
    fs::hard_link(&file, &other).unwrap();
    let first = Shared::open(Some(&file)).unwrap();
    assert!(refusal(&other).contains("another process uses"), "two names, one state");
    assert!(define(&first, 0x0150_0001));
    assert!(refusal(&other).contains("another process uses"), "also after a change");
    drop(first);
    let second = Shared::open(Some(&other)).unwrap();
    assert!(!define(&second, 0x0150_0001), "the index is there already");
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&file), inode(&other));
}

#[test]
fn a_link_is_refused_and_nothing_is_made() {
    let rig = Rig::new();
    let (file, link) = (rig.path("state"), rig.path("link"));
    symlink(&file, &link).unwrap();
    assert!(refusal(&link).contains("is a symbolic link"));
    assert!(!file.exists());
    drop(Shared::open(Some(&file)).unwrap());
    assert!(refusal(&link).contains("is a symbolic link"));
    assert_eq!(fs::read_dir(rig.folder.path()).unwrap().count(), 2);
}

#[test]
fn what_is_no_plain_file_is_refused_and_nobody_waits() {
    let rig = Rig::new();
    let (folder, fifo) = (rig.path("folder"), rig.path("fifo"));
    fs::create_dir(&folder).unwrap();
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    for path in [&folder, &fifo, Path::new("/dev/null")] {
        assert!(refusal(path).ends_with("is no file"), "{}", path.display());
    }
    assert!(refusal(&rig.path("no/state")).contains("can not be made"));
}

#[test]
fn a_file_that_can_not_be_written_is_refused_at_once() {
    let rig = Rig::new();
    let file = rig.path("state");
    drop(Shared::open(Some(&file)).unwrap());
    let mut facts = fs::metadata(&file).unwrap().permissions();
    facts.set_readonly(true);
    fs::set_permissions(&file, facts).unwrap();
    assert!(refusal(&file).contains("is read-only"));
}

/// Needs the right to mount; skipped without it.
#[test]
fn a_file_that_is_mounted_over_another_name_is_one_state() {
    let rig = Rig::new();
    let (file, other) = (rig.path("state"), rig.path("other"));
    drop(Shared::open(Some(&file)).unwrap());
    fs::write(&other, "").unwrap();
    let mount = Command::new("mount").arg("--bind").args([&file, &other]).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    let unmount = || Command::new("umount").arg(&other).status().unwrap();
    let tried = std::panic::catch_unwind(|| {
        let first = Shared::open(Some(&other)).unwrap();
        assert!(define(&first, 0x0150_0001), "a mount point can be written");
        assert!(refusal(&file).contains("another process uses"));
        drop(first);
        let second = Shared::open(Some(&file)).unwrap();
        assert!(!define(&second, 0x0150_0001), "the index is there already");
    });
    unmount();
    tried.unwrap();
}

#[test]
fn a_state_file_that_is_torn_or_foreign_is_refused() {
    let rig = Rig::new();
    let file = rig.path("state");
    drop(Shared::open(Some(&file)).unwrap());
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let (large, blank) = (vec![0; (1 << 20) + 1], vec![0; 1 << 20]);
    let old = b"PVvTPM\0\x01 and so on";
    for content in
        [&[][..], b"something else", &whole[..whole.len() - 1], &flipped, &large, &blank, old]
    {
        fs::write(&file, content).unwrap();
        refusal(&file);
        assert_eq!(fs::read(&file).unwrap(), content, "what is refused is left alone");
    }
    fs::write(&file, &whole).unwrap();
    assert!(Shared::open(Some(&file)).is_ok());
}
