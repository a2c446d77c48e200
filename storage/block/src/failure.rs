//! Why a request failed.

/// Why a request failed. SCSI, virtio and NVMe each have their own words for these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Some of the blocks are not on the disk. The requester's fault.
    OutOfRange,
    /// The disk can not be written.
    ReadOnly,
    /// The data is not as long as the blocks. The paravisor's fault.
    Length,
    /// The disk can not do this. [`crate::Properties`] says so.
    Unsupported,
    /// The data differ from the disk's. `offset` is that of the first byte that differs, if the
    /// device told.
    Miscompare {
        /// In bytes from the start of the request's data.
        offset: Option<u64>,
    },
    /// The device could not read its medium.
    MediumRead,
    /// The device could not write its medium.
    MediumWrite,
    /// A block was read that is not what was written: its authentication failed.
    Integrity,
    /// The disk's store has no room left for a write.
    NoSpace,
    /// The request conflicts with a reservation that the device itself keeps.
    Reserved,
    /// The device failed in another way, or answered what it may not.
    Device,
    /// The device did not complete the request in time. The request may have had its effect.
    TimedOut,
    /// The requester cancelled the request.
    Cancelled,
    /// The device is gone.
    Gone,
}
