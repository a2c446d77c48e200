//! Files of a host that answers twice differently.

use std::boxed::Box;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

use guest_memory::{Gpa, GuestMemory, NotRam};
use host_wire::{Config, Status, file};
use loader::{LoadError, Source, TransferError};
use platform_api::{HostFile, Platform};
use tpm_crypto::hash::{Digest, HashAlgorithm};

use super::fake::{CONFIDENTIAL, Fake, FakeFile};
use crate::error::GuestError;
use crate::files::{FileSource, GuestFiles, NoConfig, read_config};
use crate::machine::Machine;

const MIB: u64 = 1 << 20;

/// A platform whose host has these files.
fn platform(files: &[(&'static str, &[u8])]) -> &'static Fake {
    let platform = Fake::new(1);
    let file = |&(name, bytes): &(&'static str, &[u8])| FakeFile {
        name,
        bytes: bytes.to_vec(),
        asked: vec![0; bytes.len()],
        measured: None,
    };
    *platform.host().files.lock().unwrap() = files.iter().map(file).collect();
    platform
}

fn machine(files: &[(&'static str, &[u8])]) -> Machine<Fake> {
    let platform = platform(files);
    let config = Config { tpm: false, ..Config::default() };
    Machine::new(platform, config, GuestFiles::find(platform.host()))
}

fn guest_bytes(platform: &Fake, gpa: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    platform.memory().read(Gpa(gpa), &mut bytes).unwrap();
    bytes
}

/// How often the host was asked for a byte, at the most.
fn most_asked(platform: &Fake) -> u8 {
    let files = platform.host().files.lock().unwrap();
    files.iter().flat_map(|file| file.asked.iter().copied()).max().unwrap_or(0)
}

/// A 64-bit ELF file whose only segment, at 1 MiB, holds all of it: header, program headers and
/// note, which the loader reads by itself.
fn kernel() -> Vec<u8> {
    const ENTRY: u32 = 0x10_0100;
    let mut image = vec![0; 0x2000];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(32, &64_u64.to_le_bytes());
    put(54, &[56, 0, 2, 0]);
    for (at, fields) in
        [(64, [1, 0, MIB, MIB, 0x2000, 0x2000, 0]), (120, [4, 0x1000, 0, 0, 0x14, 0x14, 0_u64])]
    {
        put(at, &fields.map(u64::to_le_bytes).concat());
    }
    put(0x1000, &[4, 4, 18].map(u32::to_le_bytes).concat());
    put(0x100c, b"Xen\0");
    put(0x1010, &ENTRY.to_le_bytes());
    for (index, byte) in image.iter_mut().enumerate().skip(0x1800) {
        *byte = index as u8;
    }
    image
}

#[test]
fn a_kernel_is_read_once_and_starts_with_the_checked_bytes() {
    let kernel = kernel();
    let machine = machine(&[(file::KERNEL, &kernel), (file::COMMAND_LINE, b"quiet")]);
    let loaded = machine.load_guest().expect("loads");
    assert_eq!(loaded.state.rip, 0x10_0100);
    assert_eq!(guest_bytes(machine.platform, MIB, kernel.len()), kernel);
    assert_eq!(most_asked(machine.platform), 1);
}

#[test]
fn the_measured_bytes_are_the_used_ones_in_any_order() {
    let original: Vec<u8> = (0..20_000_u32).map(|index| (index * 7 / 8) as u8).collect();
    // Offset, length, and where in guest memory, or nowhere.
    let orders: [&[(u64, usize, Option<u64>)]; 3] = [
        &[(0, 8192, None), (512, 16_000, Some(MIB)), (0, 64, None), (18_000, 2000, None)],
        &[(5000, 9000, Some(MIB)), (0, 8192, None), (12_000, 8000, None), (64, 100, None)],
        &[(0, 9000, Some(MIB)), (4096, 9000, Some(MIB + 0x8000)), (8000, 6000, None)],
    ];
    for order in orders {
        let platform = platform(&[(file::KERNEL, &original)]);
        let file = HostFile { selector: 1, length: original.len() as u32 };
        let mut source = FileSource::new(platform, file, &HashAlgorithm::ALL);
        for (offset, length, gpa) in order {
            let mut bytes = vec![0; *length];
            match gpa {
                Some(gpa) => source.load(*offset, *gpa, *length as u64).unwrap(),
                None => source.read(*offset, &mut bytes).unwrap(),
            }
            let found = gpa.map_or(bytes, |gpa| guest_bytes(platform, gpa, *length));
            assert_eq!(found, original[*offset as usize..][..*length], "{order:?}");
        }
        let mut measured = vec![];
        source.each_part(0, &mut |part| measured.extend_from_slice(part)).unwrap();
        assert_eq!(measured, original, "{order:?}");
        assert_eq!(most_asked(platform), 1, "{order:?}");
    }
}

/// A file of which parts are loaded to 1 MiB and higher, then bytes of guest memory change.
fn digests_of(
    original: &[u8],
    loads: &[(u64, u64, u64)],
    changed: Option<u64>,
    banks: &[HashAlgorithm],
) -> Result<Vec<Digest>, TransferError> {
    let platform = platform(&[(file::KERNEL, original)]);
    let file = HostFile { selector: 1, length: original.len() as u32 };
    let possible = [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384];
    let mut source = FileSource::new(platform, file, &possible);
    source.read(0, &mut [0; 64]).unwrap();
    for (offset, length, gpa) in loads {
        source.load(*offset, *gpa, *length).unwrap();
    }
    if let Some(gpa) = changed {
        platform.memory().write(Gpa(gpa), &[0xaa; 4]).unwrap();
    }
    let digests = source.digests(banks);
    assert_eq!(most_asked(platform), 1, "{loads:?}");
    digests
}

/// Where the host must not write guest memory, bytes are hashed as they are copied: the content of
/// guest memory can not change the digest. Elsewhere the host writes them there, and they are
/// hashed as they lie there.
#[test]
fn a_digest_is_that_of_the_copied_bytes() {
    const HIGHER: u64 = MIB + 0x8000;
    const BANKS: [HashAlgorithm; 2] = [HashAlgorithm::Sha384, HashAlgorithm::Sha1];
    let original: Vec<u8> = (0..20_000_u32).map(|index| (index * 7 / 8) as u8).collect();
    let with_change = |offset: usize| {
        let mut bytes = original.clone();
        bytes[offset..offset + 4].fill(0xaa);
        BANKS.map(|bank| bank.hash(&bytes)).to_vec()
    };
    let expected = BANKS.map(|bank| bank.hash(&original)).to_vec();
    let in_order: &[_] = &[(64, 9936, MIB), (10_000, 10_000, HIGHER)];
    let backwards: &[_] = &[(10_000, 10_000, HIGHER), (64, 9936, MIB)];
    let with_a_gap: &[_] = &[(10_000, 5000, HIGHER)];
    for loads in [in_order, backwards, with_a_gap] {
        assert_eq!(digests_of(&original, loads, None, &BANKS).as_ref(), Ok(&expected), "{loads:?}");
    }
    // Changed in a part that is copied in the file's order, and in one that is not.
    let copied = |offset| Ok(if CONFIDENTIAL { expected.clone() } else { with_change(offset) });
    let read_back = |offset| {
        if CONFIDENTIAL { Err(TransferError::Memory) } else { Ok(with_change(offset)) }
    };
    for (loads, gpa, outcome) in [
        (in_order, MIB + 36, copied(100)),
        (in_order, HIGHER + 9996, copied(19_996)),
        (backwards, MIB, copied(64)),
        (backwards, HIGHER + 4096, read_back(14_096)),
        (with_a_gap, HIGHER + 4996, read_back(14_996)),
    ] {
        let digests = digests_of(&original, loads, Some(gpa), &BANKS);
        assert_eq!(digests, outcome, "{loads:?} {gpa:#x}");
    }
    // A bank that no TPM has is hashed from guest memory.
    let other = [HashAlgorithm::Sha512];
    let digests = digests_of(&original, in_order, None, &other);
    assert_eq!(digests, Ok(vec![HashAlgorithm::Sha512.hash(&original)]));
}

/// Each file in turn is another one than was measured. The guest is not started with it.
#[test]
fn a_file_that_was_not_measured_starts_no_guest() {
    let kernel = kernel();
    let files = [
        (file::KERNEL, &kernel[..]),
        (file::KERNEL_NAME, b"name"),
        (file::INITRD, &[7; 9000]),
        (file::COMMAND_LINE, b"quiet"),
    ];
    let outcome = |other: Option<&str>, tpm| {
        let platform = platform(&files);
        for file in platform.host().files.lock().unwrap().iter_mut() {
            let mut measured = HashAlgorithm::Sha256.hash(&file.bytes).as_bytes().to_vec();
            measured[31] ^= u8::from(other == Some(file.name));
            file.measured = Some(measured.try_into().unwrap());
        }
        let config = Config { tpm, ..Config::default() };
        let machine = Machine::new(platform, config, GuestFiles::find(platform.host()));
        let loaded = machine.load_guest().map(|_| ());
        assert_eq!(most_asked(platform), 1);
        loaded
    };
    assert_eq!(outcome(None, false), Ok(()));
    for (file, _) in files {
        for tpm in [false, true] {
            let error = outcome(Some(file), tpm).unwrap_err();
            assert_eq!(error, GuestError::NotMeasured { file });
            assert_eq!(error.status(), Status::BadGuest);
            assert!(error.to_string().contains(file), "{error}");
        }
    }
}

/// A part that nothing uses is read from the host for the digests alone. It is the same part for the
/// comparison and for the TPM.
#[test]
fn the_tpm_gets_the_digest_of_the_bytes_that_were_compared() {
    let original: Vec<u8> = (0..20_000_u32).map(|index| (index * 7 / 8) as u8).collect();
    let platform = platform(&[(file::KERNEL, &original)]);
    let measured = HashAlgorithm::Sha256.hash(&original).as_bytes().try_into().unwrap();
    platform.host().files.lock().unwrap()[0].measured = Some(measured);
    let host_file = HostFile { selector: 1, length: original.len() as u32 };
    let banks = [HashAlgorithm::Sha384];
    let mut source = FileSource::new(platform, host_file, &banks);
    source.load(9000, MIB, 5000).unwrap();
    assert_eq!(source.check(file::KERNEL), Ok(()));
    assert_eq!(source.digests(&banks), Ok(vec![HashAlgorithm::Sha384.hash(&original)]));
    assert_eq!(most_asked(platform), 1);
}

#[test]
fn missing_memory_is_not_reported_as_the_hosts_fault() {
    let platform = platform(&[(file::KERNEL, &[1; 64])]);
    let mut source = FileSource::new(platform, HostFile { selector: 1, length: 64 }, &[]);
    let error = LoadError::from(source.load(0, 2 * MIB - 1, 2).unwrap_err());
    assert_eq!(error, LoadError::GuestMemory);
    assert_eq!(GuestError::Load(error).status(), Status::Crashed);
    let error = GuestError::TablesMemory(NotRam { gpa: Gpa(0xf_0000), length: 36 });
    assert!(error.to_string().contains("fault of the paravisor"), "{error}");
    // A file that is shorter than the host says.
    let mut source = FileSource::new(platform, HostFile { selector: 1, length: 128 }, &[]);
    let error = LoadError::from(source.read(0, &mut [0; 128]).unwrap_err());
    assert_eq!(error, LoadError::HostRead);
    assert_eq!(GuestError::Load(error).status(), Status::BadGuest);
}

#[test]
fn a_configuration_that_is_not_delivered_is_the_hosts_fault() {
    let platform = platform(&[(file::CONFIG, b"log=info\n")]);
    platform.host().files.lock().unwrap()[0].asked.clear();
    assert!(matches!(read_config(platform.host()), Err(NoConfig::HostRead)), "not its text's");
}

#[test]
fn modules_come_in_their_order_with_their_texts() {
    /// A flat Multiboot kernel at 1 MiB.
    const FIELDS: [u32; 8] =
        [0x1bad_b002, 1 << 16, 0xe451_4ffe, 0x10_0000, 0x10_0000, 0x10_0040, 0, 0x10_0020];
    let mut kernel = vec![0; 64];
    kernel[..32].copy_from_slice(&FIELDS.map(u32::to_le_bytes).concat());
    let machine = machine(&[
        (file::KERNEL, &kernel),
        (file::KERNEL_NAME, b"dir/kernel"),
        (file::COMMAND_LINE, b"a b"),
        (file::MODULES[0], &[1; 5000]),
        (file::MODULES[1], &[2; 3]),
        (file::MODULE_TEXTS, b"first x\0second\0"),
        // Behind one that is missing.
        (file::MODULES[3], &[3; 3]),
    ]);
    let loaded = machine.load_guest().expect("loads");
    let platform = machine.platform;
    let word = |gpa: u64| u32::from_le_bytes(guest_bytes(platform, gpa, 4).try_into().unwrap());
    let text = |gpa: u32| {
        let bytes = guest_bytes(platform, gpa.into(), 64);
        bytes.split(|byte| *byte == 0).next().unwrap().to_vec()
    };
    let info = loaded.state.gpr[3];
    assert_eq!(text(word(info + 16)), b"dir/kernel a b");
    assert_eq!(word(info + 20), 2);
    let list = u64::from(word(info + 24));
    let modules: Box<[_]> = (0..2).map(|n| [0, 4, 8].map(|at| word(list + 16 * n + at))).collect();
    assert_eq!(modules[0][..2], [0x10_1000, 0x10_1000 + 5000]);
    assert_eq!(modules[1][..2], [0x10_3000, 0x10_3003]);
    assert_eq!(guest_bytes(platform, 0x10_3000, 3), [2; 3]);
    assert_eq!(
        (text(modules[0][2]), text(modules[1][2])),
        (b"first x".to_vec(), b"second".to_vec())
    );
}
