//! Guest RAM that the paravisor has mapped at its own physical address.

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::{Gpa, GpaRange, GuestMemory, NotRam, RamMap, RamRange};

/// Guest memory that is mapped, at a constant distance from its guest-physical address.
///
/// The distance is zero in the paravisor; tests map a vector.
#[derive(Debug)]
pub struct MappedMemory {
    ram: RamMap,
    /// Memory for the CPU that is not RAM in the map.
    window: GpaRange,
    /// The largest range, where nearly all accesses go: its start, its length.
    main: (u64, u64),
    /// Virtual address of guest-physical address zero.
    base: u64,
}

impl MappedMemory {
    /// Describes the RAM of `ram`, mapped so that guest-physical zero is at virtual `base`.
    ///
    /// # Safety
    /// For the life of the value each address of `ram`, plus `base`, must be mapped readable and
    /// writable, and no Rust reference may point into it: it belongs to the guest.
    ///
    /// # Panics
    /// If `base` is not aligned to 8 bytes.
    pub unsafe fn new(ram: RamMap, base: u64) -> Self {
        assert!(base.is_multiple_of(8), "guest memory is mapped at a misaligned address");
        let main = ram.ranges().iter().max_by_key(|range| range.length());
        let main = main.map_or((0, 0), |range| (range.start(), range.length()));
        Self { ram, window: GpaRange::default(), main, base }
    }

    /// Adds addresses that are memory for the guest, though no RAM in the map and out of devices'
    /// reach.
    ///
    /// # Safety
    /// As for [`MappedMemory::new`].
    pub unsafe fn with_window(self, window: GpaRange) -> Self {
        Self { window, ..self }
    }

    /// Guest RAM from guest-physical zero on, backed by `words`, which are never given back: for
    /// tests and tools. In an image it would make other memory accessible as the guest's.
    #[cfg(not(target_os = "none"))]
    pub fn of_words(words: &'static mut [u64]) -> Self {
        let mut ram = RamMap::new();
        let range = GpaRange::from_length(0, size_of_val(words) as u64);
        // An empty map takes any range.
        let _ = ram.add(range.unwrap_or_default());
        // SAFETY: the words are borrowed exclusively for `'static`, and only this value has them.
        unsafe { Self::new(ram, words.as_mut_ptr() as u64) }
    }

    /// The RAM that can be reached.
    pub const fn ram(&self) -> &RamMap {
        &self.ram
    }

    /// The pointer for an access of `length` bytes at `gpa`, if all of it is guest RAM.
    #[inline]
    fn pointer(&self, gpa: Gpa, length: u64) -> Result<*mut u8, NotRam> {
        let (start, main) = self.main;
        let offset = gpa.0.wrapping_sub(start);
        let inside = offset < main && length <= main - offset;
        if inside || self.is_elsewhere(gpa, length) {
            return Ok(self.base.wrapping_add(gpa.0) as *mut u8);
        }
        Err(NotRam { gpa, length })
    }

    /// Whether an access outside the main range is of another one.
    #[cold]
    #[inline(never)]
    fn is_elsewhere(&self, gpa: Gpa, length: u64) -> bool {
        let range = GpaRange::from_length(gpa.0, length);
        self.ram.contains(gpa.0, length) || range.is_some_and(|range| self.window.contains(&range))
    }
}

/// Words from which on a copy by one instruction is worth its start.
const BULK: usize = 16;

/// Bytes until the next 8-byte border, or until `left` is used up.
#[inline]
fn head_length(pointer: *mut u8, left: usize) -> usize {
    (pointer.align_offset(8)).min(left)
}

impl GuestMemory for MappedMemory {
    #[inline]
    fn word(&self, gpa: u64) -> Option<u64> {
        let pointer = self.pointer(Gpa(gpa & !7), 8).ok()?;
        // SAFETY: `pointer` checked that the word is guest RAM, which `new`'s caller keeps mapped;
        // it is aligned, as `new` has checked that `base` is. Atomics may be read while VPs write.
        Some(unsafe { AtomicU64::from_ptr(pointer.cast()) }.load(Ordering::Relaxed))
    }

    #[inline]
    fn read(&self, gpa: Gpa, to: &mut [u8]) -> Result<(), NotRam> {
        let from = self.pointer(gpa, to.len() as u64)?;
        // SAFETY: `pointer` checked that all of the source is guest RAM, which `new`'s caller
        // keeps mapped; atomics may be read while VPs write.
        unsafe { copy_out(from, to) };
        Ok(())
    }

    #[inline]
    fn write(&self, gpa: Gpa, from: &[u8]) -> Result<(), NotRam> {
        let to = self.pointer(gpa, from.len() as u64)?;
        // SAFETY: as for `read`; no Rust reference points into guest RAM.
        unsafe { copy_in(to, from) };
        Ok(())
    }

    fn ram_range(&self, gpa: Gpa, length: u64) -> Result<RamRange, NotRam> {
        if self.ram.contains(gpa.0, length) {
            return Ok(RamRange { start: gpa.0, length });
        }
        Err(NotRam { gpa, length })
    }

    fn zero(&self, gpa: Gpa, length: u64) -> Result<(), NotRam> {
        let to = self.pointer(gpa, length)?;
        // SAFETY: as for `write`. A concurrent VP sees old bytes or zeroes.
        unsafe { core::ptr::write_bytes(to, 0, length as usize) };
        Ok(())
    }

    fn compare_exchange(&self, gpa: Gpa, size: u8, current: u64, new: u64) -> Result<u64, NotRam> {
        let refused = NotRam { gpa, length: u64::from(size) };
        if !matches!(size, 1 | 2 | 4 | 8) || !gpa.0.is_multiple_of(u64::from(size)) {
            return Err(refused);
        }
        let to = self.pointer(gpa, u64::from(size))?;
        if !(to as usize).is_multiple_of(usize::from(size)) {
            return Err(refused);
        }
        // SAFETY: guest RAM, mapped and aligned to `size` as checked above.
        Ok(unsafe { exchange(to, size, current, new) })
    }
}

/// Exchanges the value of `size` bytes (1, 2, 4, 8) at `to` if it is `current`.
///
/// # Safety
/// `to` must be mapped, writable and aligned to `size`.
unsafe fn exchange(to: *mut u8, size: u8, current: u64, new: u64) -> u64 {
    const ORDER: Ordering = Ordering::SeqCst;
    macro_rules! exchange_as {
        ($atomic:ty, $int:ty) => {{
            // SAFETY: mapped and aligned, as this function's caller promises.
            let cell = unsafe { <$atomic>::from_ptr(to.cast()) };
            match cell.compare_exchange(current as $int, new as $int, ORDER, ORDER) {
                Ok(old) | Err(old) => u64::from(old),
            }
        }};
    }
    match size {
        1 => exchange_as!(AtomicU8, u8),
        2 => exchange_as!(AtomicU16, u16),
        4 => exchange_as!(AtomicU32, u32),
        _ => exchange_as!(AtomicU64, u64),
    }
}

/// Copies out of guest memory: 8 bytes at a time where the source is aligned.
///
/// # Safety
/// `from` must be mapped for `to.len()` bytes.
#[inline]
unsafe fn copy_out(from: *mut u8, to: &mut [u8]) {
    let mut from = from;
    if to.len() == 4 && from.align_offset(4) == 0 {
        // SAFETY: four mapped, aligned bytes.
        let value = unsafe { AtomicU32::from_ptr(from.cast()) }.load(Ordering::Relaxed);
        to.copy_from_slice(&value.to_le_bytes());
        return;
    }
    if to.len() == 2 && from.align_offset(2) == 0 {
        // SAFETY: two mapped, aligned bytes.
        let value = unsafe { AtomicU16::from_ptr(from.cast()) }.load(Ordering::Relaxed);
        to.copy_from_slice(&value.to_le_bytes());
        return;
    }
    let (head, rest) = to.split_at_mut(head_length(from, to.len()));
    let (words, tail) = rest.as_chunks_mut::<8>();
    for byte in head {
        // SAFETY: inside the source, as the caller promises.
        (*byte, from) = unsafe { (load_byte(from), from.add(1)) };
    }
    if words.len() < BULK {
        for word in words {
            // SAFETY: inside the source and aligned: `head` ended at an 8-byte border.
            let value = unsafe { AtomicU64::from_ptr(from.cast()) }.load(Ordering::Relaxed);
            *word = value.to_le_bytes();
            from = from.wrapping_add(8);
        }
    } else {
        // SAFETY: both sides have that many words; the source is inside guest memory.
        unsafe { copy_words(words.as_mut_ptr().cast(), from, words.len()) };
        from = from.wrapping_add(8 * words.len());
    }
    for byte in tail {
        // SAFETY: inside the source, as the caller promises.
        (*byte, from) = unsafe { (load_byte(from), from.add(1)) };
    }
}

/// Loads one byte that others may be writing.
///
/// # Safety
/// `from` must be mapped.
unsafe fn load_byte(from: *mut u8) -> u8 {
    // SAFETY: mapped, as the caller promises; bytes are always aligned.
    unsafe { AtomicU8::from_ptr(from) }.load(Ordering::Relaxed)
}

/// Copies into guest memory: 8 bytes at a time where the destination is aligned.
///
/// # Safety
/// `to` must be mapped for `from.len()` bytes, and no Rust reference may point there.
#[inline]
unsafe fn copy_in(to: *mut u8, from: &[u8]) {
    let mut to = to;
    if let Ok(value) = <[u8; 4]>::try_from(from)
        && to.align_offset(4) == 0
    {
        // SAFETY: four mapped, aligned bytes.
        let cell = unsafe { AtomicU32::from_ptr(to.cast()) };
        cell.store(u32::from_le_bytes(value), Ordering::Release);
        return;
    }
    if let Ok(value) = <[u8; 2]>::try_from(from)
        && to.align_offset(2) == 0
    {
        // SAFETY: two mapped, aligned bytes.
        let cell = unsafe { AtomicU16::from_ptr(to.cast()) };
        cell.store(u16::from_le_bytes(value), Ordering::Release);
        return;
    }
    let (head, rest) = from.split_at(head_length(to, from.len()));
    let (words, tail) = rest.as_chunks::<8>();
    for byte in head {
        // SAFETY: inside the destination, as the caller promises.
        to = unsafe { store_byte(to, *byte) };
    }
    if words.len() < BULK {
        for word in words {
            // SAFETY: inside the destination and aligned: `head` ended at an 8-byte border.
            let cell = unsafe { AtomicU64::from_ptr(to.cast()) };
            cell.store(u64::from_le_bytes(*word), Ordering::Release);
            to = to.wrapping_add(8);
        }
    } else {
        // SAFETY: both sides have that many words; the destination is inside guest memory.
        unsafe { copy_words(to, words.as_ptr().cast(), words.len()) };
        to = to.wrapping_add(8 * words.len());
    }
    for byte in tail {
        // SAFETY: inside the destination, as the caller promises.
        to = unsafe { store_byte(to, *byte) };
    }
}

/// Copies `count` words of 8 bytes, of which VPs may be changing one side: by one instruction, which
/// the CPU's memory model allows to race, unlike a copy in Rust.
///
/// # Safety
/// `from` must be mapped for that many words, `to` mapped and writable; they must not overlap.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
unsafe fn copy_words(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: mapped, as the caller promises; the direction flag is clear in all of Rust's code.
    unsafe {
        core::arch::asm!("rep movsq", inout("rdi") to => _, inout("rsi") from => _,
            inout("rcx") count => _, options(nostack, preserves_flags));
    }
}

/// Copies `count` words of 8 bytes, of which VPs may be changing one side.
///
/// # Safety
/// `from` must be mapped for that many words, `to` mapped and writable; they must not overlap.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
unsafe fn copy_words(to: *mut u8, from: *const u8, count: usize) {
    for offset in 0..8 * count {
        // SAFETY: mapped, as the caller promises; bytes are always aligned.
        unsafe {
            store_byte(to.wrapping_add(offset), load_byte(from.wrapping_add(offset).cast_mut()))
        };
    }
}

/// Stores one byte; returns the address after it.
///
/// # Safety
/// `to` must be mapped and writable.
unsafe fn store_byte(to: *mut u8, byte: u8) -> *mut u8 {
    // SAFETY: mapped, as the caller promises; bytes are always aligned.
    unsafe { AtomicU8::from_ptr(to) }.store(byte, Ordering::Release);
    to.wrapping_add(1)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use super::*;

    /// 4 KiB of guest RAM at guest-physical 0x1000, in a vector of words.
    fn guest(backing: &mut Vec<u64>) -> MappedMemory {
        let mut ram = RamMap::new();
        ram.add(GpaRange::from_length(0x1000, 4096).unwrap()).unwrap();
        let base = (backing.as_mut_ptr() as u64).wrapping_sub(0x1000);
        // SAFETY: the vector has 4 KiB, lives longer than the value, and is not touched meanwhile.
        unsafe { MappedMemory::new(ram, base) }
    }

    #[test]
    fn writes_at_any_alignment_read_back() {
        let mut backing = vec![0u64; 512];
        let memory = guest(&mut backing);
        for offset in 0..16u64 {
            for length in (0..40usize).chain(120..180) {
                let data: Vec<u8> = (0..length).map(|i| (i * 7 + offset as usize) as u8).collect();
                memory.write(Gpa(0x1000 + offset), &data).unwrap();
                let mut back = vec![0; length];
                memory.read(Gpa(0x1000 + offset), &mut back).unwrap();
                assert_eq!(back, data, "offset {offset} length {length}");
            }
        }
    }

    #[test]
    fn nothing_outside_the_ram_is_touched() {
        let mut backing = vec![0u64; 512];
        let memory = guest(&mut backing);
        for (gpa, length) in [(0xfff, 1), (0xfff, 2), (0x1fff, 2), (0x2000, 1), (u64::MAX, 4)] {
            let refused = Err(NotRam { gpa: Gpa(gpa), length });
            assert_eq!(memory.read(Gpa(gpa), &mut vec![0; length as usize]), refused);
            assert_eq!(memory.write(Gpa(gpa), &vec![0; length as usize]), refused);
            assert_eq!(memory.zero(Gpa(gpa), length), refused);
        }
    }

    #[test]
    fn an_exchange_needs_the_current_value_and_alignment() {
        let mut backing = vec![0x1122_3344_5566_7788u64; 512];
        let memory = guest(&mut backing);
        assert_eq!(memory.compare_exchange(Gpa(0x1000), 4, 1, 2), Ok(0x5566_7788));
        assert_eq!(memory.compare_exchange(Gpa(0x1000), 4, 0x5566_7788, 2), Ok(0x5566_7788));
        assert_eq!(memory.read_u64(Gpa(0x1000)), Ok(0x1122_3344_0000_0002));
        assert!(memory.compare_exchange(Gpa(0x1001), 4, 0, 0).is_err());
        assert!(memory.compare_exchange(Gpa(0x1000), 3, 0, 0).is_err());
    }

    #[test]
    fn a_window_is_memory_and_no_ram_for_devices() {
        let mut backing = vec![0u64; 1024];
        let window = GpaRange::from_length(0x2000, 4096).unwrap();
        // SAFETY: the vector has 4 KiB more, and is not touched meanwhile.
        let memory = unsafe { guest(&mut backing).with_window(window) };
        memory.write(Gpa(0x2ffc), &[1, 2, 3, 4]).unwrap();
        assert_eq!(memory.word(0x2ff8), Some(0x0403_0201_0000_0000));
        let range = memory.ram_range(Gpa(0x1008), 0xff8).unwrap();
        let part = range.part(0xff0, 8).unwrap();
        assert_eq!((part.start(), part.length()), (Gpa(0x1ff8), 8));
        assert_eq!((range.part(0xff0, 9), range.part(u64::MAX, 2)), (None, None));
        assert_eq!((range.start(), range.length()), (Gpa(0x1008), 0xff8));
        for (gpa, length) in [(0x2000, 1), (0x1fff, 2), (0xfff, 2), (u64::MAX, 2), (0x1000, 0x2000)]
        {
            assert_eq!(memory.ram_range(Gpa(gpa), length), Err(NotRam { gpa: Gpa(gpa), length }));
        }
    }

    #[test]
    fn zeroing_stops_at_the_end_of_its_range() {
        let mut backing = vec![u64::MAX; 512];
        let memory = guest(&mut backing);
        memory.zero(Gpa(0x1003), 18).unwrap();
        let mut bytes = [0; 32];
        memory.read(Gpa(0x1000), &mut bytes).unwrap();
        let zero: Vec<usize> = (0..32).filter(|at| bytes[*at] == 0).collect();
        assert_eq!(zero, (3..21).collect::<Vec<_>>());
        memory.zero(Gpa(0x1ff8), 9).unwrap_err();
        assert_eq!(memory.word(0x1000), Some(0x00ff_ffff), "the word that holds the address");
        assert_eq!(memory.word(0x1007), memory.word(0x1000));
        assert_eq!((memory.word(0xfff), memory.word(0x2000)), (None, None));
    }

    #[test]
    fn an_exchange_of_any_size_leaves_its_neighbours_alone() {
        for size in [1_u8, 2, 4, 8] {
            let mut backing = vec![0u64; 512];
            let memory = guest(&mut backing);
            let mask = u64::MAX >> (64 - 8 * u32::from(size));
            let at = Gpa(0x1010);
            assert_eq!(memory.compare_exchange(at, size, 0, u64::MAX), Ok(0));
            assert_eq!(memory.read_u64(at), Ok(mask), "size {size}");
            assert_eq!(memory.compare_exchange(at, size, mask, 5), Ok(mask));
            assert_eq!(memory.read_u64(Gpa(0x1008)), Ok(0));
            assert_eq!(memory.read_u64(Gpa(0x1018)), Ok(0));
            memory.write_u64(at, 0).unwrap();
            assert_eq!(memory.compare_exchange(at, size, 1, 2), Ok(0), "another value: no write");
            assert_eq!(memory.read_u64(at), Ok(0));
        }
    }

    #[test]
    fn memory_of_words_starts_at_zero_and_ends_with_them() {
        let memory = MappedMemory::of_words(std::boxed::Box::leak(vec![0u64; 8].into()));
        assert_eq!(memory.ram().total(), 64);
        memory.write(Gpa(60), &[1, 2, 3, 4]).unwrap();
        let refused = memory.write(Gpa(61), &[1, 2, 3, 4]).unwrap_err();
        assert_eq!(std::format!("{refused}"), "4 bytes at 0x3d are not guest RAM");
    }
}
