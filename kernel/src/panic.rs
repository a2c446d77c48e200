//! The end after a bug of ours: a record that leads to the line.

use core::fmt::{Arguments, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Mutex;

use crate::log_ring;
use crate::relocate::layout;
use crate::service;

/// Frames that a crash record lists.
const MAX_FRAMES: usize = 24;
/// Where an image that moves itself is linked to run.
pub const LINK_BASE: u64 = 0x10_0000;

/// The way to an observer, and the end of the VM.
#[derive(Clone, Copy)]
pub struct Console {
    /// Writes a piece of text.
    pub write: fn(&str),
    /// Ends the VM with the status of a crash.
    pub end: fn() -> !,
    /// Where the image is linked to run: a record gives addresses as they are there.
    pub link_base: u64,
}

static CONSOLE: Mutex<Option<Console>> = Mutex::new(None);
static CRASHING: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    static __build_id: [u8; 36];
}

/// Sends crash records to `console`.
pub fn set_console(console: Console) {
    *CONSOLE.lock() = Some(console);
}

/// The image's build id, as the linker made it: 20 bytes behind the 16 bytes of the note's head.
pub fn build_id() -> [u8; 20] {
    let mut id = [0; 20];
    // SAFETY: the linker script places the whole note at the symbol; it is constant.
    let note = unsafe { &__build_id };
    for (to, from) in id.iter_mut().zip(note.iter().skip(16)) {
        *to = *from;
    }
    id
}

struct Out(Console);

impl Write for Out {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        (self.0.write)(text);
        Ok(())
    }
}

/// Writes the crash record for a failure at `rip` with frame pointer `rbp`, then ends the VM; in
/// the service, it ends that alone.
pub fn crash(what: Arguments<'_>, rip: u64, rbp: u64) -> ! {
    // The lock can not be ours: it is only held for a copy.
    let console = CONSOLE.try_lock().and_then(|console| *console);
    let Some(console) = console else { stop() };
    service::masked(|| {
        if CRASHING.swap(true, Ordering::AcqRel) {
            // Another CPU is writing its record, or writing ours has failed.
            (console.end)()
        }
        write_record(console, what, rip, rbp);
        CRASHING.store(!service::is_current(), Ordering::Release);
    });
    if service::is_current() {
        service::end()
    }
    (console.end)()
}

fn write_record(console: Console, what: Arguments<'_>, rip: u64, rbp: u64) {
    let mut out = Out(console);
    let place = layout();
    let _ = writeln!(out, "\npanic {what}");
    let _ = write!(out, "panic build-id ");
    for byte in build_id() {
        let _ = write!(out, "{byte:02x}");
    }
    let offset = place.start.wrapping_sub(console.link_base);
    let _ = writeln!(out, " load-offset {offset:#x}");
    let _ = writeln!(out, "panic frame {:#x}", rip.wrapping_sub(offset));
    walk_frames(rbp, |address| {
        let _ = writeln!(out, "panic frame {:#x}", address.wrapping_sub(offset));
    });
    // The end of the log, raw: for a person who reads the port or console itself.
    log_ring::kept(|piece| {
        piece.utf8_chunks().for_each(|chunk| (console.write)(chunk.valid()));
    });
}

/// Calls `each` with the return addresses from the frame at `rbp` on.
fn walk_frames(rbp: u64, mut each: impl FnMut(u64)) {
    let place = layout();
    let mut frame = rbp;
    for _ in 0..MAX_FRAMES {
        // A frame lies behind the image, in our own range, and each next one higher.
        if frame < place.end || !frame.is_multiple_of(8) || frame - place.end > 64 << 20 {
            return;
        }
        let words = frame as *const u64;
        // SAFETY: frame pointers are kept on in the whole image, so the chain from a live frame
        // stays on its stack, which is mapped; the checks above stop a broken chain early.
        let (next, address) = unsafe { (words.read_volatile(), words.add(1).read_volatile()) };
        if address < place.start || address >= place.text_end {
            return;
        }
        each(address);
        if next <= frame {
            return;
        }
        frame = next;
    }
}

fn stop() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let rbp: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack)) };
    crash(format_args!("{info}"), panic as *const () as u64, rbp)
}
