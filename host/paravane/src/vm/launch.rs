//! A process of QEMU with the channels out of it and the signals that end it.

use std::process::{Child, Command};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::{Stop, stop};
use crate::channel::{Ends, Event, Readers, read_errors};
use crate::signals;
use command_line::exit::{End, Failure};

/// Largest number of events that wait in the channel.
const WAITING: usize = 64;
/// A second signal within this time counts as the first one: some senders send two.
const PATIENCE: Duration = Duration::from_secs(1);

/// Watches for the signals that end this program, and passes them to the VM that runs.
#[derive(Debug)]
pub struct Watch {
    /// The channel of the VM that runs.
    current: Arc<Mutex<Option<SyncSender<Event>>>>,
    /// The first signal, or zero.
    received: Arc<AtomicI32>,
}

impl Watch {
    /// Starts to watch.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start() -> Result<Self> {
        signals::keep_children()?;
        let mut signals = signals::watch(&[SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
        let watch = Self { current: Arc::default(), received: Arc::default() };
        let (current, received) = (Arc::clone(&watch.current), Arc::clone(&watch.received));
        std::thread::spawn(move || {
            let mut signals = signals.forever();
            let Some(signal) = signals.next() else { return };
            let first = Instant::now();
            received.store(signal, Ordering::SeqCst);
            let sender = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(sender) = sender {
                // Sending can block while nobody reads our output. A second signal then ends this
                // program at once.
                std::thread::spawn(move || sender.send(Event::Signal(signal)));
            }
            for _ in signals {
                if first.elapsed() > PATIENCE {
                    std::process::exit(End::Failed(Failure::Interrupted).code().into());
                }
            }
        });
        Ok(watch)
    }

    /// Passes signals to this channel from now on, one that has come already included.
    fn pass_to(&self, sender: &SyncSender<Event>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
        let signal = self.received.load(Ordering::SeqCst);
        if signal != 0 {
            // The channel is empty, so this does not block.
            let _ = sender.try_send(Event::Signal(signal));
        }
    }
}

/// A process of QEMU with the channels out of it.
#[derive(Debug)]
pub struct Launch {
    pub(super) child: Child,
    pub(super) readers: Readers,
    pub(super) events: Receiver<Event>,
}

impl Launch {
    /// Starts QEMU by the command that `make` returns.
    ///
    /// # Errors
    /// QEMU or its channels can not be started.
    pub fn start(watch: &Watch, make: impl FnOnce(&Ends) -> Result<Command>) -> Result<Self, Stop> {
        let (sender, events) = sync_channel(WAITING);
        watch.pass_to(&sender);
        let (readers, ends) = Readers::open(&sender).map_err(stop(Failure::Ours))?;
        let mut child = make(&ends)
            .and_then(|mut command| Ok(command.spawn()?))
            .context("QEMU can not be started")
            .map_err(stop(Failure::Qemu))?;
        // QEMU has inherited the ends; a channel closes only when no process holds its end.
        drop(ends);
        if let Some(stderr) = child.stderr.take() {
            read_errors(stderr, sender);
        }
        Ok(Self { child, readers, events })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_between_two_launches_reaches_the_next_one() {
        let watch = Watch { current: Arc::default(), received: Arc::default() };
        let (first, events) = sync_channel(2);
        watch.pass_to(&first);
        assert!(events.try_recv().is_err());
        watch.received.store(SIGTERM, Ordering::SeqCst);
        let (second, events) = sync_channel(2);
        watch.pass_to(&second);
        assert!(matches!(events.try_recv(), Ok(Event::Signal(SIGTERM))));
    }
}
