//! The machine on any platform, as the images start it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::boxed::Box;

use host_wire::{Config, LogLevel, Status};
use kernel::log_ring;
use log::LevelFilter;
use machine::{GuestFiles, Machine, VirtualProcessor, read_config};
use platform_api::{Ending, ExitStatus, Platform, Service, StartUp, Time};
use spin::Once;

/// The parts of an image that can not be generic.
#[derive(Debug)]
pub struct Image<P: Platform> {
    /// The machine, once it is put together.
    pub machine: &'static Once<Machine<P>>,
    /// Calls [`run_other_cpu`].
    pub cpu_main: extern "C" fn() -> !,
    /// Calls [`serve`].
    pub service_main: extern "C" fn() -> !,
}

/// Puts the machine together on the first CPU, and runs its VP.
pub fn run_first_cpu<P: StartUp>(platform: &'static P, image: &Image<P>) -> ! {
    let config = match read_config(platform.host()) {
        Ok(config) => config,
        Err(error) => {
            log::error!("{error}");
            platform.host().exit(ExitStatus(Status::BadConfig as u8))
        }
    };
    log_ring::start(level(&config), Some(P::log_line));
    log::info!("own range {}", platform.own_range());
    if let Err(running) = platform.start_other_cpus(image.cpu_main) {
        log::error!("the host started {running} CPUs, and has promised more");
        platform.host().exit(ExitStatus(Status::UnusableVm as u8))
    }
    platform.settle();
    log::info!("{} VPs, TSC at {} Hz", platform.cpus(), platform.host().tsc_frequency());
    let files = GuestFiles::find(platform.host());
    image.machine.call_once(|| Machine::new(platform, config, files));
    platform.start_service(image.service_main);
    run_cpu(image.machine, platform)
}

/// Runs the VP of another CPU, once the machine stands.
pub fn run_other_cpu<P: StartUp>(machine: &'static Once<Machine<P>>) -> ! {
    let platform = loop {
        if let Some(machine) = machine.get() {
            break machine.platform();
        }
        core::hint::spin_loop();
    };
    run_cpu(machine, platform)
}

/// Serves the machine's long work for ever, in the service.
pub fn serve<P: StartUp>(machine: &'static Once<Machine<P>>) -> ! {
    loop {
        if let Some(machine) = machine.get() {
            machine.serve();
            machine.platform().service().leave();
        }
    }
}

/// Runs the VP of this CPU for ever, if it carries one.
fn run_cpu<P: StartUp>(machine: &'static Once<Machine<P>>, platform: &'static P) -> ! {
    let Some(index) = platform.vp_index() else { platform.rest() };
    match (machine.get(), platform.vp()) {
        // The VP is large for a stack; it lives for ever anyway.
        (Some(machine), Some(cpu)) => Box::new(VirtualProcessor::new(machine, index, cpu)).run(),
        _ => panic!("VP {index} has no CPU of its own"),
    }
}

const fn level(config: &Config) -> LevelFilter {
    match config.log {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    }
}
