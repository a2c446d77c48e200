//! A timer's regularity while keys are made.
//!
//! Under `-icount shift=0,sleep=off` (`counted` on the command line) the TSC counts instructions, so
//! the longest gap is the same in each run; elsewhere the gaps are the machine's, and only printed.

use core::sync::atomic::{AtomicU64, Ordering};

use guest::tpm::{self, create_primary};
use guest::{Apic, Failure, Frame, Report, cpu, ensure, machine, println, set_handler};

const VECTOR: u8 = 0x61;
/// Timer ticks of a period; the timer has 1 GHz.
const PERIOD: u32 = 2_000_000;
/// Periods without a command, for comparison.
const QUIET: u64 = 50;
/// How much longer a gap may be than without a command, in instructions: the exits that bring the
/// service in and out.
const MOST: u64 = 100_000;

static LAST: AtomicU64 = AtomicU64::new(0);
static LONGEST: AtomicU64 = AtomicU64::new(0);
static TICKS: AtomicU64 = AtomicU64::new(0);

pub fn cases(report: &mut Report) {
    report.case("timer-while-a-key-is-made", regular);
}

fn tick(_: &mut Frame) {
    let now = cpu::rdtsc();
    let last = LAST.swap(now, Ordering::Relaxed);
    if last != 0 {
        LONGEST.fetch_max(now - last, Ordering::Relaxed);
    }
    TICKS.fetch_add(1, Ordering::Relaxed);
    Apic::current().end();
}

/// The longest gap between two ticks while `goes_on`.
fn longest_gap(goes_on: impl Fn() -> bool) -> u64 {
    LAST.store(0, Ordering::Relaxed);
    LONGEST.store(0, Ordering::Relaxed);
    TICKS.store(0, Ordering::Relaxed);
    cpu::enable_interrupts();
    while goes_on() {
        core::hint::spin_loop();
    }
    cpu::disable_interrupts();
    LONGEST.load(Ordering::Relaxed)
}

fn regular() -> Result<(), Failure> {
    set_handler(VECTOR, Some(tick));
    let apic = Apic::Page.switch_on();
    apic.write(Apic::DIVIDE, 0b1011);
    apic.write(Apic::TIMER, Apic::PERIODIC | u32::from(VECTOR));
    apic.write(Apic::INITIAL, PERIOD);
    let quiet = longest_gap(|| TICKS.load(Ordering::Relaxed) < QUIET);
    tpm::put(&create_primary(9));
    tpm::start();
    // The guest keeps its CPU busy, so that the service has to take its turns.
    let busy = longest_gap(|| {
        for _ in 0..100_000 {
            core::hint::spin_loop();
        }
        tpm::is_running()
    });
    let ticks = TICKS.load(Ordering::Relaxed);
    apic.write(Apic::INITIAL, 0);
    println!("count tpm.timer.longest-gap {quiet} without, {busy} while a key is made");
    ensure!(tpm::response().code() == 0, "no key: {:#x}", tpm::response().code());
    ensure!(ticks > 10, "the key was there after {ticks} ticks");
    if machine::option("counted").is_some() {
        ensure!(busy <= quiet + MOST, "a gap of {busy}, {quiet} without a command");
    }
    ensure!(tpm::run(&tpm::FLUSH).code() == 0, "the key can not be flushed");
    Ok(())
}
