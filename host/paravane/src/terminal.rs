//! Restores the user's terminal, which a killed QEMU leaves in its own modes.

use std::io::{IsTerminal, stdin};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// The saved state of the terminal, restored on drop.
#[derive(Debug)]
pub struct Saved {
    modes: Option<Termios>,
    flags: Option<OFlags>,
}

impl Saved {
    /// Saves the state of the terminal.
    pub fn note() -> Self {
        let modes = if stdin().is_terminal() { tcgetattr(stdin()).ok() } else { None };
        Self { modes, flags: fcntl_getfl(stdin()).ok() }
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        if let Some(modes) = &self.modes {
            // If this fails, the terminal is gone and there is nothing to restore.
            let _ = tcsetattr(stdin(), OptionalActions::Now, modes);
        }
        if let Some(flags) = self.flags {
            let _ = fcntl_setfl(stdin(), flags);
        }
    }
}
