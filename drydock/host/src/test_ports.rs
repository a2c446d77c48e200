//! The ports by which test programs of other projects talk to QEMU.
//!
//! They are those of QEMU's devices `isa-debug-exit` at its usual place, and of `pc-testdev`, as far
//! as a confidential guest can use it: the port that keeps what was written.

use core::sync::atomic::{AtomicU32, Ordering};

use platform_api::Width;

/// Ends the VM with the number that is written.
const EXIT: core::ops::RangeInclusive<u16> = 0xf4..=0xf7;
/// Keeps what was written.
const ECHO: core::ops::RangeInclusive<u16> = 0xe0..=0xe3;

/// What a write to a test port asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Nothing more.
    Done,
    /// To end the VM.
    End(u32),
}

/// The ports.
#[derive(Debug, Default)]
pub(crate) struct TestPorts {
    echo: AtomicU32,
}

impl TestPorts {
    /// Reads a port; none if it is none of these.
    pub(crate) fn read(&self, port: u16, width: Width) -> Option<u32> {
        if EXIT.contains(&port) {
            return Some(0);
        }
        ECHO.contains(&port).then(|| self.echo.load(Ordering::Relaxed) & width.mask())
    }

    /// Writes a port; none if it is none of these.
    pub(crate) fn write(&self, port: u16, value: u32) -> Option<Written> {
        if EXIT.contains(&port) {
            return Some(Written::End(value));
        }
        ECHO.contains(&port).then(|| {
            self.echo.store(value, Ordering::Relaxed);
            Written::Done
        })
    }
}
