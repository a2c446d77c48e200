//! The host's real-time clock, read once per start of the machine.

use platform_api::Width;

use crate::{Access, Pc};

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
const UPDATE_IN_PROGRESS: u8 = 0x80;
/// Reads until two agree: an update takes 2 ms at most.
const TRIES: usize = 10_000;

impl<A: Access> Pc<A> {
    fn rtc_register(&self, index: u8) -> u8 {
        self.access.port_write(INDEX, Width::Byte, index.into());
        self.access.port_read(DATA, Width::Byte) as u8
    }

    fn rtc_snapshot(&self) -> [u8; 7] {
        [0x00, 0x02, 0x04, 0x07, 0x08, 0x09, 0x32].map(|index| self.rtc_register(index))
    }

    /// Seconds since 1970 by the real-time clock.
    pub fn wall_clock(&self) -> u64 {
        let mut last = [0; 7];
        for _ in 0..TRIES {
            if self.rtc_register(0x0a) & UPDATE_IN_PROGRESS != 0 {
                continue;
            }
            let now = self.rtc_snapshot();
            if now == last {
                break;
            }
            last = now;
        }
        unix_time(last.map(from_bcd))
    }
}

fn from_bcd(value: u8) -> u64 {
    u64::from(value >> 4) * 10 + u64::from(value & 15)
}

/// Seconds since 1970 of second, minute, hour, day, month, year in century, century.
fn unix_time([second, minute, hour, day, month, year, century]: [u64; 7]) -> u64 {
    let year = century.max(19) * 100 + year;
    let month = month.clamp(1, 12);
    // Days by the civil calendar, years counted from March so that the leap day is last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day.max(1) - 1;
    const DAYS_TO_1970: u64 = 719_468;
    days.saturating_sub(DAYS_TO_1970) * 86_400 + hour * 3_600 + minute * 60 + second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_seconds() {
        assert_eq!(unix_time([0, 0, 0, 1, 1, 70, 19]), 0);
        assert_eq!(unix_time([59, 59, 23, 28, 2, 0, 20]), 951_782_399);
        assert_eq!(unix_time([0, 0, 0, 29, 2, 0, 20]), 951_782_400);
        assert_eq!(unix_time([7, 14, 3, 19, 1, 38, 20]), 2_147_483_647);
    }
}
