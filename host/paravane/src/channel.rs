//! The channels out of the VM, each read by a thread of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::qemu::socket;

/// Longest line in bytes; longer ones are split.
const MAX_LINE: u64 = 4096;

/// Something that came out of the VM, or ends it.
#[derive(Debug)]
pub enum Event {
    /// A line from the paravisor.
    Report(String),
    /// A line from QEMU's monitor.
    Monitor(String),
    /// A piece of the guest's console.
    Console(Vec<u8>),
    /// A piece of the command's output channel.
    Exec(Vec<u8>),
    /// A line of QEMU's standard error.
    Noise(String),
    /// QEMU has closed its standard error, so it has ended.
    Ended,
    /// This program received a signal.
    Signal(i32),
}

/// The threads that read the channels.
#[derive(Debug)]
pub struct Readers {
    threads: Vec<JoinHandle<()>>,
}

/// QEMU's ends of the channels, each from a pair of connected sockets. Named sockets would not do:
/// the name of a socket has a small maximum length.
#[derive(Debug)]
pub struct Ends(Vec<(&'static str, UnixStream)>);

impl Ends {
    /// Lets the next child process inherit an end; returns its file descriptor there.
    pub fn pass(&self, name: &str) -> Result<RawFd> {
        let end = self.0.iter().find(|(known, _)| *known == name);
        let (_, end) = end.with_context(|| format!("there is no channel {name}"))?;
        fcntl_setfd(end, FdFlags::empty())?;
        Ok(end.as_raw_fd())
    }
}

impl Readers {
    /// Opens the channels. They close when QEMU has ended and `Ends` is dropped.
    pub fn open(events: &SyncSender<Event>) -> Result<(Self, Ends)> {
        let (mut threads, mut ends) = (vec![], vec![]);
        for (name, read) in [
            (socket::REPORT, read_report as fn(UnixStream, &SyncSender<Event>)),
            (socket::MONITOR, read_monitor),
            (socket::CONSOLE, read_console),
            (socket::EXEC, read_exec),
        ] {
            let (ours, end) = UnixStream::pair()?;
            let events = events.clone();
            ends.push((name, end));
            threads.push(thread::spawn(move || read(ours, &events)));
        }
        Ok((Self { threads }, Ends(ends)))
    }

    /// Waits, after QEMU's end, until everything it sent has become events. The caller must receive
    /// events meanwhile.
    pub fn finish(self) {
        for thread in self.threads {
            // A thread that panicked has printed its message.
            let _ = thread.join();
        }
    }
}

/// Reads QEMU's standard error to its end.
pub fn read_errors(stream: impl Read + Send + 'static, events: SyncSender<Event>) {
    thread::spawn(move || {
        lines(stream, &events, Event::Noise);
        let _ = events.send(Event::Ended);
    });
}

fn read_report(stream: UnixStream, events: &SyncSender<Event>) {
    lines(stream, events, Event::Report);
}

fn read_monitor(mut stream: UnixStream, events: &SyncSender<Event>) {
    // QEMU sends events only after this command.
    if stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n").is_ok() {
        lines(stream, events, Event::Monitor);
    }
}

fn read_console(stream: UnixStream, events: &SyncSender<Event>) {
    pieces(stream, events, Event::Console);
}

fn read_exec(stream: UnixStream, events: &SyncSender<Event>) {
    pieces(stream, events, Event::Exec);
}

fn lines(stream: impl Read, events: &SyncSender<Event>, make: fn(String) -> Event) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    // The limit bounds the memory that a sender without line ends can take.
    while stream.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        if events.send(make(text)).is_err() {
            return;
        }
    }
}

fn pieces(mut stream: impl Read, events: &SyncSender<Event>, make: fn(Vec<u8>) -> Event) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if events.send(make(buffer.iter().copied().take(count).collect())).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn lines_of(bytes: &[u8]) -> Vec<String> {
        let (sender, events) = sync_channel(100);
        lines(bytes, &sender, Event::Report);
        drop(sender);
        let text = |event| match event {
            Event::Report(line) => line,
            other => panic!("{other:?}"),
        };
        events.iter().map(text).collect()
    }

    #[test]
    fn a_line_ends_with_a_newline_or_with_the_stream() {
        assert_eq!(lines_of(b"one\r\ntwo\n\nthree"), ["one", "two", "", "three"]);
        assert_eq!(lines_of(b""), [""; 0]);
        assert_eq!(lines_of(b"a\xffb \n"), ["a\u{fffd}b"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_split() {
        let limit = MAX_LINE as usize;
        let parts = lines_of(&vec![b'x'; 2 * limit + 1]);
        let lengths: Vec<_> = parts.iter().map(String::len).collect();
        assert_eq!(lengths, [limit, limit, 1]);
    }

    #[test]
    fn pieces_make_up_the_stream() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|number| number as u8).collect();
        let (sender, events) = sync_channel(100);
        pieces(&bytes[..], &sender, Event::Console);
        drop(sender);
        let piece = |event| match event {
            Event::Console(piece) => piece,
            other => panic!("{other:?}"),
        };
        assert_eq!(events.iter().flat_map(piece).collect::<Vec<_>>(), bytes);
    }

    #[test]
    fn bytes_from_qemu_become_events() {
        let (sender, events) = sync_channel(100);
        let (readers, ends) = Readers::open(&sender).unwrap();
        assert!(ends.pass("nonsense").is_err());
        for name in [socket::REPORT, socket::MONITOR, socket::CONSOLE, socket::EXEC] {
            assert!(ends.pass(name).unwrap() > 2);
        }
        for (name, end) in &ends.0 {
            let mut end = end;
            if *name == socket::MONITOR {
                let mut greeting = String::new();
                BufReader::new(end).read_line(&mut greeting).unwrap();
                assert_eq!(greeting, "{\"execute\":\"qmp_capabilities\"}\n");
            }
            end.write_all(b"x\n").unwrap();
        }
        drop(ends);
        readers.finish();
        drop(sender);
        let mut seen = [0; 4];
        for event in events {
            match event {
                Event::Report(line) => seen[0] += line.len(),
                Event::Monitor(line) => seen[1] += line.len(),
                Event::Console(piece) => seen[2] += piece.len(),
                Event::Exec(piece) => seen[3] += piece.len(),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, [1, 1, 2, 2]);
    }

    #[test]
    fn the_end_of_standard_error_means_that_qemu_has_ended() {
        let (sender, events) = sync_channel(100);
        read_errors(&b"words\n"[..], sender);
        let events: Vec<_> = events.iter().collect();
        assert!(matches!(&events[..], [Event::Noise(line), Event::Ended] if line == "words"));
    }
}
