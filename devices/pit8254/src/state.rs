//! The saved state of the timer.

use crate::counter::{Counter, Run};
use crate::registers::{Access, ControlWord, SpeakerPort};
use crate::{Pit, tick};
use device_model::{Instant, RestoreError};
use serde::{Deserialize, Serialize};

/// The version of [`Saved`] that this build writes and reads.
pub const SAVED_VERSION: u16 = 1;

/// The whole state of the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the model, by the same names")]
pub struct Saved {
    pub version: u16,
    pub latest: Instant,
    pub counters: [SavedCounter; 3],
    pub speaker: u8,
    pub due: bool,
    pub edge: bool,
    pub not_before: Instant,
}

/// The state of one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the model, by the same names")]
pub struct SavedCounter {
    pub control: u8,
    pub count: u16,
    pub active: u16,
    pub reload: bool,
    pub reload_at: Option<i64>,
    pub run: SavedRun,
    pub gate: bool,
    pub low_byte: Option<u8>,
    pub reads_high: bool,
    pub latched_count: Option<u16>,
    pub latched_status: Option<u8>,
}

/// The activity of a counting element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SavedRun {
    /// No count has been written.
    Idle,
    /// It waits for the gate to rise.
    Armed,
    /// It has been counting since this tick.
    Counting(i64),
    /// The gate has stopped it after this many ticks.
    Stopped(i64),
}

pub(crate) fn save(pit: &Pit) -> Saved {
    let Pit { minimum_period: _, latest, counters, speaker, examined: _, due, edge, not_before } =
        pit;
    Saved {
        version: SAVED_VERSION,
        latest: *latest,
        counters: counters.map(save_counter),
        speaker: speaker.into_bits(),
        due: *due,
        edge: *edge,
        not_before: *not_before,
    }
}

fn save_counter(counter: Counter) -> SavedCounter {
    let Counter {
        control,
        count,
        active,
        reload,
        reload_at,
        run,
        gate,
        low_byte,
        reads_high,
        latched_count,
        latched_status,
    } = counter;
    let run = match run {
        Run::Idle => SavedRun::Idle,
        Run::Armed => SavedRun::Armed,
        Run::Counting(start) => SavedRun::Counting(start),
        Run::Stopped(elapsed) => SavedRun::Stopped(elapsed),
    };
    SavedCounter {
        control: control.into_bits(),
        count,
        active,
        reload,
        reload_at,
        run,
        gate,
        low_byte,
        reads_high,
        latched_count,
        latched_status,
    }
}

pub(crate) fn restore(minimum_period: u64, saved: &Saved) -> Result<Pit, RestoreError> {
    let Saved { version, latest, counters, speaker, due, edge, not_before } = *saved;
    if version != SAVED_VERSION {
        return Err(RestoreError::Version { found: version, supported: SAVED_VERSION });
    }
    require(speaker & !SpeakerPort::WRITABLE == 0, "speaker")?;
    let speaker = SpeakerPort::from_bits(speaker);
    require(!due || latest < not_before, "due")?;
    let [zero, one, two] = counters;
    require(zero.gate && one.gate && two.gate == speaker.gate(), "gate")?;
    let examined = tick(latest);
    let counters = [
        restore_counter(&zero, examined)?,
        restore_counter(&one, examined)?,
        restore_counter(&two, examined)?,
    ];
    Ok(Pit { minimum_period, latest, counters, speaker, examined, due, edge, not_before })
}

fn restore_counter(saved: &SavedCounter, now: i64) -> Result<Counter, RestoreError> {
    let SavedCounter {
        control,
        count,
        active,
        reload,
        reload_at,
        run,
        gate,
        low_byte,
        reads_high,
        latched_count,
        latched_status,
    } = *saved;
    let run = match run {
        SavedRun::Idle => Run::Idle,
        SavedRun::Armed => Run::Armed,
        SavedRun::Counting(start) => Run::Counting(start),
        SavedRun::Stopped(elapsed) => Run::Stopped(elapsed),
    };
    let counter = Counter {
        control: ControlWord::from_bits(control),
        count,
        active,
        reload,
        reload_at,
        run,
        gate,
        low_byte,
        reads_high,
        latched_count,
        latched_status,
    };
    let two_bytes = counter.access() == Access::LowThenHigh;
    require(counter.control.select() == 0 && counter.access() != Access::Latch, "control")?;
    require(two_bytes || (low_byte.is_none() && !reads_high), "low_byte")?;
    check_run(&counter, now)?;
    Ok(counter)
}

fn check_run(counter: &Counter, now: i64) -> Result<(), RestoreError> {
    let periodic = matches!(counter.mode(), 2 | 3);
    let possible = match counter.run {
        Run::Idle => true,
        Run::Armed => matches!(counter.mode(), 1 | 5) || (periodic && !counter.gate),
        Run::Counting(start) => {
            let stoppable = !matches!(counter.mode(), 1 | 5);
            start <= now.saturating_add(1) && start >= -0x1_0000 && (counter.gate || !stoppable)
        }
        Run::Stopped(elapsed) => {
            let end = if periodic { counter.ticks(counter.active) } else { now.saturating_add(1) };
            let stoppable = periodic || matches!(counter.mode(), 0 | 4);
            stoppable && !counter.gate && (0..end).contains(&elapsed)
        }
    };
    require(possible, "run")?;
    let counting = matches!(counter.run, Run::Counting(_));
    let loads_later = match counter.run {
        Run::Idle => false,
        Run::Stopped(_) => periodic,
        Run::Armed | Run::Counting(_) => true,
    };
    require(!counter.reload || loads_later, "reload")?;
    let timed = counter.reload && periodic && counting;
    require(counter.reload_at.is_some() == timed, "reload_at")?;
    let soon = now..=now.saturating_add(0x1_0001);
    let in_time = counter.reload_at.is_none_or(|at| at > now && soon.contains(&at));
    require(in_time, "reload_at")
}

fn require(holds: bool, field: &'static str) -> Result<(), RestoreError> {
    if holds { Ok(()) } else { Err(RestoreError::Field(field)) }
}
