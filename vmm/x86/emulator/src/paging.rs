//! Translation of linear to guest-physical addresses through the guest's page tables.

use x86::page_table::{entry, fault};
use x86::{Registers, cr0, cr4, efer, rflags};

use crate::machine::Limits;
use crate::memory::PhysicalMemory;

/// The kind of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Data read.
    Read,
    /// Data write, or read and write.
    Write,
    /// Instruction fetch.
    Execute,
}

/// The reason why a linear address has no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkError {
    /// The guest's tables refuse: #PF with this error code (APM vol. 2, 8.4.2), CR2 as given.
    Fault {
        /// Linear address of the access, for CR2.
        linear: u64,
        /// Error code of the #PF.
        error_code: u32,
    },
    /// The address is not canonical: #SS(0) for a stack access, else #GP(0).
    NonCanonical,
    /// Other VPs kept changing the entries; let the guest run the instruction again.
    Contended,
}

const PAGE: u64 = 0xFFF;
const ATTEMPTS: u32 = 4;
const DEEPEST: usize = 5;

/// The registers that decide a translation, read from the VP once.
#[derive(Clone, Copy, Debug)]
pub struct Paging {
    cr0: u64,
    cr3: u64,
    cr4: u64,
    efer: u64,
    user: bool,
    user_pages_allowed: bool,
    limits: Limits,
}

/// Shape of the tables that the control registers select (APM vol. 2, 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Legacy,
    Pae,
    Long { levels: u8 },
}

/// One visited entry, kept until the access is known to be allowed.
#[derive(Clone, Copy, Default)]
struct Visited {
    gpa: u64,
    value: u64,
}

/// A finished walk whose permissions are not checked yet.
struct Walk {
    visited: [Visited; DEEPEST],
    depth: usize,
    /// AND of all entries, with NX inverted, so that each set bit is a permission.
    permissions: u64,
    gpa: u64,
}

impl Walk {
    const START: Self = Self {
        visited: [Visited { gpa: 0, value: 0 }; DEEPEST],
        depth: 0,
        permissions: u64::MAX,
        gpa: 0,
    };

    fn visit(&mut self, gpa: u64, value: u64) {
        if let Some(slot) = self.visited.get_mut(self.depth) {
            *slot = Visited { gpa, value };
            self.depth += 1;
        }
    }
}

impl Paging {
    /// Takes the paging state of `cpu` for accesses with its current privilege.
    pub fn of(cpu: &impl Registers, limits: Limits) -> Self {
        Self::at_level(cpu, limits, cpu.cpl())
    }

    /// For accesses to data and code at privilege level `cpl`.
    pub(crate) fn at_level(cpu: &impl Registers, limits: Limits, cpl: u8) -> Self {
        // SMAP looks at RFLAGS.AC for explicit supervisor data accesses (APM vol. 2, 5.6.6).
        let implicit = Self::implicit(cpu, limits);
        let user_pages_allowed = implicit.user_pages_allowed || cpu.rflags() & rflags::AC != 0;
        Self { user: cpl == 3, user_pages_allowed, ..implicit }
    }

    /// For the CPU's own accesses to descriptor tables and task state segments, which are a
    /// supervisor's at any privilege level.
    pub(crate) fn implicit(cpu: &impl Registers, limits: Limits) -> Self {
        Self {
            cr0: cpu.cr0(),
            cr3: cpu.cr3(),
            cr4: cpu.cr4(),
            efer: cpu.efer(),
            user: false,
            user_pages_allowed: cpu.cr4() & cr4::SMAP == 0,
            limits,
        }
    }

    /// Guest-physical address of `linear`; sets accessed and dirty bits as the CPU would.
    ///
    /// Covers no paging, 32-bit (with PSE-36), PAE, 4-level and 5-level tables. A table outside of
    /// memory reads as all ones, as on silicon, and A/D writes to it are dropped.
    ///
    /// # Errors
    /// [`WalkError`], each variant with its blame.
    pub fn translate(
        &self,
        memory: &mut impl PhysicalMemory,
        linear: u64,
        access: Access,
    ) -> Result<u64, WalkError> {
        if self.cr0 & cr0::PG == 0 {
            return Ok(linear & 0xFFFF_FFFF);
        }
        if !self.is_canonical(linear) {
            return Err(WalkError::NonCanonical);
        }
        if let Some(gpa) = self.quick_walk(memory, linear, access) {
            return Ok(gpa);
        }
        self.whole_walk(memory, linear, access)
    }

    /// The common case: 4 levels whose entries allow the access and have their A and D bits set.
    /// Every other case is left to the full walk, with faults and updates.
    #[inline]
    fn quick_walk(
        &self,
        memory: &mut impl PhysicalMemory,
        linear: u64,
        access: Access,
    ) -> Option<u64> {
        const NEEDED: u64 = entry::PRESENT | entry::ACCESSED;
        if self.efer & efer::LMA == 0 || self.cr4 & cr4::LA57 != 0 {
            return None;
        }
        let reserved = self.reserved_64(1, false);
        let (mut permissions, mut table) =
            (u64::MAX, self.cr3 & entry::ADDRESS & self.physical_mask());
        for shift in [39_u32, 30, 21, 12] {
            let value = memory.read_entry(table | ((linear >> shift) & 0x1FF) << 3);
            permissions &= value ^ entry::NO_EXECUTE;
            if value & (NEEDED | reserved) != NEEDED {
                return None;
            }
            table = value & entry::ADDRESS;
            let large = value & entry::LARGE != 0;
            if shift != 12 && !large {
                continue;
            }
            let offset = (1_u64 << shift) - 1;
            let dirty = access != Access::Write || value & entry::DIRTY != 0;
            // Large pages may have reserved bits of their own.
            let plain = shift == 12 || shift == 21 && table & offset == 0;
            let allowed = plain && dirty && self.allows(permissions, access);
            return allowed.then_some((table & !offset) | (linear & offset));
        }
        None
    }

    #[inline(never)]
    fn whole_walk(
        &self,
        memory: &mut impl PhysicalMemory,
        linear: u64,
        access: Access,
    ) -> Result<u64, WalkError> {
        for _ in 0..ATTEMPTS {
            let walk = self.walk(memory, linear, access)?;
            self.check(&walk, linear, access)?;
            if self.mark(memory, &walk, access) {
                return Ok(walk.gpa);
            }
        }
        Err(WalkError::Contended)
    }

    /// Whether all bits above the translated ones repeat the highest of them (APM vol. 2, 5.3.1).
    pub fn is_canonical(&self, linear: u64) -> bool {
        let Format::Long { levels } = self.format() else { return true };
        let unused = 64 - (12 + 9 * u32::from(levels));
        ((linear << unused).cast_signed() >> unused).cast_unsigned() == linear
    }

    fn format(&self) -> Format {
        if self.efer & efer::LMA != 0 {
            Format::Long { levels: if self.cr4 & cr4::LA57 != 0 { 5 } else { 4 } }
        } else if self.cr4 & cr4::PAE != 0 {
            Format::Pae
        } else {
            Format::Legacy
        }
    }

    fn walk(
        &self,
        memory: &mut impl PhysicalMemory,
        linear: u64,
        access: Access,
    ) -> Result<Walk, WalkError> {
        match self.format() {
            Format::Legacy => self.walk_legacy(memory, linear, access),
            Format::Pae => self.walk_pae(memory, linear, access),
            Format::Long { levels } => {
                let root = self.cr3 & entry::ADDRESS & self.physical_mask();
                self.walk_64(memory, linear, access, root, levels)
            }
        }
    }

    /// 32-bit entries, two levels (APM vol. 2, 5.2.1 and 5.2.2).
    fn walk_legacy(
        &self,
        memory: &mut impl PhysicalMemory,
        linear: u64,
        access: Access,
    ) -> Result<Walk, WalkError> {
        let mut walk = Walk { permissions: !entry::NO_EXECUTE, ..Walk::START };
        let at = (self.cr3 & 0xFFFF_F000) | ((linear >> 20) & 0xFFC);
        let directory = self.entry_32(memory, at, linear, access, &mut walk)?;
        if directory & entry::LARGE != 0 && self.cr4 & cr4::PSE != 0 {
            // PSE-36: bits 20–13 are address bits 39–32; bit 21 is reserved.
            let high = (directory >> 13) & 0xFF;
            let reserved = (high << 32) & !self.physical_mask() != 0 || directory & (1 << 21) != 0;
            if reserved {
                return Err(self.fault(linear, access, fault::PRESENT | fault::RESERVED));
            }
            walk.gpa = (high << 32) | (directory & 0xFFC0_0000) | (linear & 0x3F_FFFF);
        } else {
            let at = (directory & 0xFFFF_F000) | ((linear >> 10) & 0xFFC);
            let page = self.entry_32(memory, at, linear, access, &mut walk)?;
            walk.gpa = (page & 0xFFFF_F000) | (linear & PAGE);
        }
        walk.permissions |= entry::NO_EXECUTE;
        Ok(walk)
    }

    fn entry_32(
        &self,
        memory: &mut impl PhysicalMemory,
        gpa: u64,
        linear: u64,
        access: Access,
        walk: &mut Walk,
    ) -> Result<u64, WalkError> {
        let value = memory.read_entry(gpa & !7) >> (8 * (gpa & 4)) & 0xFFFF_FFFF;
        if value & entry::PRESENT == 0 {
            return Err(self.fault(linear, access, 0));
        }
        walk.visit(gpa, value);
        walk.permissions &= value;
        Ok(value)
    }

    /// Four pointers without permissions, then two levels (APM vol. 2, 5.2.3 and 5.2.4).
    ///
    /// Under nested paging the CPU reads the pointers from memory at each walk (APM vol. 2,
    /// 15.25.10), so a reserved bit shows as #PF here.
    fn walk_pae(
        &self,
        memory: &mut impl PhysicalMemory,
        linear: u64,
        access: Access,
    ) -> Result<Walk, WalkError> {
        // Bit 5 must be zero, too, but an emulated CPU may set it as an accessed bit.
        const MUST_BE_ZERO: u64 = (0b11 << 1) | (0b111 << 6) | (0xFFF << 52);
        let linear = linear & 0xFFFF_FFFF;
        let pointer = memory.read_entry((self.cr3 & 0xFFFF_FFE0) | ((linear >> 27) & 0x18));
        if pointer & entry::PRESENT == 0 {
            return Err(self.fault(linear, access, 0));
        }
        if pointer & (MUST_BE_ZERO | (entry::ADDRESS & !self.physical_mask())) != 0 {
            return Err(self.fault(linear, access, fault::PRESENT | fault::RESERVED));
        }
        self.walk_64(memory, linear, access, pointer & entry::ADDRESS, 2)
    }

    /// The lowest `levels` levels of 64-bit entries, from the table at `table`.
    fn walk_64(
        &self,
        memory: &mut impl PhysicalMemory,
        linear: u64,
        access: Access,
        table: u64,
        levels: u8,
    ) -> Result<Walk, WalkError> {
        let mut walk = Walk::START;
        let mut table = table;
        for level in (1..=levels.min(5)).rev() {
            let shift = 3 + 9 * u32::from(level);
            let gpa = table | (((linear >> shift) & 0x1FF) << 3);
            let value = memory.read_entry(gpa);
            if value & entry::PRESENT == 0 {
                return Err(self.fault(linear, access, 0));
            }
            let large = value & entry::LARGE != 0 && level != 1;
            if value & self.reserved_64(level, large) != 0 {
                return Err(self.fault(linear, access, fault::PRESENT | fault::RESERVED));
            }
            walk.visit(gpa, value);
            walk.permissions &= value ^ entry::NO_EXECUTE;
            table = value & entry::ADDRESS;
            if large || level == 1 {
                let offset = (1_u64 << shift) - 1;
                walk.gpa = (table & !offset) | (linear & offset);
                return Ok(walk);
            }
        }
        // Only without a level at all, which no format has.
        Err(self.fault(linear, access, 0))
    }

    /// Bits that must be zero in an entry of `level` (APM vol. 2, 5.3.3 to 5.3.5).
    ///
    /// Bit 8 of higher levels is reserved on AMD only and ignored here, so that no fault is
    /// invented on other CPUs.
    fn reserved_64(&self, level: u8, large: bool) -> u64 {
        let mut reserved = entry::ADDRESS & !self.physical_mask();
        if self.efer & efer::NXE == 0 {
            reserved |= entry::NO_EXECUTE;
        }
        if self.efer & efer::LMA == 0 {
            reserved |= 0x7FF << 52;
        }
        if large {
            reserved |= match level {
                2 => 0xFF << 13,
                3 if self.limits.gigabyte_pages => 0x1_FFFF << 13,
                _ => entry::LARGE,
            };
        }
        reserved
    }

    fn check(&self, walk: &Walk, linear: u64, access: Access) -> Result<(), WalkError> {
        if self.allows(walk.permissions, access) {
            Ok(())
        } else {
            Err(self.fault(linear, access, fault::PRESENT))
        }
    }

    /// Whether `permissions`, the AND of all entries with NX inverted, allow the access.
    #[inline]
    fn allows(&self, permissions: u64, access: Access) -> bool {
        let user_page = permissions & entry::USER != 0;
        let executable = permissions & entry::NO_EXECUTE != 0;
        let writable =
            permissions & entry::WRITABLE != 0 || (!self.user && self.cr0 & cr0::WP == 0);
        let privilege = if self.user {
            user_page
        } else if access == Access::Execute {
            !user_page || self.cr4 & cr4::SMEP == 0
        } else {
            !user_page || self.user_pages_allowed
        };
        let kind = match access {
            Access::Read => true,
            Access::Write => writable,
            Access::Execute => executable,
        };
        privilege && kind
    }

    /// Sets the accessed bits, for a write also the leaf's dirty bit; false if an entry changed.
    fn mark(&self, memory: &mut impl PhysicalMemory, walk: &Walk, access: Access) -> bool {
        let size = if self.format() == Format::Legacy { 4 } else { 8 };
        for (index, visited) in walk.visited.iter().take(walk.depth).enumerate() {
            let leaf = index + 1 == walk.depth;
            let dirty = if leaf && access == Access::Write { entry::DIRTY } else { 0 };
            let old = visited.value;
            let new = old | entry::ACCESSED | dirty;
            if new != old
                && memory.exchange_entry(visited.gpa, old, new, size).is_ok_and(|now| now != old)
            {
                return false;
            }
        }
        true
    }

    fn fault(&self, linear: u64, access: Access, cause: u32) -> WalkError {
        let mut error_code = cause;
        if self.user {
            error_code |= fault::USER;
        }
        match access {
            Access::Read => {}
            Access::Write => error_code |= fault::WRITE,
            Access::Execute => {
                let pae = self.format() != Format::Legacy;
                let no_execute = pae && self.efer & efer::NXE != 0;
                if no_execute || self.cr4 & cr4::SMEP != 0 {
                    error_code |= fault::FETCH;
                }
            }
        }
        WalkError::Fault { linear, error_code }
    }

    fn physical_mask(&self) -> u64 {
        (1_u64 << self.limits.physical_address_bits.clamp(32, 52)) - 1
    }
}
