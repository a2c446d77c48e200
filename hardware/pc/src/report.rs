//! The ways out of the VM: lines for an observer, the end.

use core::fmt::{self, Arguments, Write};

use platform_api::Width;

use crate::{Access, Pc};

/// QEMU's `isa-debugcon`: takes text for an observer.
const REPORT_PORT: u16 = 0xe9;
/// QEMU's `isa-debug-exit`: ends the VM with a status.
const EXIT_PORT: u16 = 0xf4;

/// Writes to the report port, or to the console of a VM that has none.
struct Report<'a, A>(&'a Pc<A>);

impl<A: Access> Write for Report<'_, A> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let access = &self.0.access;
        let watched = access.port_read(REPORT_PORT, Width::Byte) == u32::from(REPORT_PORT);
        if watched {
            access.port_write_bytes(REPORT_PORT, text.as_bytes());
        } else {
            // Without a report port this is the only way out; bytes that do not fit are lost.
            text.bytes().for_each(|byte| self.0.send(0, byte));
        }
        Ok(())
    }
}

impl<A: Access> Pc<A> {
    /// Writes text as it is. For crash records: it takes no lock.
    pub fn write_report(&self, text: &str) {
        let _ = Report(self).write_str(text);
    }

    /// Writes one line.
    pub fn report_line(&self, line: Arguments<'_>) {
        let _guard = self.report.lock();
        let _ = writeln!(Report(self), "{line}");
    }

    /// Asks for the end of the VM, with `status` where the VM has an exit device.
    pub fn end(&self, status: u8) {
        self.access.port_write(EXIT_PORT, Width::Byte, status.into());
        self.power_off();
    }
}
