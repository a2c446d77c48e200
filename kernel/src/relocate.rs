//! The move from the load address to the top of low RAM.

use core::arch::asm;

use guest_memory::PAGE_SIZE;

/// One entry of the relocation table (System V ABI, AMD64 supplement, section 4.4).
#[repr(C)]
struct Rela {
    offset: u64,
    info: u64,
    addend: u64,
}

/// `R_X86_64_RELATIVE`, the only kind that a static position-independent image has.
const RELATIVE: u64 = 8;

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
    static __rela_start: Rela;
    static __rela_end: Rela;
}

/// Where the sections of the running image are.
#[derive(Clone, Copy, Debug)]
pub struct ImageLayout {
    /// First byte of code.
    pub start: u64,
    /// First byte of constants.
    pub text_end: u64,
    /// First byte of data that may change.
    pub rodata_end: u64,
    /// First byte behind the image.
    pub end: u64,
}

/// The layout of the image at the place where it runs now.
pub fn layout() -> ImageLayout {
    ImageLayout {
        start: (&raw const __image_start) as u64,
        text_end: (&raw const __text_end) as u64,
        rodata_end: (&raw const __rodata_end) as u64,
        end: (&raw const __image_end) as u64,
    }
}

/// Copies the image to `home`, corrects its pointers, and continues there in `main` on the stack
/// that ends at `stack_top`.
///
/// # Safety
/// The pages from `home` on must be mapped, writable, executable and unused, as many as the image
/// has; `stack_top` must end a stack that outlives all; `home` must be page aligned. Nothing may
/// rely on statics of the old place.
pub unsafe fn move_image(home: u64, stack_top: u64, main: extern "C" fn(u64) -> !) -> ! {
    let old = layout();
    debug_assert!(home.is_multiple_of(PAGE_SIZE));
    let delta = home.wrapping_sub(old.start);
    let length = (old.end - old.start) as usize;
    // SAFETY: the caller vouches for the destination; the source is the image itself.
    unsafe { core::ptr::copy_nonoverlapping(old.start as *const u8, home as *mut u8, length) };
    // SAFETY: the image is in place, and nothing runs in it yet.
    unsafe { relocate(delta) };
    let target = (main as usize as u64).wrapping_add(delta);
    // SAFETY: `target` is `main` in the copy, whose pointers have just been corrected; the caller
    // vouches for the stack. The frame chain ends here.
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "xor ebp, ebp",
            "push 0",
            "jmp {target}",
            stack = in(reg) stack_top,
            target = in(reg) target,
            in("rdi") delta,
            options(noreturn)
        )
    }
}

/// Adds `delta` to every pointer that the linker listed, in the copy.
///
/// # Safety
/// The copy must be complete at a distance of `delta`, and not running.
unsafe fn relocate(delta: u64) {
    let mut entry = &raw const __rela_start;
    let end = &raw const __rela_end;
    while entry < end {
        // SAFETY: between the two symbols lies a whole table of entries.
        let rela = unsafe { &*entry };
        assert!(rela.info == RELATIVE, "the image has a relocation that it can not apply");
        let place = rela.offset.wrapping_add(delta) as *mut u64;
        // SAFETY: the linker's offsets lie within the image, so `place` lies within the copy.
        unsafe { place.write_unaligned(rela.addend.wrapping_add(delta)) };
        // SAFETY: stays within the table or at its end.
        entry = unsafe { entry.add(1) };
    }
}
