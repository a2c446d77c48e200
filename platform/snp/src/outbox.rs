//! Output of the guest's serial ports, which leaves in few calls of the host.

use core::sync::atomic::{AtomicU64, Ordering};

use pc::{Access, Pc, SERIAL_FIFO};
use spin::Mutex;

/// Bytes that wait at most.
const MOST: usize = 128;
/// How long a byte waits at most, in parts of a second.
const PER_SECOND: u64 = 500;

/// The bytes of one port that wait.
#[derive(Debug)]
struct Waiting {
    bytes: [u8; MOST],
    length: usize,
}

impl Waiting {
    const fn new() -> Self {
        Self { bytes: [0; MOST], length: 0 }
    }

    /// Appends a byte, if there is room. Answers whether all should leave now: behind a whole line,
    /// or as there is no more room.
    fn push(&mut self, byte: u8) -> bool {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
        byte == b'\n' || self.length == MOST
    }

    /// Sends what the port takes now.
    fn send<A: Access>(&mut self, pc: &Pc<A>, port: usize) {
        let mut sent = 0;
        while sent < self.length && pc.is_ready(port) {
            let end = self.length.min(sent + SERIAL_FIFO);
            pc.send_bytes(port, self.bytes.get(sent..end).unwrap_or_default());
            sent = end;
        }
        self.bytes.copy_within(sent..self.length, 0);
        self.length -= sent;
    }
}

/// The output of both ports.
#[derive(Debug)]
pub(crate) struct Outbox {
    ports: [Mutex<Waiting>; 2],
    /// How long a byte waits at most, in ticks of the TSC.
    pause: AtomicU64,
    /// The TSC at which all must leave, or zero if nothing waits.
    due: AtomicU64,
}

impl Outbox {
    /// Nothing waits.
    pub(crate) const fn new() -> Self {
        let ports = [const { Mutex::new(Waiting::new()) }; 2];
        Self { ports, pause: AtomicU64::new(0), due: AtomicU64::new(0) }
    }

    /// Notes how fast the TSC counts.
    pub(crate) fn set_frequency(&self, hertz: u64) {
        self.pause.store(hertz / PER_SECOND, Ordering::Relaxed);
    }

    fn due_after(&self, now: u64) -> u64 {
        now.saturating_add(self.pause.load(Ordering::Relaxed)).max(1)
    }

    /// Whether there is room for a byte of this port.
    pub(crate) fn has_room<A: Access>(&self, pc: &Pc<A>, port: usize) -> bool {
        let Some(waiting) = self.ports.get(port) else { return true };
        let mut waiting = waiting.lock();
        if waiting.length == MOST {
            waiting.send(pc, port);
        }
        waiting.length < MOST
    }

    /// Takes a byte for this port at TSC `now`. The answer is the TSC at which [`Outbox::send_due`]
    /// must be called, if that was not known before.
    pub(crate) fn put<A: Access>(
        &self,
        pc: &Pc<A>,
        port: usize,
        byte: u8,
        now: u64,
    ) -> Option<u64> {
        let mut waiting = self.ports.get(port)?.lock();
        if waiting.push(byte) {
            waiting.send(pc, port);
        }
        if waiting.length == 0 {
            return None;
        }
        let due = self.due_after(now);
        let is_new = self.due.compare_exchange(0, due, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        is_new.then_some(due)
    }

    /// Sends what waits, if it is time by `clock`. The answer is when that must be tried again, as a
    /// port takes nothing now.
    #[inline]
    pub(crate) fn send_due<A: Access>(&self, pc: &Pc<A>, clock: impl Fn() -> u64) -> Option<u64> {
        let due = self.due.load(Ordering::Relaxed);
        if due == 0 {
            return None;
        }
        let now = clock();
        if now < due { None } else { self.send_all(pc, now) }
    }

    /// Sends what waits, as far as the ports take it. The answer is as for [`Outbox::send_due`].
    #[cold]
    pub(crate) fn send_all<A: Access>(&self, pc: &Pc<A>, now: u64) -> Option<u64> {
        if self.due.swap(0, Ordering::AcqRel) == 0 {
            return None;
        }
        if self.send_rest(pc) {
            return None;
        }
        let due = self.due_after(now);
        Some(self.due.fetch_max(due, Ordering::AcqRel).max(due))
    }

    /// Sends what waits, also where another CPU is about to send it. Answers whether all is sent.
    #[cold]
    pub(crate) fn send_rest<A: Access>(&self, pc: &Pc<A>) -> bool {
        let mut is_all = true;
        for (port, waiting) in self.ports.iter().enumerate() {
            let mut waiting = waiting.lock();
            waiting.send(pc, port);
            is_all &= waiting.length == 0;
        }
        is_all
    }
}

#[cfg(test)]
mod tests;
