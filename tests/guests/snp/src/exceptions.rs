//! Exceptions: a case's are recorded, others end the guest.

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

use snp::instruction::PageSize;
use x86::vector;

use crate::ghcb::{power_off, print};

/// An exception that a case has raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The vector.
    pub vector: u8,
    /// The error code, or zero.
    pub error: u64,
    /// CR2.
    pub cr2: u64,
}

/// Whether an attempt is under way.
static ATTEMPT: AtomicBool = AtomicBool::new(false);
static RECOVERY: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
static VECTOR: AtomicU32 = AtomicU32::new(0);
static ERROR: AtomicU64 = AtomicU64::new(0);
static CR2: AtomicU64 = AtomicU64::new(0);
/// How often each vector from 32 on, and NMI and #HV, has come.
pub static COUNTS: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];

/// A page that the next #VC for a page that is not validated validates, so that the code goes on.
static REPAIR: AtomicU64 = AtomicU64::new(0);
/// How often that has happened.
pub static REPAIRS: AtomicU32 = AtomicU32::new(0);

/// Has the next #VC for a page that is not validated validate the page at `address`.
pub fn repair(address: u64) {
    REPAIR.store(address, SeqCst);
}

/// The error code of #VC for a page that is not validated.
pub const NOT_VALIDATED: u64 = 0x404;

#[repr(C, align(16))]
struct Gates([[u64; 2]; 256]);
static mut TABLE: Gates = Gates([[0; 2]; 256]);

/// What a stub pushes: the interrupted code's registers that a call may change, vector, error code,
/// and what the CPU pushed.
#[repr(C)]
struct Frame {
    saved: [u64; 9],
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// The code of 32 bytes for each vector: pushes an error code if the CPU has not, and the vector.
#[unsafe(naked)]
unsafe extern "C" fn stubs() {
    naked_asm!(
        ".set v, 0",
        ".rept 256",
        ".balign 32",
        ".if v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21 || v == 29 || v == 30",
        ".else",
        "push 0",
        ".endif",
        "push v",
        "jmp {common}",
        ".set v, v + 1",
        ".endr",
        common = sym common,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn common() {
    naked_asm!(
        "push rax", "push rcx", "push rdx", "push rsi", "push rdi",
        "push r8", "push r9", "push r10", "push r11",
        "mov rdi, rsp",
        "mov rax, rsp",
        "and rsp, -16",
        "push rax",
        "push rax",
        "call {handle}",
        "pop rsp",
        "pop r11", "pop r10", "pop r9", "pop r8",
        "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rax",
        "add rsp, 16",
        "iretq",
        handle = sym handle,
    )
}

/// Fills the interrupt table, and has the CPU use it.
///
/// # Safety
/// Once.
pub(crate) unsafe fn fill_table() {
    let first = stubs as *const () as u64;
    for index in 0..256 {
        let target = first + 32 * index;
        let low = target & 0xffff | 0x10 << 16 | 0x8e << 40 | (target >> 16 & 0xffff) << 48;
        // SAFETY: the table is this function's until the CPU has it.
        unsafe { (&raw mut TABLE.0[index as usize]).write([low, target >> 32]) };
    }
    let (base, _) = table();
    // SAFETY: the table is filled, and static.
    unsafe { use_table(base) };
}

/// Has the CPU use the interrupt table at `base`.
///
/// # Safety
/// A table like the one of [`table`] lies there.
pub unsafe fn use_table(base: u64) {
    let (_, limit) = table();
    let pointer = [u64::from(limit) | base << 16, base >> 48];
    // SAFETY: the caller vouches.
    unsafe { asm!("lidt [{}]", in(reg) &pointer, options(readonly, nostack)) };
}

/// Puts a copy of the table at `base`.
///
/// # Safety
/// Nothing but the cases uses the memory there.
pub unsafe fn copy_table(base: u64) {
    // SAFETY: the table is filled, and no CPU writes it; the caller vouches for the copy's place.
    unsafe { (base as *mut Gates).write((&raw const TABLE).read()) };
}

/// Base and limit of the interrupt table.
pub fn table() -> (u64, u16) {
    ((&raw const TABLE) as u64, (16 * 256 - 1) as u16)
}

extern "C" fn handle(frame: &mut Frame) {
    let number = frame.vector as u8;
    if number == vector::NMI || number == vector::HV || number >= vector::FIRST_INTERRUPT {
        if let Some(count) = COUNTS.get(usize::from(number)) {
            count.fetch_add(1, SeqCst);
        }
        return;
    }
    if (number, frame.error) == (vector::VC, NOT_VALIDATED) {
        let page = REPAIR.swap(0, SeqCst);
        if page != 0 {
            // SAFETY: the case that has asked for this owns the page.
            unsafe { sev_guest::pvalidate(page, PageSize::SIZE_4K, true) };
            REPAIRS.fetch_add(1, SeqCst);
            return;
        }
    }
    let cr2: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) cr2, options(nomem, nostack)) };
    if !ATTEMPT.swap(false, SeqCst) {
        print(format_args!(
            "exception {number} ({:#x}) at {:#x}, CR2 {cr2:#x}\n",
            frame.error, frame.rip
        ));
        power_off()
    }
    VECTOR.store(frame.vector as u32, SeqCst);
    ERROR.store(frame.error, SeqCst);
    CR2.store(cr2, SeqCst);
    let [rip, rsp, _] = &RECOVERY;
    (frame.rip, frame.rsp) = (rip.load(SeqCst), rsp.load(SeqCst));
    frame.saved[8] = 1;
}

/// Calls `code(argument)`; if it raises an exception, it ends there.
///
/// # Errors
/// The exception.
pub fn attempt(code: extern "C" fn(u64) -> u64, argument: u64) -> Result<u64, Fault> {
    let mut result = argument;
    let failed: u64;
    ATTEMPT.store(true, SeqCst);
    // SAFETY: the callee keeps its registers; if an exception ends it, execution goes on behind the
    // call with the stack pointer from before, and RAX is one. What the callee would have restored
    // is saved here.
    unsafe {
        asm!(
            "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15",
            "lea rax, [rip + 2f]",
            "mov [{recovery}], rax",
            "mov [{recovery} + 8], rsp",
            "call {code}",
            "mov rdi, rax",
            "xor eax, eax",
            "2:",
            "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
            recovery = in(reg) &raw const RECOVERY,
            code = in(reg) code,
            inout("rdi") result,
            out("rax") failed,
            clobber_abi("C"),
        );
    }
    ATTEMPT.store(false, SeqCst);
    if failed == 0 {
        return Ok(result);
    }
    Err(Fault {
        vector: VECTOR.load(SeqCst) as u8,
        error: ERROR.load(SeqCst),
        cr2: CR2.load(SeqCst),
    })
}
