//! The way into the guest and back.

use core::arch::{asm, naked_asm};

/// The guest's general-purpose registers, by number. RAX and RSP (0 and 4) live in the VMCB.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct GeneralRegisters(pub(crate) [u64; 16]);

/// Runs the guest of the control block at `vmcb` until it exits.
///
/// GIF is clear from before the guest's state is loaded until after ours is back, and IF is set for
/// VMRUN: so a host interrupt always exits, whatever the guest's IF, and is never taken in between.
/// It still waits when this returns, with IF clear.
///
/// # Safety
/// `vmcb` and `host` must be the physical addresses of a valid control block and of a page filled
/// by VMSAVE on this CPU; VM_HSAVE_PA must be set up. What the guest can reach is decided by the
/// nested page tables alone.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn enter(registers: *mut GeneralRegisters, vmcb: u64, host: u64) {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdx",
        "push rdi",
        "mov rax, rsi",
        "clgi",
        "sti",
        "vmload rax",
        "mov rcx, [rdi + 0x08]",
        "mov rdx, [rdi + 0x10]",
        "mov rbx, [rdi + 0x18]",
        "mov rbp, [rdi + 0x28]",
        "mov rsi, [rdi + 0x30]",
        "mov r8, [rdi + 0x40]",
        "mov r9, [rdi + 0x48]",
        "mov r10, [rdi + 0x50]",
        "mov r11, [rdi + 0x58]",
        "mov r12, [rdi + 0x60]",
        "mov r13, [rdi + 0x68]",
        "mov r14, [rdi + 0x70]",
        "mov r15, [rdi + 0x78]",
        "mov rdi, [rdi + 0x38]",
        "vmrun rax",
        "vmsave rax",
        "mov rax, [rsp]",
        "mov [rax + 0x08], rcx",
        "mov [rax + 0x10], rdx",
        "mov [rax + 0x18], rbx",
        "mov [rax + 0x28], rbp",
        "mov [rax + 0x30], rsi",
        "mov [rax + 0x38], rdi",
        "mov [rax + 0x40], r8",
        "mov [rax + 0x48], r9",
        "mov [rax + 0x50], r10",
        "mov [rax + 0x58], r11",
        "mov [rax + 0x60], r12",
        "mov [rax + 0x68], r13",
        "mov [rax + 0x70], r14",
        "mov [rax + 0x78], r15",
        "pop rdi",
        "pop rax",
        "vmload rax",
        "cli",
        // What was held back comes now, and a crash record wants our frame, not the guest's RBP.
        "lea rbp, [rsp + 5 * 8]",
        "stgi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// VMSAVE of this CPU's own state.
///
/// # Safety
/// `page` must be a page of ours, used for this only; SVM must be on.
pub unsafe fn vmsave(page: u64) {
    // SAFETY: the caller vouches.
    unsafe { asm!("vmsave rax", in("rax") page, options(nostack)) };
}
