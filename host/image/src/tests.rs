//! Tests of files that are built, parsed again and measured.

mod other_builders;

use host_wire::linux_start::{self as layout, INFO_SIZE, Info};
use host_wire::paravisor_image::Measured;
use igvm::{IgvmDirectiveHeader, IgvmFile, IsolationType};
use igvm_defs::IgvmPageDataType;
use snp::digest::{LaunchDigest, Page};
use snp::vmsa::DEFAULT_VMSA_GPA;
use zerocopy::IntoBytes;

use super::*;
use crate::vmsa::protected_mode;

const POLICY: u64 = 0x3_0000;
const RAM: u64 = 64 << 20;

/// A file with a page of each kind, in which one byte is `byte`.
fn each_kind(byte: u8) -> Vec<u8> {
    let mut builder = Builder::new(POLICY);
    builder.load(0x1000, &[byte; 4097]);
    builder.page(0x5000, IgvmPageDataType::NORMAL, Vec::new());
    builder.cpuid(0x6000);
    builder.secrets(0x7000);
    builder.parameter(0x8000, IgvmDirectiveHeader::MemoryMap);
    builder.vp(0x9000, 0, &protected_mode(0x1000)).unwrap();
    builder.load(0xa000, &[1]);
    builder.finish().unwrap()
}

#[test]
fn pages_are_measured_in_their_order_and_save_areas_last() {
    let rows = measure(&each_kind(7), RAM).unwrap();
    let found: Vec<_> = rows.iter().map(|row| (row.gpa, row.kind)).collect();
    let wanted = [
        (0x1000, "NORMAL"),
        (0x2000, "NORMAL"),
        (0x5000, "ZERO"),
        (0x6000, "CPUID"),
        (0x7000, "SECRETS"),
        (0x8000, "UNMEASURED"),
        (0xa000, "NORMAL"),
        (0x9000, "VMSA"),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn the_digest_is_the_one_of_the_pages_content() {
    let rows = measure(&each_kind(7), RAM).unwrap();
    let (full, mut tail) = ([7; 4096], [0; 4096]);
    tail[0] = 7;
    let mut digest = LaunchDigest::EMPTY;
    for (row, (page, gpa)) in rows.iter().zip([
        (Page::Normal(&full), 0x1000),
        (Page::Normal(&tail), 0x2000),
        (Page::Zero, 0x5000),
        (Page::Cpuid, 0x6000),
        (Page::Secrets, 0x7000),
        (Page::Unmeasured, 0x8000),
    ]) {
        digest.add(page, gpa);
        assert_eq!(row.digest, digest.0, "{gpa:#x}");
    }
    let last = |file: &[u8], ram| measure(file, ram).unwrap().last().unwrap().clone();
    assert_ne!(last(&each_kind(7), RAM).digest, last(&each_kind(8), RAM).digest);
}

#[test]
fn a_save_area_beyond_the_ram_is_measured_where_kvm_puts_it() {
    let of = |ram| measure(&each_kind(7), ram).unwrap().last().unwrap().gpa;
    assert_eq!((of(0xa000), of(0x9000)), (0x9000, DEFAULT_VMSA_GPA));
}

#[test]
fn other_files_are_refused() {
    for file in [&b""[..], b"IGVM", &[0; 4096]] {
        let error = format!("{:#}", measure(file, RAM).unwrap_err());
        assert!(error.contains("no IGVM file for SEV-SNP"), "{error}");
    }
}

/// An ELF file with one segment at `gpa`, where it is also entered. It takes a page more in memory.
fn elf(gpa: u64, content: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // Type, machine, version, entry, program headers, section headers, flags, sizes and counts.
    file.extend([2_u16, 62].as_bytes());
    file.extend(1_u32.to_le_bytes());
    file.extend([gpa, 64, 0].as_bytes());
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 1, 64, 0, 0].as_bytes());
    // PT_LOAD, flags, offset, addresses, sizes, alignment.
    file.extend([1_u32, 7].as_bytes());
    let length = content.len() as u64;
    file.extend([HEADERS, gpa, gpa, length, length + 4096, 4096].as_bytes());
    file.extend(content);
    file
}

fn linux<'a>(stub: &'a [u8], initrd: &'a [u8]) -> Linux<'a> {
    Linux { stub, kernel: &[3; 5000], initrd, command_line: b"quiet", policy: POLICY, features: 1 }
}

/// The content of the page at `gpa`.
fn page(file: &[u8], gpa: u64) -> Vec<u8> {
    let file = IgvmFile::new_from_binary(file, Some(IsolationType::Snp)).unwrap();
    let page = file.directives().iter().find_map(|directive| match directive {
        IgvmDirectiveHeader::PageData { gpa: at, data, .. } if *at == gpa => Some(data.clone()),
        _ => None,
    });
    page.expect("the page is loaded")
}

#[test]
fn the_stub_finds_the_files_by_their_page() {
    let stub = elf(layout::STUB, b"code");
    let file = build_linux(&linux(&stub, b"archive")).unwrap();
    let info = page(&file, layout::INFO)[..INFO_SIZE].try_into().unwrap();
    let Info { kernel, initrd, command_line } = Info::from_bytes(&info);
    assert_eq!((kernel.start, kernel.length), (layout::FILES, 5000));
    assert_eq!((initrd.start, initrd.length), (layout::FILES + 0x2000, 7));
    assert_eq!((command_line.start, command_line.length), (layout::FILES + 0x3000, 5));
    assert_eq!(page(&file, layout::FILES)[..8], [3; 8]);
    assert!(page(&file, initrd.start).starts_with(b"archive\0"));
    assert!(page(&file, command_line.start).starts_with(b"quiet\0"));
    assert!(page(&file, layout::STUB).starts_with(b"code\0"));
    assert_eq!(page(&file, layout::STUB + 0x1000), [0; 4096], "no loader has to fill a page");
}

#[test]
fn a_file_without_an_initrd_has_an_empty_one() {
    let stub = elf(layout::STUB, b"code");
    let file = build_linux(&linux(&stub, b"")).unwrap();
    let info = page(&file, layout::INFO)[..INFO_SIZE].try_into().unwrap();
    assert_eq!(Info::from_bytes(&info).initrd.length, 0);
    let again = build_linux(&linux(&stub, b"")).unwrap();
    assert!(file == again, "two builds are the same");
}

#[test]
fn a_stub_of_another_kind_is_refused() {
    for (stub, word) in [
        (b"text".to_vec(), "ELF"),
        (elf(layout::STUB + 8, b"code"), "page boundary"),
        (elf(layout::STUB, b"code")[..100].to_vec(), "ELF"),
    ] {
        let error = format!("{:#}", build_linux(&linux(&stub, b"")).unwrap_err());
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn the_paravisor_finds_its_configuration_and_the_digests_of_the_files() {
    let image = elf(layout::STUB, b"code");
    let build = |config: &[u8], kernel: &[u8]| {
        let files = [kernel, b"name", b"", b"quiet"];
        build_paravisor(&Paravisor { image: &image, config, files, policy: POLICY, features: 0 })
    };
    let file = build(b"tpm=off\n", b"kernel").unwrap();
    let info = page(&file, layout::INFO).try_into().unwrap();
    let Measured { files, config } = Measured::from_page(&info).unwrap();
    assert_eq!(config, b"tpm=off\n");
    assert_eq!(files.map(|file| file.length), [6, 4, 0, 5]);
    // FIPS 180-4: the digest of the six bytes, as sha256sum tells it.
    assert_eq!(files[0].sha256[..4], [0x69, 0x23, 0xdd, 0x1b]);
    let digest = |file: &[u8]| measure(file, RAM).unwrap().pop().unwrap().digest;
    assert_ne!(digest(&file), digest(&build(b"tpm=off\n", b"kerneL").unwrap()), "measured");
    let error = build(&[b'\n'; 4000], b"kernel").unwrap_err();
    assert!(format!("{error:#}").contains("configuration"), "{error:#}");
}
