//! Handmade images of each kind, and a memory to load them into that checks each write.

use loader::{
    Entry, GuestMemory, LoadError, Loaded, MapEntry, Module, RangeKind, Request, Source,
    TransferError, load,
};
use std::cell::RefCell;
use std::rc::Rc;

pub const MIB: u64 = 1 << 20;
pub const RAM_END: u64 = 48 * MIB;
pub const RESERVED: (u64, u64) = (0x70_0000, 0x71_0000);

/// RAM that panics on a write outside the ranges of the map.
pub struct Memory {
    pub bytes: Vec<u8>,
    pub map: Vec<MapEntry>,
}

impl Memory {
    fn check(&self, gpa: u64, length: u64) {
        let end = gpa.checked_add(length).expect("address wraps");
        let inside = |e: &&MapEntry| e.start < end && gpa < e.start + e.length;
        let ram: u64 = self
            .map
            .iter()
            .filter(|e| e.kind == RangeKind::Ram)
            .filter(inside)
            .map(|e| end.min(e.start + e.length) - gpa.max(e.start))
            .sum();
        assert_eq!(ram, length, "write to {gpa:#x}..{end:#x} leaves RAM");
        let other = self.map.iter().filter(|e| e.kind != RangeKind::Ram).filter(inside).count();
        assert_eq!(other, 0, "write to {gpa:#x}..{end:#x} hits a reserved range");
    }

    pub fn at(&self, gpa: u64, length: usize) -> &[u8] {
        &self.bytes[gpa as usize..gpa as usize + length]
    }

    pub fn number(&self, gpa: u64, length: usize) -> u64 {
        self.at(gpa, length).iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
    }

    pub fn text(&self, gpa: u64) -> String {
        let bytes = &self.bytes[gpa as usize..];
        let end = bytes.iter().position(|&b| b == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    }
}

#[derive(Clone)]
struct Shared(Rc<RefCell<Memory>>);

impl GuestMemory for Shared {
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), TransferError> {
        let mut memory = self.0.borrow_mut();
        memory.check(gpa, bytes.len() as u64);
        memory.bytes[gpa as usize..gpa as usize + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
    fn zero(&mut self, gpa: u64, length: u64) -> Result<(), TransferError> {
        let mut memory = self.0.borrow_mut();
        memory.check(gpa, length);
        memory.bytes[gpa as usize..(gpa + length) as usize].fill(0);
        Ok(())
    }
}

struct File {
    bytes: Vec<u8>,
    memory: Shared,
    broken: bool,
}

impl Source for File {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), TransferError> {
        assert!(offset + bytes.len() as u64 <= self.len(), "reads beyond the file");
        bytes.copy_from_slice(&self.bytes[offset as usize..offset as usize + bytes.len()]);
        if self.broken { Err(TransferError::Host) } else { Ok(()) }
    }
    fn load(&mut self, offset: u64, gpa: u64, length: u64) -> Result<(), TransferError> {
        assert!(offset.checked_add(length).unwrap() <= self.len(), "loads beyond the file");
        let bytes = self.bytes[offset as usize..(offset + length) as usize].to_vec();
        self.memory.write(gpa, &bytes)
    }
}

pub fn map() -> Vec<MapEntry> {
    let ram = |start, end| MapEntry { start, length: end - start, kind: RangeKind::Ram };
    vec![
        ram(0, 0x9_F000),
        MapEntry { start: 0x9_F000, length: 0x6_1000, kind: RangeKind::Reserved },
        ram(MIB, 16 * MIB),
        MapEntry { start: RESERVED.0, length: RESERVED.1 - RESERVED.0, kind: RangeKind::AcpiNvs },
        ram(16 * MIB, RAM_END),
        MapEntry { start: 0xFEC0_0000, length: 0x1000, kind: RangeKind::Reserved },
    ]
}

pub struct Setup {
    pub map: Vec<MapEntry>,
    pub line: Vec<u8>,
    pub kernel: Vec<u8>,
    pub initrd: Option<Vec<u8>>,
    pub modules: Vec<(Vec<u8>, &'static [u8])>,
    pub name: &'static [u8],
    pub broken: bool,
}

impl Setup {
    pub fn new(kernel: Vec<u8>) -> Self {
        let line = b"console=ttyS0".to_vec();
        Self { map: map(), line, kernel, initrd: None, modules: vec![], name: b"", broken: false }
    }

    pub fn run(&self) -> (Result<Entry, LoadError>, Memory) {
        let (result, memory) = self.run_whole();
        (result.map(|loaded| loaded.entry), memory)
    }

    pub fn run_whole(&self) -> (Result<Loaded, LoadError>, Memory) {
        // Old content, so that a forgotten zero shows.
        let memory = Memory { bytes: vec![0xEE; RAM_END as usize], map: self.map.clone() };
        let shared = Shared(Rc::new(RefCell::new(memory)));
        let file = |bytes: &Vec<u8>| File {
            bytes: bytes.clone(),
            memory: shared.clone(),
            broken: self.broken,
        };
        let request = Request {
            memory_map: &self.map,
            command_line: &self.line,
            rsdp: 0xF_0010,
            kernel_name: self.name,
        };
        let mut kernel = file(&self.kernel);
        let initrd = self.initrd.iter().map(|bytes| (file(bytes), &b""[..]));
        let modules = self.modules.iter().map(|(bytes, text)| (file(bytes), *text));
        let mut files: Vec<_> = initrd.chain(modules).collect();
        let modules: Vec<Module<'_>> =
            files.iter_mut().map(|(file, text)| Module { file, text }).collect();
        let mut target = shared.clone();
        let result = load(&request, &mut kernel, modules, &mut target);
        drop((files, kernel, target));
        let Ok(memory) = Rc::try_unwrap(shared.0) else { panic!("memory is shared still") };
        (result, memory.into_inner())
    }

    pub fn loaded(&self) -> (Entry, Memory) {
        let (result, memory) = self.run();
        (result.expect("does not load"), memory)
    }

    pub fn refused(&self) -> LoadError {
        self.run().0.expect_err("loads")
    }
}

pub fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

/// A bzImage with two setup sectors and 8 KiB of code.
pub fn bz_image(version: u16, long: bool) -> Vec<u8> {
    let mut image = vec![0; 3 * 512 + 0x2000];
    image[0x1F1] = 2;
    // Code behind the header must not get into boot_params.
    put(&mut image, 0x26C, &[0xDD; 0x64]);
    put(&mut image, 0x1FE, &[0x55, 0xAA, 0xEB, 0x6A]);
    put(&mut image, 0x202, b"HdrS");
    put(&mut image, 0x206, &version.to_le_bytes());
    image[0x211] = 1;
    put(&mut image, 0x214, &0x10_0000_u32.to_le_bytes());
    put(&mut image, 0x22C, &0x7FFF_FFFF_u32.to_le_bytes());
    put(&mut image, 0x230, &0x20_0000_u32.to_le_bytes());
    image[0x234] = 1;
    put(&mut image, 0x236, &u16::from(long).to_le_bytes());
    put(&mut image, 0x238, &2047_u32.to_le_bytes());
    put(&mut image, 0x258, &0x100_0000_u64.to_le_bytes());
    put(&mut image, 0x260, &0x50_0000_u32.to_le_bytes());
    for (index, byte) in image[3 * 512..].iter_mut().enumerate() {
        *byte = index as u8 ^ (index >> 8) as u8;
    }
    image
}

/// Segments as physical address, virtual address, content, size in memory; notes.
pub fn elf(long: bool, entry: u64, segments: &[(u64, u64, &[u8], u64)], notes: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 64];
    put(&mut image, 0, &[0x7F, b'E', b'L', b'F', if long { 2 } else { 1 }, 1, 1]);
    let (header, count) = (if long { 56 } else { 32 }, segments.len() + 1);
    if long {
        put(&mut image, 24, &entry.to_le_bytes());
        put(&mut image, 32, &64_u64.to_le_bytes());
        put(&mut image, 54, &[header as u8, 0, count as u8, 0]);
    } else {
        put(&mut image, 24, &(entry as u32).to_le_bytes());
        put(&mut image, 28, &64_u32.to_le_bytes());
        put(&mut image, 42, &[header as u8, 0, count as u8, 0]);
    }
    let mut data = Vec::new();
    let base = 64 + header * count;
    let note = [(0, 0, notes, notes.len() as u64)];
    for (index, &(physical, linear, content, size)) in segments.iter().chain(&note).enumerate() {
        let kind = if index + 1 == count { 4_u64 } else { 1 };
        let offset = (base + data.len()) as u64;
        let length = content.len() as u64;
        if long {
            for field in [kind, offset, linear, physical, length, size, 0] {
                image.extend_from_slice(&field.to_le_bytes());
            }
        } else {
            for field in [kind, offset, linear, physical, length, size, 0, 0] {
                image.extend_from_slice(&(field as u32).to_le_bytes());
            }
        }
        data.extend_from_slice(content);
    }
    image.extend(data);
    image
}

pub fn note(name: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for field in [name.len() as u32, content.len() as u32, kind] {
        note.extend_from_slice(&field.to_le_bytes());
    }
    for part in [name, content] {
        note.extend_from_slice(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

pub fn pvh(long: bool) -> Vec<u8> {
    let notes = [
        note(b"GNU\0", 18, &[9; 5]),
        note(b"Xen\0", 6, b"linux\0"),
        note(b"Xen\0", 18, &0x10_0004_u32.to_le_bytes()),
    ]
    .concat();
    elf(long, 0, &[(0x10_0000, 0, b"kernel text", 0x3000), (0x20_0000, 0, b"data", 4)], &notes)
}

/// The header at the start of a flat file that loads at 1 MiB, 64 bytes of bss.
pub fn flat() -> Vec<u8> {
    let mut image = vec![0x90; 0x200];
    let flags = 1_u32 << 16 | 3;
    let fields = [
        0x1BAD_B002,
        flags,
        0_u32.wrapping_sub(0x1BAD_B002 + flags),
        0x10_0010,
        0x10_0000,
        0x10_0200,
        0x10_0240,
        0x10_0100,
    ];
    for (index, field) in fields.iter().enumerate() {
        put(&mut image, 0x10 + 4 * index, &field.to_le_bytes());
    }
    image
}
