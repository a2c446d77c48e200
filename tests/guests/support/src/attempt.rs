//! Code that may fault.

use crate::exceptions::{DONE, Frame};
use crate::processor::processor;

/// General registers before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    /// RAX.
    pub rax: u64,
    /// RBX.
    pub rbx: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// RSI.
    pub rsi: u64,
    /// RDI.
    pub rdi: u64,
    /// RBP.
    pub rbp: u64,
    /// R8.
    pub r8: u64,
    /// R9.
    pub r9: u64,
}

/// An exception.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub vector: u8,
    /// Its error code, or zero.
    pub error_code: u64,
    /// Where.
    pub rip: u64,
    /// CR2 then.
    pub cr2: u64,
    /// RFLAGS there.
    pub rflags: u64,
    /// The general registers then.
    pub registers: Registers,
}

impl Fault {
    pub(crate) fn of(frame: &Frame, cr2: u64) -> Self {
        let registers = Registers {
            rax: frame.rax,
            rbx: frame.rbx,
            rcx: frame.rcx,
            rdx: frame.rdx,
            rsi: frame.rsi,
            rdi: frame.rdi,
            rbp: frame.rbp,
            r8: frame.high[7],
            r9: frame.high[6],
        };
        let Frame { vector, error_code, rip, rflags, .. } = *frame;
        Self { vector: vector as u8, error_code, rip, cr2, rflags, registers }
    }
}

unsafe extern "C" {
    fn attempt_raw(code: u64, registers: *mut Registers);
    fn go_elsewhere();
}

/// Calls `code` with `registers`, at privilege level 0 in 64-bit mode; it ends by RET. Interrupts
/// stay as they are; if it faults, the registers are in the fault.
pub fn attempt(code: u64, registers: &mut Registers) -> Result<(), Fault> {
    processor().fault = None;
    // SAFETY: the guest owns all state that the code can change; a fault returns here with stack
    // and saved registers restored.
    unsafe { attempt_raw(code, registers) };
    processor().fault.take().map_or(Ok(()), Err)
}

/// As [`attempt`], for machine code in bytes, to which RET is appended.
pub fn attempt_bytes(code: &[u8], registers: &mut Registers) -> Result<(), Fault> {
    let mut buffer = [0xc3; 64];
    buffer[..code.len()].copy_from_slice(code);
    // The guest's memory is executable as a whole, stacks included.
    attempt(buffer.as_ptr() as u64, registers)
}

/// A place to run at, in long mode: code segment, stack segment, flags.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    /// Selector of the code segment, with its privilege level.
    pub cs: u16,
    /// Selector of the stack segment.
    pub ss: u16,
    /// Where the stack ends.
    pub rsp: u64,
    /// RFLAGS.
    pub rflags: u64,
}

/// Runs the code at `rip` in another segment, at another privilege level, or with other flags. It
/// ends by INT 80h or by any other exception, which is the answer. RCX, RDX, RBP, R8 and R9 are
/// used up on the way.
pub fn attempt_elsewhere(place: &Elsewhere, rip: u64, registers: &mut Registers) -> Fault {
    registers.rcx = rip;
    registers.r8 = place.cs.into();
    registers.r9 = place.ss.into();
    registers.rdx = place.rsp;
    registers.rbp = place.rflags;
    let result = attempt(go_elsewhere as *const () as u64, registers);
    let fault = result.err().unwrap_or_default();
    if u64::from(fault.vector) == DONE {
        *registers = fault.registers;
    }
    fault
}

/// For comparison: the vector of a fault, or none.
pub fn outcome(result: Result<(), Fault>) -> Option<u8> {
    result.err().map(|fault| fault.vector)
}
