//! Text on COM1.

use core::fmt::{Arguments, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::cpu;

const COM1: u16 = 0x3f8;
const LINE_STATUS: u16 = COM1 + 5;
const EMPTY: u8 = 1 << 5;
const FIFO: usize = 16;

static BUSY: AtomicBool = AtomicBool::new(false);

struct Com1;

impl Write for Com1 {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for part in text.as_bytes().chunks(FIFO) {
            while cpu::in8(LINE_STATUS) & EMPTY == 0 {}
            for byte in part {
                cpu::out8(COM1, *byte);
            }
        }
        Ok(())
    }
}

/// Prints; one processor at a time.
pub fn print(text: Arguments<'_>) {
    const FIFO_ON: u8 = 1;
    while BUSY.swap(true, Ordering::Acquire) {
        core::hint::spin_loop();
    }
    cpu::out8(COM1 + 2, FIFO_ON);
    // COM1 takes everything.
    let _ = Com1.write_fmt(text);
    BUSY.store(false, Ordering::Release);
}

/// Prints a line.
#[macro_export]
macro_rules! println {
    ($($text:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($text)*))) };
}
