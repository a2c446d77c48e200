//! Delivery of an event through the guest's interrupt table, for a CPU that can not do it right.
//!
//! [`deliver`] does what the CPU does between an event and the first instruction of its handler
//! (AMD64 APM vol. 2, sections 8.6 to 8.9): it reads the gate, checks the handler's code segment,
//! chooses the stack, pushes the frame and loads the registers. It knows real mode, legacy
//! protected mode with 16-bit and 32-bit gates, virtual-8086 mode as a source, and long mode.
//!
//! A failed delivery leaves all registers as they were. Memory is as on a CPU: accessed bits of
//! page tables and descriptors are set, and values pushed before a page fault stay. The failure is
//! an exception in most cases; [`x86::combine`] gives the result of the two. Error codes have the
//! EXT bit set, as neither event is an INT instruction.
//!
//! Not done: task gates ([`DeliveryError::TaskGate`]), INT instructions, whose gates' privilege
//! counts, and shadow stacks.

mod gate;
mod stack;

use x86::{
    EventRegisters, Register, Registers, Segment, SegmentRegister, cr0, efer, rflags, vector,
};

use self::gate::Gate;
use self::stack::{Frame, Stack};
use crate::access::Span;
use crate::exception::Exception;
use crate::machine::Limits;
use crate::memory::{BusError, PhysicalMemory};
use crate::paging::{Access, Paging, WalkError};
use crate::size::Size;

/// Bits of a selector error code (APM vol. 2, 8.4.1).
mod code {
    /// The source is an interrupt or an earlier exception.
    pub(super) const EXT: u32 = 1 << 0;
    /// The index is a vector.
    pub(super) const IDT: u32 = 1 << 1;
}

/// An event that goes through the interrupt table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The vector.
    pub vector: u8,
    /// The error code to push, for exceptions that have one. Real mode pushes none.
    pub error_code: Option<u32>,
    /// The event is a fault: RFLAGS are pushed with RF set, so that the instruction, when it runs
    /// again, does not meet its own breakpoint (APM vol. 2, 3.1.6).
    pub is_fault: bool,
}

/// A delivery that failed; no register has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryError {
    /// The CPU raises this exception. CR2, if it has a value for it, is the caller's to set.
    Exception(Exception),
    /// The guest's memory could not be accessed, as its implementor says.
    Bus(BusError),
    /// Other VPs kept changing page tables or a descriptor: to be tried again.
    Contended,
    /// The gate asks for a task switch, which is not done here.
    TaskGate {
        /// The selector of the task's state segment.
        selector: u16,
    },
}

impl From<BusError> for DeliveryError {
    fn from(error: BusError) -> Self {
        Self::Bus(error)
    }
}

/// Delivers `event`: RIP and the stack are then the handler's.
///
/// # Errors
/// [`DeliveryError`], each variant with its blame.
pub fn deliver<C: EventRegisters, M: PhysicalMemory>(
    cpu: &mut C,
    memory: &mut M,
    limits: Limits,
    event: Event,
) -> Result<(), DeliveryError> {
    let mut delivery = Delivery { cpu: &*cpu, memory, limits, event };
    let handler = if cpu.cr0() & cr0::PE == 0 {
        delivery.through_vector_table()?
    } else {
        delivery.through_gate()?
    };
    handler.start(cpu);
    Ok(())
}

/// The registers at the handler's first instruction.
struct Handler {
    code: Segment,
    rip: u64,
    /// The new stack segment, if another one is loaded.
    stack: Option<Segment>,
    rsp: u64,
    rflags: u64,
    cpl: u8,
    /// Virtual-8086 mode ends: its data segments are pushed and become null.
    ends_virtual_8086: bool,
}

impl Handler {
    fn start(self, cpu: &mut impl EventRegisters) {
        use SegmentRegister::{Cs, Ds, Es, Fs, Gs, Ss};
        cpu.set_segment(Cs, self.code);
        if let Some(stack) = self.stack {
            cpu.set_segment(Ss, stack);
        }
        if self.ends_virtual_8086 {
            for register in [Es, Ds, Fs, Gs] {
                cpu.set_segment(register, Segment::default());
            }
        }
        cpu.set_cpl(self.cpl);
        cpu.set_gpr(Register::Rsp, self.rsp);
        cpu.set_rflags(self.rflags);
        cpu.set_rip(self.rip);
    }
}

/// A delivery under way; the CPU's registers are only read.
struct Delivery<'a, C, M> {
    cpu: &'a C,
    memory: &'a mut M,
    limits: Limits,
    event: Event,
}

impl<C: Registers, M: PhysicalMemory> Delivery<'_, C, M> {
    fn is_long(&self) -> bool {
        self.cpu.efer() & efer::LMA != 0
    }

    fn is_virtual_8086(&self) -> bool {
        self.cpu.rflags() & rflags::VM != 0
    }

    /// Real mode: the table has an offset and a selector for each vector (APM vol. 2, 8.6).
    fn through_vector_table(&mut self) -> Result<Handler, DeliveryError> {
        let table = self.cpu.segment(SegmentRegister::Idtr);
        let at = 4 * u64::from(self.event.vector);
        if at + 3 > u64::from(table.limit) {
            return Err(fault(vector::GP, code::EXT));
        }
        let entry = self.read_system(table.base.wrapping_add(at), Size::Doubleword)? as u32;
        let (offset, selector) = (entry & 0xffff, (entry >> 16) as u16);
        let stack = Stack::of_real_mode(self.cpu);
        let mut frame = Frame::new(Size::Word);
        frame.push(self.cpu.rflags());
        frame.push(self.cpu.segment(SegmentRegister::Cs).selector.into());
        frame.push(self.cpu.rip());
        stack.check(&frame, &self.paging_at(0))?;
        let rsp = self.push(&stack, &frame, 0)?;
        let code = self.cpu.segment(SegmentRegister::Cs);
        const CLEARED: u64 = rflags::IF | rflags::TF | rflags::AC | rflags::RF;
        Ok(Handler {
            code: Segment { selector, base: u64::from(selector) << 4, ..code },
            rip: offset.into(),
            stack: None,
            rsp,
            rflags: self.cpu.rflags() & !CLEARED,
            cpl: 0,
            ends_virtual_8086: false,
        })
    }

    /// Protected and long mode: the table has gates (APM vol. 2, 8.7 to 8.9).
    fn through_gate(&mut self) -> Result<Handler, DeliveryError> {
        let gate = self.gate()?;
        let code = self.code(&gate)?;
        let stack = self.stack(&gate, &code)?;
        let frame = self.frame(&gate, &stack);
        let paging = self.paging_at(code.cpl);
        stack.check(&frame, &paging)?;
        let reachable = if self.is_long() {
            paging.is_canonical(gate.offset)
        } else {
            gate.offset <= u64::from(code.segment.limit)
        };
        if !reachable {
            return Err(fault(vector::GP, code::EXT));
        }
        self.mark_accessed(&code.descriptor)?;
        if let Some(descriptor) = &stack.descriptor {
            self.mark_accessed(descriptor)?;
        }
        let rsp = self.push(&stack, &frame, code.cpl)?;
        let interrupts = if gate.disables_interrupts { rflags::IF } else { 0 };
        let cleared = rflags::TF | rflags::NT | rflags::RF | rflags::VM | interrupts;
        Ok(Handler {
            code: code.segment,
            rip: gate.offset,
            stack: stack.loaded,
            rsp,
            rflags: self.cpu.rflags() & !cleared,
            cpl: code.cpl,
            ends_virtual_8086: self.is_virtual_8086(),
        })
    }

    /// The values that the handler's IRET takes off the stack, and the error code.
    fn frame(&self, gate: &Gate, stack: &Stack) -> Frame {
        use SegmentRegister::{Cs, Ds, Es, Fs, Gs, Ss};
        let selector = |register| u64::from(self.cpu.segment(register).selector);
        let mut frame = Frame::new(gate.size);
        if self.is_virtual_8086() {
            for register in [Gs, Fs, Ds, Es] {
                frame.push(selector(register));
            }
        }
        if stack.is_new || self.is_long() {
            frame.push(selector(Ss));
            frame.push(self.cpu.gpr(Register::Rsp));
        }
        let resume = if self.event.is_fault { rflags::RF } else { 0 };
        frame.push(self.cpu.rflags() | resume);
        frame.push(selector(Cs));
        frame.push(self.cpu.rip());
        if let Some(error_code) = self.event.error_code {
            frame.push(error_code.into());
        }
        frame
    }

    fn paging_at(&self, cpl: u8) -> Paging {
        Paging::at_level(self.cpu, self.limits, cpl)
    }

    /// Reads a descriptor table or a task state segment.
    fn read_system(&mut self, linear: u64, size: Size) -> Result<u128, DeliveryError> {
        let span = self.locate_system(linear, size, Access::Read)?;
        Ok(span.read(self.memory)?)
    }

    fn locate_system(
        &mut self,
        linear: u64,
        size: Size,
        access: Access,
    ) -> Result<Span, DeliveryError> {
        let paging = Paging::implicit(self.cpu, self.limits);
        let wraps = !self.is_long();
        let linear = if wraps { linear & 0xffff_ffff } else { linear };
        let span = Span::locate(&paging, self.memory, linear, size, access, wraps);
        span.map_err(|error| of_walk(error, fault(vector::GP, code::EXT)))
    }

    /// Writes `frame` to `stack`, which [`Stack::check`] has found to have room for it; the new
    /// RSP.
    fn push(&mut self, stack: &Stack, frame: &Frame, cpl: u8) -> Result<u64, DeliveryError> {
        let paging = self.paging_at(cpl);
        let mut rsp = stack.pointer;
        for value in frame.values() {
            rsp = stack.below(rsp, frame.size);
            let linear = stack.linear(rsp, frame.size, &paging).ok_or(stack.refusal())?;
            let wraps = !self.is_long();
            let span = Span::locate(&paging, self.memory, linear, frame.size, Access::Write, wraps);
            let span = span.map_err(|error| of_walk(error, stack.refusal()))?;
            span.write(self.memory, u128::from(value & frame.size.mask()))?;
        }
        Ok(rsp)
    }
}

/// The exception of a check that failed.
fn fault(vector: u8, error_code: u32) -> DeliveryError {
    DeliveryError::Exception(Exception { vector, error_code: Some(error_code), cr2: None })
}

/// The error code that names a segment.
fn selector_code(selector: u16) -> u32 {
    u32::from(selector & !3) | code::EXT
}

fn of_walk(error: WalkError, refusal: DeliveryError) -> DeliveryError {
    match error {
        WalkError::Fault { linear, error_code } => {
            DeliveryError::Exception(Exception::page_fault(linear, error_code))
        }
        WalkError::NonCanonical => refusal,
        WalkError::Contended => DeliveryError::Contended,
    }
}
