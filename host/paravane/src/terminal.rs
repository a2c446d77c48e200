//! The user's terminal: QEMU takes it over, and a QEMU that is killed does not give it back.

use std::io::{IsTerminal, stdin};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// How the terminal was; it is so again when this is dropped.
#[derive(Debug)]
pub struct Saved {
    modes: Option<Termios>,
    flags: Option<OFlags>,
}

impl Saved {
    /// Notes how the terminal is.
    pub fn note() -> Self {
        let modes = if stdin().is_terminal() { tcgetattr(stdin()).ok() } else { None };
        Self { modes, flags: fcntl_getfl(stdin()).ok() }
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        if let Some(modes) = &self.modes {
            // Nothing is left to do where this fails: the terminal has gone.
            let _ = tcsetattr(stdin(), OptionalActions::Now, modes);
        }
        if let Some(flags) = self.flags {
            let _ = fcntl_setfl(stdin(), flags);
        }
    }
}
