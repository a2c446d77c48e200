//! Support for test guests that run on the bare machine and provoke faults there.
//!
//! A guest is an ELF file with a PVH note, so it runs below the paravisor and, for comparison,
//! directly in QEMU. It defines [`main!`], reports cases to a [`Report`] and ends by
//! [`Report::finish`]. Code that may fault runs through [`attempt()`], in long mode,
//! or through [`modes::run`] in every other operating mode.
#![no_std]

mod apic;
mod attempt;
pub mod console;
pub mod cpu;
mod exceptions;
pub mod machine;
pub mod modes;
pub mod paging;
mod processor;
mod report;
pub mod smp;
pub mod time;
pub mod tpm;

pub use apic::{Apic, icr};
pub use attempt::{
    Elsewhere, Fault, Registers, attempt, attempt_bytes, attempt_elsewhere, outcome,
};
pub use exceptions::{Frame, set_handler, table};
pub use processor::{MAX_PROCESSORS, Processor, processor, restore_tables, selector};
pub use report::{Failure, Report};

core::arch::global_asm!(include_str!("boot.s"));
core::arch::global_asm!(include_str!("low.s"));

/// Says which function is the guest's: `fn(&mut Report)`.
#[macro_export]
macro_rules! main {
    ($main:path) => {
        /// Called by the entry code with the address of the PVH start information.
        ///
        /// # Safety
        /// By the entry code only, once.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn guest_start(info: u64) -> ! {
            // SAFETY: the entry code calls once, with the loader's address.
            unsafe { $crate::start(info) };
            let mut report = $crate::Report::new();
            $main(&mut report);
            report.finish()
        }
    };
}

/// Prepares everything on the first processor.
///
/// # Safety
/// To be called once, with the address of the PVH start information.
pub unsafe fn start(info: u64) {
    // SAFETY: the caller gives the address.
    unsafe { machine::learn(info) };
    exceptions::fill_tables();
    processor::start_first();
    modes::prepare();
    paging::map_high_memory();
}

#[panic_handler]
fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    println!("test harness FAILED: {info}");
    println!("done 0 passed 1 failed");
    machine::power_off()
}
