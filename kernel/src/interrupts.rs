//! What happens when the CPU is interrupted while it runs the paravisor.
//!
//! Interrupts of the host are taken at two places of the platform's choosing, and in the service,
//! which they put aside; no other code is ever surprised by one. An exception is our own bug, with
//! no way on. NMIs come any time and are only noted.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::{cpu, service};

/// The vector of an NMI, by which the handler is told of one.
pub const NMI: u8 = 2;
const NMI_VECTOR: u64 = NMI as u64;
const DOUBLE_FAULT: usize = 8;
const MACHINE_CHECK: usize = 18;
const PAGE_FAULT: u64 = 14;

/// Distance between two stubs in `interrupts.s`.
const STUB_SIZE: u64 = 16;
const VECTORS: usize = 256;

unsafe extern "C" {
    static interrupt_stubs: u8;
}

/// The interrupt descriptor table, 16 bytes a gate. Filled once, before any CPU loads it.
static TABLE: [AtomicU64; 2 * VECTORS] = [const { AtomicU64::new(0) }; 2 * VECTORS];

/// The platform's function for interrupts of the host, or zero.
static HANDLER: AtomicUsize = AtomicUsize::new(0);

/// Has `handler` called with the vector of each interrupt of the host, on the CPU that took it; with
/// [`NMI`] for one that may have come at any time.
pub fn set_handler(handler: fn(u8)) {
    HANDLER.store(handler as usize, Ordering::Release);
}

/// Fills the table; the first CPU calls this once.
pub fn fill_table() {
    let stubs = (&raw const interrupt_stubs) as u64;
    for vector in 0..VECTORS {
        let target = stubs + vector as u64 * STUB_SIZE;
        let ist = match vector {
            2 => 1,
            DOUBLE_FAULT => 2,
            MACHINE_CHECK => 3,
            _ => 0,
        };
        let [low, high] = gate(target, ist);
        for (slot, value) in TABLE.iter().skip(2 * vector).zip([low, high]) {
            slot.store(value, Ordering::Relaxed);
        }
    }
}

/// An interrupt gate for ring 0 (AMD64 APM vol. 2, section 4.8.4).
fn gate(target: u64, ist: u64) -> [u64; 2] {
    const CODE: u64 = 0x08 << 16;
    const PRESENT_INTERRUPT_GATE: u64 = 0x8e << 40;
    let low = target & 0xffff | CODE | ist << 32 | PRESENT_INTERRUPT_GATE;
    [low | (target >> 16 & 0xffff) << 48, target >> 32]
}

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Makes this CPU use the table.
pub(crate) fn load() {
    let base = TABLE.as_ptr() as u64;
    let pointer = TablePointer { limit: (16 * VECTORS - 1) as u16, base };
    // SAFETY: the table has been filled, is static, and its stubs can run on any CPU that has
    // entered its place.
    unsafe { asm!("lidt [{}]", in(reg) &pointer, options(readonly, nostack)) };
}

/// Where an interrupted instruction was.
#[repr(C)]
struct Frame {
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// Called by every stub.
///
/// `rbp` is the frame pointer of the interrupted code.
///
/// # Safety
/// `frame` must be what the CPU pushed.
#[unsafe(no_mangle)]
unsafe extern "C" fn kernel_interrupt(vector: u64, error: u64, frame: *const Frame, rbp: u64) {
    match vector {
        NMI_VECTOR => {
            cpu::note_nmi();
            call_handler(NMI);
        }
        32.. => {
            call_handler(vector as u8);
            service::interrupted();
        }
        _ => {
            // SAFETY: the stub passes a pointer to what the CPU pushed on this very stack.
            let frame = unsafe { &*frame };
            fault(vector, error, frame, rbp)
        }
    }
}

fn call_handler(vector: u8) {
    let handler = HANDLER.load(Ordering::Acquire);
    if handler != 0 {
        // SAFETY: only `set_handler` stores here, and it stores a `fn(u8)`.
        let handler = unsafe { core::mem::transmute::<usize, fn(u8)>(handler) };
        handler(vector);
    }
}

/// An exception in the paravisor: our own bug.
fn fault(vector: u64, error: u64, frame: &Frame, rbp: u64) -> ! {
    let address = if vector == PAGE_FAULT { read_cr2() } else { 0 };
    crate::panic::crash(
        format_args!(
            "exception {vector} (error {error:#x}) at {:#x}, address {address:#x}, rsp {:#x}",
            frame.rip, frame.rsp
        ),
        frame.rip,
        rbp,
    )
}

fn read_cr2() -> u64 {
    let address;
    // SAFETY: reading CR2 changes nothing.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack)) };
    address
}
