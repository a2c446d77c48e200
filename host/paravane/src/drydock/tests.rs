//! Tests of the files and sizes of a VM in Drydock.

use std::io::Read;

use clap::Parser as _;
use command_line::{Action, Arguments};

use super::*;

fn options(words: &[&str]) -> DrydockOptions {
    match Arguments::try_parse_from(["paravane", "drydock"].iter().chain(words)).unwrap().action {
        Action::Drydock(options) => *options,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_is_taken_as_it_is_and_a_kernel_with_additions() {
    assert!(matches!(Source::of(&options(&["f"])), Ok(Source::File(_))));
    let words = ["--linux", "k", "--exec", "true", "--append", "", "--initrd", "i"];
    assert!(matches!(Source::of(&options(&words)), Ok(Source::Linux(_))));
    for (words, text) in [
        (&[][..], "FILE.igvm or --linux"),
        (&["f", "--linux", "k"], "not both"),
        (&["f", "--exec", "true"], "--exec needs --linux"),
        (&["f", "--append", ""], "--append needs --linux"),
        (&["f", "--initrd", "i"], "--initrd needs --linux"),
    ] {
        let error = Source::of(&options(words)).map(drop).unwrap_err().to_string();
        assert!(error.contains(text) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_file_that_can_not_be_used_is_reported_as_the_guests_or_ours() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("kernel"), "k").unwrap();
    let refusal = |words: &[&str]| {
        let options = options(words);
        let opened = Source::of(&options).unwrap().open(&options).map(drop);
        let guest_files = || GuestFiles::of(&options.fw_cfg).map(drop);
        let stop = opened.and_then(|()| guest_files().map_err(stop(Failure::BadGuest)));
        let stop = stop.unwrap_err();
        (stop.failure, format!("{:#}", stop.why))
    };
    let (failure, text) = refusal(&[&path("none")]);
    assert!(failure == Failure::BadGuest && text.starts_with("the IGVM file: "), "{text}");
    let firmware = format!("name=opt/a,file={}", path("none"));
    let (failure, text) = refusal(&[&path("kernel"), "--fw-cfg", &firmware]);
    assert!(failure == Failure::BadGuest && text.starts_with("--fw-cfg: "), "{text}");
    let nine = ["--fw-cfg", "name=opt/a,string=x"].repeat(9);
    let (failure, text) = refusal(&[&[&path("kernel")[..]], &nine[..]].concat());
    assert!(failure == Failure::BadGuest && text.contains("8 files"), "{text}");
    let (failure, text) = refusal(&["--linux", &path("none")]);
    assert!(failure == Failure::BadGuest && text.starts_with("the guest's kernel: "), "{text}");
    let (failure, text) = refusal(&["--linux", &path("kernel"), "--initrd", &path("none")]);
    assert!(failure == Failure::BadGuest && text.starts_with("the guest's initrd: "), "{text}");
    let (failure, text) = refusal(&["--linux", &path("kernel"), "--stub", &path("none")]);
    assert!(failure == Failure::Ours && text.contains("--stub"), "{text}");
}

#[test]
fn files_stay_open_and_have_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.igvm");
    fs::write(&path, "the file").unwrap();
    let firmware = format!("name=opt/a,file={}", path.display());
    let words = [path.to_str().unwrap(), "-m", "64", "--trace"];
    let words = [&words[..], &["--fw-cfg", &firmware, "--fw-cfg", "name=opt/b,string=x"]].concat();
    let options = options(&words);
    let igvm = Source::of(&options).unwrap().open(&options).unwrap();
    let (config, chip, certificates) = (config(&options).unwrap(), keep(b"c"), keep(b"s"));
    let (chip, certificates) = (chip.unwrap(), certificates.unwrap());
    let guest_files = GuestFiles::of(&options.fw_cfg).unwrap();
    let files = Files { igvm, config, chip, certificates, guest_files };
    fs::remove_file(&path).unwrap();
    let mut command = Command::new("qemu");
    files.give(&mut command).unwrap();
    let words: Vec<_> = command.get_args().map(|word| word.to_str().unwrap()).collect();
    let content = |word: &str, name: &str| {
        let file = word.strip_prefix(&format!("name=opt/org.paravane/{name},file=")).unwrap();
        let mut text = String::new();
        File::open(file).unwrap().read_to_string(&mut text).unwrap();
        text
    };
    assert_eq!(content(words[1], "drydock"), "memory=67108864\nlog=debug\n");
    assert_eq!(content(words[3], "igvm"), "the file");
    assert_eq!(content(words[5], "chip"), "c");
    assert_eq!(content(words[7], "certificates"), "s");
    assert_eq!(content(words[9], "guest-files"), "opt/a\nopt/b\n");
    assert_eq!(content(words[11], "guest-file-0"), "the file");
    assert_eq!(content(words[13], "guest-file-1"), "x");
    assert_eq!(files.check_length(9).unwrap(), 8);
    let error = files.check_length(8).unwrap_err().to_string();
    assert!(error.contains("more RAM"), "{error}");
}

#[test]
fn certificates_alone_need_no_guest() {
    let alone = |words: &[&str]| is_without_vm(&options(words));
    assert!(alone(&["--certificates", "c"]));
    for word in ["--linux=k", "f.igvm", "--exec=true", "--append=", "--initrd=i", "--json=-"] {
        assert!(!alone(&["--certificates", "c", word]), "{word}");
    }
}

#[test]
fn the_vm_has_room_for_the_guest_twice() {
    const MIB: u64 = 1 << 20;
    for (guest, vm) in [(16, 1), (416, 1), (418, 2), (928, 2), (930, 4), (1856, 4), (1952, 5)] {
        assert_eq!(vm_memory(guest * MIB), vm << 30, "{guest} MiB");
    }
    for guest in (16..=MOST_MEMORY / MIB).step_by(2).map(|size| size * MIB) {
        let vm = vm_memory(guest);
        assert!(vm.is_multiple_of(STEP) && vm / 2 >= guest, "tables for {guest} bytes");
        // The host's copy lies below the hole, the private one behind it or above 4 GiB.
        let behind = LOW.min(vm) - guest >= guest + OWN + FAR;
        assert!(guest + OWN <= LOW && (behind || vm - LOW >= guest + FAR), "{guest} bytes");
    }
    assert!(check_memory(MOST_MEMORY).is_ok());
    for memory in [0, 15 * MIB, 17 * MIB, MOST_MEMORY + 2 * MIB, u64::MAX] {
        let error = check_memory(memory).unwrap_err().to_string();
        assert!(error.ends_with("16 to 1952 MiB of RAM, in steps of 2"), "{error}");
    }
}
