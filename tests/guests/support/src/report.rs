//! The outcome of test cases.

use core::fmt::{self, Arguments, Write};

use crate::{machine, println};

const LENGTH: usize = 112;

/// Why a case failed, in words.
#[derive(Clone, Copy)]
pub struct Failure {
    text: [u8; LENGTH],
    length: usize,
}

impl Failure {
    /// A failure with this reason; a reason that is too long is truncated.
    pub fn new(reason: Arguments<'_>) -> Self {
        let mut failure = Self { text: [0; LENGTH], length: 0 };
        // Writing never fails.
        let _ = failure.write_fmt(reason);
        failure
    }
}

impl Write for Failure {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().filter(u8::is_ascii) {
            if let Some(slot) = self.text.get_mut(self.length) {
                *slot = byte;
                self.length += 1;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text.get(..self.length).unwrap_or_default();
        f.write_str(core::str::from_utf8(text).unwrap_or_default())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Leaves a case with a failure.
#[macro_export]
macro_rules! fail {
    ($($text:tt)*) => { return Err($crate::Failure::new(format_args!($($text)*))) };
}

/// Leaves a case with a failure unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => { if !$condition { $crate::fail!($($text)*) } };
}

/// Leaves a case with a failure unless both sides are equal.
#[macro_export]
macro_rules! ensure_eq {
    ($found:expr, $wanted:expr, $($text:tt)*) => {{
        let (found, wanted) = ($found, $wanted);
        if found != wanted {
            let what = format_args!($($text)*);
            $crate::fail!("{what}: {found:x?}, not {wanted:x?}")
        }
    }};
}

/// Counts cases and prints each.
#[derive(Debug, Default)]
pub struct Report {
    /// Cases that passed.
    pub passed: u64,
    /// Cases that failed.
    pub failed: u64,
    only: Option<&'static str>,
    skip: Option<&'static str>,
}

impl Report {
    /// None yet. On the command line `only=PREFIX` leaves out cases of other names,
    /// `skip=PREFIX` those of such a name.
    pub fn new() -> Self {
        Self { passed: 0, failed: 0, only: machine::option("only"), skip: machine::option("skip") }
    }

    /// Whether a case of this name is to be run.
    pub fn wants(&self, name: &str) -> bool {
        let skipped = self.skip.is_some_and(|skip| name.starts_with(skip));
        !skipped && self.only.is_none_or(|only| name.starts_with(only))
    }

    /// Runs a case.
    pub fn case(&mut self, name: &str, case: impl FnOnce() -> Result<(), Failure>) {
        if !self.wants(name) {
            return;
        }
        match case() {
            Ok(()) => {
                self.passed += 1;
                println!("test {name} ok");
            }
            Err(reason) => {
                self.failed += 1;
                println!("test {name} FAILED: {reason}");
            }
        }
    }

    /// Prints the sum and ends the machine.
    pub fn finish(&self) -> ! {
        println!("done {} passed {} failed", self.passed, self.failed);
        machine::power_off()
    }
}
