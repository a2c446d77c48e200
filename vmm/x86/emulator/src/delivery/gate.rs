//! The gate of a vector, and the code segment that it names.

use x86::{Registers, Segment, SegmentRegister, vector};

use super::{Delivery, DeliveryError, code, fault, selector_code};
use crate::memory::PhysicalMemory;
use crate::paging::Access;
use crate::size::Size;

/// Types of gates, with the S bit (APM vol. 2, tables 4-5 and 4-6).
mod kind {
    pub(super) const TASK: u8 = 0x05;
    pub(super) const INTERRUPT_16: u8 = 0x06;
    pub(super) const TRAP_16: u8 = 0x07;
    pub(super) const INTERRUPT: u8 = 0x0e;
    pub(super) const TRAP: u8 = 0x0f;
}

/// Bits of a code segment's type.
const CODE: u8 = 1 << 3;
const CONFORMING: u8 = 1 << 2;
/// The table indicator of a selector: the local descriptor table.
const LOCAL: u16 = 1 << 2;
/// The byte of a descriptor that has the type, and its accessed bit.
const TYPE_BYTE: u64 = 5;
const ACCESSED: u64 = 1;

/// An interrupt or trap gate.
pub(super) struct Gate {
    selector: u16,
    pub(super) offset: u64,
    /// The entry of the interrupt stack table, 1 to 7; 0 for none.
    pub(super) ist: u8,
    /// The size of the values that are pushed.
    pub(super) size: Size,
    /// It is an interrupt gate: RFLAGS.IF is cleared.
    pub(super) disables_interrupts: bool,
}

/// A descriptor in memory.
pub(super) struct Descriptor {
    linear: u64,
    raw: u64,
}

impl Descriptor {
    /// The segment as it is loaded, with its accessed bit set.
    pub(super) const fn segment(&self, selector: u16) -> Segment {
        Segment::from_descriptor(selector, self.raw | ACCESSED << (8 * TYPE_BYTE))
    }
}

/// The handler's code segment.
pub(super) struct Code {
    pub(super) segment: Segment,
    pub(super) descriptor: Descriptor,
    /// The privilege level of the handler.
    pub(super) cpl: u8,
}

impl<C: Registers, M: PhysicalMemory> Delivery<'_, C, M> {
    /// Reads the gate of the event's vector.
    pub(super) fn gate(&mut self) -> Result<Gate, DeliveryError> {
        let table = self.cpu.segment(SegmentRegister::Idtr);
        let is_long = self.is_long();
        let entry = if is_long { Size::Octword } else { Size::Quadword };
        let at = u64::from(self.event.vector) * u64::from(entry.bytes());
        let own_code = u32::from(self.event.vector) << 3 | code::IDT | code::EXT;
        if at + u64::from(entry.bytes()) - 1 > u64::from(table.limit) {
            return Err(fault(vector::GP, own_code));
        }
        let raw = self.read_system(table.base.wrapping_add(at), entry)?;
        let (low, high) = (raw as u64, (raw >> 64) as u64);
        let (kind, is_present) = ((low >> 40) as u8 & 0x1f, low >> 47 & 1 != 0);
        let size = match (is_long, kind) {
            (true, kind::INTERRUPT | kind::TRAP) => Some(Size::Quadword),
            (false, kind::INTERRUPT | kind::TRAP) => Some(Size::Doubleword),
            (false, kind::INTERRUPT_16 | kind::TRAP_16) => Some(Size::Word),
            (false, kind::TASK) => None,
            _ => return Err(fault(vector::GP, own_code)),
        };
        if !is_present {
            return Err(fault(vector::NP, own_code));
        }
        let selector = (low >> 16) as u16;
        let Some(size) = size else { return Err(DeliveryError::TaskGate { selector }) };
        let offset = low & 0xffff | low >> 32 & 0xffff_0000 | high << 32;
        Ok(Gate {
            selector,
            offset: if size == Size::Word { offset & 0xffff } else { offset },
            ist: if is_long { (low >> 32) as u8 & 7 } else { 0 },
            size,
            disables_interrupts: kind == kind::INTERRUPT || kind == kind::INTERRUPT_16,
        })
    }

    /// Checks the code segment of `gate`.
    pub(super) fn code(&mut self, gate: &Gate) -> Result<Code, DeliveryError> {
        if gate.selector & !3 == 0 {
            return Err(fault(vector::GP, code::EXT));
        }
        let refused = fault(vector::GP, selector_code(gate.selector));
        let Some(descriptor) = self.descriptor(gate.selector)? else { return Err(refused) };
        let segment = descriptor.segment(gate.selector);
        let attributes = segment.attributes;
        let is_code = attributes.is_code_or_data() && attributes.kind() & CODE != 0;
        let fits_mode = !self.is_long() || attributes.is_long() && !attributes.is_big();
        let old = self.cpu.cpl();
        if !is_code || attributes.privilege() > old || !fits_mode {
            return Err(refused);
        }
        if !attributes.is_present() {
            return Err(fault(vector::NP, selector_code(gate.selector)));
        }
        let is_conforming = attributes.kind() & CONFORMING != 0;
        let cpl = if is_conforming { old } else { attributes.privilege() };
        // Virtual-8086 mode is left for level 0 only (APM vol. 2, 8.8).
        if self.is_virtual_8086() && cpl != 0 {
            return Err(refused);
        }
        let selector = gate.selector & !3 | u16::from(cpl);
        Ok(Code { segment: Segment { selector, ..segment }, descriptor, cpl })
    }

    /// Reads the descriptor that `selector` names; none if it is outside of its table.
    pub(super) fn descriptor(
        &mut self,
        selector: u16,
    ) -> Result<Option<Descriptor>, DeliveryError> {
        let is_local = selector & LOCAL != 0;
        let register = if is_local { SegmentRegister::Ldtr } else { SegmentRegister::Gdtr };
        let table = self.cpu.segment(register);
        let at = u64::from(selector & !7);
        let has_table = !is_local || table.attributes.is_present();
        if !has_table || at + 7 > u64::from(table.limit) {
            return Ok(None);
        }
        let linear = table.base.wrapping_add(at);
        let raw = self.read_system(linear, Size::Quadword)? as u64;
        Ok(Some(Descriptor { linear, raw }))
    }

    /// Sets the accessed bit of a descriptor that is loaded.
    pub(super) fn mark_accessed(&mut self, descriptor: &Descriptor) -> Result<(), DeliveryError> {
        let old = descriptor.raw >> (8 * TYPE_BYTE) & 0xff;
        if old & ACCESSED != 0 {
            return Ok(());
        }
        let linear = descriptor.linear.wrapping_add(TYPE_BYTE);
        let span = self.locate_system(linear, Size::Byte, Access::Write)?;
        if span.exchange(self.memory, old.into(), (old | ACCESSED).into())? {
            Ok(())
        } else {
            Err(DeliveryError::Contended)
        }
    }
}
