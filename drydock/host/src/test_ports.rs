//! The ports by which test programs of other projects talk to QEMU.
//!
//! They are those of QEMU's devices `isa-debug-exit` and `isa-debugcon` at their usual places, and
//! of `pc-testdev`, as far as a confidential guest can use it: the port that keeps what was written.

use alloc::string::String;
use core::sync::atomic::{AtomicU32, Ordering};

use platform_api::Width;
use spin::Mutex;

/// Ends the VM with the number that is written.
const EXIT: core::ops::RangeInclusive<u16> = 0xf4..=0xf7;
/// Keeps what was written.
const ECHO: core::ops::RangeInclusive<u16> = 0xe0..=0xe3;

/// Takes text for an observer, and reads as its own number.
const REPORT: u16 = 0xe9;
/// A line of that text is cut after so many characters.
const LONGEST_LINE: usize = 200;

/// What a write to a test port asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Nothing more.
    Done,
    /// To tell the observer a line.
    Report(String),
    /// To end the VM.
    End(u32),
}

/// The ports.
#[derive(Debug, Default)]
pub(crate) struct TestPorts {
    echo: AtomicU32,
    /// The line that has begun.
    line: Mutex<String>,
}

impl TestPorts {
    /// Reads a port; none if it is none of these.
    pub(crate) fn read(&self, port: u16, width: Width) -> Option<u32> {
        if EXIT.contains(&port) {
            return Some(0);
        }
        if port == REPORT && width == Width::Byte {
            return Some(REPORT.into());
        }
        ECHO.contains(&port).then(|| self.echo.load(Ordering::Relaxed) & width.mask())
    }

    /// Writes a port; none if it is none of these.
    pub(crate) fn write(&self, port: u16, width: Width, value: u32) -> Option<Written> {
        if port == REPORT && width == Width::Byte {
            return Some(self.report(value as u8));
        }
        if EXIT.contains(&port) {
            return Some(Written::End(value));
        }
        ECHO.contains(&port).then(|| {
            self.echo.store(value, Ordering::Relaxed);
            Written::Done
        })
    }

    fn report(&self, byte: u8) -> Written {
        let mut line = self.line.lock();
        let is_whole = byte == b'\n' || line.len() >= LONGEST_LINE;
        let whole = is_whole.then(|| core::mem::take(&mut *line));
        if byte != b'\n' {
            let is_printable = byte == b' ' || byte.is_ascii_graphic();
            line.push(if is_printable { byte.into() } else { '?' });
        }
        whole.map_or(Written::Done, Written::Report)
    }
}
