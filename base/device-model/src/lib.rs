//! The contract between a device model and the code that hosts it.
//!
//! A model is a pure state machine: registers in, effects out. It holds no lock, reads no clock,
//! starts no thread and knows no bus. The rules, cited in review by their number:
//!
//! 1. **Time is an argument.** Every call whose outcome depends on time takes `now`. A `now`
//!    earlier than one seen before is treated as the later one; it never panics and never makes
//!    a counter run backwards for the guest.
//! 2. **An interrupt line is a function of state.** The shell asks for the level after each call
//!    and tells the interrupt controllers about changes. A model never calls out.
//! 3. **A deadline is a promise.** [`Device::deadline`] names the earliest time at which the
//!    model's outputs can change by themselves. The shell calls [`Device::advance`] at or after it.
//!    Late calls lose no event that a guest could count, except those that real hardware coalesces
//!    too.
//! 4. **Registers accept every value.** Each offset, width and value that a guest can produce has
//!    the outcome that silicon gives; nothing panics, loops for a guest-chosen count or allocates.
//! 5. **Reset is total.** [`Device::reset`] leaves the state that power-on leaves, by exhaustive
//!    construction, except for state that the specification preserves.
//! 6. **Saved state is a struct of its own**, with a version, written and read by exhaustive
//!    destructuring so that a new field breaks the build. [`Device::restore`] believes nothing:
//!    a state that the model could not have reached is refused, and the model is untouched then.
//! 7. **Inspection never changes state** and never shows a secret.
#![no_std]
#![forbid(unsafe_code)]

mod clock;
mod inspect;
mod time;

pub use clock::Clock;
pub use inspect::{Inspect, Value};
pub use time::{GuestTsc, HostTsc, Instant, TscOffset};

/// Why a saved state was refused. The fault is the saver's, never the running guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// The version is none that this build reads.
    Version {
        /// The version found.
        found: u16,
        /// The newest version that this build reads.
        supported: u16,
    },
    /// A field holds a value that the model could not have reached.
    Field(&'static str),
}

impl core::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Version { found, supported } => {
                write!(f, "saved state has version {found}; this build reads up to {supported}")
            }
            Self::Field(name) => write!(f, "saved state has an impossible value in `{name}`"),
        }
    }
}

impl core::error::Error for RestoreError {}

/// The interface of every device model, besides its registers.
pub trait Device {
    /// The versioned plain struct that holds the whole state.
    type Saved;

    /// Returns to the power-on state.
    fn reset(&mut self, now: Instant);

    /// The earliest time at which an output may change by itself, if any (rule 3).
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Lets the events up to `now` happen.
    fn advance(&mut self, now: Instant) {
        let _ = now;
    }

    /// Copies the state out.
    fn save(&self) -> Self::Saved;

    /// Replaces the state by a saved one, or refuses it and changes nothing (rule 6).
    fn restore(&mut self, saved: &Self::Saved) -> Result<(), RestoreError>;

    /// Reports the current state for people (rule 7).
    fn inspect(&self, to: &mut dyn Inspect);
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;

    use super::*;

    #[test]
    fn a_refused_state_says_why() {
        let version = RestoreError::Version { found: 7, supported: 3 };
        assert_eq!(format!("{version}"), "saved state has version 7; this build reads up to 3");
        let field = RestoreError::Field("divisor");
        assert_eq!(format!("{field}"), "saved state has an impossible value in `divisor`");
    }

    /// A model without timed outputs says nothing about time.
    struct Still;

    impl Device for Still {
        type Saved = ();

        fn reset(&mut self, _: Instant) {}
        fn save(&self) {}
        fn restore(&mut self, (): &()) -> Result<(), RestoreError> {
            Ok(())
        }
        fn inspect(&self, to: &mut dyn Inspect) {
            to.begin("still");
            to.field("key", Value::Secret);
            to.end();
        }
    }

    /// Records its inputs as text.
    #[derive(Default)]
    struct Notes(std::string::String, usize);

    impl Inspect for Notes {
        fn field(&mut self, name: &str, value: Value<'_>) {
            self.0 += &format!("{name}={value:?};");
        }
        fn begin(&mut self, name: &str) {
            self.0 += name;
            self.1 += 1;
        }
        fn end(&mut self) {
            self.1 -= 1;
        }
    }

    #[test]
    fn a_model_without_time_has_no_deadline_and_shows_no_secret() {
        let mut device = Still;
        device.advance(Instant::from_nanos(5));
        assert_eq!(device.deadline(), None);
        assert_eq!(device.restore(&device.save()), Ok(()));
        let mut notes = Notes::default();
        device.inspect(&mut notes);
        assert_eq!((notes.0.as_str(), notes.1), ("stillkey=Secret;", 0));
    }
}
