//! What happens when the CPU is interrupted while it runs the paravisor.
//!
//! Interrupts of the host are taken at two places of the platform's choosing, and in the service,
//! which they put aside; no other code is ever surprised by one. An exception is our own bug, with
//! no way on. NMIs come any time and are only noted.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use x86::vector;

use crate::{cpu, service};

/// The vector of an NMI, by which the handler is told of one.
pub const NMI: u8 = vector::NMI;

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

/// The platform's functions for #HV and for #VC, or zero: see [`set_hook`].
static HOOKS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// A platform's function for an exception of its own: the error code, and where the code was, which
/// it may change. It must not touch what the interrupted code may hold, such as a lock.
pub type Hook = fn(error: u64, frame: &mut Frame);

const fn hook_of(vector: u8) -> Option<&'static AtomicUsize> {
    match vector {
        vector::HV => Some(&HOOKS[0]),
        vector::VC => Some(&HOOKS[1]),
        _ => None,
    }
}

/// Has `hook` called for #HV (SEV-SNP's restricted injection) or #VC (an exit that the host must
/// answer), the two exceptions that a confidential platform raises. Both may come at any
/// instruction, so both then have a stack of their own. Called before [`fill_table`]. Without a
/// hook they are our own bug, as every exception. False for another vector.
pub fn set_hook(vector: u8, hook: Hook) -> bool {
    let place = hook_of(vector);
    if let Some(place) = place {
        place.store(hook as usize, Ordering::Release);
    }
    place.is_some()
}

/// Has `handler` called with the vector of each interrupt of the host, on the CPU that took it;
/// with
/// [`NMI`] for one that may have come at any time.
pub fn set_handler(handler: fn(u8)) {
    HANDLER.store(handler as usize, Ordering::Release);
}

/// Fills the table; the first CPU calls this once.
pub fn fill_table() {
    let stubs = (&raw const interrupt_stubs) as u64;
    for vector in 0..VECTORS {
        let target = stubs + vector as u64 * STUB_SIZE;
        let vector = vector as u8;
        let has_stack = hook_of(vector).is_none_or(|hook| hook.load(Ordering::Acquire) != 0);
        let ist = if has_stack { cpu::stack_of(vector) } else { 0 };
        let [low, high] = gate(target, ist);
        for (slot, value) in TABLE.iter().skip(2 * usize::from(vector)).zip([low, high]) {
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

/// Where an interrupted instruction was (AMD64 APM vol. 2, figure 8-13).
#[derive(Debug)]
#[repr(C)]
pub struct Frame {
    /// RIP, which a [`Hook`] may change.
    pub rip: u64,
    cs: u64,
    pub(crate) rflags: u64,
    /// RSP.
    pub rsp: u64,
    ss: u64,
}

/// Called by every stub.
///
/// `rbp` is the frame pointer of the interrupted code.
///
/// # Safety
/// `frame` must be what the CPU pushed.
#[unsafe(no_mangle)]
unsafe extern "C" fn kernel_interrupt(vector: u64, error: u64, frame: *mut Frame, rbp: u64) {
    let vector = vector as u8;
    match vector {
        NMI => {
            cpu::note_nmi();
            call_handler(NMI);
        }
        vector::FIRST_INTERRUPT.. => {
            call_handler(vector);
            service::interrupted();
        }
        _ => {
            // SAFETY: the stub passes a pointer to what the CPU pushed on this very stack.
            let frame = unsafe { &mut *frame };
            if !call_hook(vector, error, frame) {
                fault(vector, error, frame, rbp)
            }
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

/// Calls the hook for an exception; false if there is none.
fn call_hook(vector: u8, error: u64, frame: &mut Frame) -> bool {
    let hook = hook_of(vector).map_or(0, |hook| hook.load(Ordering::Acquire));
    if hook == 0 {
        return false;
    }
    // SAFETY: only `set_hook` stores here, and it stores a `Hook`.
    let hook = unsafe { core::mem::transmute::<usize, Hook>(hook) };
    hook(error, frame);
    true
}

/// An exception in the paravisor: our own bug.
fn fault(vector: u8, error: u64, frame: &Frame, rbp: u64) -> ! {
    let address = if vector == vector::PF { read_cr2() } else { 0 };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_leads_to_its_stub_on_its_stack() {
        let [low, high] = gate(0x1122_3344_5566_7788, 3);
        let target = low & 0xffff | low >> 48 << 16 | high << 32;
        assert_eq!(target, 0x1122_3344_5566_7788);
        assert_eq!((low >> 16 & 0xffff, low >> 32 & 7, low >> 40 & 0xff), (8, 3, 0x8e));
    }

    #[test]
    fn only_the_exceptions_of_confidential_platforms_have_hooks() {
        fn skip(error: u64, frame: &mut Frame) {
            frame.rip += error;
        }
        let mut frame = Frame { rip: 0x1000, cs: 8, rflags: 2, rsp: 0, ss: 0x10 };
        assert!(!call_hook(vector::VC, 3, &mut frame), "none is set");
        assert!(!set_hook(vector::PF, skip));
        assert!(set_hook(vector::VC, skip) && set_hook(vector::HV, skip));
        assert!(call_hook(vector::VC, 3, &mut frame) && call_hook(vector::HV, 0, &mut frame));
        assert!(!call_hook(vector::PF, 5, &mut frame));
        assert_eq!(frame.rip, 0x1003, "the hook moves the code on");
    }
}
