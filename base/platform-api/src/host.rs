//! All contact with the host, by what it is about.
//!
//! Each trait is the outside of the VM as the current CPU sees it. Whatever a call answers is the
//! host's word.

mod console;
mod cpus;
mod files;
mod state_disk;
mod time;

pub use console::{Console, Received};
pub use cpus::Cpus;
pub use files::{Files, HostFile, Transfer};
pub use state_disk::{StateDisk, StateDiskError};
pub use time::Time;

/// How the VM ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus(pub u8);

/// Randomness.
pub trait Entropy {
    /// Fills `to` with random bytes that are fit for keys. False if there is no source for them, or
    /// none that can be trusted.
    fn entropy(&self, to: &mut [u8]) -> bool;
}

/// The end of the VM.
pub trait Ending {
    /// Ends the VM.
    fn exit(&self, status: ExitStatus) -> !;
}

/// The whole outside. A function that needs a part of it names that part.
pub trait Host:
    Time + Cpus + Console + Files + StateDisk + Entropy + Ending + Sync + 'static
{
}

impl<H> Host for H where
    H: Time + Cpus + Console + Files + StateDisk + Entropy + Ending + Sync + 'static
{
}
