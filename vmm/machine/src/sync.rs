//! Atomics of what VPs share without a lock.
//!
//! The modules that use them by these names are also built in `tests/interleavings`, with atomics
//! there that try every interleaving.

pub(crate) use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
