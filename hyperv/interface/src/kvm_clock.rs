//! KVM's paravirtual clock, for guests that take leaf 4000_0001h for KVM's.
//!
//! Such a guest, each of Solo5's for one, does not look at the signature in leaf 4000_0000h. It reads
//! "Hv#1" as KVM's feature bits, finds "clock source 2" in them, and uses these registers. KVM serves
//! them below Hyper-V's leaves too, so such a guest runs there. Sources: Linux,
//! Documentation/virt/kvm/x86/cpuid.rst, msr.rst.

use device::GuestTsc;

/// MSR_KVM_WALL_CLOCK_NEW: where to write the wall-clock time of the start.
pub const WALL_CLOCK: u32 = 0x4b56_4d00;
/// MSR_KVM_SYSTEM_TIME_NEW: where the VP's clock is to be, and whether it is on.
pub const SYSTEM_TIME: u32 = 0x4b56_4d01;
/// MSR_KVM_PV_EOI_EN: where to say that an EOI may be left out. That is never said.
pub const PV_EOI: u32 = 0x4b56_4d04;

const ENABLE: u64 = 1 << 0;
/// Bit 1 of PV_EOI must be zero; it is a multiple of four with the enable bit.
const PV_EOI_RESERVED: u64 = 1 << 1;
const NANOSECONDS: u64 = 1_000_000_000;
/// The clocks of all VPs agree.
const TSC_STABLE: u8 = 1 << 0;

/// Bytes for the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Record<const LENGTH: usize> {
    /// The guest-physical address that the guest gave: it may not be RAM, then nothing is written.
    pub gpa: u64,
    /// What belongs there.
    pub bytes: [u8; LENGTH],
}

/// The registers of a VP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvmClock {
    wall_clock: u64,
    system_time: u64,
    pv_eoi: u64,
    /// The version of the record that was written last: even, and another one each time.
    version: u32,
}

impl KvmClock {
    /// Reads an MSR, if it is one of these.
    pub const fn read(&self, number: u32) -> Option<u64> {
        Some(match number {
            WALL_CLOCK => self.wall_clock,
            SYSTEM_TIME => self.system_time,
            PV_EOI => self.pv_eoi,
            _ => return None,
        })
    }

    /// Writes an MSR; false if it is none of these, or the value is refused.
    pub const fn write(&mut self, number: u32, value: u64) -> bool {
        match number {
            WALL_CLOCK => self.wall_clock = value,
            SYSTEM_TIME => self.system_time = value,
            PV_EOI if value & PV_EOI_RESERVED == 0 => self.pv_eoi = value,
            _ => return false,
        }
        true
    }

    /// The wall-clock record: version, seconds since 1970 and nanoseconds when the system time was
    /// zero, four bytes each (`struct pvclock_wall_clock`).
    pub fn wall_clock_record(&self, seconds_at_zero: u64) -> Record<12> {
        const VERSION: u32 = 2;
        let mut bytes = [0; 12];
        // The field is this narrow: it ends in 2106.
        let words = [VERSION, seconds_at_zero as u32, 0];
        for (to, from) in bytes.iter_mut().zip(words.into_iter().flat_map(u32::to_le_bytes)) {
            *to = from;
        }
        Record { gpa: self.wall_clock, bytes }
    }

    /// The VP's clock, if it is on: `nanoseconds` of system time when its TSC is at `tsc`; the TSC
    /// runs at `frequency` Hz.
    ///
    /// Layout (`struct pvclock_vcpu_time_info`): version (4 bytes), padding (4), TSC (8), system time
    /// (8), multiplier (4), shift (1, signed), flags (1), padding (2). The guest shifts the ticks
    /// since by `shift` to the left, multiplies, and drops 32 bits.
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

/// Multiplier and shift by which TSC ticks become nanoseconds. The multiplier has its highest bit
/// set, so that nothing of its precision is lost.
fn scale(frequency: u64) -> (u32, i8) {
    let frequency = u128::from(frequency.max(1));
    let mut shift = 0_i8;
    // One tick in nanoseconds, with so many bits behind the point that `shift` leaves 32.
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

    /// What a guest reads.
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
            // A part in 2^31, and the ticks that a shift to the right drops.
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
