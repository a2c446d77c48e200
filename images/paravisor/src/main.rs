//! The paravisor for the nested AMD-V platform.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;

use kernel::panic::Console;
use kernel::{log_ring, relocate};
use log::LevelFilter;
use memory::GpaRange;
use nested_svm::{
    Discovered, NestedSvm, StartError, discover, end, first_stack_top, log_line, note_firmware,
    write_report,
};
use platform_api::{Platform, Service, Time};
use spin::Once;
use vmm::{GuestFiles, Machine, VirtualProcessor, read_config};
use wire::{Config, LogLevel, Status};

/// What all CPUs run.
static MACHINE: Once<Machine<NestedSvm>> = Once::new();

const _: () = assert!(kernel::STATUS_NO_LONG_MODE == Status::NoLongMode as u8);

/// Called by the boot code at the load address: finds our place and moves there.
///
/// # Safety
/// By `boot.s` only.
#[unsafe(no_mangle)]
unsafe extern "C" fn image_early(start_info: u64) -> ! {
    kernel::panic::set_console(Console { write: write_report, end: crashed });
    // SAFETY: the loader's pointer, under the early tables.
    unsafe { note_firmware(start_info) };
    let found = discover_or_end();
    // SAFETY: our own range is free RAM that the early tables map writable and executable, and it
    // has room for the image and a stack: its size was computed from the image's.
    unsafe { relocate::move_image(found.own.start(), first_stack_top(&found), image_main) }
}

fn discover_or_end() -> Discovered {
    let layout = relocate::layout();
    discover(layout.end - layout.start).unwrap_or_else(|error| refuse(&error, Status::UnusableVm))
}

/// Ends the VM with one line that says why.
fn refuse(error: &dyn core::fmt::Display, status: Status) -> ! {
    log_ring::start(LevelFilter::Error, Some(log_line));
    log::error!("{error}");
    end(status as u8)
}

fn crashed() -> ! {
    end(Status::Crashed as u8)
}

const fn level(config: &Config) -> LevelFilter {
    match config.log {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    }
}

/// Called at the final place, on CPU 0.
extern "C" fn image_main(delta: u64) -> ! {
    kernel::panic::set_console(Console { write: write_report, end: crashed });
    log_ring::start(LevelFilter::Warn, Some(log_line));
    let found = discover_or_end();
    let layout = relocate::layout();
    // The image lies where the first answers had put it.
    if found.own.start() != layout.start {
        refuse(&StartError::Changed, Status::UnusableVm)
    }
    let loaded = GpaRange::new(layout.start - delta, layout.end - delta).unwrap_or_default();
    // SAFETY: the first and only call, at the final place on CPU 0.
    let platform = unsafe { NestedSvm::start(found, loaded) };
    let config = match read_config(platform.host()) {
        Ok(config) => config,
        Err(error) => refuse(&error, Status::BadConfig),
    };
    log_ring::start(level(&config), Some(log_line));
    log::info!("own range {}, image loaded at {loaded}", platform.own_range());
    if let Err(running) = platform.start_other_cpus(cpu_main) {
        log::error!("the host started {running} CPUs, and has promised more");
        end(Status::UnusableVm as u8)
    }
    // SAFETY: the other CPUs have left the trampoline, and the image has moved.
    unsafe { platform.erase_leftovers() };
    platform.refine_clocks();
    log::info!("{} VPs, TSC at {} Hz", platform.cpus(), platform.host().tsc_frequency());
    let files = GuestFiles::find(platform.host());
    MACHINE.call_once(|| Machine::new(platform, config, files));
    // SAFETY: the only call.
    unsafe { platform.start_service(service_main) };
    run_cpu(platform)
}

/// Called on each other CPU.
extern "C" fn cpu_main() -> ! {
    let platform = loop {
        if let Some(machine) = MACHINE.get() {
            break machine.platform();
        }
        core::hint::spin_loop();
    };
    run_cpu(platform)
}

/// What the service does.
extern "C" fn service_main() -> ! {
    loop {
        if let Some(machine) = MACHINE.get() {
            machine.serve();
            machine.platform().service().leave();
        }
    }
}

/// Runs the VP of this CPU for ever, if it carries one.
fn run_cpu(platform: &'static NestedSvm) -> ! {
    let Some(index) = platform.vp_index() else { platform.rest() };
    // SAFETY: called once on each CPU.
    let cpu = unsafe { platform.vp() };
    match (MACHINE.get(), cpu) {
        // The VP is large for a stack; it lives for ever anyway.
        (Some(machine), Some(cpu)) => Box::new(VirtualProcessor::new(machine, index, cpu)).run(),
        _ => panic!("VP {index} has no CPU of its own"),
    }
}
