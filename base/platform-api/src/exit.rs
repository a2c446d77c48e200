//! Why a VP left the guest.

use crate::Width;

/// Why the guest stopped running. Values in it come from the guest: they are allegations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The host has an interrupt for this CPU; it has been taken by now.
    HostInterrupt,
    /// CPUID; the leaf is in EAX, the subleaf in ECX.
    Cpuid,
    /// RDMSR of the register in ECX.
    ReadMsr,
    /// WRMSR of the register in ECX.
    WriteMsr,
    /// HLT.
    Halt,
    /// VMMCALL or VMCALL.
    Hypercall,
    /// XSETBV of the register in ECX.
    Xsetbv,
    /// INVD or WBINVD.
    CacheFlush,
    /// IN, OUT, INS or OUTS.
    Port(PortAccess),
    /// An access to a guest-physical address that is not mapped for it.
    Memory(MemoryFault),
    /// The guest can take an interrupt now, as was asked for.
    InterruptWindow,
    /// An exception that is intercepted, to be given on to the guest.
    Exception {
        /// Its vector.
        vector: u8,
        /// The error code, for the vectors that push one.
        error_code: Option<u32>,
    },
    /// MOV to CR8, as [`crate::GuestVp::watch_task_priority`] asked for.
    TaskPriority {
        /// The CPU has completed the instruction: it can not be restarted.
        is_done: bool,
    },
    /// INT1: raises #DB behind itself.
    Int1,
    /// An instruction that the guest's CPU does not have.
    Undefined,
    /// An instruction that the guest's CPU has and refuses: #GP(0).
    Refused,
    /// The guest's NMI handler ended, so that NMIs are open again.
    NmiUnmasked,
    /// The host sent this CPU an NMI: its way to ask the guest for a dump.
    HostNmi,
    /// A fault while a double fault was delivered: the CPU has shut down.
    Shutdown,
    /// The guest has put its control registers into a state that the CPU can not run in.
    InvalidState,
    /// The CPU left for a reason that we never asked for. Our fault, or the
    /// CPU's. The code is the platform's.
    Failed(u64),
}

/// A port access by the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortAccess {
    /// The port.
    pub port: u16,
    /// The width of one access.
    pub width: Width,
    /// IN or INS.
    pub is_input: bool,
    /// INS or OUTS: memory is involved, the instruction must be emulated.
    pub is_string: bool,
    /// Where the guest continues.
    pub next_rip: u64,
}

/// A nested page fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryFault {
    /// The guest-physical address.
    pub gpa: u64,
    /// Whether it was a write.
    pub is_write: bool,
    /// Whether it was an instruction fetch.
    pub is_fetch: bool,
    /// Whether the access was the CPU's own walk of the guest's page tables.
    pub is_walk: bool,
    /// Whether the access was part of delivering an event: of the IDT, a descriptor, the stack.
    pub in_delivery: bool,
}
