//! `paravane vtpm`: a server that offers the TPM engine by the protocol of the TPM simulators.
//!
//! It listens on two ports: the first takes commands, the next one the platform's signals. All
//! connections share one engine behind a lock. Each has a thread of its own, which holds the lock
//! for one command at a time.

mod protocol;
mod state_file;
#[cfg(test)]
mod tests;
mod world;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::say::say;
use crate::signals;
use command_line::VtpmOptions;
use command_line::exit;
use world::Shared;

/// Largest number of open connections on both ports together; further ones are closed at once.
const MAX_CONNECTIONS: usize = 64;
/// Attempts to find two free neighbouring ports for port 0.
const PORT_ATTEMPTS: usize = 64;

/// One of the two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Command,
    Platform,
}

/// Serves until a signal or a client ends it, and returns the exit code.
pub fn run(options: &VtpmOptions) -> u8 {
    match serve(options) {
        Ok(()) => 0,
        Err(error) => {
            say!("{error:#}");
            let taken = error.downcast_ref::<io::Error>().map(io::Error::kind);
            if taken == Some(io::ErrorKind::AddrInUse) { exit::PORT_IN_USE } else { exit::OURS }
        }
    }
}

fn serve(options: &VtpmOptions) -> Result<()> {
    let ports = Ports::bind(options.socket)?;
    let shared = Shared::open(options.state.as_deref())?;
    let (ender, ended) = mpsc::channel();
    let mut signals = signals::watch(&[SIGHUP, SIGINT, SIGTERM])?;
    let signalled = ender.clone();
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _ = signalled.send(());
        }
    });
    let (address, kept) = (ports.address, options.state.as_deref());
    ports.accept(&shared, &ender);
    let kept = kept.map_or_else(|| "in memory".to_owned(), |file| file.display().to_string());
    let mut out = io::stdout().lock();
    writeln!(out, "paravane: a TPM listens on {address}; its state is {kept}")?;
    out.flush()?;
    drop(out);
    // The channel never closes, because the accepting threads hold its other end.
    let _ = ended.recv();
    shared.close();
    Ok(())
}

/// Both listeners.
struct Ports {
    address: SocketAddr,
    command: TcpListener,
    platform: TcpListener,
}

impl Ports {
    /// Binds the port and the next one; for port 0 any two free neighbours.
    fn bind(address: SocketAddr) -> Result<Self> {
        let attempts = if address.port() == 0 { PORT_ATTEMPTS } else { 1 };
        let mut result = Self::bind_once(address);
        for _ in 1..attempts {
            if result.is_ok() {
                break;
            }
            result = Self::bind_once(address);
        }
        result
    }

    fn bind_once(address: SocketAddr) -> Result<Self> {
        let command = listen(address)?;
        let address = command.local_addr()?;
        let Some(next) = address.port().checked_add(1) else {
            bail!(
                "the platform's signals need the next port, but {} is the last one",
                address.port()
            );
        };
        let platform = listen(SocketAddr::new(address.ip(), next))?;
        Ok(Self { address, command, platform })
    }

    /// Accepts connections on both ports, each in a thread that lives as long as the process.
    fn accept(self, shared: &Arc<Shared>, ender: &mpsc::Sender<()>) {
        let open = Arc::new(AtomicUsize::new(0));
        for (port, listener) in [(Port::Command, self.command), (Port::Platform, self.platform)] {
            let (shared, ender, open) = (Arc::clone(shared), ender.clone(), Arc::clone(&open));
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    admit(port, stream, &shared, &ender, &open);
                }
            });
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
}

/// Serves a connection in a thread of its own, unless there are too many.
fn admit(
    port: Port,
    stream: TcpStream,
    shared: &Arc<Shared>,
    ender: &mpsc::Sender<()>,
    open: &Arc<AtomicUsize>,
) {
    if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
        open.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let (shared, ender, open) = (Arc::clone(shared), ender.clone(), Arc::clone(open));
    thread::spawn(move || {
        match protocol::serve(port, &stream, &shared) {
            Ok(protocol::End::Closed) => {}
            Ok(protocol::End::Stop) => drop(ender.send(())),
            Err(error) => say!("vtpm: a {port:?} connection is closed: {error}"),
        }
        open.fetch_sub(1, Ordering::Relaxed);
    });
}
