//! The results of a suite's run, parsed from its runner's output.

use std::collections::BTreeMap;

/// The result of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passed.
    Passed,
    /// It failed, with the first line of the reason.
    Failed(String),
}

/// The result of every test that ran, by name, with the number of skipped tests.
#[derive(Debug, Default)]
pub struct Outcomes {
    tests: BTreeMap<String, Verdict>,
    skipped: usize,
}

impl Outcomes {
    /// Reads pytest's short summary (`-rA`).
    pub fn of_pytest(text: &str) -> Self {
        let mut outcomes = Self::default();
        for line in text.lines() {
            let Some((word, rest)) = line.split_once(' ') else { continue };
            let (name, reason) = rest.split_once(" - ").unwrap_or((rest, "no reason given"));
            let verdict = match word {
                "PASSED" => Verdict::Passed,
                "FAILED" | "ERROR" => Verdict::Failed(reason.to_owned()),
                "SKIPPED" => {
                    outcomes.skipped += skipped(rest);
                    continue;
                }
                _ => continue,
            };
            outcomes.tests.insert(name.to_owned(), verdict);
        }
        outcomes
    }

    /// Reads the output of cargo's test runner.
    pub fn of_libtest(text: &str) -> Self {
        let mut outcomes = Self::default();
        for line in text.lines() {
            let Some((name, word)) =
                line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
            else {
                continue;
            };
            let verdict = match word.split(',').next().unwrap_or_default().trim() {
                "ok" => Verdict::Passed,
                "FAILED" => Verdict::Failed(panic_of(text, name)),
                _ => {
                    outcomes.skipped += 1;
                    continue;
                }
            };
            outcomes.tests.insert(name.to_owned(), verdict);
        }
        outcomes
    }

    /// Reads exit statuses by automake's convention: 77 means that a test does not apply here. Each
    /// entry has the test's name, its status and the line with the reason for a failure.
    pub fn of_statuses(statuses: Vec<(String, Option<i32>, String)>) -> Self {
        let mut outcomes = Self::default();
        for (name, status, reason) in statuses {
            let verdict = match status {
                Some(0) => Verdict::Passed,
                Some(77) => {
                    outcomes.skipped += 1;
                    continue;
                }
                _ => Verdict::Failed(reason),
            };
            outcomes.tests.insert(name, verdict);
        }
        outcomes
    }

    /// The tests in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Verdict)> {
        self.tests.iter().map(|(name, verdict)| (name.as_str(), verdict))
    }

    /// Whether a test failed.
    pub fn has_failed(&self, test: &str) -> bool {
        matches!(self.tests.get(test), Some(Verdict::Failed(_)))
    }

    /// Whether any test ran, and as many as in `other`: this detects a runner that died.
    pub fn is_complete(&self, other: &Self) -> bool {
        !self.tests.is_empty()
            && self.tests.len() + self.skipped >= other.tests.len() + other.skipped
    }

    /// The number of tests that passed.
    pub fn passed(&self) -> usize {
        self.tests.values().filter(|verdict| **verdict == Verdict::Passed).count()
    }

    /// The counts.
    pub fn summary(&self) -> String {
        let passed = self.passed();
        let failed = self.tests.len() - passed;
        format!("{passed} passed, {failed} failed, {} skipped", self.skipped)
    }
}

/// The number of `[n] place: reason`.
fn skipped(rest: &str) -> usize {
    let number = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    number.and_then(|(number, _)| number.parse().ok()).unwrap_or(1)
}

/// The line with a test's panic message, from its output.
fn panic_of(text: &str, test: &str) -> String {
    let printed = text.split_once(&format!("---- {test} stdout ----")).map(|(_, after)| after);
    let mut lines = printed.unwrap_or_default().lines();
    let place = lines.find(|line| line.contains(" panicked at ")).unwrap_or("no reason given");
    format!("{} {}", place.trim(), lines.next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::{Outcomes, Verdict};

    #[test]
    fn the_summary_of_pytest_is_read() {
        let text = "..F.s [100%]\nPASSED test/a.py::A::one\nFAILED test/a.py::A::two - Error: x\n\
                    ERROR test/b.py::three\nSKIPPED [3] test/c.py:7: no such thing\n1 passed";
        let outcomes = Outcomes::of_pytest(text);
        assert_eq!(outcomes.summary(), "1 passed, 2 failed, 3 skipped");
        let two = Verdict::Failed("Error: x".to_owned());
        assert!(outcomes.iter().any(|test| test == ("test/a.py::A::two", &two)));
        assert!(outcomes.has_failed("test/b.py::three"));
        assert!(!outcomes.has_failed("test/a.py::A::one"));
    }

    #[test]
    fn the_output_of_libtest_is_read() {
        let text = "running 3 tests\ntest a::one ... ok\ntest a::two ... FAILED\n\
                    test b ... ignored, for later\n\n---- a::two stdout ----\n\n\
                    thread 'a::two' panicked at a.rs:1:\nnot so\n";
        let outcomes = Outcomes::of_libtest(text);
        assert_eq!(outcomes.summary(), "1 passed, 1 failed, 1 skipped");
        let two = Verdict::Failed("thread 'a::two' panicked at a.rs:1: not so".to_owned());
        assert!(outcomes.iter().any(|test| test == ("a::two", &two)));
    }

    #[test]
    fn statuses_are_read() {
        let of = |name: &str, status, reason: &str| (name.to_owned(), status, reason.to_owned());
        let outcomes = Outcomes::of_statuses(vec![
            of("a", Some(0), ""),
            of("b", Some(77), ""),
            of("c", Some(1), "tpm2 sign failed"),
            of("d", None, "killed"),
        ]);
        assert_eq!(outcomes.summary(), "1 passed, 2 failed, 1 skipped");
        assert!(outcomes.has_failed("c") && outcomes.has_failed("d"));
    }

    #[test]
    fn a_run_that_ended_early_is_not_complete() {
        let whole = Outcomes::of_libtest("test a ... ok\ntest b ... ignored");
        assert!(whole.is_complete(&whole));
        assert!(!Outcomes::of_libtest("test a ... ok").is_complete(&whole));
        assert!(!Outcomes::default().is_complete(&Outcomes::default()));
    }
}
