//! Which of the guest's memory has been accepted.
//!
//! Memory is accepted in chunks of 2 MiB: when it is first touched, and ahead of that while a CPU
//! idles. So the start of a VM does not depend on its amount. Each chunk is accepted once, by the
//! CPU that claims it; others that need it meanwhile wait. What is not guest RAM lies in no chunk.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use guest_memory::{Gpa, GpaRange, GuestMemory, MappedMemory, NotRam, RamMap, RamRange};
use kernel::service::masked;

/// The size of a chunk: that of a large page.
pub(crate) const CHUNK: u64 = 2 << 20;

/// Nobody has touched it.
const UNTOUCHED: u8 = 0;
/// A CPU is accepting it.
const CLAIMED: u8 = 1;
/// It is the guest's.
pub(crate) const ACCEPTED: u8 = 2;

/// What becomes of an access to a page that the CPU does not let the guest use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    /// It was accepted by this call, or while this call waited.
    Accepted,
    /// It had been accepted before.
    Before,
    /// No RAM lies there.
    NotRam,
}

/// Accepts the pages of a range, and gives them to the guest. Ends the VM if that fails.
pub(crate) trait Accept {
    /// As above. No page of the range has been accepted before.
    fn accept(&self, range: GpaRange);
}

/// The state of each chunk.
#[derive(Debug)]
pub(crate) struct Acceptance<A> {
    ram: RamMap,
    /// Memory of the guest's that is not in the map.
    window: GpaRange,
    /// A byte for each chunk of addresses, from zero to the end of the RAM.
    chunks: &'static [AtomicU8],
    /// The chunk that is looked at next for acceptance ahead of the first touch.
    ahead: AtomicU32,
    by: A,
}

impl<A: Accept> Acceptance<A> {
    /// How many chunks `ram` has.
    pub(crate) fn chunks(ram: &RamMap) -> u64 {
        ram.ranges().iter().map(|range| range.end().div_ceil(CHUNK)).max().unwrap_or(0)
    }

    /// Nothing of `ram` and `window` has been accepted. `chunks` has a zero for each chunk.
    pub(crate) const fn new(
        ram: RamMap,
        window: GpaRange,
        chunks: &'static [AtomicU8],
        by: A,
    ) -> Self {
        Self { ram, window, chunks, ahead: AtomicU32::new(0), by }
    }

    /// The memory at `gpa`, which is about to be used, or could not be.
    pub(crate) fn touch(&self, gpa: u64) -> Touch {
        if !self.ram.contains(gpa, 1) && !(self.window.start()..self.window.end()).contains(&gpa) {
            return Touch::NotRam;
        }
        let Some(state) = self.chunks.get((gpa / CHUNK) as usize) else { return Touch::NotRam };
        self.claim(gpa / CHUNK, state)
    }

    /// Accepts all memory of the `length` bytes at `gpa`.
    #[inline]
    pub(crate) fn touch_all(&self, gpa: Gpa, length: u64) {
        let end = gpa.0.saturating_add(length.max(1)).div_ceil(CHUNK);
        let first = gpa.0 / CHUNK;
        let chunks = self.chunks.iter().zip(0..).take(end as usize).skip(first as usize);
        for (state, chunk) in chunks {
            if state.load(Ordering::Acquire) != ACCEPTED {
                self.claim(chunk, state);
            }
        }
    }

    /// Accepts one chunk that nobody has touched. Answers whether there was one.
    pub(crate) fn accept_ahead(&self) -> bool {
        let next = self.ahead.load(Ordering::Relaxed);
        let left = self.chunks.iter().zip(0_u64..).skip(next as usize);
        for (state, chunk) in left {
            self.ahead.store(chunk as u32 + 1, Ordering::Relaxed);
            if state.load(Ordering::Acquire) == UNTOUCHED
                && self.claim(chunk, state) == Touch::Accepted
            {
                return true;
            }
        }
        false
    }

    #[cold]
    fn claim(&self, chunk: u64, state: &AtomicU8) -> Touch {
        // The service is not put aside with a claim, which this CPU's VP might then wait for.
        let claimed = masked(|| {
            state.compare_exchange(UNTOUCHED, CLAIMED, Ordering::AcqRel, Ordering::Acquire)?;
            self.accept(chunk);
            state.store(ACCEPTED, Ordering::Release);
            Ok(())
        });
        match claimed {
            Ok(()) => Touch::Accepted,
            Err(ACCEPTED) => Touch::Before,
            Err(_) => {
                while state.load(Ordering::Acquire) != ACCEPTED {
                    core::hint::spin_loop();
                }
                Touch::Accepted
            }
        }
    }

    /// Accepts the memory in `chunk`.
    fn accept(&self, chunk: u64) {
        let (start, end) = (chunk * CHUNK, (chunk + 1) * CHUNK);
        for range in self.ram.ranges().iter().chain([&self.window]) {
            let part = GpaRange::new(range.start().max(start), range.end().min(end));
            if let Some(part) = part.filter(|part| !part.is_empty()) {
                self.by.accept(part);
            }
        }
    }
}

/// The guest's memory, which is accepted before it is used.
#[derive(Debug)]
pub struct SnpMemory {
    memory: MappedMemory,
    acceptance: &'static Acceptance<crate::accept::GiveToGuest>,
}

impl SnpMemory {
    pub(crate) const fn new(
        memory: MappedMemory,
        acceptance: &'static Acceptance<crate::accept::GiveToGuest>,
    ) -> Self {
        Self { memory, acceptance }
    }
}

impl GuestMemory for SnpMemory {
    #[inline]
    fn read(&self, gpa: Gpa, to: &mut [u8]) -> Result<(), NotRam> {
        self.acceptance.touch_all(gpa, to.len() as u64);
        self.memory.read(gpa, to)
    }

    #[inline]
    fn write(&self, gpa: Gpa, from: &[u8]) -> Result<(), NotRam> {
        self.acceptance.touch_all(gpa, from.len() as u64);
        self.memory.write(gpa, from)
    }

    fn zero(&self, gpa: Gpa, length: u64) -> Result<(), NotRam> {
        self.acceptance.touch_all(gpa, length);
        self.memory.zero(gpa, length)
    }

    fn ram_range(&self, gpa: Gpa, length: u64) -> Result<RamRange, NotRam> {
        self.memory.ram_range(gpa, length)
    }

    fn compare_exchange(&self, gpa: Gpa, size: u8, current: u64, new: u64) -> Result<u64, NotRam> {
        self.acceptance.touch_all(gpa, size.into());
        self.memory.compare_exchange(gpa, size, current, new)
    }

    #[inline]
    fn word(&self, gpa: u64) -> Option<u64> {
        self.acceptance.touch_all(Gpa(gpa), 1);
        self.memory.word(gpa)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::boxed::Box;
    use std::sync::Mutex;
    use std::vec::Vec;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Notes what was accepted.
    #[derive(Debug, Default)]
    struct Notes(Mutex<Vec<(u64, u64)>>);

    impl Accept for Notes {
        fn accept(&self, range: GpaRange) {
            self.0.lock().unwrap().push((range.start(), range.end()));
        }
    }

    /// 640 KiB, a window below 1 MiB, then RAM with a hole of ours up to 9 MiB and a bit.
    fn acceptance() -> Acceptance<Notes> {
        let mut ram = RamMap::new();
        for (start, end) in [(0, 0xa_0000), (MIB, 4 * MIB), (7 * MIB, 9 * MIB + 0x1000)] {
            ram.add(GpaRange::new(start, end).unwrap()).unwrap();
        }
        let chunks = Acceptance::<Notes>::chunks(&ram);
        assert_eq!(chunks, 5);
        let states: Vec<_> = (0..chunks).map(|_| AtomicU8::new(UNTOUCHED)).collect();
        let window = GpaRange::new(0xc_0000, 0x10_0000).unwrap();
        Acceptance::new(ram, window, Box::leak(states.into_boxed_slice()), Notes::default())
    }

    fn taken(acceptance: &Acceptance<Notes>) -> Vec<(u64, u64)> {
        core::mem::take(&mut acceptance.by.0.lock().unwrap())
    }

    #[test]
    fn a_touch_accepts_all_memory_of_its_chunk_once() {
        let acceptance = acceptance();
        assert_eq!(acceptance.touch(0x5000), Touch::Accepted);
        let low = [(0, 0xa_0000), (MIB, 2 * MIB), (0xc_0000, 0x10_0000)];
        assert_eq!(taken(&acceptance), low);
        for gpa in [0, 0x9_ffff, 0xc_0000, 0xf_ffff, MIB, 2 * MIB - 1] {
            assert_eq!(acceptance.touch(gpa), Touch::Before, "{gpa:#x}");
        }
        assert_eq!(acceptance.touch(9 * MIB), Touch::Accepted);
        assert_eq!(taken(&acceptance), [(8 * MIB, 9 * MIB + 0x1000)]);
    }

    #[test]
    fn what_is_no_memory_is_never_accepted() {
        let acceptance = acceptance();
        for gpa in [0xa_0000, 0xb_ffff, 4 * MIB, 7 * MIB - 1, 9 * MIB + 0x1000, 64 * MIB, u64::MAX]
        {
            assert_eq!(acceptance.touch(gpa), Touch::NotRam, "{gpa:#x}");
        }
        assert_eq!(taken(&acceptance), []);
    }

    #[test]
    fn an_access_of_the_paravisor_accepts_every_chunk_that_it_meets() {
        let acceptance = acceptance();
        acceptance.touch_all(Gpa(2 * MIB - 1), 1);
        assert_eq!(taken(&acceptance).len(), 3);
        acceptance.touch_all(Gpa(2 * MIB - 1), 2);
        assert_eq!(taken(&acceptance), [(2 * MIB, 4 * MIB)]);
        acceptance.touch_all(Gpa(0), 10 * MIB);
        assert_eq!(taken(&acceptance), [(7 * MIB, 8 * MIB), (8 * MIB, 9 * MIB + 0x1000)]);
        acceptance.touch_all(Gpa(u64::MAX), 8);
        acceptance.touch_all(Gpa(u64::MAX - 8), u64::MAX);
        assert_eq!(taken(&acceptance), []);
    }

    #[test]
    fn what_is_left_is_accepted_ahead_of_its_first_touch() {
        let acceptance = acceptance();
        acceptance.touch(2 * MIB);
        taken(&acceptance);
        let mut chunks = 0;
        while acceptance.accept_ahead() {
            chunks += 1;
        }
        // Chunk 2 has no memory, which takes a turn, and is none.
        assert_eq!(chunks, 4);
        let all = [0xa_0000 + 0x4_0000 + MIB, MIB, MIB + 0x1000];
        let sum: u64 = taken(&acceptance).iter().map(|(start, end)| end - start).sum();
        assert_eq!(sum, all.iter().sum());
        assert!(!acceptance.accept_ahead());
        assert_eq!(acceptance.touch(8 * MIB), Touch::Before);
    }

    #[test]
    fn several_cpus_accept_each_chunk_once() {
        let acceptance = acceptance();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    acceptance.touch_all(Gpa(0), 10 * MIB);
                    while acceptance.accept_ahead() {}
                });
            }
        });
        assert_eq!(taken(&acceptance).len(), 6);
    }
}
