//! A context with a stack of its own, whose code an interrupt of the host may put aside.
//!
//! Long work that can not be cut runs here. [`resume`] enters it with interrupts on, from code that
//! has them off; it comes back when the service has nothing to do ([`leave`]) or when an interrupt
//! of the host has been taken. The service can go on later on any CPU, as it knows none: it runs on
//! one at a time. A panic in it ends the service and nothing else.

#[cfg(target_os = "none")]
use core::arch::asm;
use core::arch::naked_asm;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::cpu;
use crate::interrupts::Frame;

/// The service's state, as [`STATE`] holds it.
mod state {
    pub(super) const ABSENT: u8 = 0;
    pub(super) const ALIVE: u8 = 1;
    pub(super) const ENDED: u8 = 2;
}

/// No CPU.
const NOBODY: u32 = u32::MAX;
/// RFLAGS.IF.
const INTERRUPT_FLAG: u64 = 1 << 9;

static STATE: AtomicU8 = AtomicU8::new(state::ABSENT);
/// The CPU that is in the service.
static RUNNER: AtomicU32 = AtomicU32::new(NOBODY);
/// Stack pointer of the service while it is aside.
static ASIDE: AtomicU64 = AtomicU64::new(0);
/// Stack pointer of the code that entered the service.
static CALLER: AtomicU64 = AtomicU64::new(0);

/// An exception has asked for the service to be put aside while that had interrupts disabled.
static OWED: AtomicBool = AtomicBool::new(false);

/// The service, as the machine uses it.
#[derive(Clone, Copy, Debug)]
pub struct KernelService;

impl platform_api::Service for KernelService {
    fn run(&self) -> bool {
        resume()
    }

    fn leave(&self) {
        leave();
    }
}

/// Makes the service: `body` will run on the stack that ends at `stack_top`, from the first
/// [`resume`] on.
///
/// # Safety
/// Called once. The stack must be mapped, unused, and the service's for ever.
pub unsafe fn start(stack_top: u64, body: extern "C" fn() -> !) {
    // What `switch` takes off: six registers, of which RBX carries `body`, and where to go.
    let frame: [u64; 8] = [0, 0, 0, 0, body as usize as u64, 0, first_entry as *const () as u64, 0];
    let bottom = stack_top - size_of_val(&frame) as u64;
    // SAFETY: the caller gives the stack away, and the frame fits.
    unsafe { (bottom as *mut [u64; 8]).write(frame) };
    ASIDE.store(bottom, Ordering::Relaxed);
    STATE.store(state::ALIVE, Ordering::Release);
}

/// The service's first instructions: interrupts on, then its body, with frame pointers ending here.
#[unsafe(naked)]
extern "C" fn first_entry() -> ! {
    naked_asm!("xor ebp, ebp", "and rsp, -16", "sti", "call rbx", "ud2")
}

/// Saves the callee's registers and the stack pointer, takes on the other ones.
///
/// # Safety
/// `to` must be a stack pointer that this function saved, or the frame that [`start`] made; each
/// is used once.
#[unsafe(naked)]
unsafe extern "C" fn switch(save: *mut u64, to: u64) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp",
        "mov rsp, rsi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Runs the service on this CPU until it leaves or the CPU has taken an interrupt. False if there
/// is no service, if it has ended, or if another CPU is in it. Interrupts are off before and after.
pub fn resume() -> bool {
    resume_unless(|| false)
}

/// As [`resume`], on a platform whose interrupts are exceptions that come at any instruction and
/// call [`put_aside_soon`]. If one `waits` already, the service does not run.
pub fn resume_unless(waits: impl FnOnce() -> bool) -> bool {
    let entered =
        RUNNER.compare_exchange(NOBODY, cpu::index(), Ordering::Acquire, Ordering::Relaxed);
    if entered.is_err() {
        return false;
    }
    // An exception from here on is noted: this CPU counts as in the service.
    OWED.store(false, Ordering::Relaxed);
    if STATE.load(Ordering::Acquire) == state::ALIVE && !waits() {
        // SAFETY: we hold the service, so `ASIDE` is its last stack pointer.
        unsafe { switch(CALLER.as_ptr(), ASIDE.load(Ordering::Relaxed)) };
    }
    RUNNER.store(NOBODY, Ordering::Release);
    STATE.load(Ordering::Acquire) == state::ALIVE
}

/// Whether the running code is the service's.
pub fn is_current() -> bool {
    let runner = RUNNER.load(Ordering::Relaxed);
    runner != NOBODY && runner == cpu::index()
}

/// Leaves the service, which has nothing to do; returns when it is resumed. Elsewhere it does
/// nothing.
pub fn leave() {
    if is_current() {
        masked(put_aside);
    }
}

/// After an interrupt of the host was taken: the code that entered the service goes on.
pub(crate) fn interrupted() {
    if is_current() {
        put_aside();
    }
}

/// Goes back to the code that entered the service, with interrupts disabled. If the service was
/// resumed while an exception waited, it goes back at once.
fn put_aside() {
    loop {
        // SAFETY: we run on the service's stack, so `resume` has saved the caller's stack pointer,
        // and it waits there.
        unsafe { switch(ASIDE.as_ptr(), CALLER.load(Ordering::Relaxed)) };
        if !OWED.swap(false, Ordering::Relaxed) {
            return;
        }
    }
}

/// Called for an exception that stands for an interrupt, with the place of the interrupted code: if
/// that is the service, it is put aside as soon as its interrupts are enabled.
///
/// The exception runs on a stack of its own, which must not be left: so the service continues in
/// [`yield_now`], on its own stack.
pub fn put_aside_soon(frame: &mut Frame) {
    if !is_current() {
        return;
    }
    if frame.rflags & INTERRUPT_FLAG == 0 {
        return OWED.store(true, Ordering::Relaxed);
    }
    frame.rsp -= 8;
    // SAFETY: with interrupts enabled the code is the service's, on its own stack, which has room
    // and no red zone.
    unsafe { (frame.rsp as *mut u64).write(frame.rip) };
    frame.rip = yield_now as *const () as u64;
}

/// Puts the service aside between two of its instructions: every register and flag is as before.
#[unsafe(naked)]
extern "C" fn yield_now() {
    naked_asm!(
        "pushfq",
        "cld",
        "push rbp",
        "mov rbp, rsp",
        "push rax",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "sub rsp, 8",
        "and rsp, -16",
        "call {leave}",
        "lea rsp, [rbp - 9 * 8]",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "pop rbp",
        "popfq",
        "ret",
        leave = sym leave_for_c,
    )
}

extern "C" fn leave_for_c() {
    leave();
}

/// The service has failed: the code that entered it goes on, and the service never runs again.
pub(crate) fn end() -> ! {
    STATE.store(state::ENDED, Ordering::Release);
    loop {
        masked(put_aside);
    }
}

/// Calls `critical` with interrupts off. For what takes a lock that code outside of the service
/// takes, too: with it held, the service must not be put aside.
pub fn masked<T>(critical: impl FnOnce() -> T) -> T {
    let before = interrupts_off();
    let result = critical();
    if before & INTERRUPT_FLAG != 0 {
        if OWED.load(Ordering::Relaxed) && is_current() && OWED.swap(false, Ordering::Relaxed) {
            put_aside();
        }
        interrupts_on();
    }
    result
}

#[cfg(target_os = "none")]
fn interrupts_off() -> u64 {
    let rflags: u64;
    // SAFETY: nothing but the interrupt flag changes, and only the service has it set.
    unsafe { asm!("pushfq", "pop {}", "cli", out(reg) rflags) };
    rflags
}

#[cfg(target_os = "none")]
fn interrupts_on() {
    // SAFETY: it was on before, so this is the service, which an interrupt may put aside.
    unsafe { asm!("sti") };
}

/// Elsewhere than on the bare metal there are no interrupts.
#[cfg(not(target_os = "none"))]
const fn interrupts_off() -> u64 {
    0
}

#[cfg(not(target_os = "none"))]
const fn interrupts_on() {}
