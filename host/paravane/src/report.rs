//! The lines that the paravisor or Drydock sends through its report port.

use std::collections::BTreeMap;

use host_wire::report::{Line, parse};

/// Bound on the entries kept of each kind, should a paravisor run wild.
const MAX_KEPT: usize = 1000;
/// Bound on the counters of Drydock's guest, so that there is room for those of Drydock.
const MOST_OF_GUEST: usize = MAX_KEPT / 2;

/// The lines received so far.
#[derive(Debug, Default)]
pub struct Report {
    /// The counters.
    pub counters: BTreeMap<String, u64>,
    /// The lines of the crash record.
    pub record: Vec<String>,
    /// Whether that is the record of Drydock's guest.
    pub is_of_guest: bool,
    /// The launch digest.
    pub digest: Option<String>,
    /// The log: level and text.
    pub log: Vec<(String, String)>,
}

impl Report {
    /// Takes a line; returns the text to show to the user, if any.
    pub fn take(&mut self, line: &str) -> Option<String> {
        match parse(line)? {
            Line::Guest(line) => self.take_of_guest(line),
            line @ Line::Panic(_) => {
                if std::mem::take(&mut self.is_of_guest) {
                    self.record.clear();
                }
                self.take_line(line)
            }
            line => self.take_line(line),
        }
    }

    /// Takes a line of Drydock's guest, which is not believed what Drydock itself tells.
    fn take_of_guest(&mut self, line: &str) -> Option<String> {
        match parse(line)? {
            Line::Count(name, _) if self.counters.contains_key(name) => None,
            Line::Count(..) if self.counters.len() >= MOST_OF_GUEST => None,
            Line::Digest(_) | Line::Guest(_) => None,
            line @ Line::Panic(_) => {
                self.is_of_guest |= self.record.is_empty();
                if self.is_of_guest { self.take_line(line) } else { None }
            }
            line @ (Line::Log(..) | Line::Count(..)) => self.take_line(line),
        }
    }

    fn take_line(&mut self, line: Line<'_>) -> Option<String> {
        match line {
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
            Line::Guest(_) => None,
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
    fn a_guest_is_not_believed_what_drydock_tells() {
        let digest = format!("digest {}", "0f".repeat(48));
        let mut report = Report::default();
        assert_eq!(report.take("guest log ERROR no kernel"), Some("no kernel".to_owned()));
        for line in ["guest count exit.cpuid 7", "count drydock.vc 5", "guest count drydock.vc 1"] {
            assert_eq!(report.take(line), None);
        }
        let counted = [("drydock.vc".to_owned(), 5), ("exit.cpuid".to_owned(), 7)];
        assert!(report.counters.clone().into_iter().eq(counted));
        report.take(&format!("guest {digest}"));
        report.take(&format!("guest guest {digest}"));
        assert_eq!((&report.digest, report.is_of_guest), (&None, false));
        report.take("guest panic frame 0x100");
        assert_eq!(
            (&report.record[..], report.is_of_guest),
            (&["frame 0x100".to_owned()][..], true)
        );
        let mut report = Report::default();
        for line in ["panic frame 0x200", "guest panic frame 0x100"] {
            report.take(line);
        }
        assert_eq!((report.record, report.is_of_guest), (vec!["frame 0x200".to_owned()], false));
    }

    #[test]
    fn a_crash_of_drydock_takes_the_place_of_its_guests_record() {
        let mut report = Report::default();
        for line in ["guest panic frame 0x100", "panic frame 0x200", "guest panic frame 0x300"] {
            report.take(line);
        }
        report.take("panic frame 0x400");
        assert_eq!(
            (&report.record[..], report.is_of_guest),
            (&["frame 0x200".to_owned(), "frame 0x400".to_owned()][..], false)
        );
    }

    #[test]
    fn a_guest_leaves_room_for_the_counters_of_drydock() {
        let mut report = Report::default();
        for number in 0..2 * MAX_KEPT {
            report.take(&format!("guest count c{number} 1"));
        }
        report.take("count drydock.vc 5");
        report.take("guest count c0 2");
        assert_eq!(
            (report.counters.get("drydock.vc"), report.counters.len()),
            (Some(&5), MOST_OF_GUEST + 1)
        );
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
