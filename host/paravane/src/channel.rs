//! The ways out of the VM, each read by a thread of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use rustix::net::{Shutdown, shutdown};

use crate::qemu::socket;

/// The longest line that is kept whole: what is longer comes in pieces.
const MAX_LINE: u64 = 4096;

/// What comes out of the VM, or ends it.
#[derive(Debug)]
pub enum Event {
    /// A line from the paravisor.
    Report(String),
    /// A line from QEMU's monitor.
    Monitor(String),
    /// A piece of the guest's console.
    Console(Vec<u8>),
    /// A piece from the channel of the command's output.
    Exec(Vec<u8>),
    /// A line of QEMU's standard error.
    Noise(String),
    /// QEMU has closed its standard error: it has ended.
    Ended,
    /// This program got a signal.
    Signal(i32),
}

/// The sockets that QEMU connects to, and their threads.
#[derive(Debug, Default)]
pub struct Readers {
    threads: Vec<JoinHandle<()>>,
    listeners: Vec<UnixListener>,
}

impl Readers {
    /// Opens the sockets in `directory`. Those that QEMU never connects to do no harm.
    pub fn open(directory: &Path, events: &SyncSender<Event>) -> Result<Self> {
        let mut readers = Self::default();
        for (name, read) in [
            (socket::REPORT, read_report as fn(UnixStream, &SyncSender<Event>)),
            (socket::MONITOR, read_monitor),
            (socket::CONSOLE, read_console),
            (socket::EXEC, read_exec),
        ] {
            let path = directory.join(name);
            let listener = UnixListener::bind(&path).with_context(|| path.display().to_string())?;
            let events = events.clone();
            readers.listeners.push(listener.try_clone()?);
            readers.threads.push(thread::spawn(move || {
                if let Ok((stream, _)) = listener.accept() {
                    read(stream, &events);
                }
            }));
        }
        Ok(readers)
    }

    /// Waits, after QEMU's end, until all it sent has become events. They must be read meanwhile.
    pub fn finish(self) {
        for listener in &self.listeners {
            // Ends a wait for a caller that never came.
            let _ = shutdown(listener, Shutdown::Both);
        }
        for thread in self.threads {
            // A thread that panicked has said so.
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
    // Events come after this only.
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
    // The limit bounds what a sender without line ends can make us hold.
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
