//! The paravisor for SEV-SNP: its start at VMPL0, up to where any platform goes on.
#![no_std]
#![no_main]

use host_wire::linux_start::STUB;
use host_wire::paravisor_image::Reason;
use kernel::log_ring;
use kernel::panic::Console;
use log::LevelFilter;
use machine::Machine;
use platform_api::StartUp;
use snp_platform::{Snp, end_with, write_report};
use spin::Once;
use wiring::{Image, run_first_cpu, run_other_cpu, serve};

/// What all CPUs run.
static MACHINE: Once<Machine<Snp>> = Once::new();

const IMAGE: Image<Snp> = Image { machine: &MACHINE, cpu_main, service_main };

unsafe extern "C" {
    /// Where the entry code's stack ends.
    static stack_end: u8;
}

/// Called by the entry code in long mode, once, with 4 GiB mapped to themselves as private memory.
///
/// # Safety
/// By the entry code only.
#[unsafe(no_mangle)]
unsafe extern "C" fn stub_main() -> ! {
    kernel::panic::set_console(Console { write: write_report, end: crashed, link_base: STUB });
    // SAFETY: the first and only call, at the image's place, on the entry code's stack.
    let started = unsafe { Snp::start((&raw const stack_end) as u64) };
    let platform = started.unwrap_or_else(|reason| end_with(reason));
    log_ring::start(LevelFilter::Warn, Some(Snp::log_line));
    run_first_cpu(platform, &IMAGE)
}

fn crashed() -> ! {
    end_with(Reason::Crash)
}

/// Called on each other CPU.
extern "C" fn cpu_main() -> ! {
    run_other_cpu(&MACHINE)
}

/// What the service does.
extern "C" fn service_main() -> ! {
    serve(&MACHINE)
}
