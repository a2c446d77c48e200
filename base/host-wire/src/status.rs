//! How a VM ends.

/// Why the paravisor or Drydock ended the VM: the byte it writes to the exit device.
///
/// QEMU's process then ends with `status * 2 + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// The guest powered itself off.
    PowerOff = 1,
    /// The guest asked for a reset, and the configuration says that this ends the VM. In Drydock,
    /// every reset ends the VM, because only a new launch can start it again.
    Reset = 2,
    /// The paravisor or Drydock failed: our bug. A crash record was written.
    Crashed = 16,
    /// The CPU is not a 64-bit one.
    NoLongMode = 17,
    /// The VM cannot be used: CPU, memory, CPU count, fw_cfg.
    UnusableVm = 18,
    /// The configuration is wrong.
    BadConfig = 19,
    /// The guest's kernel, initrd, command line or IGVM file cannot be used.
    BadGuest = 20,
    /// The guest shut down by a triple fault before it had run for a moment, so that starting it
    /// again would do the same; or it called a BIOS, and there is none. In Drydock: the guest ended
    /// the VM with a reason, shut down by a triple fault, or did something that is not emulated.
    GuestFailed = 21,
    /// Every VP of the guest has halted with interrupts disabled, so nothing can wake it any more.
    GuestHalted = 22,
    /// The paravisor's state, or its key, cannot be used.
    BadState = 23,
    /// In Drydock: the paravisor that it ran crashed, a bug of ours.
    ParavisorCrashed = 24,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 11] = [
        Self::PowerOff,
        Self::Reset,
        Self::Crashed,
        Self::NoLongMode,
        Self::UnusableVm,
        Self::BadConfig,
        Self::BadGuest,
        Self::GuestFailed,
        Self::GuestHalted,
        Self::BadState,
        Self::ParavisorCrashed,
    ];

    /// The status with this number.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| *status as u8 == number)
    }

    /// The status that ended a QEMU process with exit code `code`.
    pub fn of_process(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|status| i32::from(*status as u8) * 2 + 1 == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_codes_are_distinct_and_found_again() {
        for status in Status::ALL {
            assert_eq!(Status::of_process(i32::from(status as u8) * 2 + 1), Some(status));
            assert_eq!(Status::of_number(status as u8), Some(status));
        }
        assert_eq!(Status::of_process(1), None);
        assert_eq!(Status::of_process(0), None);
        assert_eq!(Status::of_number(0), None);
    }
}
