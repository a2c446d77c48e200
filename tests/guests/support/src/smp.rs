//! The other processors.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::apic::{Apic, icr};
use crate::processor::{MAX_PROCESSORS, processor, stack_top, start};
use crate::{cpu, time};

/// How long a processor may take to start, in milliseconds.
const PATIENCE: u64 = 2_000;

unsafe extern "C" {
    static mut ap_stack: u64;
    static mut ap_processor: u64;
    static mut ap_entry: u64;
    fn ap_start();
}

static WORK: AtomicU64 = AtomicU64::new(0);
static STARTED: AtomicU32 = AtomicU32::new(0);
static FINISHED: [AtomicU32; MAX_PROCESSORS] = [const { AtomicU32::new(0) }; MAX_PROCESSORS];

/// How many processors there are, by CPUID.
pub fn count() -> usize {
    // Bits 23:16 of EBX count the processors of the package; the leaf is one of all CPUs.
    let [_, ebx, _, edx] = cpu::cpuid(1, 0);
    let many = edx & 1 << 28 != 0;
    if many { ((ebx >> 16 & 0xff) as usize).clamp(1, MAX_PROCESSORS) } else { 1 }
}

/// SIPI's vector for the processors' start.
pub fn startup_vector() -> u32 {
    (ap_start as *const () as u64 >> 12) as u32
}

/// Starts processor `index` by INIT and SIPI, to run `work` and then stop. False if it does not
/// come.
pub fn start_processor(apic: Apic, index: usize, work: fn()) -> bool {
    aim(index, work);
    let target = index as u32;
    apic.send(target, icr::INIT | icr::ASSERT);
    time::wait_micros(200);
    apic.send(target, icr::STARTUP | startup_vector());
    // A second one, as the specification of old asks; it is ignored once the processor runs.
    if !time::wait_until(PATIENCE / 2, || STARTED.load(Ordering::Acquire) == 1) {
        apic.send(target, icr::STARTUP | startup_vector());
    }
    time::wait_until(PATIENCE, || STARTED.load(Ordering::Acquire) == 1)
}

/// Sets the work of processor `index` once it gets SIPI.
pub fn aim(index: usize, work: fn()) {
    STARTED.store(0, Ordering::Release);
    FINISHED[index].store(0, Ordering::Release);
    WORK.store(work as *const () as u64, Ordering::Release);
    // SAFETY: the low part is in place, and no processor is on its way through it.
    unsafe {
        (&raw mut ap_stack).write_volatile(stack_top(index, 0));
        (&raw mut ap_processor).write_volatile(index as u64);
        (&raw mut ap_entry).write_volatile(processor_main as *const () as u64);
    }
}

/// Whether the processor that was aimed last has started.
pub fn has_started() -> bool {
    STARTED.load(Ordering::Acquire) == 1
}

/// Whether processor `index` has finished its work.
pub fn has_finished(index: usize) -> bool {
    FINISHED[index].load(Ordering::Acquire) == 1
}

/// Starts a processor and waits until it has done `work`.
pub fn run(apic: Apic, index: usize, work: fn()) -> bool {
    start_processor(apic, index, work) && time::wait_until(10_000, || has_finished(index))
}

extern "C" fn processor_main(index: u64) -> ! {
    start(index as usize);
    let work = WORK.load(Ordering::Acquire);
    STARTED.store(1, Ordering::Release);
    // SAFETY: `aim` wrote the address of such a function.
    let work: fn() = unsafe { core::mem::transmute(work) };
    work();
    FINISHED[processor().index as usize].store(1, Ordering::Release);
    cpu::stop()
}
