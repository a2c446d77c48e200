//! The guest's command line, parsed as Linux parses it.
//!
//! The rules are those of Linux's `next_arg` and `parse_args`. Words end at white space outside
//! double quotes; quotes may begin a word or stand inside it. The word `--` without a value ends
//! the kernel's part. If an option is given twice, the last one counts.

use std::ops::Range;

use host_wire::exec;

/// One word of the line.
#[derive(Debug, PartialEq, Eq)]
struct Word<'a> {
    /// The word's place in the line, quotes included.
    place: Range<usize>,
    /// The part before the `=`, or the whole word.
    name: &'a [u8],
    has_value: bool,
    /// A quote is still open at the word's end, which is then the end of the line.
    is_open: bool,
}

/// Linux's character table counts the no-break space of Latin-1 as white space, too.
const fn is_space(byte: u8) -> bool {
    matches!(byte, 9..=13 | b' ' | 0xa0)
}

fn next_word(line: &[u8], from: usize) -> Option<Word<'_>> {
    let blanks = line.get(from..)?.iter().position(|byte| !is_space(*byte))?;
    let start = from + blanks;
    let is_quoted = line.get(start) == Some(&b'"');
    let first = start + usize::from(is_quoted);
    let (mut is_open, mut equals, mut end) = (is_quoted, None, line.len());
    for (place, byte) in line.iter().enumerate().skip(first) {
        match byte {
            _ if is_space(*byte) && !is_open => {
                end = place;
                break;
            }
            // A leading `=` belongs to the name.
            b'=' if equals.is_none() && place > first => equals = Some(place),
            b'"' => is_open = !is_open,
            _ => {}
        }
    }
    let name = line.get(first..equals.unwrap_or(end)).unwrap_or_default();
    let unquoted = name.strip_suffix(b"\"").filter(|_| is_quoted && equals.is_none());
    let (name, has_value) = (unquoted.unwrap_or(name), equals.is_some());
    Some(Word { place: start..end, name, has_value, is_open })
}

/// Adds the agent as the guest's first process, and `panic=-1` unless the line has a `panic=` of
/// its own, so that a panic ends the guest.
pub fn with_agent(line: &[u8]) -> Vec<u8> {
    let (mut place, mut own, mut has_panic) = (line.len(), line.to_vec(), false);
    let mut next = next_word(line, 0);
    while let Some(word) = next {
        if word.name == b"--" && !word.has_value {
            place = word.place.start;
            break;
        }
        has_panic |= word.name == b"panic" && word.has_value;
        match (word.is_open, word.name) {
            (false, _) => {}
            // The user's `rdinit` would be the last one and win. Its value does not matter, so the
            // quote is closed and ours follows.
            (true, b"rdinit") => {
                own.push(b'"');
                place = own.len();
            }
            // Anything appended would become a part of this word.
            (true, _) => place = word.place.start,
        }
        next = next_word(line, word.place.end);
    }
    let (before, after) = own.split_at(place.min(own.len()));
    let mut whole = before.to_vec();
    if before.last().is_some_and(|byte| !is_space(*byte)) {
        whole.push(b' ');
    }
    if !has_panic {
        whole.extend(b"panic=-1 ");
    }
    whole.extend(format!("rdinit=/{}", exec::AGENT_PATH).bytes());
    if !after.is_empty() {
        whole.push(b' ');
        whole.extend(after);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(line: &str) -> String {
        String::from_utf8(with_agent(line.as_bytes())).unwrap()
    }

    /// The words of the kernel's part, by name, as the kernel sees them.
    fn seen(line: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut seen = vec![];
        let mut next = next_word(line, 0);
        while let Some(word) = next {
            if word.name == b"--" && !word.has_value {
                break;
            }
            let value = line[word.place.clone()].to_vec();
            next = next_word(line, word.place.end);
            seen.push((word.name.to_vec(), value));
        }
        seen
    }

    #[test]
    fn a_plain_line_gets_its_words_at_the_end() {
        assert_eq!(with("a b"), "a b panic=-1 rdinit=/paravane/agent");
        assert_eq!(with(""), "panic=-1 rdinit=/paravane/agent");
        assert_eq!(with("a panic=5"), "a panic=5 rdinit=/paravane/agent");
        assert_eq!(with("a\t\"panic=5\" "), "a\t\"panic=5\" rdinit=/paravane/agent");
        assert_eq!(with("panic"), "panic panic=-1 rdinit=/paravane/agent");
    }

    #[test]
    fn the_kernels_part_ends_where_linux_says() {
        for (line, whole) in [
            ("a -- b", "a panic=-1 rdinit=/paravane/agent -- b"),
            ("a\t--\nb", "a\tpanic=-1 rdinit=/paravane/agent --\nb"),
            ("a --", "a panic=-1 rdinit=/paravane/agent --"),
            ("-- b", "panic=-1 rdinit=/paravane/agent -- b"),
            ("a \"--\" b", "a panic=-1 rdinit=/paravane/agent \"--\" b"),
            ("a \"x -- y\" b", "a \"x -- y\" b panic=-1 rdinit=/paravane/agent"),
            ("a x=\"1 -- 2\" -- b", "a x=\"1 -- 2\" panic=-1 rdinit=/paravane/agent -- b"),
            ("a --=1 --x b", "a --=1 --x b panic=-1 rdinit=/paravane/agent"),
            ("a -- panic=3", "a panic=-1 rdinit=/paravane/agent -- panic=3"),
        ] {
            assert_eq!(with(line), whole, "{line:?}");
        }
        let latin = with_agent(b"a\xa0--\xa0b");
        assert_eq!(latin, b"a\xa0panic=-1 rdinit=/paravane/agent --\xa0b");
    }

    #[test]
    fn ours_is_the_last_first_process_whatever_the_line_says() {
        for line in [
            "rdinit=/bin/sh",
            "rdinit=\"/bin/sh",
            "\"rdinit=/bin/sh",
            "a x=\"b c",
            "a \"b c",
            "a b\"c d",
            "a\u{b}rdinit=/x\u{c}-- rdinit=/y",
            "=a ==b \"\" \" \"",
            "x=\"\"y\" rdinit=/z\"",
        ] {
            let whole = with_agent(line.as_bytes());
            let words = seen(&whole);
            let last = words.iter().rfind(|(name, _)| name == b"rdinit");
            let last = last.map(|(_, word)| word.clone());
            assert_eq!(last.as_deref(), Some(&b"rdinit=/paravane/agent"[..]), "{line:?}");
            for word in seen(line.as_bytes()).iter().filter(|(name, _)| name != b"rdinit") {
                assert!(words.contains(word), "{line:?} has lost {word:?}");
            }
        }
    }
}
