//! A VP and a hostile memory for tests: each broken promise of the emulator is a panic.
#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each test uses a part")]

use emulator::{BusError, Limits, Outcome, PhysicalMemory, emulate};
use x86::{Attributes, EventRegisters, Register, Registers, Segment, SegmentRegister};

pub const LIMITS: Limits =
    Limits { iterations: 16, physical_address_bits: 48, gigabyte_pages: true };

/// The device answers here; below it is RAM.
pub const DEVICE: u64 = 0xFEE0_0000;
pub const RAM: usize = 0x10_0000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Read(u64, usize),
    Write(u64, Vec<u8>),
    Exchange(u64, u128, u128, u8),
}

#[derive(Clone)]
pub struct Memory {
    pub ram: Vec<u8>,
    /// The value that a read from the device gives, lowest byte first.
    pub device: u128,
    /// Accesses to the device.
    pub events: Vec<Event>,
    /// All physical reads of RAM, to find double fetches.
    pub reads: Vec<(u64, usize)>,
    pub fetches: Vec<(u64, usize)>,
    /// Let this many compare-exchanges lose against another VP, which adds one.
    pub contention: u32,
}

impl Memory {
    pub fn new() -> Self {
        Self {
            ram: vec![0; RAM],
            device: 0,
            events: Vec::new(),
            reads: Vec::new(),
            fetches: Vec::new(),
            contention: 0,
        }
    }

    fn range(gpa: u64, length: usize) -> Result<std::ops::Range<usize>, BusError> {
        assert!((gpa & 0xFFF) + length as u64 <= 0x1000, "access crosses a page");
        let start = usize::try_from(gpa).map_err(|_| BusError { gpa })?;
        let end = start.checked_add(length).filter(|&end| end <= RAM);
        end.map(|end| start..end).ok_or(BusError { gpa })
    }

    pub fn put(&mut self, gpa: u64, bytes: &[u8]) {
        self.ram[gpa as usize..gpa as usize + bytes.len()].copy_from_slice(bytes);
    }

    pub fn u64_at(&self, gpa: u64) -> u64 {
        u64::from_le_bytes(self.ram[gpa as usize..gpa as usize + 8].try_into().unwrap())
    }

    fn is_device(gpa: u64) -> bool {
        (DEVICE..DEVICE + 0x1000).contains(&gpa)
    }
}

impl PhysicalMemory for Memory {
    fn read(&mut self, gpa: u64, bytes: &mut [u8]) -> Result<(), BusError> {
        assert!(matches!(bytes.len(), 1 | 2 | 4 | 8 | 16));
        if Self::is_device(gpa) {
            self.events.push(Event::Read(gpa, bytes.len()));
            bytes.copy_from_slice(&self.device.to_le_bytes()[..bytes.len()]);
            return Ok(());
        }
        self.reads.push((gpa, bytes.len()));
        bytes.copy_from_slice(&self.ram[Self::range(gpa, bytes.len())?]);
        Ok(())
    }

    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), BusError> {
        assert!(matches!(bytes.len(), 1 | 2 | 4 | 8 | 16));
        if Self::is_device(gpa) {
            self.events.push(Event::Write(gpa, bytes.to_vec()));
            return Ok(());
        }
        let range = Self::range(gpa, bytes.len())?;
        self.ram[range].copy_from_slice(bytes);
        Ok(())
    }

    fn fetch(&mut self, gpa: u64, bytes: &mut [u8]) -> Result<(), BusError> {
        self.fetches.push((gpa, bytes.len()));
        bytes.copy_from_slice(&self.ram[Self::range(gpa, bytes.len())?]);
        Ok(())
    }

    fn compare_exchange(
        &mut self,
        gpa: u64,
        old: u128,
        new: u128,
        size: u8,
    ) -> Result<u128, BusError> {
        assert!(matches!(size, 1 | 2 | 4 | 8 | 16));
        if Self::is_device(gpa) {
            self.events.push(Event::Exchange(gpa, old, new, size));
            return Ok(old);
        }
        let range = Self::range(gpa, usize::from(size))?;
        let mut bytes = [0; 16];
        bytes[..range.len()].copy_from_slice(&self.ram[range.clone()]);
        let mut now = u128::from_le_bytes(bytes);
        if self.contention > 0 {
            self.contention -= 1;
            now = now.wrapping_add(1 << 9);
            self.ram[range.clone()].copy_from_slice(&now.to_le_bytes()[..range.len()]);
        }
        if now == old {
            let length = range.len();
            self.ram[range].copy_from_slice(&new.to_le_bytes()[..length]);
        }
        Ok(now)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vp {
    pub gprs: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub segments: [Segment; 6],
    /// LDTR, TR, GDTR and IDTR.
    pub tables: [Segment; 4],
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    pub cpl: u8,
    pub xmm: [u128; 16],
}

const DATA: u16 = 0xC93;
const CODE_32: u16 = 0xC9B;
const CODE_64: u16 = 0xA9B;
pub const CODE_AT: u64 = 0x8000;

impl Vp {
    fn flat(code: u16) -> Self {
        let data = Segment {
            selector: 0x10,
            attributes: Attributes::from_bits(DATA),
            limit: u32::MAX,
            base: 0,
        };
        let code = Segment { selector: 8, attributes: Attributes::from_bits(code), ..data };
        Self {
            gprs: [0; 16],
            rip: CODE_AT,
            rflags: 2,
            segments: [data, code, data, data, data, data],
            tables: [Segment::default(); 4],
            cr0: 1,
            cr3: 0,
            cr4: 1 << 9,
            efer: 0,
            cpl: 0,
            xmm: [0; 16],
        }
    }

    /// 64-bit mode; without paging, which a CPU could not do, to keep instruction tests short.
    pub fn long() -> Self {
        Self { efer: 1 << 10, ..Self::flat(CODE_64) }
    }

    pub fn protected() -> Self {
        Self::flat(CODE_32)
    }

    pub fn real() -> Self {
        let mut vp = Self::flat(0x9B);
        for segment in &mut vp.segments {
            *segment = Segment {
                selector: 0,
                attributes: Attributes::from_bits(0x93),
                limit: 0xFFFF,
                base: 0,
            };
        }
        Self { cr0: 0, ..vp }
    }
}

impl Registers for Vp {
    fn gpr(&self, register: Register) -> u64 {
        self.gprs[register as usize]
    }
    fn set_gpr(&mut self, register: Register, value: u64) {
        self.gprs[register as usize] = value;
    }
    fn rip(&self) -> u64 {
        self.rip
    }
    fn set_rip(&mut self, value: u64) {
        self.rip = value;
    }
    fn rflags(&self) -> u64 {
        self.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        self.rflags = value;
    }
    fn segment(&self, register: SegmentRegister) -> Segment {
        let number = register as usize;
        self.segments.get(number).copied().unwrap_or_else(|| self.tables[number - 6])
    }
    fn cr0(&self) -> u64 {
        self.cr0
    }
    fn cr3(&self) -> u64 {
        self.cr3
    }
    fn cr4(&self) -> u64 {
        self.cr4
    }
    fn efer(&self) -> u64 {
        self.efer
    }
    fn cpl(&self) -> u8 {
        self.cpl
    }
    fn xmm(&self, number: u8) -> u128 {
        self.xmm[usize::from(number)]
    }
    fn set_xmm(&mut self, number: u8, value: u128) {
        self.xmm[usize::from(number)] = value;
    }
}

impl EventRegisters for Vp {
    fn set_segment(&mut self, register: SegmentRegister, segment: Segment) {
        self.segments[register as usize] = segment;
    }
    fn set_cpl(&mut self, cpl: u8) {
        self.cpl = cpl;
    }
}

/// Runs `code` at the VP's RIP (linear and physical address alike).
pub fn run(vp: &mut Vp, memory: &mut Memory, code: &[u8]) -> Outcome {
    let at = vp.rip + if vp.efer == 0 { vp.segments[1].base } else { 0 };
    memory.put(at, code);
    emulate(vp, memory, LIMITS)
}

pub const DONE: Outcome = Outcome::Done { trap: false };

pub fn exception(vector: u8, error_code: Option<u32>) -> Outcome {
    Outcome::Exception(emulator::Exception { vector, error_code, cr2: None })
}
