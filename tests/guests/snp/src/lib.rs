//! Support for test guests that run at VMPL0 of an SEV-SNP VM.
//!
//! A guest is an ELF file that `paravane image build --elf` puts into an IGVM file. It defines
//! [`main!`] and reports cases to a [`Report`]. Code that may fault runs through [`attempt`]. The
//! library is for one VP.
#![no_std]

pub mod cpu;
pub mod exceptions;
pub mod ghcb;
pub mod level;
pub mod memory;
mod report;

pub use exceptions::{Fault, attempt};
pub use report::Report;

/// Says which function is the guest's: `fn(&mut Report)`.
#[macro_export]
macro_rules! main {
    ($main:path) => {
        /// Called by the entry code in long mode.
        ///
        /// # Safety
        /// By the entry code only, once.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn stub_main() -> ! {
            // SAFETY: the entry code calls once.
            unsafe { $crate::start() };
            let mut report = $crate::Report::new();
            $main(&mut report);
            report.finish()
        }
    };
}

/// Prepares everything.
///
/// # Safety
/// To be called once.
pub unsafe fn start() {
    // SAFETY: as this function's.
    unsafe {
        memory::map_shared();
        exceptions::fill_table();
        ghcb::register();
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    ghcb::print(format_args!("panic: {info}\n"));
    ghcb::power_off()
}
