//! The paravisor for the nested AMD-V platform: its start, up to where any platform goes on.
#![no_std]
#![no_main]

extern crate alloc;

use guest_memory::GpaRange;
use home::{Discovered, StartError, discover, end, first_stack_top, note_firmware, write_report};
use host_wire::Status;
use kernel::panic::Console;
use kernel::{log_ring, relocate};
use log::LevelFilter;
use machine::Machine;
use nested_svm::{NEEDS, NestedSvm};
use platform_api::StartUp;
use spin::Once;
use wiring::{Image, run_first_cpu, run_other_cpu, serve};

/// What all CPUs run.
static MACHINE: Once<Machine<NestedSvm>> = Once::new();

const IMAGE: Image<NestedSvm> = Image { machine: &MACHINE, cpu_main, service_main };

const _: () = assert!(kernel::STATUS_NO_LONG_MODE == Status::NoLongMode as u8);

/// Called by the boot code at the load address: finds our place and moves there.
///
/// # Safety
/// By `boot.s` only.
#[unsafe(no_mangle)]
unsafe extern "C" fn image_early(start_info: u64) -> ! {
    kernel::panic::set_console(CONSOLE);
    // SAFETY: the loader's pointer, under the early tables.
    unsafe { note_firmware(start_info) };
    let found = discover_or_end();
    // SAFETY: our own range is free RAM that the early tables map writable and executable, and it
    // has room for the image and a stack: its size was computed from the image's.
    unsafe { relocate::move_image(found.own.start(), first_stack_top(&found), image_main) }
}

fn discover_or_end() -> Discovered {
    let layout = relocate::layout();
    discover(layout.end - layout.start, NEEDS)
        .unwrap_or_else(|error| refuse(&error, Status::UnusableVm))
}

/// Ends the VM with one line that says why.
fn refuse(error: &dyn core::fmt::Display, status: Status) -> ! {
    log_ring::start(LevelFilter::Error, Some(NestedSvm::log_line));
    log::error!("{error}");
    end(status as u8)
}

const CONSOLE: Console =
    Console { write: write_report, end: crashed, link_base: kernel::panic::LINK_BASE };

fn crashed() -> ! {
    end(Status::Crashed as u8)
}

/// Called at the final place, on CPU 0.
extern "C" fn image_main(delta: u64) -> ! {
    kernel::panic::set_console(CONSOLE);
    log_ring::start(LevelFilter::Warn, Some(NestedSvm::log_line));
    let found = discover_or_end();
    let layout = relocate::layout();
    // The image lies where the first answers had put it.
    if found.own.start() != layout.start {
        refuse(&StartError::Changed, Status::UnusableVm)
    }
    let loaded = GpaRange::new(layout.start - delta, layout.end - delta).unwrap_or_default();
    // SAFETY: the first and only call, at the final place on CPU 0.
    let platform = unsafe { NestedSvm::start(found, loaded) };
    run_first_cpu(platform, &IMAGE)
}

/// Called on each other CPU.
extern "C" fn cpu_main() -> ! {
    run_other_cpu(&MACHINE)
}

/// What the service does.
extern "C" fn service_main() -> ! {
    serve(&MACHINE)
}
