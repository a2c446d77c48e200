//! The outcome of test cases.

use core::fmt::{Arguments, Debug};

use crate::ghcb::{power_off, print};

/// Counts cases, and tells of each on the console.
#[derive(Debug, Default)]
pub struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    /// No case yet.
    pub const fn new() -> Self {
        Self { passed: 0, failed: 0 }
    }

    /// A case that has passed, or failed with a reason.
    pub fn case(&mut self, name: &str, passed: bool, why: Arguments<'_>) {
        if passed {
            self.passed += 1;
            print(format_args!("test {name} ok\n"));
        } else {
            self.failed += 1;
            print(format_args!("test {name} FAILED: {why}\n"));
        }
    }

    /// A case that has passed if it found what was expected.
    pub fn is<T: PartialEq + Debug>(&mut self, name: &str, found: T, expected: T) {
        let passed = found == expected;
        self.case(name, passed, format_args!("{found:x?}, not {expected:x?}"));
    }

    /// Tells the sum, and powers the VM off.
    pub fn finish(&self) -> ! {
        print(format_args!("done {} passed {} failed\n", self.passed, self.failed));
        power_off()
    }
}
