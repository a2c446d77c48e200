//! Messages to the user on standard error.
//!
//! A message that can not be written is dropped: the run continues, and its exit code tells how it
//! ended.

use std::fmt;
use std::io::{Write, stderr};

/// Prints a line that begins with this program's name.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!("paravane: {}", format_args!($($text)*))) };
}
pub(crate) use say;

/// Prints a line as it is.
pub fn line(text: fmt::Arguments<'_>) {
    let _ = writeln!(stderr().lock(), "{text}");
}
