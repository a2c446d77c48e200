//! Atomics and locks of the state that VPs share.
//!
//! The modules that use them by these names are also built in `tests/interleavings`, which runs
//! them under thousands of interleavings.

pub(crate) use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
pub(crate) use spin::Mutex;
