//! What an image asks of its platform until the machine runs.

use core::fmt::Arguments;

use log::Level;

use crate::Platform;

/// A platform that an image starts the machine on.
///
/// How the first CPU comes to call [`StartUp::start_other_cpus`] is the platform's: by a PVH entry
/// and a move of the image, or by a register state that a launch measurement covers.
pub trait StartUp: Platform {
    /// Writes one line of the log for an observer at the host.
    fn log_line(level: Level, line: Arguments<'_>);

    /// Starts the other CPUs; each calls `main`. Waits until all of them run. Only the first call
    /// does anything.
    ///
    /// # Errors
    /// How many run, if the host lost some.
    fn start_other_cpus(&'static self, main: extern "C" fn() -> !) -> Result<(), u32>;

    /// Finishes the start, with all CPUs in our own code: erases what a firmware or loader has left
    /// in memory that becomes the guest's, measures clocks once more. Only the first call does
    /// anything.
    fn settle(&self);

    /// Makes the service, which runs `body` from the first time on that it is resumed. Only the
    /// first call does anything.
    fn start_service(&self, body: extern "C" fn() -> !);

    /// The number of the VP that the running CPU carries, if it carries one.
    fn vp_index(&self) -> Option<u32>;

    /// Makes the VP of the running CPU, if that carries one, the first time.
    fn vp(&self) -> Option<Self::Vp>;

    /// Sleeps for ever, on a CPU that carries no VP.
    fn rest(&self) -> !;
}
