//! The lines that the paravisor or Drydock sends through its report port.

use std::collections::BTreeMap;

use host_wire::report::{Line, parse};

/// Bound on the entries kept of each kind, should a paravisor run wild.
const MAX_KEPT: usize = 1000;

/// The lines received so far.
#[derive(Debug, Default)]
pub struct Report {
    /// The counters.
    pub counters: BTreeMap<String, u64>,
    /// The lines of the crash record.
    pub record: Vec<String>,
    /// The launch digest.
    pub digest: Option<String>,
    /// The log: level and text.
    pub log: Vec<(String, String)>,
}

impl Report {
    /// Takes a line; returns the text to show to the user, if any.
    pub fn take(&mut self, line: &str) -> Option<String> {
        match parse(line)? {
            Line::Log(level, text) => {
                let shown = match level {
                    "ERROR" => text.to_owned(),
                    "WARN" => format!("warning: {text}"),
                    level => format!("{}: {text}", level.to_lowercase()),
                };
                if self.log.len() < MAX_KEPT {
                    self.log.push((level.to_owned(), text.to_owned()));
                }
                Some(shown)
            }
            Line::Count(name, value) => {
                if self.counters.len() < MAX_KEPT {
                    self.counters.insert(name.to_owned(), value);
                }
                None
            }
            Line::Digest(text) => {
                self.digest = Some(text.to_owned());
                None
            }
            Line::Panic(text) => {
                if self.record.len() < MAX_KEPT {
                    self.record.push(text.to_owned());
                }
                None
            }
        }
    }

    /// Whether an error was logged, which then says why the VM ended.
    pub fn has_error(&self) -> bool {
        self.log.iter().any(|(level, _)| level == "ERROR")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_by_level_and_counters_kept() {
        let mut report = Report::default();
        assert_eq!(report.take("log ERROR no kernel"), Some("no kernel".to_owned()));
        assert!(report.has_error());
        assert_eq!(report.take("log WARN odd"), Some("warning: odd".to_owned()));
        assert_eq!(report.take("log INFO 2 CPUs"), Some("info: 2 CPUs".to_owned()));
        assert_eq!(report.take("count exit.cpuid 7"), None);
        assert_eq!(report.counters.get("exit.cpuid"), Some(&7));
        assert_eq!(report.take("panic frame 0x100"), None);
        assert_eq!(report.record, ["frame 0x100"]);
        assert_eq!(report.take("SeaBIOS (version x)"), None);
    }

    #[test]
    fn the_number_of_kept_entries_is_bounded() {
        let mut report = Report::default();
        for number in 0..2 * MAX_KEPT {
            assert!(report.take(&format!("log DEBUG {number}")).is_some(), "it is still shown");
            report.take(&format!("count c{number} {number}"));
            report.take(&format!("panic frame {number}"));
        }
        let kept = [report.log.len(), report.counters.len(), report.record.len()];
        assert_eq!(kept, [MAX_KEPT; 3]);
        assert!(!report.has_error());
        assert_eq!(report.log[0], ("DEBUG".to_owned(), "0".to_owned()));
    }
}
