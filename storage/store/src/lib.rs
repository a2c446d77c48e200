//! The paravisor's private store: records of several tenants on a disk that is not trusted.
//!
//! A store lies in two slots of a small disk. Each commit writes all records, encrypted and
//! authenticated under a key of its own, to the slot with the older content, so a commit that is
//! cut at any point leaves the other. `docs/state.md` has the layout, the order of writes with the
//! argument for it, and what is detected and what is not.
//!
//! No byte that the disk answers can cause a panic; what it answers is read once, checked, then
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
