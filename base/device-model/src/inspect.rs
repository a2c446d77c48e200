//! The tree of current state that people look at.

/// One value of an inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A count or quantity, shown in decimal.
    Number(u64),
    /// A register or address, shown in hexadecimal.
    Hex(u64),
    /// A condition.
    Flag(bool),
    /// A name, such as that of a mode.
    Text(&'a str),
    /// Something that exists and is never shown.
    Secret,
}

/// Receives a device's state.
///
/// `field` adds a leaf; `begin` and `end` enclose a named group. The receiver bounds what it keeps.
pub trait Inspect {
    /// Adds the leaf `name`.
    fn field(&mut self, name: &str, value: Value<'_>);
    /// Opens the group `name`.
    fn begin(&mut self, name: &str);
    /// Closes the innermost open group.
    fn end(&mut self);
}
