//! Words for the user, on standard error. Where nobody can read them the run goes on, and its exit
//! code still tells how it went.

use std::fmt;
use std::io::{Write, stderr};

/// Says a line in this program's name.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!("paravane: {}", format_args!($($text)*))) };
}
pub(crate) use say;

/// Shows a line as it is.
pub fn line(text: fmt::Arguments<'_>) {
    let _ = writeln!(stderr().lock(), "{text}");
}
