//! All contact with the host.

use memory::RamRange;

/// The width of a port access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One byte.
    Byte,
    /// Two bytes.
    Word,
    /// Four bytes.
    Dword,
}

impl Width {
    /// The width in bytes.
    pub const fn bytes(self) -> u8 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
        }
    }

    /// A mask of the bits of this width.
    pub const fn mask(self) -> u32 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Dword => 0xffff_ffff,
        }
    }
}

/// How the VM ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus(pub u8);

/// A file that the host offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFile {
    /// The host's handle.
    pub selector: u16,
    /// Its length in bytes, as the host says.
    pub length: u32,
}

/// Why a transfer from a host file failed. The fault is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// The host reported an error.
    Refused,
    /// The range goes past the file's end.
    PastEnd,
}

/// What came in on a serial channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A byte.
    Byte(u8),
    /// A break: the line was low for longer than a character.
    Break,
}

/// Why the disk for the paravisor's own state did not do what was asked. The fault is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateDiskError {
    /// There is no such disk.
    Absent,
    /// The sectors are not all on the disk, or the bytes are no whole sectors.
    OutOfRange,
    /// The disk reports an error.
    Failed,
    /// The disk did not answer in time; it is not asked again.
    TimedOut,
    /// The disk broke its protocol; it is not asked again.
    Misbehaved,
    /// Somebody else is using it: our own mistake, where one context is to use it at a time.
    Busy,
}

/// The outside of the VM, seen from the current CPU.
///
/// Whatever a call answers is the host's word.
pub trait Host: Sync + 'static {
    /// CPUID of the host CPU: EAX, EBX, ECX, EDX.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4];
    /// The time-stamp counter of this CPU.
    fn tsc(&self) -> u64;
    /// TSC ticks per second.
    fn tsc_frequency(&self) -> u64;
    /// Has this CPU interrupted when the TSC reaches `deadline`, or not at all.
    fn set_timer(&self, deadline: Option<u64>);
    /// Interrupts the CPU of VP `index`, so that the VP leaves the guest or its idling.
    fn kick(&self, index: u32);
    /// Waits until this CPU is interrupted, and takes the interrupt. One that already waits ends it
    /// at once.
    fn idle(&self);
    /// Whether there may be news on a serial channel or of the power button since the last call.
    fn device_event(&self) -> bool;
    /// What somebody typed on the host's console or sent to its second channel.
    fn serial_read(&self, channel: usize) -> Option<Received>;
    /// Whether the host has room for a byte on a serial channel now; if not, ask again later.
    fn serial_ready(&self, channel: usize) -> bool;
    /// Sends a byte to the host's console (channel 0) or its second channel (1). Without room it
    /// may be lost.
    fn serial_write(&self, channel: usize, byte: u8);
    /// Whether somebody has pressed the power button since the last call.
    fn power_button(&self) -> bool;
    /// Whether an NMI of the host has come to this CPU since the last call.
    fn take_nmi(&self) -> bool;
    /// Looks up a file that the host offers.
    fn file(&self, name: &str) -> Option<HostFile>;
    /// The UUID that the host gives this VM, in the byte order of RFC 9562, if it gives one.
    fn uuid(&self) -> Option<[u8; 16]>;
    /// Reads part of a host file into our own memory.
    fn read_file(&self, file: HostFile, offset: u32, to: &mut [u8]) -> Result<(), Transfer>;
    /// Has the host write part of a file to guest memory.
    fn load_file(&self, file: HostFile, offset: u32, to: RamRange) -> Result<(), Transfer>;
    /// Fills `to` with random bytes that are fit for keys. False if there is no source for them, or
    /// none that can be trusted.
    fn entropy(&self, to: &mut [u8]) -> bool;
    /// Lets the service run on this CPU, until it leaves or this CPU has taken an interrupt. False
    /// if it has failed, and will never run again.
    fn run_service(&self) -> bool;
    /// Called by the service when it has nothing to do: returns when there may be something.
    fn leave_service(&self);
    /// Sectors of 512 bytes of the disk that the host gives for the paravisor's own state, if it
    /// gives one. The guest never reaches that disk.
    ///
    /// It is used by one context at a time. Each call waits for the disk, with interrupts as they
    /// are, for a bounded time, which can be seconds.
    fn state_disk_sectors(&self) -> Option<u64>;
    /// Reads whole sectors of it.
    ///
    /// # Errors
    /// [`StateDiskError`]; the content of `to` is then of no meaning.
    fn read_state_disk(&self, sector: u64, to: &mut [u8]) -> Result<(), StateDiskError>;
    /// Writes whole sectors of it, which are durable after the next flush.
    ///
    /// # Errors
    /// [`StateDiskError`]; each of the sectors may then have been written.
    fn write_state_disk(&self, sector: u64, from: &[u8]) -> Result<(), StateDiskError>;
    /// Makes durable what has been written.
    ///
    /// # Errors
    /// [`StateDiskError`]; any of it may then not be durable.
    fn flush_state_disk(&self) -> Result<(), StateDiskError>;
    /// Seconds since 1970 by the host's real-time clock.
    fn wall_clock(&self) -> u64;
    /// Tells whoever watches from the host one line.
    fn report(&self, line: core::fmt::Arguments<'_>);
    /// Ends the VM.
    fn exit(&self, status: ExitStatus) -> !;
}
