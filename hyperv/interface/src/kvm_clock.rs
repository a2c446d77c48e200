//! KVM's paravirtual clock, for guests that mistake leaf 4000_0001h for KVM's.
//!
//! Such guests, for example all Solo5 unikernels, ignore the signature in leaf 4000_0000h. They
//! read "Hv#1" as KVM's feature bits, find "clock source 2" set, and use these registers. On KVM
//! they run even where it presents Hyper-V's leaves, because KVM serves these registers there too.
//! Sources: Linux, Documentation/virt/kvm/x86/cpuid.rst, msr.rst.

use device_model::GuestTsc;

/// MSR_KVM_WALL_CLOCK_NEW: the address for the wall-clock time of the start.
pub const WALL_CLOCK: u32 = 0x4b56_4d00;
/// MSR_KVM_SYSTEM_TIME_NEW: the address of the VP's clock, with its enable bit.
pub const SYSTEM_TIME: u32 = 0x4b56_4d01;
/// MSR_KVM_PV_EOI_EN: the address of a flag that lets the guest skip an EOI. It is never set here.
pub const PV_EOI: u32 = 0x4b56_4d04;

const ENABLE: u64 = 1 << 0;
/// Bit 1 of PV_EOI: reserved, as the address is a multiple of four.
const PV_EOI_RESERVED: u64 = 1 << 1;
const NANOSECONDS: u64 = 1_000_000_000;
/// Flag: the clocks of all VPs agree.
const TSC_STABLE: u8 = 1 << 0;

/// Bytes to write to the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Record<const LENGTH: usize> {
    /// The guest-physical address that the guest gave. If it is not RAM, nothing is written.
    pub gpa: u64,
    /// The bytes.
    pub bytes: [u8; LENGTH],
}

/// The clock registers of a VP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvmClock {
    wall_clock: u64,
    system_time: u64,
    pv_eoi: u64,
    /// The version of the last record: always even, and different for each record.
    version: u32,
}

impl KvmClock {
    /// Reads an MSR; `None` if it is not one of these.
    pub const fn read(&self, number: u32) -> Option<u64> {
        Some(match number {
            WALL_CLOCK => self.wall_clock,
            SYSTEM_TIME => self.system_time,
            PV_EOI => self.pv_eoi,
            _ => return None,
        })
    }

    /// Writes an MSR; false if it is not one of these, or sets a reserved bit.
    pub const fn write(&mut self, number: u32, value: u64) -> bool {
        match number {
            WALL_CLOCK => self.wall_clock = value,
            SYSTEM_TIME => self.system_time = value,
            PV_EOI if value & PV_EOI_RESERVED == 0 => self.pv_eoi = value,
            _ => return false,
        }
        true
    }

    /// The wall-clock record (`struct pvclock_wall_clock`): version, then the time at which the
    /// system time was zero as seconds since 1970 and nanoseconds, four bytes each.
    pub fn wall_clock_record(&self, seconds_at_zero: u64) -> Record<12> {
        const VERSION: u32 = 2;
        let mut bytes = [0; 12];
        // The layout has 32 bits for the seconds, which end in 2106.
        let words = [VERSION, seconds_at_zero as u32, 0];
        for (to, from) in bytes.iter_mut().zip(words.into_iter().flat_map(u32::to_le_bytes)) {
            *to = from;
        }
        Record { gpa: self.wall_clock, bytes }
    }

    /// The record of the VP's clock; `None` if the clock is off. The system time is `nanoseconds`
    /// when the VP's TSC is `tsc`; the TSC runs at `frequency` Hz.
    ///
    /// Layout (`struct pvclock_vcpu_time_info`): version (4 bytes), padding (4), TSC (8), system
    /// time (8), multiplier (4), shift (1, signed), flags (1), padding (2). The guest shifts the
    /// ticks since `tsc` left by `shift`, multiplies them, and drops the low 32 bits.
    pub fn system_time_record(
        &mut self,
        tsc: GuestTsc,
        nanoseconds: u64,
        frequency: u64,
    ) -> Option<Record<32>> {
        if self.system_time & ENABLE == 0 {
            return None;
        }
        self.version = self.version.wrapping_add(2);
        let (multiplier, shift) = scale(frequency);
        let mut bytes = [0; 32];
        let fields = u64::from(self.version).to_le_bytes().into_iter();
        let fields = fields.chain(tsc.0.to_le_bytes()).chain(nanoseconds.to_le_bytes());
        let fields = fields.chain(multiplier.to_le_bytes());
        let fields = fields.chain(shift.to_le_bytes()).chain([TSC_STABLE]);
        for (to, from) in bytes.iter_mut().zip(fields) {
            *to = from;
        }
        Some(Record { gpa: self.system_time & !ENABLE, bytes })
    }
}

/// The multiplier and the shift that convert TSC ticks to nanoseconds. The multiplier has its
/// highest bit set, for full precision.
fn scale(frequency: u64) -> (u32, i8) {
    let frequency = u128::from(frequency.max(1));
    let mut shift = 0_i8;
    // A tick in nanoseconds as a fixed-point number, with enough fraction bits to leave 32 after
    // the shift.
    while frequency << shift.max(0) <= u128::from(NANOSECONDS) {
        shift += 1;
    }
    while frequency >> (-shift).max(0) > u128::from(2 * NANOSECONDS) {
        shift -= 1;
    }
    let fraction = 32_i32 - i32::from(shift);
    let multiplier = (u128::from(NANOSECONDS) << fraction.max(0)) / frequency;
    (u32::try_from(multiplier).unwrap_or(u32::MAX), shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time that a guest computes from a record.
    fn time(record: &Record<32>, tsc: u64) -> u64 {
        let word = |at: usize| u64::from_le_bytes(record.bytes[at..at + 8].try_into().unwrap());
        let (multiplier, shift) = (word(24) as u32, record.bytes[28] as i8);
        let ticks = u128::from(tsc - word(8));
        let shifted = if shift < 0 { ticks >> -shift } else { ticks << shift };
        word(16) + ((shifted * u128::from(multiplier)) >> 32) as u64
    }

    #[test]
    fn a_guest_reads_nanoseconds_at_every_frequency() {
        for frequency in [1, 999, 10_000_000, 999_999_999, NANOSECONDS, NANOSECONDS + 1] {
            tells_time(frequency);
        }
        for frequency in [2 * NANOSECONDS, 2_500_000_000, 3_000_000_001, 5 * NANOSECONDS] {
            tells_time(frequency);
        }
    }

    fn tells_time(frequency: u64) {
        let mut clock = KvmClock::default();
        assert!(clock.write(SYSTEM_TIME, 0x5001));
        let record = clock.system_time_record(GuestTsc(1_000), 77, frequency).unwrap();
        assert_eq!(record.gpa, 0x5000);
        for seconds in [0, 1, 100_000] {
            let expected = 77 + seconds * NANOSECONDS;
            let read = time(&record, 1_000 + seconds * frequency);
            // The multiplier's precision, and the ticks that a right shift drops.
            let error = read.abs_diff(expected);
            assert!(error <= 10 + expected / (1 << 31), "{frequency} Hz: {read}, not {expected}");
        }
    }

    #[test]
    fn each_record_has_an_even_version_of_its_own() {
        let mut clock = KvmClock::default();
        assert_eq!(clock.system_time_record(GuestTsc(0), 0, 1), None, "off");
        assert!(clock.write(SYSTEM_TIME, 0x5001));
        let versions =
            [0; 2].map(|_| clock.system_time_record(GuestTsc(0), 0, NANOSECONDS).unwrap().bytes[0]);
        assert_eq!(versions, [2, 4]);
        assert!(clock.write(SYSTEM_TIME, 0x5000));
        assert_eq!(clock.system_time_record(GuestTsc(0), 0, 1), None, "off again");
    }

    #[test]
    fn the_wall_clock_is_that_of_the_start() {
        let mut clock = KvmClock::default();
        assert!(clock.write(WALL_CLOCK, 0x6004));
        let record = clock.wall_clock_record(0x1234_5678);
        assert_eq!(record.gpa, 0x6004);
        assert_eq!(record.bytes, [2, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0]);
    }

    #[test]
    fn the_registers_keep_what_they_get_or_refuse_it() {
        let mut clock = KvmClock::default();
        for (number, value) in [(WALL_CLOCK, 0x1000), (SYSTEM_TIME, 0x2001), (PV_EOI, 0x3001)] {
            assert!(clock.write(number, value));
            assert_eq!(clock.read(number), Some(value));
        }
        assert!(!clock.write(PV_EOI, 0x3003));
        for other in [0x4b56_4d02, 0x4b56_4d03, 0x4b56_4d05, 0x12] {
            assert!(!clock.write(other, 0));
            assert_eq!(clock.read(other), None);
        }
    }
}
