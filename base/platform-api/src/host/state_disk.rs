//! The disk for the paravisor's own state.

/// Why a request to the disk for the paravisor's own state failed. The fault is the host's.
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
    /// Another context is using it: our own mistake, as one context is to use it at a time.
    Busy,
}

/// The disk for the paravisor's own state, if the host gives one. The guest never reaches it.
///
/// It is used by one context at a time. Each call waits for the disk, with interrupts as they are,
/// for a bounded time, which can be seconds.
pub trait StateDisk {
    /// How many sectors of 512 bytes it has.
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
    /// Makes all writes so far durable.
    ///
    /// # Errors
    /// [`StateDiskError`]; any of it may then not be durable.
    fn flush_state_disk(&self) -> Result<(), StateDiskError>;
}
