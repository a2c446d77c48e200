//! The paravisor's private store of records on a disk that is not trusted.
//!
//! A store takes two slots of a small disk. Each commit writes all records of all tenants,
//! encrypted and authenticated under a key of its own, to the slot with the older records. A commit
//! that is interrupted at any point therefore leaves the other slot intact. `docs/state.md` has the
//! layout, the order of writes with its justification, and which attacks are detected.
//!
//! Data from the disk can not cause a panic: each sector is read once, then authenticated, then
//! used.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod body;
mod disk;
mod error;
mod header;
mod key;
mod layout;
mod records;
mod seal;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use disk::{Disk, DiskError, SECTOR};
pub use error::{CommitError, FormatError, OpenError};
pub use header::identity;
pub use key::{Entropy, Key, KeyError, KeySource};
pub use layout::{DISK_SECTORS, MAX_PLAIN, Slot};
pub use records::{Change, MAX_RECORD, RECORD_OVERHEAD, Tenant};
pub use store::Store;
