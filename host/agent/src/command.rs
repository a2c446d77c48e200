//! Runs one command, reported to the host in frames.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use host_wire::exec::{self, Channel};
use rustix::process::WaitStatus;
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, tcdrain, tcflush, tcgetattr, tcsetattr,
};

use crate::system;

/// After the command has ended, a pipe that stays silent for this long counts as closed: a
/// background process may hold it open for ever.
const SILENCE: Duration = Duration::from_millis(500);

enum Event {
    Piece(Channel, Vec<u8>),
    Closed,
    Ended(io::Result<WaitStatus>),
}

/// Runs `text` in a shell and reports over the serial port.
pub fn run(text: &[u8]) -> io::Result<()> {
    let mut port = open_port()?;
    port.write_all(&exec::START)?;
    match start(text) {
        Ok(child) => carry(child, &mut port)?,
        Err(error) => {
            let reason = match error.kind() {
                io::ErrorKind::NotFound => "the guest's initrd has no /bin/sh".to_owned(),
                _ => format!("/bin/sh can not be run: {error}"),
            };
            let cut = reason.len().min(exec::MAX_REASON);
            write_frame(&mut port, Channel::Failed, reason.as_bytes().get(..cut).unwrap_or(b""))?;
        }
    }
    tcdrain(&port)?;
    Ok(())
}

/// Opens the serial port in raw mode.
fn open_port() -> io::Result<File> {
    let explain = |error| io::Error::other(format!("{}: {error}", exec::PORT));
    let port = OpenOptions::new().read(true).write(true).open(exec::PORT).map_err(explain)?;
    let mut modes = tcgetattr(&port)?;
    modes.make_raw();
    modes.control_modes |= ControlModes::CLOCAL;
    modes.control_modes -= ControlModes::CRTSCTS;
    tcsetattr(&port, OptionalActions::Now, &modes)?;
    tcflush(&port, QueueSelector::IFlush)?;
    Ok(port)
}

fn start(text: &[u8]) -> io::Result<Child> {
    Command::new("/bin/sh")
        .arg("-c")
        .arg(OsStr::from_bytes(text))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

fn carry(mut child: Child, port: &mut File) -> io::Result<()> {
    // A channel of one event bounds memory: a pipe is read no faster than the port takes its bytes.
    let (sender, events) = sync_channel(1);
    if let Some(pipe) = child.stdout.take() {
        pump(pipe, Channel::Output, sender.clone());
    }
    if let Some(pipe) = child.stderr.take() {
        pump(pipe, Channel::Error, sender.clone());
    }
    let id = child.id();
    thread::spawn(move || {
        let _ = sender.send(Event::Ended(system::reap_until(id)));
        system::reap_all();
    });
    let status = forward(&events, port)?;
    let (channel, number) = match (status.exit_status(), status.terminating_signal()) {
        (_, Some(signal)) => (Channel::Signalled, signal),
        (code, None) => (Channel::Exited, code.unwrap_or_default()),
    };
    write_frame(port, channel, &[number as u8])
}

/// Forwards both pipes until the command has ended and they are empty.
fn forward(events: &Receiver<Event>, port: &mut File) -> io::Result<WaitStatus> {
    let mut ended = None;
    let mut open = 2;
    loop {
        let event = match &ended {
            Some(_) => events.recv_timeout(SILENCE),
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match event {
            Ok(Event::Piece(channel, bytes)) => write_frame(port, channel, &bytes)?,
            Ok(Event::Closed) => open -= 1,
            Ok(Event::Ended(status)) => ended = Some(status?),
            Err(_) => open = 0,
        }
        if let (Some(status), 0) = (ended, open) {
            return Ok(status);
        }
    }
}

/// Sends the bytes of a pipe as events, from a thread of its own.
fn pump(mut pipe: impl Read + Send + 'static, channel: Channel, sender: SyncSender<Event>) {
    thread::spawn(move || {
        let mut buffer = [0; exec::MAX_PAYLOAD];
        loop {
            let event = match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => Event::Piece(channel, buffer.iter().copied().take(count).collect()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            if sender.send(event).is_err() {
                return;
            }
        }
        let _ = sender.send(Event::Closed);
    });
}

fn write_frame(port: &mut File, channel: Channel, payload: &[u8]) -> io::Result<()> {
    let mut frame = exec::header(channel, payload.len() as u16).to_vec();
    frame.extend_from_slice(payload);
    port.write_all(&frame)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use host_wire::exec::{Event as Frame, Parser};

    use super::*;

    /// The only test that may start a child: this test reaps all children of the process.
    #[test]
    fn a_commands_output_and_status_arrive_as_frames() {
        let mut port = tempfile::tempfile().unwrap();
        port.write_all(&exec::START).unwrap();
        let command = b"head -c 10000 /dev/zero; printf 'to\\377err' >&2; exit 7";
        carry(start(command).unwrap(), &mut port).unwrap();
        port.seek(SeekFrom::Start(0)).unwrap();
        let mut bytes = Vec::new();
        port.read_to_end(&mut bytes).unwrap();
        let (mut output, mut errors, mut status) = (0, Vec::new(), None);
        let mut parser = Parser::default();
        parser.feed(&bytes, |frame| match frame {
            Frame::Started => {}
            Frame::Output(piece) => output += piece.iter().filter(|byte| **byte == 0).count(),
            Frame::Error(piece) => errors.extend_from_slice(piece),
            Frame::Exited(code) => status = Some(code),
            other => panic!("{other:?}"),
        });
        assert_eq!((output, errors.as_slice(), status), (10_000, &b"to\xfferr"[..], Some(7)));
        assert!(parser.has_ended() && !parser.is_broken());
    }

    #[test]
    fn a_stream_is_split_to_fit_into_frames() {
        let bytes: Vec<u8> = (0..3 * exec::MAX_PAYLOAD).map(|number| number as u8).collect();
        let (sender, events) = sync_channel(1);
        pump(io::Cursor::new(bytes.clone()), Channel::Error, sender);
        let (mut all, mut closed) = (Vec::new(), 0);
        for event in events {
            match event {
                Event::Piece(Channel::Error, piece) if piece.len() <= exec::MAX_PAYLOAD => {
                    all.extend(piece);
                }
                Event::Closed => closed += 1,
                Event::Piece(..) | Event::Ended(_) => panic!("nothing else is sent"),
            }
        }
        assert_eq!((all, closed), (bytes, 1));
    }

    #[test]
    fn a_lost_status_is_an_error() {
        let mut port = tempfile::tempfile().unwrap();
        let (sender, events) = sync_channel(2);
        sender.send(Event::Piece(Channel::Output, b"x".to_vec())).unwrap();
        sender.send(Event::Ended(Err(io::ErrorKind::Other.into()))).unwrap();
        assert!(forward(&events, &mut port).is_err());
        port.seek(SeekFrom::Start(0)).unwrap();
        let mut bytes = Vec::new();
        port.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [1, 1, 0, b'x'], "what came before is sent");
    }
}
