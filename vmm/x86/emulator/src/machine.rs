//! Entry points of the emulation.

use x86::{Registers, SegmentRegister, rflags};

use crate::decode::Instruction;
use crate::exception::Exception;
use crate::fetch::{Fetched, fetch};
use crate::forms::{Operation, StringOperation};
use crate::memory::{BusError, PhysicalMemory, Ports};
use crate::paging::{Paging, WalkError};
use crate::segmentation::refusal;
use crate::size::CodeSize;

/// Bounds and CPU features that the registers do not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most iterations of a repeated string instruction in one call; at least one is made.
    pub iterations: u32,
    /// Width of physical addresses in the guest's CPUID Fn8000_0008 EAX, 32 to 52.
    pub physical_address_bits: u8,
    /// Whether the guest's CPUID Fn8000_0001 EDX offers 1 GiB pages.
    pub gigabyte_pages: bool,
}

/// The result of the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is complete, and RIP is behind it.
    Done {
        /// RFLAGS.TF was set: a #DB for a single step is due (DR6.BS).
        trap: bool,
    },
    /// It is to be run again: RIP is unchanged, and finished iterations are in the registers.
    Repeat {
        /// RFLAGS.TF was set: a #DB is due after this iteration (DR6.BS).
        trap: bool,
    },
    /// It raises this exception; RIP is unchanged.
    Exception(Exception),
    /// The implementor of the memory refused an access; RIP is unchanged.
    Bus(BusError),
    /// The emulator does not know it; nothing has changed.
    Unsupported {
        /// Its first bytes.
        bytes: [u8; 15],
        /// How many of them were fetched.
        length: u8,
    },
}

/// The reason why an instruction ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Exception(Exception),
    Bus(BusError),
    Again,
    Unsupported,
}

impl From<Exception> for Stop {
    fn from(exception: Exception) -> Self {
        Self::Exception(exception)
    }
}

impl From<BusError> for Stop {
    fn from(error: BusError) -> Self {
        Self::Bus(error)
    }
}

impl Stop {
    pub(crate) const fn of_walk(error: WalkError, segment: SegmentRegister) -> Self {
        match error {
            WalkError::Fault { linear, error_code } => {
                Self::Exception(Exception::page_fault(linear, error_code))
            }
            WalkError::NonCanonical => Self::Exception(refusal(segment)),
            WalkError::Contended => Self::Again,
        }
    }
}

/// The progress of an instruction that was not stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Finished; execution continues after it.
    Next,
    /// Finished; it has set RIP itself.
    Jumped,
    /// Iterations are left.
    Unfinished,
}

/// One instruction's view of the VP.
pub(crate) struct Machine<'a, C, M> {
    pub(crate) cpu: &'a mut C,
    pub(crate) memory: &'a mut M,
    pub(crate) paging: Paging,
    pub(crate) code_size: CodeSize,
    pub(crate) limits: Limits,
}

impl<'a, C: Registers, M: PhysicalMemory> Machine<'a, C, M> {
    pub(crate) fn new(cpu: &'a mut C, memory: &'a mut M, limits: Limits) -> Self {
        let paging = Paging::of(cpu, limits);
        let code_size = CodeSize::of(cpu);
        Self { cpu, memory, paging, code_size, limits }
    }

    /// RIP of the instruction behind `i`.
    pub(crate) fn next_rip(&self, i: &Instruction) -> u64 {
        let next = self.cpu.rip().wrapping_add(u64::from(i.length));
        if self.code_size == CodeSize::Bits64 { next } else { next & 0xFFFF_FFFF }
    }

    fn run(
        &mut self,
        step: impl FnOnce(&mut Self, &Instruction) -> Result<Progress, Stop>,
    ) -> Outcome {
        let fetched = fetch(self);
        let trap = self.cpu.rflags() & rflags::TF != 0;
        let Fetched { instruction, bytes, length } = match fetched {
            Ok(fetched) => fetched,
            Err(Stop::Exception(exception)) => return Outcome::Exception(exception),
            Err(Stop::Bus(error)) => return Outcome::Bus(error),
            Err(Stop::Again | Stop::Unsupported) => return Outcome::Repeat { trap: false },
        };
        let Some(i) = instruction else { return Outcome::Unsupported { bytes, length } };
        match step(self, &i) {
            Ok(Progress::Unfinished) => Outcome::Repeat { trap },
            Ok(progress) => {
                if progress == Progress::Next {
                    let next = self.next_rip(&i);
                    self.cpu.set_rip(next);
                }
                let flags = self.cpu.rflags() & !rflags::RF;
                self.cpu.set_rflags(flags);
                Outcome::Done { trap }
            }
            Err(Stop::Exception(exception)) => Outcome::Exception(exception),
            Err(Stop::Bus(error)) => Outcome::Bus(error),
            Err(Stop::Again) => Outcome::Repeat { trap: false },
            Err(Stop::Unsupported) => Outcome::Unsupported { bytes, length },
        }
    }
}

/// Emulates the instruction at CS:RIP.
///
/// Intended for those with a memory operand; some that work on registers alone are done too. INS
/// and OUTS are [`emulate_port_string`]'s. The interrupt shadow is the caller's to clear when the
/// outcome is `Done`.
pub fn emulate<C: Registers, M: PhysicalMemory>(
    cpu: &mut C,
    memory: &mut M,
    limits: Limits,
) -> Outcome {
    Machine::new(cpu, memory, limits).run(|machine, i| machine.execute(i))
}

/// Emulates INS or OUTS at CS:RIP, also with REP.
///
/// The caller, or the CPU before it exited, has checked that the guest may use the port in DX.
pub fn emulate_port_string<C: Registers, M: PhysicalMemory, P: Ports>(
    cpu: &mut C,
    memory: &mut M,
    ports: &mut P,
    limits: Limits,
) -> Outcome {
    Machine::new(cpu, memory, limits).run(|machine, i| match i.operation {
        Operation::String(StringOperation::In) => machine.input_string(i, ports),
        Operation::String(StringOperation::Out) => machine.output_string(i, ports),
        _ => Err(Stop::Unsupported),
    })
}
