//! Tests the BIOS data area of a machine without a BIOS.
//!
//! With `int=N` on the command line it calls interrupt N of it, with `jump` it jumps to where a CPU
//! starts after a reset; both from real mode, and neither comes back.
#![no_std]
#![no_main]

use guest::machine::{self, RAM};
use guest::modes::{self, Mode, Registers32, firmware_word, restore_vector};
use guest::{Report, ensure_eq, println};

guest::main!(bios);

/// The function that is called: teletype output of an A.
const FUNCTION: u32 = 0x0e41;

fn bios(report: &mut Report) {
    if let Some(vector) = machine::option("int").and_then(|number| number.parse().ok()) {
        restore_vector(vector);
        let registers = Registers32 { eax: FUNCTION, ..Registers32::default() };
        modes::run(Mode::Real, &[0xcd, vector], registers);
    }
    if machine::option("jump").is_some() {
        println!("jumps");
        modes::run(Mode::Real, &[0xea, 0xf0, 0xff, 0x00, 0xf0], Registers32::default());
    }
    report.case("data-area", || {
        ensure_eq!(firmware_word(0x400), 0x3f8, "first serial port");
        ensure_eq!(firmware_word(0x402), 0x2f8, "second serial port");
        ensure_eq!(firmware_word(0x410) >> 9 & 7, 2, "number of serial ports");
        Ok(())
    });
    report.case("base-memory", || {
        let end = u64::from(firmware_word(0x413)) << 10;
        let low = machine::map().iter().find(|range| range.kind == RAM).map(|range| range.end);
        ensure_eq!(low, Some(end), "end of conventional memory");
        ensure_eq!(u64::from(firmware_word(0x40e)) << 4, end, "extended data area");
        Ok(())
    });
    // Debug exceptions, breakpoints and NMIs have always come back.
    report.case("vectors-that-return", || {
        for vector in [2, 3, 4] {
            restore_vector(vector);
            let end = modes::run(Mode::Real, &[0xcd, vector], Registers32::default());
            ensure_eq!(end.vector, 0x80, "how the code ended");
        }
        Ok(())
    });
}
