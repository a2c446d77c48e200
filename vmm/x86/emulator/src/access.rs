//! Access to memory operands by linear address.

use x86::{Registers, SegmentRegister, cr0, rflags};

use crate::decode::{Base, Instruction, MemoryOperand};
use crate::exception::Exception;
use crate::machine::{Machine, Stop};
use crate::memory::{BusError, PhysicalMemory};
use crate::paging::{Access, Paging, WalkError};
use crate::segmentation;
use crate::size::{CodeSize, Size};

/// How often a contended atomic operation is tried before the guest runs it again.
const EXCHANGE_ATTEMPTS: u32 = 16;

/// A memory operand that is translated, checked and ready for access.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    size: Size,
    linear: u64,
    gpa: u64,
    /// Bytes at `gpa`; fewer than the size if the operand crosses into another page.
    first: u8,
    second: u64,
}

impl Span {
    pub(crate) const fn is_aligned(&self) -> bool {
        self.linear & (self.size.bytes() as u64 - 1) == 0
    }

    /// The position of byte `index`, with the length of the aligned piece that starts there.
    fn piece(&self, index: u8) -> (u64, u8) {
        if self.first == self.size.bytes() {
            return (self.gpa, self.first);
        }
        let (base, start, end) = if index < self.first {
            (self.gpa, 0, self.first)
        } else {
            (self.second, self.first, self.size.bytes())
        };
        let gpa = base.wrapping_add(u64::from(index.saturating_sub(start)));
        let left = end.saturating_sub(index).max(1);
        let aligned = 1_u8 << gpa.trailing_zeros().min(3);
        (gpa, aligned.min(1 << left.ilog2()))
    }

    /// Translates every page of `size` bytes at `linear` before any of it is touched. If it
    /// `wraps`, addresses have 32 bits.
    pub(crate) fn locate(
        paging: &Paging,
        memory: &mut impl PhysicalMemory,
        linear: u64,
        size: Size,
        access: Access,
        wraps: bool,
    ) -> Result<Self, WalkError> {
        let length = size.bytes();
        let left = 0x1000 - (linear & 0xFFF);
        let first = left.min(u64::from(length)) as u8;
        let gpa = paging.translate(memory, linear, access)?;
        let second = if first == length {
            0
        } else {
            let next = linear.wrapping_add(left);
            paging.translate(memory, if wraps { next & 0xFFFF_FFFF } else { next }, access)?
        };
        Ok(Self { size, linear, gpa, first, second })
    }

    /// Reads the bytes, with zeros above them.
    pub(crate) fn read(&self, memory: &mut impl PhysicalMemory) -> Result<u128, BusError> {
        let mut bytes = [0; 16];
        let mut index = 0;
        while index < self.size.bytes() {
            let (gpa, length) = self.piece(index);
            let end = index.saturating_add(length);
            let part = bytes.get_mut(usize::from(index)..usize::from(end)).unwrap_or_default();
            memory.read(gpa, part)?;
            index = end;
        }
        Ok(u128::from_le_bytes(bytes))
    }

    /// Writes the low bytes of `value`.
    pub(crate) fn write(
        &self,
        memory: &mut impl PhysicalMemory,
        value: u128,
    ) -> Result<(), BusError> {
        let bytes = value.to_le_bytes();
        let mut index = 0;
        while index < self.size.bytes() {
            let (gpa, length) = self.piece(index);
            let end = index.saturating_add(length);
            let part = bytes.get(usize::from(index)..usize::from(end)).unwrap_or_default();
            memory.write(gpa, part)?;
            index = end;
        }
        Ok(())
    }

    /// Replaces the bytes by `new`, atomically within a page, if they still are `old`; false if
    /// they are not.
    pub(crate) fn exchange(
        &self,
        memory: &mut impl PhysicalMemory,
        old: u128,
        new: u128,
    ) -> Result<bool, BusError> {
        Ok(memory.compare_exchange(self.gpa, old, new, self.size.bytes())? == old)
    }
}

impl<C: Registers, M: PhysicalMemory> Machine<'_, C, M> {
    /// Offset of a memory operand in its segment (APM vol. 1, 2.2.2).
    pub(crate) fn effective_address(&self, i: &Instruction, operand: &MemoryOperand) -> u64 {
        let base = match operand.base {
            None => 0,
            Some(Base::Register(register)) => self.cpu.gpr(register),
            Some(Base::NextRip) => self.next_rip(i),
        };
        let index = operand.index.map_or(0, |register| self.cpu.gpr(register));
        base.wrapping_add(index << (operand.scale & 3)).wrapping_add(operand.displacement)
            & i.address_size.mask()
    }

    /// Checks and translates every page of an operand before any of it is touched.
    pub(crate) fn resolve(
        &mut self,
        segment: SegmentRegister,
        offset: u64,
        size: Size,
        access: Access,
    ) -> Result<Span, Stop> {
        let length = size.bytes();
        let linear =
            segmentation::linear(self.cpu, self.code_size, segment, offset, length, access)?;
        if linear & (u64::from(length) - 1) != 0 && self.checks_alignment() {
            return Err(Exception::ALIGNMENT.into());
        }
        let wraps = self.code_size != CodeSize::Bits64;
        Span::locate(&self.paging, self.memory, linear, size, access, wraps)
            .map_err(|error| Stop::of_walk(error, segment))
    }

    fn checks_alignment(&self) -> bool {
        self.cpu.cpl() == 3 && self.cpu.cr0() & cr0::AM != 0 && self.cpu.rflags() & rflags::AC != 0
    }

    /// Reads an operand, with zeros above its size.
    pub(crate) fn read(&mut self, span: &Span) -> Result<u128, BusError> {
        span.read(self.memory)
    }

    /// Writes an operand.
    pub(crate) fn write(&mut self, span: &Span, value: u128) -> Result<(), BusError> {
        span.write(self.memory, value)
    }

    /// Replaces an operand by the result of `change`; returns the old value.
    ///
    /// With `lock` this is atomic within a page. Across pages it is not: no CPU operation could
    /// span two unrelated guest-physical pages from here, and split locks are obsolete.
    pub(crate) fn update(
        &mut self,
        span: &Span,
        lock: bool,
        change: impl Fn(u128) -> u128,
    ) -> Result<u128, Stop> {
        let mut old = self.read(span)?;
        if !lock || span.first != span.size.bytes() {
            self.write(span, change(old))?;
            return Ok(old);
        }
        for _ in 0..EXCHANGE_ATTEMPTS {
            let new = change(old);
            let found = self.memory.compare_exchange(span.gpa, old, new, span.size.bytes())?;
            if found == old {
                return Ok(old);
            }
            old = found;
        }
        Err(Stop::Again)
    }
}
