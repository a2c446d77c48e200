//! A VP in long mode with a few pages, whose registers are plain fields.

extern crate std;

use std::boxed::Box;
use std::vec;

use drydock_rmp::{Adjustment, Backing, GuestPage, HostMap, Rights, Rmp, Size, SystemPage};
use emulator::Limits;
use guest_memory::{Gpa, GuestMemory, MappedMemory};
use snp::exit::ExitCode;
use snp::features::SevFeatures;
use x86::{
    Attributes, EventRegisters, ModeRegisters, Register, Registers, Segment, SegmentRegister,
    SystemRegisters, cr0, cr4, efer,
};

use crate::{Addressing, Cpu, Disposition, Features, RawExit, Space};

pub(super) const C_BIT: u8 = 39;
pub(super) const C: u64 = 1 << C_BIT;

/// Guest pages, and as many system pages behind them.
const PAGES: u32 = 16;
/// Where the system pages lie in the memory of the machine.
const POOL: u64 = PAGES as u64 * 0x1000;
/// Four tables, the highest first. Each maps its first and last entry alike, so that the last page
/// of the linear addresses is the page of the code.
const TABLES: [u64; 4] = [0x1000, 0x2000, 0x3000, 0x4000];
/// The page that the code is in.
pub(super) const CODE: u64 = 0x5000;
/// RIP at the start.
pub(super) const RIP: u64 = CODE + 0x100;
/// A page for data, at its own linear address. It is private, assigned and not validated.
pub(super) const DATA: u64 = 0x8000;
/// A page for data that is private and validated.
pub(super) const VALIDATED: u64 = 0x9000;
/// A page that the guest shares.
pub(super) const SHARED: u64 = 0xa000;
/// An address whose page the host has put nowhere.
pub(super) const HOLE: u64 = 0xc000;
/// A page that the host has put there without assigning it.
pub(super) const UNASSIGNED: u64 = 0xd000;
/// A page of 2 MiB, assigned and not validated.
pub(super) const LARGE: u64 = 0x20_0000;

/// The registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FakeVp {
    pub(super) gprs: [u64; 16],
    pub(super) rip: u64,
    pub(super) rflags: u64,
    pub(super) cr0: u64,
    pub(super) cr2: u64,
    pub(super) cr8: u8,
    pub(super) cr3: u64,
    pub(super) cr4: u64,
    pub(super) efer: u64,
    pub(super) pat: u64,
    pub(super) cpl: u8,
    pub(super) cs: Segment,
}

impl Registers for FakeVp {
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
        if register == SegmentRegister::Cs { self.cs } else { Segment::default() }
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
    fn xmm(&self, _: u8) -> u128 {
        0
    }
    fn set_xmm(&mut self, _: u8, _: u128) {
        panic!("nothing here writes XMM registers");
    }
}

impl SystemRegisters for FakeVp {
    fn set_efer(&mut self, efer: u64) {
        self.efer = efer;
    }
    fn debug_registers(&self) -> (u64, u64) {
        (0, 0)
    }
    fn set_dr6(&mut self, _: u64) {
        panic!("nothing here writes DR6");
    }
    fn set_cr2(&mut self, cr2: u64) {
        self.cr2 = cr2;
    }
    fn cr8(&self) -> u8 {
        self.cr8
    }
    fn set_cr8(&mut self, cr8: u8) {
        self.cr8 = cr8;
    }
    fn pat(&self) -> u64 {
        self.pat
    }
    fn set_pat(&mut self, pat: u64) {
        self.pat = pat;
    }
    fn xcr0(&self) -> u64 {
        1
    }
    fn set_xcr0(&mut self, _: u64) {
        panic!("nothing here writes XCR0");
    }
}

impl EventRegisters for FakeVp {
    fn set_segment(&mut self, _: SegmentRegister, _: Segment) {
        panic!("nothing here loads a segment");
    }
    fn set_cpl(&mut self, _: u8) {
        panic!("nothing here changes CPL");
    }
}

impl ModeRegisters for FakeVp {
    fn set_cr0(&mut self, cr0: u64) {
        self.cr0 = cr0;
    }
    fn set_cr4(&mut self, cr4: u64) {
        self.cr4 = cr4;
    }
}

/// A code segment of 64 bits, of 32 bits, or of 16.
pub(super) fn code_segment(is_long: bool, is_big: bool) -> Segment {
    let attributes = Attributes::new().with_is_long(is_long).with_is_big(is_big);
    Segment { attributes, ..Default::default() }
}

/// The VP with its memory.
pub(super) struct World {
    pub(super) vp: FakeVp,
    pub(super) features: Features,
    pub(super) space: Space<'static>,
    pub(super) memory: MappedMemory,
}

impl World {
    /// VMPL0 in 64-bit mode at CPL 0, with its own tables and code.
    pub(super) fn new() -> Self {
        let entries = Box::leak(vec![Default::default(); 1024].into_boxed_slice());
        let map = Box::leak(vec![0; 1024].into_boxed_slice());
        let words = Box::leak(vec![0; POOL as usize * 2 / 8].into_boxed_slice());
        let space = Space { rmp: Rmp::new(entries), map: HostMap::new(map), pool: POOL };
        let addressing = Addressing { c_bit: C_BIT, virtual_tom: None };
        let sev = SevFeatures::new().with_snp_active(true);
        let features = Features { sev, vmpl: 0, addressing, ghcb_msr: 0, tsc_mhz: 2500 };
        let vp = FakeVp {
            gprs: [0; 16],
            rip: RIP,
            rflags: 2,
            cr0: cr0::PE | cr0::PG | cr0::ET,
            cr2: 0,
            cr8: 0,
            cr3: TABLES[0] | C,
            cr4: cr4::PAE,
            efer: efer::LME | efer::LMA | efer::SVME,
            pat: 0,
            cpl: 0,
            cs: code_segment(true, false),
        };
        let mut world = Self { vp, features, space, memory: MappedMemory::of_words(words) };
        world.fill();
        world
    }

    fn fill(&mut self) {
        for page in TABLES.into_iter().chain([CODE, CODE + 0x1000, VALIDATED]) {
            self.own(page);
        }
        self.assign(DATA, Size::Small);
        self.assign(LARGE, Size::Large);
        self.map(SHARED, Backing::Shared);
        self.map(UNASSIGNED, Backing::Private(SystemPage((UNASSIGNED >> 12) as u32)));
        const TABLE: u64 = 7;
        for pair in TABLES.windows(2) {
            let [table, next] = [pair[0], pair[1]];
            for index in [0, 511] {
                self.set_entry(table, index, next | C | TABLE);
            }
        }
        for page in 0..u64::from(PAGES) {
            let bit = if page << 12 == SHARED { 0 } else { C };
            self.set_entry(TABLES[3], page, page << 12 | bit | 7);
        }
        self.set_entry(TABLES[3], 511, CODE | C | 7);
        self.set_entry(TABLES[2], LARGE >> 21, LARGE | C | 0x87);
    }

    /// Sets an entry of a table of the guest.
    pub(super) fn set_entry(&self, table: u64, index: u64, entry: u64) {
        self.memory.write_u64(Gpa(POOL + table + index * 8), entry).unwrap();
    }

    /// Sets the entry of the linear page at `linear`.
    pub(super) fn set_leaf(&self, linear: u64, entry: u64) {
        self.set_entry(TABLES[3], linear >> 12, entry);
    }

    /// Takes the C-bit out of all tables.
    pub(super) fn clear_c_bits(&mut self) {
        self.vp.cr3 &= !C;
        for at in (0..4 * 512).map(|index| Gpa(POOL + TABLES[0] + 8 * index)) {
            let entry = self.memory.read_u64(at).unwrap();
            self.memory.write_u64(at, entry & !C).unwrap();
        }
    }

    /// Has the host put `backing` behind a page.
    pub(super) fn map(&mut self, gpa: u64, backing: Backing) {
        assert!(self.space.map.set(GuestPage((gpa >> 12) as u32), Some(backing)));
    }

    /// Makes a page one of the guest's that is validated.
    pub(super) fn own(&mut self, gpa: u64) {
        self.assign(gpa, Size::Small);
        self.validate(gpa, Size::Small);
    }

    fn assign(&mut self, gpa: u64, size: Size) {
        let number = (gpa >> 12) as u32;
        self.space.rmp.assign(SystemPage(number), GuestPage(number), size, false).unwrap();
        for index in 0..size.pages() {
            let backing = Backing::Private(SystemPage(number + index));
            self.map(gpa + u64::from(index) * 0x1000, backing);
        }
    }

    /// Validates a page.
    pub(super) fn validate(&mut self, gpa: u64, size: Size) {
        let page = GuestPage((gpa >> 12) as u32);
        self.space.rmp.pvalidate(&self.space.map, page, size, true).unwrap().unwrap();
    }

    /// Gives level 1 rights to a page.
    pub(super) fn lend(&mut self, gpa: u64, rights: Rights) {
        let page = GuestPage((gpa >> 12) as u32);
        let change = Adjustment { current: 0, target: 1, rights, vmsa: false };
        self.space.rmp.rmpadjust(&self.space.map, page, Size::Small, change).unwrap().unwrap();
    }

    /// Writes a private page of the guest.
    pub(super) fn write_private(&self, gpa: u64, bytes: &[u8]) {
        self.memory.write(Gpa(POOL + gpa), bytes).unwrap();
    }

    /// A byte of a private page of the guest.
    pub(super) fn private(&self, gpa: u64) -> u8 {
        let mut byte = [0];
        self.memory.read(Gpa(POOL + gpa), &mut byte).unwrap();
        byte[0]
    }

    /// Puts `bytes` at RIP, which is in the page of the code or the one behind it.
    pub(super) fn code(&self, bytes: &[u8]) {
        let at = if self.vp.rip >> 12 == u64::MAX >> 12 {
            CODE | self.vp.rip & 0xfff
        } else {
            self.vp.rip
        };
        self.write_private(at, bytes);
    }

    pub(super) fn set(&mut self, register: Register, value: u64) {
        self.vp.set_gpr(register, value);
    }

    pub(super) fn cpu(&mut self) -> Cpu<'_, 'static, FakeVp, MappedMemory> {
        let limits =
            Limits { iterations: 1, physical_address_bits: C_BIT + 1, gigabyte_pages: true };
        Cpu {
            registers: &mut self.vp,
            features: &mut self.features,
            space: &mut self.space,
            memory: &self.memory,
            limits,
        }
    }

    /// Runs an exit of AMD-V through the rules.
    pub(super) fn exit(&mut self, code: ExitCode, info_1: u64, info_2: u64) -> Disposition {
        self.cpu().exit(RawExit { code: code.0, info_1, info_2, interrupt_info: 0 })
    }
}
