//! The log: a ring that keeps the latest lines, and a way out for each line as it comes.

use core::fmt::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};
use spin::Mutex;

use crate::service::masked;

/// Bytes that the ring keeps.
const CAPACITY: usize = 16 * 1024;

/// Takes finished lines out, such as a port of the host.
pub type Sink = fn(Level, core::fmt::Arguments<'_>);

struct Ring {
    bytes: [u8; CAPACITY],
    /// Bytes ever written.
    written: usize,
}

impl Write for Ring {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            if let Some(slot) = self.bytes.get_mut(self.written % CAPACITY) {
                *slot = byte;
            }
            self.written = self.written.wrapping_add(1);
        }
        Ok(())
    }
}

struct RingLog {
    ring: Mutex<Ring>,
    sink: Mutex<Option<Sink>>,
}

static LOG: RingLog =
    RingLog { ring: Mutex::new(Ring { bytes: [0; CAPACITY], written: 0 }), sink: Mutex::new(None) };

impl Log for RingLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        masked(|| {
            let _ = writeln!(self.ring.lock(), "{} {}", record.level(), record.args());
            let sink = *self.sink.lock();
            if let Some(sink) = sink {
                sink(record.level(), *record.args());
            }
        });
    }

    fn flush(&self) {}
}

/// Starts logging at `level` and better, each line also to `sink`.
pub fn start(level: LevelFilter, sink: Option<Sink>) {
    *LOG.sink.lock() = sink;
    // A second start only changes the sink and the level.
    let _ = log::set_logger(&LOG);
    log::set_max_level(level);
}

/// Gives the kept lines to `out`, oldest first, in at most two pieces. For the crash record: a
/// ring that is being written just then is left out.
pub fn kept(mut out: impl FnMut(&[u8])) {
    let Some(ring) = LOG.ring.try_lock() else { return };
    let at = ring.written % CAPACITY;
    let (new, old) = ring.bytes.split_at(at);
    if ring.written > CAPACITY {
        out(old);
    }
    out(new);
}
