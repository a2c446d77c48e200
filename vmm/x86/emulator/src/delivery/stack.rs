//! The stack that a frame is pushed to.

use x86::{Attributes, Register, Registers, Segment, SegmentRegister, vector};

use super::gate::{Code, Descriptor, Gate};
use super::{Delivery, DeliveryError, code, fault, selector_code};
use crate::memory::PhysicalMemory;
use crate::paging::{Access, Paging};
use crate::segmentation;
use crate::size::Size;

/// The bit of a task state segment's type that tells the 32-bit form from the 16-bit one.
const WIDE_TASK: u8 = 1 << 3;
/// Where the 64-bit task state segment has RSP0, and where IST1 would have an entry before it (APM
/// vol. 2, figure 12-8).
const RSP_0: u32 = 0x04;
const BEFORE_IST_1: u32 = 0x1c;

/// Most values of a frame: four data segments, stack, flags, return address and error code.
const MOST_VALUES: usize = 10;

/// The values to push, in their order.
pub(super) struct Frame {
    pub(super) size: Size,
    values: [u64; MOST_VALUES],
    count: usize,
}

impl Frame {
    pub(super) const fn new(size: Size) -> Self {
        Self { size, values: [0; MOST_VALUES], count: 0 }
    }

    pub(super) fn push(&mut self, value: u64) {
        if let Some(slot) = self.values.get_mut(self.count) {
            *slot = value;
            self.count += 1;
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = u64> {
        self.values.into_iter().take(self.count)
    }
}

/// The address space of a stack.
enum Space {
    /// Offsets in a segment, whose type counts if `typed`.
    Segment { segment: Segment, typed: bool },
    /// Linear addresses, in long mode.
    Flat,
}

/// The handler's stack.
pub(super) struct Stack {
    space: Space,
    /// RSP before the frame is pushed.
    pub(super) pointer: u64,
    /// The bits of RSP that count.
    mask: u64,
    /// It is not the stack of the interrupted code.
    pub(super) is_new: bool,
    /// The segment to load into SS.
    pub(super) loaded: Option<Segment>,
    /// The descriptor of that segment, unless it is null.
    pub(super) descriptor: Option<Descriptor>,
}

impl Stack {
    pub(super) fn of_real_mode(cpu: &impl Registers) -> Self {
        let segment = cpu.segment(SegmentRegister::Ss);
        Self {
            space: Space::Segment { segment, typed: false },
            pointer: cpu.gpr(Register::Rsp),
            mask: Size::Word.mask(),
            is_new: false,
            loaded: None,
            descriptor: None,
        }
    }

    fn in_segment(segment: Segment, pointer: u64, descriptor: Option<Descriptor>) -> Self {
        let size = if segment.attributes.is_big() { Size::Doubleword } else { Size::Word };
        Self {
            space: Space::Segment { segment, typed: true },
            pointer,
            mask: size.mask(),
            is_new: descriptor.is_some(),
            loaded: descriptor.is_some().then_some(segment),
            descriptor,
        }
    }

    /// RSP after a push; a 16-bit stack keeps its upper bits.
    pub(super) const fn below(&self, rsp: u64, size: Size) -> u64 {
        let pushed = rsp.wrapping_sub(size.bytes() as u64);
        rsp & !self.mask | pushed & self.mask
    }

    /// The linear address of a value of `size` at `rsp`; none if the stack does not reach there.
    pub(super) fn linear(&self, rsp: u64, size: Size, paging: &Paging) -> Option<u64> {
        match &self.space {
            Space::Flat => paging.is_canonical(rsp).then_some(rsp),
            Space::Segment { segment, typed } => {
                let offset = rsp & self.mask;
                segmentation::within(segment, *typed, offset, size.bytes(), Access::Write)
            }
        }
    }

    /// Checks that `frame` has room.
    pub(super) fn check(&self, frame: &Frame, paging: &Paging) -> Result<(), DeliveryError> {
        let mut rsp = self.pointer;
        for _ in frame.values() {
            rsp = self.below(rsp, frame.size);
            self.linear(rsp, frame.size, paging).ok_or(self.refusal())?;
        }
        Ok(())
    }

    /// The exception of a stack without room: it names the segment if that is a new one.
    pub(super) fn refusal(&self) -> DeliveryError {
        let loaded = self.loaded.map_or(0, |segment| segment.selector);
        fault(vector::SS, selector_code(loaded))
    }
}

impl<C: Registers, M: PhysicalMemory> Delivery<'_, C, M> {
    /// The stack of the handler.
    pub(super) fn stack(&mut self, gate: &Gate, code: &Code) -> Result<Stack, DeliveryError> {
        let changes_level = code.cpl < self.cpu.cpl();
        if self.is_long() {
            self.stack_of_long_mode(gate.ist, changes_level.then_some(code.cpl))
        } else if changes_level {
            self.stack_of_task(code.cpl)
        } else {
            let segment = self.cpu.segment(SegmentRegister::Ss);
            Ok(Stack::in_segment(segment, self.cpu.gpr(Register::Rsp), None))
        }
    }

    /// The stack in long mode (APM vol. 2, 8.9.3 and 8.9.4); `level` is the new privilege level, if
    /// that changes.
    fn stack_of_long_mode(&mut self, ist: u8, level: Option<u8>) -> Result<Stack, DeliveryError> {
        let place = match (ist, level) {
            (0, None) => None,
            (0, Some(level)) => Some(RSP_0 + 8 * u32::from(level)),
            (ist, _) => Some(BEFORE_IST_1 + 8 * u32::from(ist)),
        };
        let rsp = match place {
            None => self.cpu.gpr(Register::Rsp),
            Some(place) => {
                let task = self.task(place, Size::Quadword.bytes())?;
                self.read_system(task.base.wrapping_add(place.into()), Size::Quadword)? as u64
            }
        };
        // The null selector, at the new level.
        let null = |level: u8| Segment {
            selector: level.into(),
            attributes: Attributes::new().with_privilege(level),
            ..Segment::default()
        };
        Ok(Stack {
            space: Space::Flat,
            pointer: rsp & !0xf,
            mask: u64::MAX,
            is_new: place.is_some(),
            loaded: level.map(null),
            descriptor: None,
        })
    }

    /// The stack for privilege level `level` in legacy mode, from the task state segment (APM vol.
    /// 2, 8.7.3).
    fn stack_of_task(&mut self, level: u8) -> Result<Stack, DeliveryError> {
        let is_wide = self.cpu.segment(SegmentRegister::Tr).attributes.kind() & WIDE_TASK != 0;
        let (size, place) = if is_wide {
            (Size::Doubleword, 4 + 8 * u32::from(level))
        } else {
            (Size::Word, 2 + 4 * u32::from(level))
        };
        let task = self.task(place, size.bytes() + Size::Word.bytes())?;
        let at = task.base.wrapping_add(place.into());
        let pointer = self.read_system(at, size)? as u64;
        let above = at.wrapping_add(size.bytes().into());
        let selector = self.read_system(above, Size::Word)? as u16;
        if selector & !3 == 0 {
            return Err(fault(vector::TS, code::EXT));
        }
        let refused = fault(vector::TS, selector_code(selector));
        let Some(descriptor) = self.descriptor(selector)? else { return Err(refused) };
        let segment = descriptor.segment(selector);
        let attributes = segment.attributes;
        let levels = [selector as u8 & 3, attributes.privilege()];
        let is_stack = attributes.is_code_or_data() && segment.is_writable();
        if levels != [level; 2] || !is_stack {
            return Err(refused);
        }
        if !attributes.is_present() {
            return Err(fault(vector::SS, selector_code(selector)));
        }
        Ok(Stack::in_segment(segment, pointer, Some(descriptor)))
    }

    /// The task state segment, if `length` bytes at `place` are inside its limit.
    fn task(&self, place: u32, length: u8) -> Result<Segment, DeliveryError> {
        let task = self.cpu.segment(SegmentRegister::Tr);
        if u64::from(place) + u64::from(length) - 1 > u64::from(task.limit) {
            return Err(fault(vector::TS, selector_code(task.selector)));
        }
        Ok(task)
    }
}
