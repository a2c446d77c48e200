//! The configuration of Drydock, as text.
//!
//! It has the form of [`crate::config`]: one `key=value` a line. A key that is unknown or comes
//! twice is refused.

use core::fmt;

use crate::config::{ConfigError, LogLevel, MAX_LENGTH};

/// The fewest bytes of RAM of a guest.
pub const LEAST_MEMORY: u64 = 16 << 20;
/// The most bytes of RAM of a guest: it lies below 2 GiB with 96 MiB for Drydock itself, where QEMU's PC
/// has RAM in one piece.
pub const MOST_MEMORY: u64 = (2048 - 96) << 20;
/// A guest's RAM is a multiple of so many bytes.
pub const MEMORY_STEP: u64 = 2 << 20;

/// Whether a guest can have so many bytes of RAM.
pub const fn is_memory(bytes: u64) -> bool {
    bytes >= LEAST_MEMORY && bytes <= MOST_MEMORY && bytes.is_multiple_of(MEMORY_STEP)
}

/// The settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrydockConfig {
    /// Bytes of the guest's RAM (`memory=BYTES`).
    pub memory: u64,
    /// How much is logged (`log=error|warn|info|debug`, default warn).
    pub log: LogLevel,
}

impl DrydockConfig {
    /// Parses a configuration.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > MAX_LENGTH {
            return Err(ConfigError::TooLong);
        }
        let text = core::str::from_utf8(bytes).map_err(|_| ConfigError::NotText)?;
        let mut config = Self::default();
        let mut seen = [false; 2];
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or(ConfigError::NoValue(number))?;
            let bad = ConfigError::BadValue(number);
            let index = match key.trim() {
                "memory" => {
                    config.memory = value.trim().parse().map_err(|_| bad)?;
                    0
                }
                "log" => {
                    config.log = LogLevel::of_name(value.trim()).ok_or(bad)?;
                    1
                }
                _ => return Err(ConfigError::UnknownKey(number)),
            };
            if let Some(seen) = seen.get_mut(index)
                && core::mem::replace(seen, true)
            {
                return Err(ConfigError::Repeated(number));
            }
        }
        Ok(config)
    }
}

impl fmt::Display for DrydockConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, log } = *self;
        writeln!(f, "memory={memory}")?;
        writeln!(f, "log={}", log.name())
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn a_guest_has_ram_in_whole_steps_between_two_limits() {
        for (mebibytes, is) in [(16, true), (1952, true), (14, false), (17, false), (1954, false)] {
            assert_eq!(is_memory(mebibytes << 20), is, "{mebibytes} MiB");
        }
        assert!(!is_memory((16 << 20) + 1) && !is_memory(u64::MAX));
    }

    #[test]
    fn keys_may_be_missing_and_stand_in_any_order() {
        let parse = |text: &str| DrydockConfig::parse(text.as_bytes());
        assert_eq!(parse(""), Ok(DrydockConfig { memory: 0, log: LogLevel::Warn }));
        let config = DrydockConfig { memory: 16 << 20, log: LogLevel::Debug };
        assert_eq!(parse("memory=16777216\nlog=debug"), Ok(config));
        assert_eq!(parse("\r\n log = debug \r\n\n memory = 16777216 \n"), Ok(config));
        let most = format!("memory={}", u64::MAX);
        assert_eq!(parse(&most).map(|config| config.memory), Ok(u64::MAX));
        for text in ["memory=18446744073709551616", "memory=", "memory=0x10", "memory=1M"] {
            assert_eq!(parse(text), Err(ConfigError::BadValue(1)), "{text}");
        }
    }

    #[test]
    fn a_configuration_survives_its_text_and_errors_name_their_line() {
        let config = DrydockConfig { memory: 512 << 20, log: LogLevel::Info };
        assert_eq!(DrydockConfig::parse(format!("{config}").as_bytes()), Ok(config));
        for (text, error) in [
            (&b"memory"[..], ConfigError::NoValue(1)),
            (b"memory=-1", ConfigError::BadValue(1)),
            (b"\nlog=loud", ConfigError::BadValue(2)),
            (b"log=info\nlog=info", ConfigError::Repeated(2)),
            (b"hyperv=on", ConfigError::UnknownKey(1)),
            (b"\xff", ConfigError::NotText),
            (&[b'\n'; MAX_LENGTH + 1], ConfigError::TooLong),
        ] {
            assert_eq!(DrydockConfig::parse(text), Err(error));
        }
    }
}
