//! The emulated SEV-SNP platform as an image: it launches the VM in an IGVM file.
#![no_std]
#![no_main]

extern crate alloc;

mod guest_files;
mod outcome;

use alloc::boxed::Box;
use alloc::vec::Vec;

use drydock::{C_BIT, CpuVp, Drydock, NEEDS, Parameters};
use drydock_host::{Host, Settings};
use guest_memory::GpaRange;
use home::{Discovered, StartError, discover, end, first_stack_top, note_firmware, write_report};
use host_wire::chip::Chip;
use host_wire::{DrydockConfig, Status, file, report};
use kernel::panic::Console;
use kernel::{log_ring, relocate};
use log::LevelFilter;
use platform_api::{Files, HostFile, Time};
use spin::Once;

/// The longest file that is read into the heap: certificates are the largest.
const MOST_READ: usize = 64 << 10;
/// What all CPUs run.
static MACHINE: Once<Machine> = Once::new();

struct Machine {
    drydock: &'static Drydock,
    host: Host<&'static Drydock>,
}

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
    log_ring::start(LevelFilter::Error, Some(home::log_line));
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
    let found = discover_or_end();
    let layout = relocate::layout();
    // The image lies where the first answers had put it.
    if found.own.start() != layout.start {
        refuse(&StartError::Changed, Status::UnusableVm)
    }
    let loaded = GpaRange::new(layout.start - delta, layout.end - delta).unwrap_or_default();
    let config = read_config();
    log_ring::start(outcome::level(&config), Some(home::log_line));
    // SAFETY: the first and only call, at the final place on CPU 0.
    match unsafe { Drydock::start(found, loaded, config.memory) } {
        Ok(drydock) => run_first(drydock),
        Err(error) => refuse(&error, Status::UnusableVm),
    }
}

/// The configuration, or the end of the VM.
fn read_config() -> DrydockConfig {
    let mut bytes = [0; host_wire::MAX_LENGTH];
    let found = home::PC.find_file(file::DRYDOCK);
    let Some(found) = found else { refuse(&"no configuration of Drydock", Status::BadConfig) };
    let length = found.length as usize;
    let text = bytes.get_mut(..length).unwrap_or_default();
    if home::PC.read_file(found, 0, text).is_err() {
        refuse(&"the configuration of Drydock can not be read", Status::BadConfig)
    }
    DrydockConfig::parse(text).unwrap_or_else(|error| refuse(&error, Status::BadConfig))
}

/// Launches the VM, and runs its first VP.
fn run_first(drydock: &'static Drydock) -> ! {
    if let Err(running) = drydock.home().start_other_cpus(run_other) {
        log::error!("the host started {running} CPUs, and has promised more");
        end(Status::UnusableVm as u8)
    }
    drydock.home().settle();
    let vps = drydock.home().found().vps();
    let physical_bits = drydock.home().found().physical_bits;
    let settings =
        Settings { vps, c_bit: C_BIT, physical_bits, memory: drydock.division().guest_bytes() };
    let files = drydock.home().host();
    let certificates = files.file(file::CERTIFICATES).map(|file| read(files, file));
    let host = Host::new(drydock, settings, certificates.unwrap_or_default());
    let host = host.with_files(guest_files::all(files, drydock.division().guest_bytes(), vps));
    launch(drydock, &host, vps);
    let time = drydock.home().host();
    let ticks = time.tsc().0.saturating_sub(home::arrived());
    let milliseconds = ticks / (time.tsc_frequency() / 1000).max(1);
    log::info!("launched {milliseconds} ms after the start");
    MACHINE.call_once(|| Machine { drydock, host });
    run_cpu()
}

fn launch(drydock: &'static Drydock, host: &Host<&'static Drydock>, vps: u32) {
    let files = drydock.home().host();
    let Some(igvm) = files.file(file::IGVM) else {
        refuse(&"the host gives no IGVM file", Status::BadGuest)
    };
    let command_line = files.file(file::COMMAND_LINE).map(|file| read(files, file));
    let ids: Vec<u32> = (0..vps).collect();
    let chip = files.file(file::CHIP).map(|file| {
        let bytes = read(files, file);
        let Ok(bytes) = bytes.as_slice().try_into() else {
            refuse(&"the file with the chip's secrets has another length", Status::BadConfig)
        };
        Chip::from_bytes(bytes)
    });
    let parameters = Parameters {
        vps,
        madt: &firmware_tables::interrupt_controllers(&ids, vps as u8),
        command_line: command_line.as_deref().unwrap_or_default(),
        chip: chip.as_ref(),
    };
    match drydock.launch(igvm, parameters, host) {
        Err(error) => refuse(&error, Status::BadGuest),
        Ok(launched) => {
            for (vp, area) in launched.areas {
                host.start(vp, area);
            }
            let digest = outcome::Hex(&launched.digest);
            log::info!("launch digest {digest}");
            write_report(&alloc::format!("{} {digest}\n", report::DIGEST));
        }
    }
}

fn read(files: &impl Files, file: HostFile) -> Vec<u8> {
    let length = file.length as usize;
    if length > MOST_READ {
        refuse(&"the host gives a file that is too long", Status::BadConfig)
    }
    let mut bytes = alloc::vec![0; length];
    match files.read_file(file, 0, &mut bytes) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

/// Called on each other CPU.
extern "C" fn run_other() -> ! {
    run_cpu()
}

/// Runs the VP of this CPU until the VM ends, if it carries one.
fn run_cpu() -> ! {
    let machine = loop {
        if let Some(machine) = MACHINE.get() {
            break machine;
        }
        core::hint::spin_loop();
    };
    if machine.drydock.home().vp_index().is_none() {
        machine.drydock.home().rest()
    }
    match CpuVp::new(machine.drydock, &machine.host) {
        Some(vp) => outcome::end_with(machine.drydock, Box::new(vp).run()),
        None => panic!("a VP has no CPU of its own"),
    }
}
