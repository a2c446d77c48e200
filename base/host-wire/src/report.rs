//! Lines of the report port.
//!
//! Each is `KIND TEXT`. The paravisor or Drydock writes them; a reader takes every field as an
//! allegation and ignores kinds that it does not know.

/// `log LEVEL TEXT`: a line of the log.
pub const LOG: &str = "log";
/// `count NAME VALUE`: a counter at the end of the run.
pub const COUNT: &str = "count";
/// `panic TEXT`: a line of a crash record.
pub const PANIC: &str = "panic";

/// `digest HEX`: the launch digest of the VM that Drydock has launched.
pub const DIGEST: &str = "digest";

/// `guest LINE`: a line that Drydock's guest wrote to its own report port, in which each character
/// but printable ASCII is a question mark.
pub const GUEST: &str = "guest";

/// A line, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line of the log: level, text.
    Log(&'a str, &'a str),
    /// A counter: name, value.
    Count(&'a str, u64),
    /// A line of a crash record.
    Panic(&'a str),
    /// A launch digest: lower-case hexadecimal digits.
    Digest(&'a str),
    /// A line of Drydock's guest.
    Guest(&'a str),
}

/// Digits of a launch digest (SNP firmware ABI 56860, table 23: MEASUREMENT has 48 bytes).
const DIGEST_DIGITS: usize = 96;

fn is_digest(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == DIGEST_DIGITS && text.bytes().all(is_digit)
}

/// Takes a line apart; none if it is of no known kind or malformed.
pub fn parse(line: &str) -> Option<Line<'_>> {
    let (kind, rest) = line.split_once(' ')?;
    match kind {
        LOG => rest.split_once(' ').map(|(level, text)| Line::Log(level, text)),
        COUNT => {
            let (name, value) = rest.split_once(' ')?;
            Some(Line::Count(name, value.parse().ok()?))
        }
        PANIC => Some(Line::Panic(rest)),
        GUEST => Some(Line::Guest(rest)),
        DIGEST => is_digest(rest).then_some(Line::Digest(rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_lines_are_parsed_and_others_are_not() {
        assert_eq!(parse("log INFO a b"), Some(Line::Log("INFO", "a b")));
        assert_eq!(parse("count exit.cpuid 12"), Some(Line::Count("exit.cpuid", 12)));
        assert_eq!(parse("panic frame 0x1"), Some(Line::Panic("frame 0x1")));
        assert_eq!(parse("guest count a 1"), Some(Line::Guest("count a 1")));
        let digest = std::format!("digest {}", "0f".repeat(48));
        assert_eq!(parse(&digest), digest.get(7..).map(Line::Digest));
        for wrong in [&digest[..102], "digest ", &digest.replace('f', "F")] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        for wrong in ["", "log", "log INFO", "count x", "count x y", "count x -1", "other a b"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
