//! Memory of the guest; on a confidential platform, each page is accepted before its first use.

use std::boxed::Box;
use std::collections::HashMap;
use std::sync::Mutex;
use std::vec;

use guest_memory::{Gpa, GuestMemory, MappedMemory, NotRam, PAGE_SIZE, RamMap, RamRange};
use platform_api::{
    Confidential, GuestRequestError, Level, PageStateError, Permissions, SharedPage,
};

use super::CONFIDENTIAL;

/// RAM of the fake guest: 2 MiB at zero.
pub(crate) const RAM: u64 = 2 << 20;

/// The guest's memory.
#[derive(Debug)]
pub(crate) struct FakeMemory {
    memory: MappedMemory,
    pub(crate) pages: Pages,
}

/// The state of the guest's pages: whether they are accepted, and the guest's permissions.
#[derive(Debug, Default)]
pub(crate) struct Pages(Mutex<HashMap<u64, Permissions>>);

impl FakeMemory {
    pub(crate) fn new() -> Self {
        let backing: &'static mut [u64] = Box::leak(vec![0u64; RAM as usize / 8].into());
        Self { memory: MappedMemory::of_words(backing), pages: Pages::default() }
    }

    pub(crate) fn ram(&self) -> &RamMap {
        self.memory.ram()
    }

    /// Accepts those pages of an access that are not yet.
    fn touch(&self, gpa: Gpa, length: u64) {
        if !CONFIDENTIAL {
            return;
        }
        let end = gpa.0.saturating_add(length).min(RAM);
        for page in (gpa.0 & !(PAGE_SIZE - 1)..end).step_by(PAGE_SIZE as usize) {
            if self.pages.0.lock().unwrap().contains_key(&page) {
                continue;
            }
            let range = self.memory.ram_range(Gpa(page), PAGE_SIZE).unwrap();
            assert_eq!(self.pages.accept(range), Ok(()));
        }
    }
}

impl GuestMemory for FakeMemory {
    fn read(&self, gpa: Gpa, to: &mut [u8]) -> Result<(), NotRam> {
        self.touch(gpa, to.len() as u64);
        self.memory.read(gpa, to)
    }
    fn write(&self, gpa: Gpa, from: &[u8]) -> Result<(), NotRam> {
        self.touch(gpa, from.len() as u64);
        self.memory.write(gpa, from)
    }
    fn zero(&self, gpa: Gpa, length: u64) -> Result<(), NotRam> {
        self.touch(gpa, length);
        self.memory.zero(gpa, length)
    }
    fn ram_range(&self, gpa: Gpa, length: u64) -> Result<RamRange, NotRam> {
        self.memory.ram_range(gpa, length)
    }
    fn compare_exchange(&self, gpa: Gpa, size: u8, current: u64, new: u64) -> Result<u64, NotRam> {
        self.touch(gpa, size.into());
        self.memory.compare_exchange(gpa, size, current, new)
    }
    fn word(&self, gpa: u64) -> Option<u64> {
        self.touch(Gpa(gpa), 8);
        self.memory.word(gpa)
    }
}

/// A page that the host reads and writes.
#[derive(Debug)]
pub(crate) struct Shared(pub(crate) [u8; PAGE_SIZE as usize]);

impl Default for Shared {
    fn default() -> Self {
        Self([0; PAGE_SIZE as usize])
    }
}

impl SharedPage for Shared {
    fn read(&self, offset: usize, to: &mut [u8]) {
        for (to, from) in to.iter_mut().zip(self.0.iter().skip(offset)) {
            *to = *from;
        }
    }
    fn write(&mut self, offset: usize, from: &[u8]) {
        for (to, from) in self.0.iter_mut().skip(offset).zip(from) {
            *to = *from;
        }
    }
    fn host_address(&self) -> u64 {
        self.0.as_ptr() as u64
    }
}

/// A firmware that copies the data of a report, and derives keys by repetition.
impl Confidential for Pages {
    type SharedPage = Shared;

    fn accept(&self, range: RamRange) -> Result<(), PageStateError> {
        let mut pages = self.0.lock().unwrap();
        let start = range.start().0;
        for page in (start..start + range.length()).step_by(PAGE_SIZE as usize) {
            if pages.insert(page, Permissions::ALL).is_some() {
                return Err(PageStateError::NoChange);
            }
        }
        Ok(())
    }
    fn shared_page(&self) -> Option<Shared> {
        Some(Shared::default())
    }
    fn set_permissions(
        &self,
        level: Level,
        range: RamRange,
        permissions: Permissions,
    ) -> Result<(), PageStateError> {
        let mut pages = self.0.lock().unwrap();
        let page = pages.get_mut(&range.start().0).filter(|_| level > Level(0));
        *page.ok_or(PageStateError::Refused)? = permissions;
        Ok(())
    }
    fn report(&self, data: &[u8; 64], report: &mut [u8]) -> Result<usize, GuestRequestError> {
        report.get_mut(..64).ok_or(GuestRequestError::Refused)?.copy_from_slice(data);
        Ok(64)
    }
    fn derived_key(&self, context: u64) -> Result<[u8; 32], GuestRequestError> {
        Ok([context as u8; 32])
    }
}
