//! The end of a VM that can not be started.

use snp::msr_protocol::Termination;

/// Why it can not be started: reasons of set [`SET`] in the GHCB protocol's termination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reason {
    /// The stub does not fit into its memory: our own mistake.
    OwnMemory = 1,
    /// The page that says where the files are is wrong.
    Info = 2,
    /// The host's memory map is wrong.
    MemoryMap = 3,
    /// A page could not be accepted, or had been already: the host has exchanged it.
    Accept = 4,
    /// The number of VPs is wrong.
    VpCount = 5,
    /// The machine can not be described.
    Tables = 6,
    /// The kernel can not be loaded.
    Kernel = 7,
    /// A mistake of our own.
    Panic = 8,
}

/// The set of the stub's reasons: none that the protocol or Linux has taken.
const SET: u8 = 8;

/// Ends the VM.
pub(crate) fn with(reason: Reason) -> ! {
    sev_guest::terminate(Termination { set: SET, reason: reason as u8 })
}
