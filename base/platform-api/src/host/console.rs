//! The people at the host's end: console, power button, report.

/// A byte or break that came in on a serial channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A byte.
    Byte(u8),
    /// A break: the line was low for longer than a character.
    Break,
}

/// The people at the host's end.
pub trait Console {
    /// Whether there may be news on a serial channel or of the power button since the last call.
    fn device_event(&self) -> bool;
    /// The next byte or break that somebody typed on the host's console or sent to its second
    /// channel.
    fn serial_read(&self, channel: usize) -> Option<Received>;
    /// Whether the host has room for a byte on a serial channel now; if not, ask again later.
    fn serial_ready(&self, channel: usize) -> bool;
    /// Sends a byte to the host's console (channel 0) or its second channel (1). Without room it
    /// may be lost.
    fn serial_write(&self, channel: usize, byte: u8);
    /// Whether somebody has pressed the power button since the last call.
    fn power_button(&self) -> bool;
    /// Reports one line to an observer at the host.
    fn report(&self, line: core::fmt::Arguments<'_>);
}
