//! Block devices that need no hardware of their own.
//!
//! There is a disk in memory, and there are layers that make another disk of any block device.
//! Each of them keeps the rules of the `block` crate, which are cited here by their numbers. A layer
//! owns the devices below it, and hands a request back, or lets it wait, while they have no room.
//! The size of a device's blocks never changes.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod answers;
mod crypt;
mod partition;
mod ram_disk;
mod read_only;
mod stripe;
#[cfg(test)]
mod tests;
mod verdict;

pub use crypt::{Crypt, CryptError, XtsKey, XtsKeyError};
pub use partition::{BeyondDisk, Partition};
pub use ram_disk::{Content, ContentError, RamDisk};
pub use read_only::ReadOnly;
pub use stripe::{Stripe, StripeError};
