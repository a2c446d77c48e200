//! Records which VP received which vectors, in which order.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use guest::{Apic, Frame, MAX_PROCESSORS, cpu, processor, set_handler, time};

/// How many milliseconds of its own time a VP waits for an expected interrupt.
pub const PATIENCE: u64 = 10_000;

const LOG: usize = 16;
const NONE: u64 = 0;

static COUNTS: [[AtomicU32; 256]; MAX_PROCESSORS] =
    [const { [const { AtomicU32::new(0) }; 256] }; MAX_PROCESSORS];
static ORDER: [AtomicUsize; LOG] = [const { AtomicUsize::new(0) }; LOG];
static NEXT: AtomicUsize = AtomicUsize::new(0);
static X2APIC: AtomicBool = AtomicBool::new(false);
/// An extra action of each handler: a `fn(u8)`.
static HOOK: AtomicU64 = AtomicU64::new(NONE);

/// Takes all vectors that are no exceptions, and NMIs.
pub fn install() {
    for vector in 0x20..=0xff {
        set_handler(vector, Some(record));
    }
    set_handler(2, Some(record_nmi));
}

/// Says how an interrupt is ended.
pub fn set_apic(apic: Apic) {
    X2APIC.store(apic == Apic::Msr, Ordering::Release);
}

/// The APICs' mode.
pub fn apic() -> Apic {
    if X2APIC.load(Ordering::Acquire) { Apic::Msr } else { Apic::Page }
}

/// Has `hook` called in the handlers, before the interrupt is ended, on VP 0.
pub fn set_hook(hook: Option<fn(u8)>) {
    HOOK.store(hook.map_or(NONE, |hook| hook as *const () as u64), Ordering::Release);
}

fn record(frame: &mut Frame) {
    let vector = frame.vector as u8;
    note(vector);
    // The 8259 pair's vectors and the spurious one have nothing in service at the local APIC.
    if !(0x20..0x30).contains(&vector) && vector != 0xff {
        apic().end();
    }
}

fn record_nmi(_: &mut Frame) {
    note(2);
}

fn note(vector: u8) {
    let index = processor().index as usize;
    COUNTS[index][usize::from(vector)].fetch_add(1, Ordering::AcqRel);
    if index != 0 {
        return;
    }
    let place = NEXT.fetch_add(1, Ordering::AcqRel);
    if let Some(slot) = ORDER.get(place) {
        slot.store(vector.into(), Ordering::Release);
    }
    let hook = HOOK.load(Ordering::Acquire);
    if hook != NONE {
        // SAFETY: only `set_hook` writes it, with the address of such a function.
        let hook: fn(u8) = unsafe { core::mem::transmute(hook) };
        hook(vector);
    }
}

/// Forgets everything.
pub fn clear() {
    COUNTS.iter().flatten().for_each(|count| count.store(0, Ordering::Release));
    NEXT.store(0, Ordering::Release);
    ORDER.iter().for_each(|slot| slot.store(0, Ordering::Release));
}

/// How often `vector` came to VP `index`.
pub fn count(index: usize, vector: u8) -> u32 {
    COUNTS[index][usize::from(vector)].load(Ordering::Acquire)
}

/// The first vectors that came to VP 0.
pub fn order() -> [u8; 4] {
    [0, 1, 2, 3].map(|index| ORDER[index].load(Ordering::Acquire) as u8)
}

/// Waits with interrupts open until `vector` has come to VP 0 `times` times.
pub fn wait_for(vector: u8, times: u32) -> bool {
    cpu::enable_interrupts();
    let done = time::wait_until(PATIENCE, || count(0, vector) >= times);
    cpu::disable_interrupts();
    done
}
