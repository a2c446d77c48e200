//! The saved state of the clock.

use crate::calendar::Calendar;
use crate::registers::{Control, Index, RegisterA, SECOND, SIZE};
use crate::{Rtc, is_memory};
use device_model::{Instant, RestoreError};
use serde::{Deserialize, Serialize};

/// The version of [`Saved`] that this build writes and reads.
pub const SAVED_VERSION: u16 = 1;

/// The whole state of the clock. `calendar` holds second, minute, hour, weekday, day, month,
/// year, century.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the model, by the same names")]
pub struct Saved {
    pub version: u16,
    pub latest: Instant,
    pub second_start: Instant,
    pub calendar: [u8; 8],
    pub alarm: [u8; 3],
    pub index: u8,
    pub a: u8,
    pub b: u8,
    pub flags: u8,
    pub memory: [[u8; 32]; 4],
}

pub(crate) fn save(rtc: &Rtc) -> Saved {
    let Rtc { latest, second_start, calendar, alarm, index, a, b, flags, memory } = *rtc;
    let Calendar { second, minute, hour, weekday, day, month, year, century } = calendar;
    Saved {
        version: SAVED_VERSION,
        latest,
        second_start,
        calendar: [second, minute, hour, weekday, day, month, year, century],
        alarm,
        index: index.into_bits(),
        a: a.into_bits(),
        b: b.bits(),
        flags: flags.bits(),
        memory,
    }
}

pub(crate) fn restore(saved: &Saved) -> Result<Rtc, RestoreError> {
    let Saved { version, latest, second_start, calendar, alarm, index, a, b, flags, memory } =
        *saved;
    if version != SAVED_VERSION {
        return Err(RestoreError::Version { found: version, supported: SAVED_VERSION });
    }
    let [second, minute, hour, weekday, day, month, year, century] = calendar;
    let time = second < 60 && minute < 60 && hour < 24 && year < 100 && century < 100;
    let date = (1..=7).contains(&weekday) && (1..=31).contains(&day) && (1..=12).contains(&month);
    require(time && date, "calendar")?;
    let (index, a) = (Index::from_bits(index), RegisterA::from_bits(a));
    require(!a.update_in_progress(), "a")?;
    let b = Control::from_bits_retain(b);
    require(!b.contains(Control::SET | Control::UPDATE_ENDED), "b")?;
    let flags = Control::from_bits_retain(flags);
    require(Control::INTERRUPTS.contains(flags), "flags")?;
    let stray = (0..SIZE as u8).any(|index| {
        !is_memory(index) && memory[usize::from(index >> 5) & 3][usize::from(index & 31)] != 0
    });
    require(!stray, "memory")?;
    let calendar = Calendar { second, minute, hour, weekday, day, month, year, century };
    let rtc = Rtc { latest, second_start, calendar, alarm, index, a, b, flags, memory };
    let settled = latest.since(second_start) < SECOND || !rtc.divider_runs();
    require(second_start <= latest && settled, "second_start")?;
    Ok(rtc)
}

fn require(holds: bool, field: &'static str) -> Result<(), RestoreError> {
    if holds { Ok(()) } else { Err(RestoreError::Field(field)) }
}
