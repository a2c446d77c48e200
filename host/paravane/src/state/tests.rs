//! Tests of the files that a user may give, or that are made.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::{TempDir, tempdir};

use super::*;

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

    fn put(&self, name: &str, bytes: usize) -> PathBuf {
        fs::write(self.path(name), vec![7; bytes]).unwrap();
        self.path(name)
    }

    /// Prepares the state `s` with the key beside it.
    fn prepare(&self) -> Result<State> {
        State::prepare(&self.path("s"), None, None)
    }

    /// The error for a refused state: one line, which must contain the path of the file `names`.
    fn refusal(&self, key: Option<&str>, names: &str) -> String {
        let key = key.map(|name| self.path(name));
        let error = State::prepare(&self.path("s"), key.as_deref(), None).unwrap_err();
        let line = format!("{error:#}");
        assert!(
            !line.contains('\n') && line.contains(self.path(names).to_str().unwrap()),
            "{line}"
        );
        line.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The content of a state and its key that QEMU reads.
fn content_of(state: &State) -> (Vec<u8>, Vec<u8>) {
    let (file, key) = state.pass().unwrap();
    (fs::read(file).unwrap(), fs::read(key).unwrap())
}

#[test]
fn a_state_is_made_with_its_key_for_its_owner_alone() {
    let rig = Rig::new();
    let state = rig.prepare().unwrap();
    let [file, key_file] = ["s", "s.key"].map(|name| rig.path(name));
    let content = fs::read(&file).unwrap();
    assert!(content.len() == 1 << 20 && content.starts_with(b"PVstate"));
    let key = fs::read(&key_file).unwrap();
    assert!(key.len() == 32 && key != [0; 32]);
    assert_eq!((mode(&file), mode(&key_file)), (0o600, 0o600));
    assert_eq!(content_of(&state), (content, key.clone()));
    assert_eq!(fs::read_dir(rig.folder.path()).unwrap().count(), 2, "nothing else is left");
    // The next run keeps both files.
    drop(state);
    fs::write(rig.path("s"), vec![9; 1 << 20]).unwrap();
    let again = rig.prepare().unwrap();
    assert_eq!(content_of(&again), (vec![9; 1 << 20], key.clone()));
    let other = Rig::new().prepare().map(|state| content_of(&state).1);
    assert_ne!(other.unwrap(), key);
}

#[test]
fn another_authority_is_for_a_new_state_alone() {
    let rig = Rig::new();
    let made = rig.path("ca");
    fs::write(&made, "no PEM").unwrap();
    let error = State::prepare(&rig.path("s"), None, Some(&made)).unwrap_err();
    assert!(format!("{error:#}").contains("no `-----BEGIN CERTIFICATE-----` in it"), "{error:#}");
    assert!(!rig.path("s").exists());
    drop(rig.prepare().unwrap());
    let error = State::prepare(&rig.path("s"), None, Some(&made)).unwrap_err();
    assert!(format!("{error:#}").contains("is there already"), "{error:#}");
}

#[test]
fn a_key_that_is_given_is_used_and_none_is_made() {
    let rig = Rig::new();
    assert_eq!(rig.refusal(Some("k"), "k"), "the state's key k is not there");
    assert!(!rig.path("s").exists(), "no state without its key");
    let key = rig.put("k", 32);
    let state = State::prepare(&rig.path("s"), Some(&key), None).unwrap();
    assert_eq!(content_of(&state).1, fs::read(key).unwrap());
    assert!(!rig.path("s.key").exists());
}

#[test]
fn a_key_that_waits_beside_is_used() {
    let rig = Rig::new();
    rig.put("s.key", 32);
    rig.prepare().unwrap();
    assert_eq!(fs::read(rig.path("s.key")).unwrap(), [7; 32]);
}

#[test]
fn a_state_without_its_key_is_refused_and_gets_no_new_one() {
    let rig = Rig::new();
    rig.put("s", 1 << 20);
    assert_eq!(rig.refusal(None, "s.key"), "the state's key s.key is not there");
    assert!(!rig.path("s.key").exists());
}

#[test]
fn two_vms_on_one_state_are_refused() {
    let rig = Rig::new();
    let first = rig.prepare().unwrap();
    assert_eq!(rig.refusal(None, "s"), "another VM uses the state s");
    drop(first);
    rig.prepare().unwrap();
}

#[test]
fn sizes_that_are_no_states_are_refused() {
    let rig = Rig::new();
    rig.put("s.key", 32);
    for (bytes, why) in [
        (0, "s is too small for a state: 0 bytes, and 1048576 wanted"),
        ((1 << 20) - 1, "s is too small for a state: 1048575 bytes, and 1048576 wanted"),
        ((1 << 20) + 511, "s is no state: 1049087 bytes are no multiple of 512"),
    ] {
        rig.put("s", bytes);
        assert_eq!(rig.refusal(None, "s"), why);
    }
    rig.put("s", (1 << 20) + 512);
    rig.prepare().unwrap();
}

#[test]
fn keys_of_a_wrong_length_are_refused() {
    let rig = Rig::new();
    for (bytes, why) in [
        (0, "the key s.key has 0 bytes, not 32"),
        (31, "the key s.key has 31 bytes, not 32"),
        (33, "the key s.key has more than 32 bytes"),
        (1 << 20, "the key s.key has more than 32 bytes"),
    ] {
        rig.put("s.key", bytes);
        assert_eq!(rig.refusal(None, "s.key"), why);
        assert!(!rig.path("s").exists());
    }
}

#[test]
fn what_is_no_plain_file_is_refused() {
    for (name, other) in [("s", "s.key"), ("s.key", "s")] {
        let rig = Rig::new();
        rig.put(other, if other == "s" { 1 << 20 } else { 32 });
        fs::create_dir(rig.path(name)).unwrap();
        assert_eq!(rig.refusal(None, name), format!("{name} is no file"));
        fs::remove_dir(rig.path(name)).unwrap();
        for target in ["nothing", "s", "s.key"] {
            let _ = fs::remove_file(rig.path(name));
            symlink(rig.path(target), rig.path(name)).unwrap();
            let why = format!("{name} is a symbolic link: give the file itself");
            assert_eq!(rig.refusal(None, name), why);
        }
        fs::remove_file(rig.path(name)).unwrap();
        mknodat(CWD, rig.path(name), FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(rig.refusal(None, name), format!("{name} is no file"), "and nobody waits");
    }
}

#[test]
fn a_read_only_state_is_refused_and_a_read_only_key_is_fine() {
    let rig = Rig::new();
    rig.put("s.key", 32);
    rig.put("s", 1 << 20);
    let set = |name, mode| {
        fs::set_permissions(rig.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    set("s", 0o444);
    set("s.key", 0o400);
    assert_eq!(rig.refusal(None, "s"), "s is read-only");
    set("s", 0o600);
    rig.prepare().unwrap();
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let rig = Rig::new();
    let error = State::prepare(&rig.path("no/s"), None, None).unwrap_err();
    let line = format!("{error:#}");
    assert!(line.contains("no/s.key can not be made: "), "{line}");
}
