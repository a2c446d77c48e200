//! Exceptions and interrupts in long mode.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::attempt::Fault;
use crate::processor::{processor, selector};
use crate::{cpu, println};

const VECTORS: usize = 256;
const STUB_SIZE: u64 = 16;
const INTERRUPT_GATE: u64 = 0x8e00 << 32;
/// Privilege level 3 may use INT 80h.
const USER_GATE: u64 = 0xee00 << 32;
/// INT 80h ends code that runs elsewhere.
pub(crate) const DONE: u64 = 0x80;

unsafe extern "C" {
    fn exception_stubs();
}

/// Registers at an exception.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Frame {
    /// R15 down to R8.
    pub high: [u64; 8],
    /// RDI.
    pub rdi: u64,
    /// RSI.
    pub rsi: u64,
    /// RBP.
    pub rbp: u64,
    /// RBX.
    pub rbx: u64,
    /// RDX.
    pub rdx: u64,
    /// RCX.
    pub rcx: u64,
    /// RAX.
    pub rax: u64,
    /// The vector.
    pub vector: u64,
    /// The error code, or zero.
    pub error_code: u64,
    /// Where it happened.
    pub rip: u64,
    /// CS there.
    pub cs: u64,
    /// RFLAGS there.
    pub rflags: u64,
    /// RSP there.
    pub rsp: u64,
    /// SS there.
    pub ss: u64,
}

struct Table(UnsafeCell<[[u64; 2]; VECTORS]>);

// SAFETY: written by the first processor before the others start, and by tests that own it.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([[0; 2]; VECTORS]));
static HANDLERS: [AtomicU64; VECTORS] = [const { AtomicU64::new(0) }; VECTORS];

/// Fills the interrupt descriptor table.
pub(crate) fn fill_tables() {
    for vector in 0..VECTORS as u64 {
        let entry = exception_stubs as *const () as u64 + vector * STUB_SIZE;
        let stack = match vector {
            8 => 1,
            2 => 2,
            _ => 0,
        };
        let gate = if vector == DONE || vector == 3 { USER_GATE } else { INTERRUPT_GATE };
        let low = entry & 0xffff
            | u64::from(selector::TEXT_64) << 16
            | stack << 32
            | gate
            | (entry >> 16 & 0xffff) << 48;
        // SAFETY: within the table, which has no other user meanwhile.
        unsafe { (*TABLE.0.get())[vector as usize] = [low, entry >> 32] };
    }
}

/// Loads the table on this processor.
pub(crate) fn load_table() {
    cpu::load_idt(TABLE.0.get() as u64, (VECTORS * 16 - 1) as u16);
}

/// The table: address and limit.
pub fn table() -> (u64, u16) {
    (TABLE.0.get() as u64, (VECTORS * 16 - 1) as u16)
}

/// Sets or removes the handler for `vector`.
pub fn set_handler(vector: u8, handler: Option<fn(&mut Frame)>) {
    let address = handler.map_or(0, |handler| handler as *const () as u64);
    HANDLERS[usize::from(vector)].store(address, Ordering::Release);
}

/// Called by the entry code.
///
/// # Safety
/// By the entry code only.
#[unsafe(no_mangle)]
unsafe extern "C" fn exception_entry(frame: &mut Frame) {
    let handler = HANDLERS[frame.vector as usize & 255].load(Ordering::Acquire);
    if handler != 0 {
        // SAFETY: only `set_handler` writes it, with the address of such a function.
        let handler: fn(&mut Frame) = unsafe { core::mem::transmute(handler) };
        return handler(frame);
    }
    let own = processor();
    if own.recover_rip == 0 {
        println!("test harness FAILED: VP {} CR2 {:#x} {frame:x?}", own.index, cpu::cr2());
        println!("done 0 passed 1 failed");
        crate::machine::power_off();
    }
    own.fault = Some(Fault::of(frame, cpu::cr2()));
    frame.rip = core::mem::take(&mut own.recover_rip);
    frame.rsp = own.recover_rsp;
    frame.cs = u64::from(selector::TEXT_64);
    frame.ss = u64::from(selector::DATA);
    frame.rflags = 2;
}
