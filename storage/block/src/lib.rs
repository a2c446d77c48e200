//! The contract of a block device.
//!
//! A block device takes requests and completes each of them once. It is a state machine: nothing
//! here waits, and a request that is under way is plain data. Layers (encryption, striping,
//! partitions) take a device and are one. The rules, cited in review by their number:
//!
//! 1. **One value, one CPU.** A [`BlockDevice`] is one CPU's way to a disk. Several of them may lead
//!    to the same disk; none waits for another.
//! 2. **Once.** Each request that [`BlockDevice::submit`] took is completed by exactly one
//!    [`Completion`] with its tag, also one that was cancelled, that timed out, or whose device is
//!    gone. The tag may be used again after that.
//! 3. **Memory is free at the completion, not earlier.** Until then a device may read or write the
//!    data of the request. After that nothing does.
//! 4. **Order.** Requests under way may complete in any order. A [`Operation::Flush`] covers the
//!    writes that were completed before it was submitted. A write with `force_unit_access` is
//!    durable when it completes.
//! 5. **A refusal has no effect.** A request that `submit` hands back was not begun.
//! 6. **A failed write** may have changed any of its blocks, and no other block.
//! 7. **Time is an argument**, as in `device-model`.
//! 8. **Nobody is believed.** A guest chose the blocks, and a device chose the answers: every sum is
//!    checked.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod data;
mod failure;
mod request;

pub use data::{DataList, DataMemory, DataRange, PoolRange, TooManyRanges};
pub use failure::Failure;
pub use request::{Completion, Extent, Operation, Properties, Request, Tag};

use device_model::Instant;

/// What a device tells besides completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// [`BlockDevice::properties`] changed: another size, or read-only now.
    Changed,
    /// The device is gone. Every request fails from now on.
    Gone,
}

/// One CPU's way to a disk. The module has the rules.
pub trait BlockDevice {
    /// What the disk is at present.
    fn properties(&self) -> Properties;

    /// Begins a request, or hands it back if the device has no room for it now. Room comes with a
    /// completion. A request that the device can not carry out at all is taken, and completed with
    /// its [`Failure`].
    fn submit(&mut self, now: Instant, request: Request) -> Result<(), Request>;

    /// The next completion, if there is one. The caller asks until there is none: after an
    /// interrupt, at the deadline, and after it has submitted or cancelled.
    fn poll(&mut self, now: Instant) -> Option<Completion>;

    /// Asks the device to give a request up. It is completed as any other: with
    /// [`Failure::Cancelled`] if it had no effect or only part of one, else with what became of it.
    /// A tag that is not under way is ignored.
    fn cancel(&mut self, now: Instant, tag: Tag);

    /// When `poll` must be called at the latest, even without an interrupt.
    fn deadline(&self) -> Option<Instant>;

    /// The next event, if there is one.
    fn event(&mut self) -> Option<Event>;
}
