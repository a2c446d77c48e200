//! The exec channel: how a command's output leaves the guest, over its second serial port.
//!
//! The guest's agent writes [`START`], then frames: one byte for the channel, two for the length of
//! the payload (little endian), the payload. Bytes before the start are noise of an earlier user of
//! the port, and are skipped. The last frame says how the command ended.
//!
//! The reader takes every byte as an allegation of the guest: it holds back at most
//! [`MAX_PAYLOAD`] bytes, never panics, and stays [`Parser::is_broken`] after a malformed frame.

/// The first bytes that the agent writes.
pub const START: [u8; 10] = *b"\0paravane\n";
/// The longest payload of a frame that the agent writes; a reader takes any length that fits.
pub const MAX_PAYLOAD: usize = 4096;
/// Bytes before the payload.
pub const HEADER: usize = 3;
/// The longest reason in a frame that says why a command could not be run.
pub const MAX_REASON: usize = 200;

/// The agent's place in the guest's initial file system.
pub const AGENT_PATH: &str = "paravane/agent";
/// The command's place in the guest's initial file system.
pub const COMMAND_PATH: &str = "paravane/command";
/// A shell script that the agent runs first, if it is in the guest's initial file system.
pub const START_PATH: &str = "paravane/start";
/// The serial port, as the guest's Linux calls it.
pub const PORT: &str = "/dev/ttyS1";

/// The content of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Channel {
    /// A piece of the command's standard output.
    Output = 1,
    /// A piece of its standard error.
    Error = 2,
    /// The command ended with this status, one byte.
    Exited = 3,
    /// The command was ended by this signal, one byte.
    Signalled = 4,
    /// The command could not be run; the payload says why.
    Failed = 5,
}

impl Channel {
    const ALL: [Self; 5] = [Self::Output, Self::Error, Self::Exited, Self::Signalled, Self::Failed];

    fn of_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| *channel as u8 == byte)
    }
}

/// An event that the reader reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The agent runs.
    Started,
    /// A piece of standard output.
    Output(&'a [u8]),
    /// A piece of standard error.
    Error(&'a [u8]),
    /// The command ended with this status.
    Exited(u8),
    /// The command was ended by this signal.
    Signalled(u8),
    /// The command could not be run, and why.
    Failed(&'a [u8]),
}

/// The head of a frame. The caller cuts payloads that are longer than [`MAX_PAYLOAD`].
pub fn header(channel: Channel, length: u16) -> [u8; HEADER] {
    let [low, high] = length.to_le_bytes();
    [channel as u8, low, high]
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The number of bytes of [`START`] that have come.
    Start(usize),
    /// The number of bytes of a head that have come.
    Header([u8; HEADER], usize),
    /// The number of bytes of payload that are missing.
    Payload(Channel, u16),
    /// The end was reached.
    Ended,
    /// A frame was malformed.
    Broken,
}

/// The reader. Give it bytes as they come.
#[derive(Debug)]
pub struct Parser {
    state: State,
    /// The beginning of a payload that must be whole: a status or a reason.
    held: [u8; MAX_REASON],
    held_length: usize,
}

impl Default for Parser {
    fn default() -> Self {
        Self { state: State::Start(0), held: [0; MAX_REASON], held_length: 0 }
    }
}

impl Parser {
    /// Parses `bytes` and calls `each` for every event.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Event<'_>)) {
        let mut rest = bytes;
        while let Some((first, others)) = rest.split_first() {
            match self.state {
                State::Start(count) => {
                    self.state = next_of_start(count, *first);
                    if matches!(self.state, State::Header(..)) {
                        each(Event::Started);
                    }
                    rest = others;
                }
                State::Header(head, count) => {
                    self.take_header(head, count, *first, &mut each);
                    rest = others;
                }
                State::Payload(channel, missing) => {
                    let (piece, others) = rest.split_at(rest.len().min(usize::from(missing)));
                    let missing = missing.saturating_sub(piece.len() as u16);
                    self.take_payload(channel, piece, missing, &mut each);
                    rest = others;
                }
                State::Ended | State::Broken => return,
            }
        }
    }

    /// Whether a malformed frame was met; nothing is read after it.
    pub fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken)
    }

    /// Whether the frame that says how the command ended was read.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn take_header(
        &mut self,
        mut head: [u8; HEADER],
        count: usize,
        byte: u8,
        each: &mut impl FnMut(Event<'_>),
    ) {
        if let Some(slot) = head.get_mut(count) {
            *slot = byte;
        }
        if count + 1 < HEADER {
            self.state = State::Header(head, count + 1);
            return;
        }
        let [channel, low, high] = head;
        let length = u16::from_le_bytes([low, high]);
        self.held_length = 0;
        self.state = match (Channel::of_byte(channel), length) {
            (None, _) | (Some(Channel::Exited | Channel::Signalled), 0 | 2..) => State::Broken,
            (Some(Channel::Output | Channel::Error), 0) => State::Header([0; HEADER], 0),
            (Some(Channel::Failed), 0) => {
                each(Event::Failed(b""));
                State::Ended
            }
            (Some(channel), length) => State::Payload(channel, length),
        };
    }

    fn take_payload(
        &mut self,
        channel: Channel,
        piece: &[u8],
        missing: u16,
        each: &mut impl FnMut(Event<'_>),
    ) {
        let last = missing == 0;
        self.state = match channel {
            _ if !last => State::Payload(channel, missing),
            Channel::Output | Channel::Error => State::Header([0; HEADER], 0),
            Channel::Exited | Channel::Signalled | Channel::Failed => State::Ended,
        };
        match channel {
            Channel::Output => each(Event::Output(piece)),
            Channel::Error => each(Event::Error(piece)),
            Channel::Exited => each(Event::Exited(piece.first().copied().unwrap_or_default())),
            Channel::Signalled => {
                each(Event::Signalled(piece.first().copied().unwrap_or_default()));
            }
            Channel::Failed => {
                // A reason that is too long is truncated: only people read it.
                let room = self.held.iter_mut().skip(self.held_length);
                let taken = room.zip(piece).map(|(slot, byte)| *slot = *byte).count();
                self.held_length += taken;
                if last {
                    each(Event::Failed(self.held.get(..self.held_length).unwrap_or_default()));
                }
            }
        }
    }
}

fn next_of_start(count: usize, byte: u8) -> State {
    let count = match START.get(count) {
        Some(wanted) if *wanted == byte => count + 1,
        // The start's first byte comes in it only once, so a mismatch falls back to it or to none.
        _ => usize::from(START.first() == Some(&byte)),
    };
    if count == START.len() { State::Header([0; HEADER], 0) } else { State::Start(count) }
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec::Vec;
    use std::{format, vec};

    use super::*;

    fn frame(channel: Channel, payload: &[u8]) -> Vec<u8> {
        let mut bytes = header(channel, payload.len() as u16).to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    /// The reader's result for `bytes` that arrive in pieces of `size`, with the pieces of one
    /// stream joined.
    fn read(bytes: &[u8], size: usize) -> (Vec<u8>, Vec<u8>, Vec<String>, Parser) {
        let mut parser = Parser::default();
        let (mut output, mut error, mut others) = (vec![], vec![], vec![]);
        for piece in bytes.chunks(size) {
            parser.feed(piece, |event| match event {
                Event::Output(piece) => output.extend_from_slice(piece),
                Event::Error(piece) => error.extend_from_slice(piece),
                other => others.push(format!("{other:?}")),
            });
        }
        (output, error, others, parser)
    }

    #[test]
    fn the_stream_reads_the_same_in_pieces_of_any_size() {
        let all: Vec<u8> = (0..=255).collect();
        let mut bytes = b"noise\0\0para".to_vec();
        bytes.extend_from_slice(&START);
        bytes.extend(frame(Channel::Output, &all));
        bytes.extend(frame(Channel::Error, b"oh"));
        bytes.extend(frame(Channel::Output, b""));
        bytes.extend(frame(Channel::Output, b"end"));
        bytes.extend(frame(Channel::Exited, &[7]));
        bytes.extend_from_slice(b"what follows is not read");
        for size in 1..bytes.len() {
            let (output, error, others, parser) = read(&bytes, size);
            assert_eq!(output, [all.as_slice(), b"end"].concat());
            assert_eq!(error, b"oh");
            assert_eq!(others, ["Started", "Exited(7)"]);
            assert!(parser.has_ended() && !parser.is_broken());
        }
    }

    #[test]
    fn a_reason_is_whole_or_cut_at_the_limit() {
        for length in [0, 1, MAX_REASON, MAX_REASON + 1, 60_000] {
            let mut bytes = START.to_vec();
            bytes.extend(frame(Channel::Failed, &vec![b'x'; length]));
            for size in [1, 3, 70_000] {
                let (_, _, others, parser) = read(&bytes, size);
                let expected = vec![b'x'; length.min(MAX_REASON)];
                assert_eq!(others.last(), Some(&format!("{:?}", Event::Failed(&expected))));
                assert!(parser.has_ended());
            }
        }
    }

    #[test]
    fn malformed_frames_break_the_stream() {
        for wrong in [[0, 0, 0], [6, 1, 0], [3, 0, 0], [3, 2, 0], [4, 0, 1]] {
            let mut bytes = START.to_vec();
            bytes.extend_from_slice(&wrong);
            bytes.extend(frame(Channel::Exited, &[0]));
            let (_, _, others, parser) = read(&bytes, 5);
            assert!(parser.is_broken(), "{wrong:?}");
            assert_eq!(others, ["Started"]);
        }
    }

    #[test]
    fn a_signal_ends_the_stream() {
        let mut bytes = START.to_vec();
        bytes.extend(frame(Channel::Signalled, &[9]));
        assert_eq!(read(&bytes, 1).2, ["Started", "Signalled(9)"]);
        assert!(!read(&bytes[..START.len() + 2], 1).3.has_ended());
    }
}
