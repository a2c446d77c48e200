//! The configuration of a VM, as text.
//!
//! One `key=value` a line; empty lines are ignored. Every key may be missing, none may come twice,
//! and an unknown key is refused: a setting without effect would be a promise that is not kept. A
//! hostile host can write anything here, so parsing allocates nothing and never panics.

use core::fmt;

/// The longest configuration in bytes.
pub const MAX_LENGTH: usize = 4096;

/// How much the paravisor logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And suspicious events.
    #[default]
    Warn,
    /// And the steps of a start.
    Info,
    /// And details that help to find a bug.
    Debug,
}

impl LogLevel {
    const NAMES: [(&'static str, Self); 4] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
    ];

    /// The name of the level.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, level)| *level == self).map_or("", |(name, _)| name)
    }

    /// The level with this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
    }
}

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether the guest is offered the Hyper-V interface (`hyperv=on|off`, default on).
    pub hyperv: bool,
    /// How much is logged (`log=error|warn|info|debug`, default warn).
    pub log: LogLevel,
    /// Whether a triple fault ends the VM in place of a restart (`on-crash=end|restart`, default
    /// restart).
    pub end_on_crash: bool,
    /// Whether a reset that the guest asks for ends the VM in place of a restart
    /// (`on-reset=end|restart`, default restart).
    pub end_on_reset: bool,
    /// Whether the guest has a TPM (`tpm=on|off`, default on).
    pub tpm: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hyperv: true,
            log: LogLevel::default(),
            end_on_crash: false,
            end_on_reset: false,
            tpm: true,
        }
    }
}

/// Why a configuration was refused: the fault is its author's. Lines count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// Longer than [`MAX_LENGTH`].
    TooLong,
    /// Not UTF-8.
    NotText,
    /// A line without `=`.
    NoValue(usize),
    /// A key that is not known.
    UnknownKey(usize),
    /// A key that came before.
    Repeated(usize),
    /// A value that the key does not take.
    BadValue(usize),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the configuration is longer than {MAX_LENGTH} bytes"),
            Self::NotText => f.write_str("the configuration is not UTF-8 text"),
            Self::NoValue(line) => write!(f, "configuration line {line} is not `key=value`"),
            Self::UnknownKey(line) => write!(f, "configuration line {line} has an unknown key"),
            Self::Repeated(line) => write!(f, "configuration line {line} repeats a key"),
            Self::BadValue(line) => {
                write!(f, "configuration line {line} has a value that its key does not take")
            }
        }
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// Parses a configuration.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > MAX_LENGTH {
            return Err(ConfigError::TooLong);
        }
        let text = core::str::from_utf8(bytes).map_err(|_| ConfigError::NotText)?;
        let mut config = Self::default();
        let mut seen = [false; 5];
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or(ConfigError::NoValue(number))?;
            let index = config.set(key.trim(), value.trim(), number)?;
            if let Some(seen) = seen.get_mut(index)
                && core::mem::replace(seen, true)
            {
                return Err(ConfigError::Repeated(number));
            }
        }
        Ok(config)
    }

    /// Sets one key; returns its index.
    fn set(&mut self, key: &str, value: &str, line: usize) -> Result<usize, ConfigError> {
        let bad = ConfigError::BadValue(line);
        match key {
            "hyperv" => {
                self.hyperv = choice(value, "on", "off").ok_or(bad)?;
                Ok(0)
            }
            "log" => {
                self.log = LogLevel::of_name(value).ok_or(bad)?;
                Ok(1)
            }
            "on-crash" => {
                self.end_on_crash = choice(value, "end", "restart").ok_or(bad)?;
                Ok(2)
            }
            "on-reset" => {
                self.end_on_reset = choice(value, "end", "restart").ok_or(bad)?;
                Ok(3)
            }
            "tpm" => {
                self.tpm = choice(value, "on", "off").ok_or(bad)?;
                Ok(4)
            }
            _ => Err(ConfigError::UnknownKey(line)),
        }
    }
}

fn choice(value: &str, yes: &str, no: &str) -> Option<bool> {
    if value == yes {
        Some(true)
    } else if value == no {
        Some(false)
    } else {
        None
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hyperv, log, end_on_crash, end_on_reset, tpm } = *self;
        let on = |on| if on { "on" } else { "off" };
        let end = |end| if end { "end" } else { "restart" };
        writeln!(f, "hyperv={}", on(hyperv))?;
        writeln!(f, "log={}", log.name())?;
        writeln!(f, "on-crash={}", end(end_on_crash))?;
        writeln!(f, "on-reset={}", end(end_on_reset))?;
        writeln!(f, "tpm={}", on(tpm))
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn every_configuration_survives_its_text() {
        for hyperv in [false, true] {
            for (_, log) in LogLevel::NAMES {
                for (end_on_crash, end_on_reset) in [(false, true), (true, false), (true, true)] {
                    let tpm = hyperv == end_on_reset;
                    let config = Config { hyperv, log, end_on_crash, end_on_reset, tpm };
                    assert_eq!(Config::parse(format!("{config}").as_bytes()), Ok(config));
                }
            }
        }
        assert_eq!(Config::parse(b""), Ok(Config::default()));
    }

    #[test]
    fn errors_name_the_fault_and_its_line() {
        let cases: [(&[u8], ConfigError); 7] = [
            (b"\nhyperv", ConfigError::NoValue(2)),
            (b"colour=red", ConfigError::UnknownKey(1)),
            (b"log=info\nlog=info", ConfigError::Repeated(2)),
            (b"on-reset=end\non-crash=end\non-reset=end", ConfigError::Repeated(3)),
            (b"hyperv=maybe", ConfigError::BadValue(1)),
            (b"\xff", ConfigError::NotText),
            (&[b'\n'; MAX_LENGTH + 1], ConfigError::TooLong),
        ];
        for (text, error) in cases {
            assert_eq!(Config::parse(text), Err(error));
        }
    }

    #[test]
    fn each_key_sets_its_own_setting() {
        let plain = Config::default();
        let cases: [(&[u8], Config); 7] = [
            (b"hyperv=off", Config { hyperv: false, ..plain }),
            (b"tpm=off", Config { tpm: false, ..plain }),
            (b"on-crash=end", Config { end_on_crash: true, ..plain }),
            (b"on-reset=end", Config { end_on_reset: true, ..plain }),
            (b"log=debug", Config { log: LogLevel::Debug, ..plain }),
            (b" log = error \r\n\r\n", Config { log: LogLevel::Error, ..plain }),
            (b"log=warn\nhyperv=on\ntpm=on\non-crash=restart\non-reset=restart", plain),
        ];
        for (text, config) in cases {
            assert_eq!(Config::parse(text), Ok(config), "{:?}", core::str::from_utf8(text));
        }
    }

    #[test]
    fn only_exact_spellings_are_accepted() {
        for text in ["log=Warn", "hyperv=1", "hyperv=", "tpm=yes", "on-crash=off", "log"] {
            assert!(Config::parse(text.as_bytes()).is_err(), "{text}");
        }
        for text in ["HYPERV=on", "=on", "hyper v=on"] {
            assert_eq!(Config::parse(text.as_bytes()), Err(ConfigError::UnknownKey(1)), "{text}");
        }
        assert_eq!(
            (LogLevel::of_name("info"), LogLevel::of_name("")),
            (Some(LogLevel::Info), None)
        );
    }

    #[test]
    fn an_error_names_its_line() {
        for (error, text) in [
            (ConfigError::NoValue(3), "line 3"),
            (ConfigError::BadValue(14), "line 14"),
            (ConfigError::UnknownKey(2), "line 2"),
            (ConfigError::Repeated(9), "line 9"),
            (ConfigError::TooLong, "4096 bytes"),
            (ConfigError::NotText, "UTF-8"),
        ] {
            assert!(format!("{error}").contains(text), "{error}");
        }
    }
}
