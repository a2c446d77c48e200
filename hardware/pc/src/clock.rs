//! How fast the TSC and the APIC timer run, measured against the PIT.

use platform_api::Width;

use crate::{Access, Pc};

/// The PIT's input clock in Hz.
const PIT_HERTZ: u64 = 1_193_182;
/// How long the first measurement takes, in PIT ticks: one millisecond at most.
const FIRST_SPAN: u16 = 1150;
/// Tries for one sample: the one with the shortest bracket is taken.
const TRIES: usize = 8;

/// The clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    tsc: u64,
    apic: u32,
    /// Counts down from 65536 and starts again.
    pit: u16,
}

/// Frequencies in Hz.
#[derive(Clone, Copy, Debug)]
pub struct Frequencies {
    /// Of the time-stamp counter.
    pub tsc: u64,
    /// Of the APIC timer, divided by one.
    pub apic: u64,
}

impl<A: Access> Pc<A> {
    fn out(&self, port: u16, value: u8) {
        self.access.port_write(port, Width::Byte, value.into());
    }

    fn input(&self, port: u16) -> u8 {
        self.access.port_read(port, Width::Byte) as u8
    }

    /// Starts PIT channel 2 (speaker off) in mode 2 from 65536, and the APIC timer from its top.
    fn start_clocks(&self) {
        self.out(0x61, self.input(0x61) & !2 | 1);
        self.out(0x43, 0xb4);
        self.out(0x42, 0);
        self.out(0x42, 0);
        self.set_timer(u32::MAX);
    }

    /// Samples all clocks, as close together as a few tries allow.
    fn sample(&self) -> Sample {
        let mut best = (u64::MAX, Sample { tsc: 0, apic: 0, pit: 0 });
        for _ in 0..TRIES {
            let before = self.access.tsc();
            self.out(0x43, 0x80);
            let apic = self.timer_count();
            let after = self.access.tsc();
            let pit = u16::from_le_bytes([self.input(0x42), self.input(0x42)]);
            let width = after.wrapping_sub(before);
            if width < best.0 {
                best = (width, Sample { tsc: before + width / 2, apic, pit });
            }
        }
        best.1
    }

    /// Waits for the first, coarse measurement.
    pub fn measure_clocks(&self) -> (Sample, Frequencies) {
        self.start_clocks();
        let first = self.sample();
        loop {
            let last = self.sample();
            if first.pit.wrapping_sub(last.pit) >= FIRST_SPAN {
                return (first, frequencies(&first, &last, 0));
            }
        }
    }

    /// Measures again over the time that has passed since `first`, which costs no wait. The coarse
    /// result tells how often the PIT has wrapped.
    pub fn refine_clocks(&self, first: &Sample, coarse: Frequencies) -> Frequencies {
        let last = self.sample();
        let elapsed = u128::from(last.tsc.wrapping_sub(first.tsc));
        let ticks = elapsed * u128::from(PIT_HERTZ) / u128::from(coarse.tsc.max(1));
        let visible = u128::from(first.pit.wrapping_sub(last.pit));
        let wraps = (ticks + 0x8000).saturating_sub(visible) >> 16;
        // The APIC timer wraps too, but far later.
        let fine = frequencies(first, &last, wraps as u64);
        let apic_ticks = elapsed * u128::from(coarse.apic) / u128::from(coarse.tsc.max(1));
        let apic_wrapped = apic_ticks >> 32 != 0;
        if apic_wrapped { Frequencies { apic: coarse.apic, ..fine } } else { fine }
    }
}

fn frequencies(first: &Sample, last: &Sample, wraps: u64) -> Frequencies {
    let pit = u128::from(first.pit.wrapping_sub(last.pit)) + (u128::from(wraps) << 16);
    let per_second = |ticks: u64| (u128::from(ticks) * u128::from(PIT_HERTZ) / pit.max(1)) as u64;
    Frequencies {
        tsc: per_second(last.tsc.wrapping_sub(first.tsc)),
        apic: per_second(u64::from(first.apic.wrapping_sub(last.apic))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_measurement_counts_the_wraps() {
        // 100 ms at 2 GHz and 1 GHz: 119,318 PIT ticks, one whole wrap and a part.
        let first = Sample { tsc: 5, apic: u32::MAX, pit: 100 };
        let pit = (100u64.wrapping_sub(119_318)) as u16;
        let last = Sample { tsc: 200_000_005, apic: u32::MAX - 100_000_000, pit };
        let fine = frequencies(&first, &last, 1);
        assert!(fine.tsc.abs_diff(2_000_000_000) < 10_000, "{fine:?}");
        assert!(fine.apic.abs_diff(1_000_000_000) < 10_000, "{fine:?}");
    }
}
