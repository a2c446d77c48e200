//! The bare metal under the paravisor, from the first instruction to running Rust on every CPU.
//!
//! Order of life: the loader jumps to `pvh_entry` (`boot.s`), which calls the image's
//! `image_early` at the load address; that finds a home and calls [`relocate::move_image`], which
//! continues in the image's main function at its final place; [`Region`] then hands out the home's
//! pages, [`paging::PageTables`] maps them, and [`cpu`] brings up one context per CPU.
//!
//! Everything here runs on the CPU itself and nothing here speaks to the host; what does, lives in
//! the platform, which registers itself with [`interrupts::set_handler`] and
//! [`panic::set_console`].
#![no_std]
#![cfg_attr(
    target_os = "none",
    expect(
        bad_asm_style,
        reason = "the difference of two symbols as an immediate can only be written in AT&T syntax"
    )
)]

extern crate alloc;

pub mod cpu;
mod heap;
pub mod interrupts;
pub mod log_ring;
pub mod paging;
pub mod panic;
mod region;
pub mod relocate;
pub mod service;
pub mod trampoline;

pub use heap::give_to_heap;
pub use region::Region;

/// Makes the running CPU use `place`, and the interrupt table.
///
/// # Safety
/// As for [`cpu::Place::enter`]; [`interrupts::fill_table`] has been called.
pub unsafe fn enter(place: &cpu::Place) {
    // SAFETY: the caller vouches.
    unsafe { place.enter() };
    interrupts::load();
}

/// The exit status of a CPU without long mode, told by `boot.s`, which cannot know `host_wire`'s names.
pub const STATUS_NO_LONG_MODE: u8 = 17;

#[cfg(target_os = "none")]
core::arch::global_asm!(include_str!("boot.s"), status_cpu = const STATUS_NO_LONG_MODE);
#[cfg(target_os = "none")]
core::arch::global_asm!(include_str!("interrupts.s"));
