//! The paravisor for the nested AMD-V platform.
#![no_std]
#![no_main]

use kernel::panic::Console;
use kernel::relocate;
use memory::GpaRange;
use nested_svm::{Discovered, NestedSvm, StartError, discover, end, log_line, write_report};
use platform_api::{ExitStatus, Host, Platform};

/// Called by the boot code at the load address: finds our place and moves there.
///
/// # Safety
/// By `boot.s` only.
#[unsafe(no_mangle)]
unsafe extern "C" fn image_early(_start_info: u64) -> ! {
    kernel::panic::set_console(Console { write: write_report, end: crashed });
    let found = discover_or_end();
    // SAFETY: our own range is free RAM that the early tables map writable and executable, and it
    // has room for the image and a stack: its size was computed from the image's.
    unsafe {
        relocate::move_image(found.own.start(), nested_svm::first_stack_top(&found), image_main)
    }
}

fn discover_or_end() -> Discovered {
    let layout = relocate::layout();
    match discover(layout.end - layout.start) {
        Ok(found) => found,
        Err(error) => refuse(&error),
    }
}

/// Ends a VM that can not be used, with one line that says why.
fn refuse(error: &StartError) -> ! {
    kernel::log_ring::start(log::LevelFilter::Info, Some(log_line));
    log::error!("{error}");
    end(18)
}

fn crashed() -> ! {
    end(16)
}

/// Called at the final place, on CPU 0.
extern "C" fn image_main(delta: u64) -> ! {
    kernel::panic::set_console(Console { write: write_report, end: crashed });
    kernel::log_ring::start(log::LevelFilter::Info, Some(log_line));
    let found = discover_or_end();
    let layout = relocate::layout();
    let loaded = GpaRange::new(layout.start - delta, layout.end - delta).unwrap_or_default();
    // SAFETY: the first and only call, at the final place on CPU 0.
    let platform = unsafe { NestedSvm::start(found, loaded) };
    log::info!("own range {}, {} CPUs, loaded {loaded}", platform.own_range(), platform.cpus());
    let running = platform.start_other_cpus(cpu_main);
    log::info!("{running} CPUs run");
    // SAFETY: the other CPUs have left the trampoline, and the image has moved.
    unsafe { platform.erase_leftovers() };
    platform.refine_clocks();
    log::info!("TSC {} Hz", platform.host().tsc_frequency());
    platform.host().exit(ExitStatus(0))
}

extern "C" fn cpu_main(_index: u32) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
