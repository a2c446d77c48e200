//! The exit codes of `paravane`.

use std::fmt::Write;

use host_wire::Status;

/// A failure of `paravane` itself, for example a file that can not be written.
pub const OURS: u8 = 1;
/// Wrong arguments, or a file named by them that can not be used. Clap exits with the same code.
pub const USAGE: u8 = 2;
/// `vtpm` only: another process listens on the port.
pub const PORT_IN_USE: u8 = 75;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The command ended with this status.
    Exited(u8),
    /// A signal ended the command.
    Signalled(u8),
    /// The guest powered itself off.
    PoweredOff,
    /// The guest reset itself, and the user wanted no new launch.
    Reset,
    /// The user left the console.
    Left,
    /// The run could not begin, or not continue.
    Failed(Failure),
}

/// Why a run failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The guest ended before its command did.
    GuestDied,
    /// The time of `--timeout` was over.
    Timeout,
    /// QEMU is missing, or does not start.
    Qemu,
    /// The paravisor crashed.
    Crashed,
    /// Drydock crashed.
    DrydockCrashed,
    /// The paravisor can not use this VM.
    UnusableVm,
    /// The configuration is wrong.
    BadConfig,
    /// The guest's files can not be used.
    BadGuest,
    /// The files of the paravisor's state can not be used.
    BadState,
    /// The guest shut down right after its start.
    GuestFailed,
    /// The guest halted for good.
    GuestHalted,
    /// The command could not be run in the guest.
    NoCommand,
    /// A signal ended this program.
    Interrupted,
    /// A failure of `paravane` itself.
    Ours,
}

/// Every failure with its exit code, its name in the JSON file, and its meaning.
const TABLE: [(Failure, u8, &str, &str); 14] = [
    (Failure::Ours, OURS, "failed", "paravane itself failed, for example to write a file"),
    (Failure::BadState, USAGE, "bad-state", "wrong arguments, or --state can not be used"),
    (Failure::GuestDied, 64, "guest-died", "the guest ended before its command did"),
    (Failure::Timeout, 65, "timeout", "the time given by --timeout was over"),
    (Failure::Qemu, 66, "qemu-failed", "QEMU is missing, or does not start"),
    (Failure::Crashed, 67, "paravisor-crashed", "the paravisor crashed: a bug of ours"),
    (Failure::UnusableVm, 68, "unusable-vm", "the paravisor can not use this CPU, RAM or VM"),
    (Failure::BadConfig, 69, "bad-config", "the paravisor's configuration is wrong"),
    (Failure::BadGuest, 70, "bad-guest", "the kernel, initrd or command line can not be used"),
    (
        Failure::GuestFailed,
        71,
        "guest-failed",
        "the guest shut down by a triple fault, or called a BIOS",
    ),
    (Failure::NoCommand, 72, "no-command", "the command can not be run in the guest"),
    (
        Failure::GuestHalted,
        74,
        "guest-halted",
        "the guest halted for good with interrupts disabled",
    ),
    (Failure::Interrupted, 73, "interrupted", "a signal ended paravane"),
    (Failure::DrydockCrashed, 76, "drydock-crashed", "Drydock crashed: a bug of ours"),
];

/// The failures whose meaning in `paravane drydock` is another.
const IN_DRYDOCK: [(Failure, &str); 6] = [
    (Failure::Crashed, "the paravisor that Drydock ran crashed: a bug of ours"),
    (Failure::BadState, "wrong arguments"),
    (Failure::UnusableVm, "Drydock can not use this CPU, RAM or VM"),
    (Failure::BadConfig, "Drydock's configuration is wrong"),
    (Failure::BadGuest, "the IGVM file, or a file to build it from, can not be used"),
    (
        Failure::GuestFailed,
        "the guest ended the VM with a reason, met a triple fault, or did something that is not \
         emulated",
    ),
];

impl Failure {
    fn row(self) -> (u8, &'static str) {
        TABLE
            .iter()
            .find(|(failure, ..)| *failure == self)
            .map_or((OURS, "failed"), |(_, code, name, _)| (*code, *name))
    }

    /// The failure that this status of the paravisor reports, if it is one.
    pub fn of_status(status: Status) -> Option<Self> {
        match status {
            Status::PowerOff => None,
            Status::Reset => Some(Self::GuestDied),
            Status::Crashed => Some(Self::Crashed),
            Status::NoLongMode | Status::UnusableVm => Some(Self::UnusableVm),
            Status::BadConfig => Some(Self::BadConfig),
            Status::BadGuest => Some(Self::BadGuest),
            Status::GuestFailed => Some(Self::GuestFailed),
            Status::GuestHalted => Some(Self::GuestHalted),
            Status::BadState => Some(Self::BadState),
            Status::ParavisorCrashed => Some(Self::Crashed),
        }
    }
}

impl End {
    /// The exit code of the process.
    pub fn code(&self) -> u8 {
        match self {
            Self::Exited(status) => *status,
            Self::Signalled(signal) => 128_u8.saturating_add(*signal),
            Self::PoweredOff | Self::Reset | Self::Left => 0,
            Self::Failed(failure) => failure.row().0,
        }
    }

    /// The name of this end in the JSON file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exited(_) => "exited",
            Self::Signalled(_) => "signalled",
            Self::PoweredOff => "powered-off",
            Self::Reset => "reset",
            Self::Left => "left",
            Self::Failed(failure) => failure.row().1,
        }
    }
}

/// The exit codes of `paravane run` as `--help` shows them.
pub fn table() -> String {
    let zero = "the guest powered itself off, or the user left it";
    let rows = TABLE.iter().map(|(_, code, _, meaning)| (*code, *meaning));
    listed(rows.chain([(0, zero)]).collect())
}

/// The exit codes of `paravane drydock` as `--help` shows them.
pub fn drydock_table() -> String {
    let zero =
        "the guest powered itself off, or reset itself with --end-on-reset, or the user left it";
    let meaning = |failure: &Failure, usual| {
        IN_DRYDOCK.iter().find(|(other, _)| other == failure).map_or(usual, |(_, here)| *here)
    };
    let rows = TABLE.iter().map(|(failure, code, _, usual)| (*code, meaning(failure, *usual)));
    listed(rows.chain([(0, zero)]).collect())
}

fn listed(mut rows: Vec<(u8, &str)>) -> String {
    let mut text = String::new();
    rows.sort_unstable();
    for (code, meaning) in rows {
        let _ = writeln!(text, "  {code:3}  {meaning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_distinct_and_out_of_the_way() {
        for (index, (failure, code, name, _)) in TABLE.iter().enumerate() {
            assert_eq!(failure.row(), (*code, *name));
            assert!([OURS, USAGE].contains(code) || (64..=80).contains(code));
            for (_, other, other_name, _) in TABLE.iter().skip(index + 1) {
                assert!(code != other && name != other_name);
            }
        }
    }

    #[test]
    fn a_command_hands_its_end_on() {
        assert_eq!(End::Exited(7).code(), 7);
        assert_eq!(End::Signalled(9).code(), 137);
        assert_eq!(End::PoweredOff.code(), 0);
    }

    #[test]
    fn a_signals_code_never_wraps() {
        assert_eq!((End::Signalled(127).code(), End::Signalled(255).code()), (255, 255));
    }

    #[test]
    fn every_end_has_a_name_of_its_own() {
        let ends = [End::Exited(0), End::Signalled(1), End::PoweredOff, End::Reset, End::Left];
        let failures = TABLE.iter().map(|(failure, ..)| End::Failed(*failure));
        let names: Vec<_> = ends.into_iter().chain(failures).map(|end| end.name()).collect();
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn the_help_lists_each_code_once_in_order() {
        for (table, help) in
            [(table(), crate::run_help()), (drydock_table(), crate::drydock_help())]
        {
            let codes: Vec<u8> = table
                .lines()
                .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
                .collect();
            // Zero comes on top.
            assert_eq!(codes.len(), TABLE.len() + 1);
            assert!(codes.is_sorted_by(|first, second| first < second), "{codes:?}");
            assert!(help.contains(&table));
        }
        for (_, meaning) in IN_DRYDOCK {
            let is_in = |table: String| table.lines().any(|line| line.ends_with(meaning));
            assert!(is_in(drydock_table()) && !is_in(table()), "{meaning}");
        }
    }

    #[test]
    fn only_a_power_off_is_no_failure() {
        for status in Status::ALL {
            assert_eq!(Failure::of_status(status).is_none(), status == Status::PowerOff);
        }
    }
}
