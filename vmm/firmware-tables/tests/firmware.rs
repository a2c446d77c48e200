//! The tables as a guest finds them: by scanning, following pointers and checking sums.

use firmware_tables::{
    BuildError, Firmware, MachineDescription, MapEntry, Pci, PciRoute, PowerPorts, Range,
    RangeKind, SerialPort, Tpm, build, memory_map,
};
use proptest::prelude::*;
use std::path::Path;
use std::process::Command;

const GIB: u64 = 1 << 30;
const RAM: [Range; 3] = [
    Range { start: 0, length: 0xA_0000 },
    Range { start: 0x10_0000, length: 2 * GIB - 0x10_0000 },
    Range { start: 4 * GIB, length: 38 * GIB },
];
const PARAVISOR: Range = Range { start: 0x7F00_0000, length: 0x80_0000 };
const ROUTES: [PciRoute; 2] =
    [PciRoute { device: 3, pin: 0, gsi: 16 }, PciRoute { device: 31, pin: 3, gsi: 23 }];
const SERIAL: [SerialPort; 2] =
    [SerialPort { port: 0x3F8, irq: 4 }, SerialPort { port: 0x2F8, irq: 3 }];

const TPM: Tpm = Tpm {
    registers: Range { start: 0xFED4_0000, length: 0x5000 },
    control_area: 0xFED4_0040,
    buffers: Range { start: 0x7E80_0000, length: 0x2000 },
    log: Range { start: 0x7E80_2000, length: 0x1_0000 },
    presence: 0x7E81_2000,
};

fn machine() -> MachineDescription<'static> {
    MachineDescription {
        ram: &RAM,
        reserved: std::slice::from_ref(&PARAVISOR),
        tables: 0x7E00_0000,
        apic_ids: &[0, 1, 254, 255, 300],
        io_apic_id: 9,
        serial_ports: &SERIAL,
        power: PowerPorts { event: 0x600, control: 0x604, timer: 0x608, sleep_type_off: 5 },
        bios_call_port: 0x610,
        pci: Pci {
            ecam: 0xB000_0000,
            last_bus: 0,
            window: Range { start: 0xC000_0000, length: 0x3C00_0000 },
            high_window: Some(Range { start: 0x80_0000_0000, length: 0x10_0000_0000 }),
            routes: &ROUTES,
        },
        tpm: Some(TPM),
        uuid: *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xAA\xBB\xCC\xDD\xEE\xFF",
        version: "0.1.0",
    }
}

/// Guest memory with the blobs only; reading a byte that no blob gives is a panic.
struct Memory(Firmware);

impl Memory {
    fn new() -> Self {
        Self(build(&machine()).expect("builds"))
    }

    fn bytes(&self, gpa: u64, length: usize) -> &[u8] {
        let blob = self.0.blobs.iter().find(|b| b.gpa <= gpa && gpa < b.gpa + b.bytes.len() as u64);
        let blob = blob.unwrap_or_else(|| panic!("nothing stands at {gpa:#x}"));
        let start = (gpa - blob.gpa) as usize;
        &blob.bytes[start..start + length]
    }

    fn number(&self, gpa: u64, length: usize) -> u64 {
        self.bytes(gpa, length).iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn checked(&self, gpa: u64, length: usize) -> &[u8] {
        let bytes = self.bytes(gpa, length);
        assert_eq!(sum(bytes), 0, "checksum at {gpa:#x}");
        bytes
    }

    /// A table with a good checksum.
    fn table(&self, gpa: u64) -> &[u8] {
        self.checked(gpa, self.number(gpa + 4, 4) as usize)
    }

    /// The address that a scan for an anchor on 16-byte boundaries finds.
    fn scan(&self, anchor: &[u8]) -> u64 {
        let found = (0xE_0000..0x10_0000_u64).step_by(16).find(|gpa| {
            self.0.blobs.iter().any(|b| {
                gpa.checked_sub(b.gpa)
                    .and_then(|at| b.bytes.get(at as usize..))
                    .is_some_and(|bytes| bytes.starts_with(anchor))
            })
        });
        found.expect("anchor not found")
    }

    fn listed(&self) -> Vec<u64> {
        let rsdp = self.scan(b"RSD PTR ");
        assert_eq!(rsdp, self.0.rsdp);
        let xsdt = self.number(rsdp + 24, 8);
        let entries = (self.table(xsdt).len() - 36) / 8;
        (0..entries as u64).map(|n| self.number(xsdt + 36 + 8 * n, 8)).collect()
    }

    fn by_signature(&self, signature: &[u8]) -> u64 {
        self.listed().into_iter().find(|gpa| self.bytes(*gpa, 4) == signature).expect("not listed")
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

#[test]
fn root_pointers_agree() {
    let m = Memory::new();
    let rsdp = m.scan(b"RSD PTR ");
    m.checked(rsdp, 20);
    m.checked(rsdp, 36);
    assert_eq!(m.number(rsdp + 15, 1), 2);
    let rsdt = m.number(rsdp + 16, 4);
    assert_eq!(m.bytes(rsdt, 4), b"RSDT");
    let short: Vec<u64> = m.table(rsdt)[36..]
        .chunks(4)
        .map(|c| u64::from(u32::from_le_bytes(c.try_into().unwrap())))
        .collect();
    assert_eq!(short, m.listed());
    let names: Vec<_> = short.iter().map(|gpa| &m.table(*gpa)[..4]).collect();
    assert_eq!(names, [b"FACP", b"APIC", b"MCFG", b"WAET", b"TPM2"]);
}

#[test]
fn fixed_hardware() {
    let m = Memory::new();
    let fadt = m.by_signature(b"FACP");
    assert_eq!(m.table(fadt).len(), 276);
    let facs = m.number(fadt + 36, 4);
    assert_eq!((m.bytes(facs, 4), facs % 64), (&b"FACS"[..], 0));
    assert_eq!(m.number(fadt + 132, 8), 0, "two addresses of the FACS");
    let dsdt = m.number(fadt + 140, 8);
    assert_eq!((m.number(fadt + 40, 4), &m.table(dsdt)[..4]), (dsdt, &b"DSDT"[..]));
    assert_eq!((m.number(fadt + 46, 2), m.number(fadt + 48, 4)), (9, 0), "SCI, SMI_CMD");
    // PM1a event, PM1a control, PM timer; short and long forms.
    for (short, long, port, bits) in
        [(56, 148, 0x600, 32), (64, 172, 0x604, 16), (76, 208, 0x608, 32)]
    {
        assert_eq!(m.number(fadt + short, 4), port);
        assert_eq!((m.number(fadt + long, 1), m.number(fadt + long + 1, 1)), (1, bits));
        assert_eq!(m.number(fadt + long + 4, 8), port);
    }
    for (at, length) in [(88, 4), (89, 2), (91, 4)] {
        assert_eq!(m.number(fadt + at, 1), length);
    }
    let boot = m.number(fadt + 109, 2);
    assert_eq!((boot & 2, boot & 4), (0, 4), "no 8042, no VGA");
    let flags = m.number(fadt + 112, 4);
    assert_eq!((flags >> 20 & 1, flags >> 10 & 1, flags >> 8 & 1), (0, 1, 1));
    let reset = (m.number(fadt + 116, 1), m.number(fadt + 120, 8), m.number(fadt + 128, 1));
    assert_eq!(reset, (1, 0xCF9, 6));
}

#[test]
fn interrupt_controllers() {
    let m = Memory::new();
    let table = m.table(m.by_signature(b"APIC"));
    assert_eq!(table[36..44], [0, 0, 0xE0, 0xFE, 1, 0, 0, 0]);
    let mut rest = &table[44..];
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (entry, next) = rest.split_at(usize::from(rest[1]));
        entries.push(entry);
        rest = next;
    }
    let expected: &[&[u8]] = &[
        &[0, 8, 0, 0, 1, 0, 0, 0],
        &[0, 8, 1, 1, 1, 0, 0, 0],
        &[0, 8, 254, 254, 1, 0, 0, 0],
        &[9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 255, 0, 0, 0],
        &[9, 16, 0, 0, 0x2C, 1, 0, 0, 1, 0, 0, 0, 0x2C, 1, 0, 0],
        &[1, 12, 9, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0],
        &[2, 10, 0, 0, 2, 0, 0, 0, 0, 0],
        &[2, 10, 0, 9, 9, 0, 0, 0, 0xD, 0],
        &[4, 6, 0xFF, 0, 0, 1],
        &[10, 12, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0],
    ];
    assert_eq!(entries, expected);
}

#[test]
fn ecam_is_described_and_reserved() {
    let m = Memory::new();
    let mcfg = m.by_signature(b"MCFG");
    assert_eq!(m.table(mcfg).len(), 60);
    assert_eq!((m.number(mcfg + 44, 8), m.number(mcfg + 54, 2)), (0xB000_0000, 0));
    let hit = MapEntry { start: 0xB000_0000, length: 1 << 20, kind: RangeKind::Reserved };
    assert!(m.0.memory_map.contains(&hit));
}

fn kind_at(map: &[MapEntry], gpa: u64) -> Option<RangeKind> {
    map.iter().find(|e| e.start <= gpa && gpa - e.start < e.length).map(|e| e.kind)
}

#[test]
fn the_map_protects_the_written_tables() {
    let m = Memory::new();
    let map = &m.0.memory_map;
    // Real-mode vectors and the BIOS data area lie in RAM, as on every PC.
    for blob in m.0.blobs.iter().filter(|blob| blob.gpa >= 0x1000) {
        for gpa in [blob.gpa, blob.gpa + blob.bytes.len() as u64 - 1] {
            assert!(!matches!(kind_at(map, gpa), None | Some(RangeKind::Ram)), "{gpa:#x}");
        }
    }
    let facs = m.number(m.by_signature(b"FACP") + 36, 4);
    assert_eq!(kind_at(map, facs), Some(RangeKind::AcpiNvs));
    assert_eq!(kind_at(map, m.by_signature(b"APIC")), Some(RangeKind::AcpiReclaimable));
    assert_eq!(kind_at(map, PARAVISOR.start), Some(RangeKind::Reserved));
    assert_eq!(kind_at(map, PARAVISOR.start + PARAVISOR.length - 1), Some(RangeKind::Reserved));
    assert_eq!(kind_at(map, PARAVISOR.start - 1), Some(RangeKind::Ram));
    assert_eq!(kind_at(map, 0x9_EFFF), Some(RangeKind::Ram));
    assert_eq!(kind_at(map, 0x8000_0000), None);
    assert_eq!(kind_at(map, 42 * GIB - 1), Some(RangeKind::Ram));
}

/// Type, formatted part, strings.
type Structure = (u8, Vec<u8>, Vec<String>);

fn structures(mut bytes: &[u8]) -> Vec<Structure> {
    let mut all = Vec::new();
    loop {
        let (fields, rest) = bytes.split_at(usize::from(bytes[1]));
        let end = rest.windows(2).position(|pair| pair == [0, 0]).unwrap();
        let text = String::from_utf8(rest[..end].to_vec()).unwrap();
        let strings = text.split('\0').filter(|s| !s.is_empty()).map(String::from).collect();
        all.push((fields[0], fields.to_vec(), strings));
        bytes = &rest[end + 2..];
        if fields[0] == 127 {
            assert!(bytes.is_empty(), "bytes behind the end");
            return all;
        }
    }
}

#[test]
fn smbios() {
    let m = Memory::new();
    let long = m.scan(b"_SM3_");
    m.checked(long, 24);
    assert_eq!((m.number(long + 6, 1), m.number(long + 7, 1)), (24, 3));
    let (length, at) = (m.number(long + 12, 4), m.number(long + 16, 8));
    let short = m.scan(b"_SM_");
    m.checked(short, 31);
    m.checked(short + 16, 15);
    assert_eq!(m.bytes(short + 16, 5), b"_DMI_");
    assert_eq!((m.number(short + 22, 2), m.number(short + 24, 4)), (length, at));
    let all = structures(m.bytes(at, length as usize));
    assert_eq!(m.number(short + 28, 2), all.len() as u64);
    let longest = all.iter().map(|(_, fields, strings)| {
        fields.len() + strings.iter().map(|s| s.len() + 1).sum::<usize>().max(1) + 1
    });
    assert_eq!(m.number(short + 8, 2), longest.max().unwrap() as u64);
    let kinds: Vec<_> = all.iter().map(|(kind, fields, _)| (*kind, fields.len())).collect();
    let expected = [
        (0, 0x18),
        (1, 0x1B),
        (3, 0x16),
        (4, 0x30),
        (16, 0x17),
        (17, 0x28),
        (19, 0x1F),
        (19, 0x1F),
        (19, 0x1F),
        (32, 0x0B),
        (127, 4),
    ];
    assert_eq!(kinds, expected);
    for (kind, fields, strings) in &all {
        if matches!(kind, 0 | 1 | 3) {
            assert_eq!(strings[usize::from(fields[4]) - 1], "Paravane");
        }
    }
    let uuid = [
        0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF,
    ];
    assert_eq!(all[1].1[8..24], uuid);
    assert_eq!(all[3].1[0x23], 5, "cores");
    // 40 GiB less the hole stand in the extended size, in MiB.
    assert_eq!(all[5].1[0x0C..0x0E], [0xFF, 0x7F]);
    let mebibytes = u32::from_le_bytes(all[5].1[0x1C..0x20].try_into().unwrap());
    assert_eq!(mebibytes, 40 * 1024 - 1);
    assert_eq!(all[7].1[4..12], [0, 4, 0, 0, 0xFF, 0xFF, 0x1F, 0]);
    let handles: std::collections::HashSet<_> = all.iter().map(|(_, f, _)| [f[2], f[3]]).collect();
    assert_eq!(handles.len(), all.len(), "handles repeat");
}

#[test]
fn impossible_machines() {
    let refused = |change: &dyn Fn(&mut MachineDescription<'static>)| {
        let mut machine = machine();
        change(&mut machine);
        build(&machine).expect_err("builds")
    };
    assert_eq!(refused(&|m| m.apic_ids = &[]), BuildError::Processors);
    assert_eq!(refused(&|m| m.tables += 16), BuildError::TablesPlace);
    assert_eq!(refused(&|m| m.tables = 0x8000_0000), BuildError::TablesPlace);
    assert_eq!(refused(&|m| m.tables = PARAVISOR.start - 0x1000), BuildError::TablesPlace);
    assert_eq!(refused(&|m| m.tables = 5 * GIB), BuildError::TablesPlace);
    assert_eq!(refused(&|m| m.pci.window.length = 0), BuildError::PciWindows);
    assert_eq!(refused(&|m| m.pci.window.start = 0), BuildError::PciWindows);
    assert_eq!(refused(&|m| m.pci.ecam += 1 << 20), BuildError::PciWindows);
    let route = &[PciRoute { device: 32, pin: 0, gsi: 1 }];
    assert_eq!(refused(&|m| m.pci.routes = route), BuildError::Devices);
    assert_eq!(refused(&|m| m.version = "1\0"), BuildError::Version);
    let many: &[Range] = vec![RAM[1]; 3000].leak();
    assert_eq!(refused(&|m| m.ram = many), BuildError::SmbiosTooLong);
}

#[test]
fn special_ranges_win_by_severity() {
    let entry = |start, length, kind| MapEntry { start, length, kind };
    let map = memory_map(
        &[Range { start: 0x800, length: 0xF_F900 }],
        &[
            entry(0x2800, 0x100, RangeKind::AcpiNvs),
            entry(0x2000, 0x2000, RangeKind::AcpiReclaimable),
            entry(0x3FFF, 2, RangeKind::Reserved),
            entry(u64::MAX - 5, 6, RangeKind::Unusable),
            entry(0x9000, 0, RangeKind::Unusable),
        ],
    );
    let expected = [
        entry(0x1000, 0x1000, RangeKind::Ram),
        entry(0x2000, 0x1000, RangeKind::AcpiNvs),
        entry(0x3000, 0x2000, RangeKind::Reserved),
        entry(0x5000, 0xF_B000, RangeKind::Ram),
    ];
    assert_eq!(map, expected);
}

/// Field by field (TCG ACPI Specification 1.3, table 8).
#[test]
fn tpm2_leads_to_control_area_and_log() {
    let m = Memory::new();
    let table = m.by_signature(b"TPM2");
    assert_eq!((m.number(table + 4, 4), m.number(table + 8, 1)), (76, 4));
    assert_eq!(m.number(table + 36, 4), 0, "a client's");
    assert_eq!(m.number(table + 40, 8), 0xFED4_0040);
    assert_eq!(m.number(table + 48, 4), 7, "command response buffer");
    assert_eq!((m.number(table + 64, 4), m.number(table + 68, 8)), (0x1_0000, 0x7E80_2000));
    let plain = build(&MachineDescription { tpm: None, ..machine() }).expect("builds");
    assert!(!plain.blobs.iter().any(|blob| blob.bytes.starts_with(b"TPM2")));
    assert!(!plain.blobs.iter().any(|blob| blob.bytes.windows(8).any(|w| w == b"MSFT0101")));
    let registers = |map: &[MapEntry]| map.iter().any(|entry| entry.start == 0xFED4_0000);
    assert!(registers(&m.0.memory_map) && !registers(&plain.memory_map));
}

fn iasl(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("iasl").args(arguments).current_dir(directory).output();
    let output = output.expect("iasl runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}");
    for bad in ["Invalid", "Warning:", "Error:", "ncorrect checksum"] {
        assert!(!text.contains(bad), "{arguments:?}: {text}");
    }
    text
}

/// iasl takes each table apart, and puts it together again without a remark.
#[test]
fn iasl_accepts_all_tables() {
    if Command::new("iasl").arg("-v").output().is_err() {
        eprintln!("skipped: iasl is not installed (apt-get install acpica-tools)");
        return;
    }
    let directory = std::env::temp_dir().join(format!("paravane-tables-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("temporary directory");
    let m = Memory::new();
    let fadt = m.by_signature(b"FACP");
    let mut tables = m.listed();
    tables.extend([m.number(fadt + 36, 4), m.number(fadt + 140, 8), m.number(m.0.rsdp + 24, 8)]);
    for gpa in tables {
        let name = String::from_utf8(m.bytes(gpa, 4).to_vec()).unwrap().to_lowercase();
        let bytes = m.bytes(gpa, m.number(gpa + 4, 4) as usize);
        std::fs::write(directory.join(format!("{name}.dat")), bytes).expect("write");
        iasl(&directory, &["-d", &format!("{name}.dat")]);
        let source = std::fs::read_to_string(directory.join(format!("{name}.dsl"))).expect("read");
        assert!(!source.contains("Invalid") && !source.contains("ERROR"), "{source}");
        let output = iasl(&directory, &["-p", "again", &format!("{name}.dsl")]);
        if name == "dsdt" {
            assert!(output.contains("0 Errors, 0 Warnings, 0 Remarks"), "{output}");
            check_source(&source);
        }
        // iasl writes AML's small numbers shorter; all else is data and must come out the same.
        if name != "dsdt" {
            let again = std::fs::read(directory.join("again.aml")).expect("read");
            assert_eq!(again.len(), bytes.len(), "{name} has another length");
        }
    }
    std::fs::remove_dir_all(&directory).expect("clean up");
}

fn check_source(source: &str) {
    for part in [
        "Name (_S5",
        "Device (PCI0)",
        "Device (COM1)",
        "Device (COM2)",
        "Device (RTC",
        "\"MSFT0101\"",
        "0xFED40000,         // Address Base",
        "OperationRegion (PPIR, SystemMemory, 0x7E812000, 0x10)",
        "ToUUID (\"3dddfaa6-361b-4eb4-a424-8d10089d1653\")",
        "EisaId (\"PNP0C02\")",
        "EisaId (\"PNP0B00\")",
        "0x0000000000000CF8",
    ] {
        let part = if part.starts_with("0x") { "0x0CF8," } else { part };
        assert!(source.contains(part), "{part} is missing: {source}");
    }
    for value in [
        "0xC0000000",
        "0xFBFFFFFF",
        "0x0000008000000000",
        "0x0000008FFFFFFFFF",
        "0xB0000000",
        "0x001FFFFF",
    ] {
        assert!(source.contains(value), "{value} is missing: {source}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Sorted, aligned, no overlap; each page is RAM only if it is RAM and nothing else.
    #[test]
    fn any_map_is_orderly(
        ram in proptest::collection::vec((0..0x40_0000_u64, 0..0x10_0000_u64), 0..6),
        special in proptest::collection::vec((prop_oneof![0..0x40_0000_u64, any::<u64>()], 0..0x10_0000_u64, 0..4_usize), 0..8),
    ) {
        const KINDS: [RangeKind; 4] = [RangeKind::Reserved, RangeKind::AcpiNvs, RangeKind::AcpiReclaimable, RangeKind::Unusable];
        let mut at = 0;
        let ram: Vec<_> = ram.into_iter().map(|(gap, length)| {
            let range = Range { start: at + gap, length };
            at += gap + length;
            range
        }).collect();
        let special: Vec<_> = special.into_iter()
            .map(|(start, length, kind)| MapEntry { start, length, kind: KINDS[kind] }).collect();
        let map = memory_map(&ram, &special);
        for pair in map.windows(2) {
            prop_assert!(pair[0].start + pair[0].length <= pair[1].start);
            prop_assert!(pair[0].kind != pair[1].kind || pair[0].start + pair[0].length < pair[1].start);
        }
        for entry in &map {
            prop_assert_eq!(entry.start & 0xFFF | entry.length & 0xFFF, 0);
            prop_assert!(entry.length > 0);
        }
        for page in (0..at).step_by(0x1000) {
            let end = page + 0x1000;
            let whole = (page..end).step_by(0x7FF).chain([end - 1]).all(|b| ram.iter().any(|r| r.start <= b && b < r.start + r.length))
                && ram.iter().any(|r| r.start <= page && end <= r.start + r.length);
            let hit = special.iter().any(|s| s.length > 0 && s.start < end && page < s.start.saturating_add(s.length));
            let is_ram = kind_at(&map, page) == Some(RangeKind::Ram);
            prop_assert_eq!(is_ram, whole && !hit, "page {:#x}", page);
        }
    }
}

#[test]
fn the_bios_data_area_agrees_with_the_machine() {
    let m = Memory::new();
    assert_eq!([0x400, 0x402, 0x404, 0x408].map(|at| m.number(at, 2)), [0x3F8, 0x2F8, 0, 0]);
    assert_eq!(m.number(0x410, 2), 2 << 9 | 1 << 1, "two serial ports, a coprocessor");
    let (extended, kibibytes) = (m.number(0x40E, 2) << 4, m.number(0x413, 2));
    let ram = m.0.memory_map[0];
    assert_eq!((ram.start, ram.length, ram.kind), (0, kibibytes << 10, RangeKind::Ram));
    assert_eq!((extended, m.number(extended, 1) << 10), (kibibytes << 10, 0xA_0000 - extended));
    assert_eq!(kind_at(&m.0.memory_map, extended), Some(RangeKind::Reserved));
    assert_eq!([0x44A, 0x463].map(|at| m.number(at, 2)), [80, 0x3D4]);
}

#[test]
fn every_vector_and_the_reset_vector_lead_into_the_firmware() {
    let m = Memory::new();
    for vector in 0..256 {
        let (offset, segment) = (m.number(4 * vector, 2), m.number(4 * vector + 2, 2));
        m.bytes((segment << 4) + offset, 1);
    }
    // A far jump, and the model of a PC/AT.
    assert_eq!((m.number(0xF_FFF0, 1), m.number(0xF_FFFE, 1)), (0xEA, 0xFC));
    m.bytes((m.number(0xF_FFF3, 2) << 4) + m.number(0xF_FFF1, 2), 14);
}

#[test]
fn without_conventional_memory_there_is_no_data_for_it() {
    let ram = [Range { start: 0x10_0000, length: 2 * GIB - 0x10_0000 }];
    let firmware = build(&MachineDescription { ram: &ram, ..machine() }).unwrap();
    assert!(firmware.blobs.iter().all(|blob| blob.gpa >= 0xF_0000));
}

/// Whatever the version is, the identity and the number of CPUs change nothing but their own place.
#[test]
fn the_identity_is_where_the_guest_looks_for_it() {
    let other = MachineDescription { uuid: [7; 16], ..machine() };
    let (first, second) = (build(&machine()).unwrap(), build(&other).unwrap());
    let differing: usize = first
        .blobs
        .iter()
        .zip(&second.blobs)
        .map(|(a, b)| a.bytes.iter().zip(&b.bytes).filter(|(a, b)| a != b).count())
        .sum();
    assert!((1..=17).contains(&differing), "{differing} bytes: the UUID, a checksum");
}
