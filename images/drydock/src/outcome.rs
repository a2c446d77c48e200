//! How the emulated VM ends, for an observer at the host.

use core::fmt;

use drydock::Drydock;
use drydock_host::End;
use host_wire::{DrydockConfig, LogLevel, Status, termination};
use log::LevelFilter;
use snp::msr_protocol::Termination;

/// Bytes as hexadecimal digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Ends the emulating VM as the emulated one has ended.
pub(crate) fn end_with(drydock: &Drydock, end: End) -> ! {
    let status = match end {
        End::PowerOff => Status::PowerOff,
        End::Reset => Status::Reset,
        End::Terminated(reason) => terminated(reason),
        End::Exit(0) => Status::PowerOff,
        End::Exit(number) => {
            log::error!("the guest ended the VM by port F4h, with {number:#x}");
            Status::GuestFailed
        }
        End::Shutdown { vp } => {
            log::error!("VP {vp} shut down by a triple fault");
            Status::GuestFailed
        }
        End::Invalid { vp, level } => {
            log::error!("VP {vp}: its save area of VMPL{level} is invalid");
            Status::GuestFailed
        }
        End::Unanswerable { vp, code, info_1, info_2 } => {
            log::error!("VP {vp}: no answer to exit {code:#x} ({info_1:#x}, {info_2:#x})");
            Status::GuestFailed
        }
        End::Halted => {
            log::error!("all VPs sleep with interrupts disabled");
            Status::GuestHalted
        }
    };
    drydock.report_counts();
    drydock.home().end(status as u8)
}

/// The status for a reason that the guest has given.
fn terminated(Termination { set, reason }: Termination) -> Status {
    if let Some(status) = termination::status_of_machine(set, reason) {
        return status;
    }
    let words = termination::words(set, reason).unwrap_or("a reason that is not known");
    log::error!("the guest ended the VM: {words} (set {set}, reason {reason})");
    termination::status(set, reason)
}

/// The level that the configuration names.
pub(crate) const fn level(config: &DrydockConfig) -> LevelFilter {
    match config.log {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Trace,
    }
}
