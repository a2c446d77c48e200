//! Fakes of the host's surroundings for tests: they note down each call.

extern crate std;

use std::boxed::Box;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::vec::Vec;

use device_model::HostTsc;
use drydock_rmp::{GuestPage, HostError, Size, SystemPage};
use guest_memory::RamRange;
use platform_api::{Console, Cpus, Event, Files, HostFile, Received, Time, Transfer};
use snp::status::Status;

use crate::{Outside, PageState, Vcpu};

/// Pages of the guest's RAM. Those that are not shared are private.
pub const PAGES: u32 = 2048;
/// The number of the system page behind guest page 0.
pub const SYSTEM: u32 = 5000;
const PAGE: u64 = 0x1000;

/// The emulating machine's own host.
#[derive(Debug, Default)]
pub struct FakeHost {
    /// The time, which goes on only when a CPU idles or a test says so.
    pub tsc: AtomicU64,
    /// When the timer fires.
    pub timer: Mutex<Option<HostTsc>>,
    /// The CPUs that were kicked, in order.
    pub kicks: Mutex<Vec<u32>>,
    /// What was written to the serial ports.
    pub sent: Mutex<Vec<u8>>,
    /// Lines for an observer.
    pub reports: Mutex<Vec<std::string::String>>,
    /// What will be read from the first serial port.
    pub typed: Mutex<VecDeque<u8>>,
    /// An NMI waits.
    pub nmi: AtomicBool,
    /// How often a CPU has idled.
    pub idled: AtomicU64,
}

impl Time for FakeHost {
    fn tsc(&self) -> HostTsc {
        HostTsc(self.tsc.load(Ordering::Relaxed))
    }
    fn tsc_frequency(&self) -> u64 {
        1_000_000_000
    }
    fn set_timer(&self, deadline: Option<HostTsc>) {
        *self.timer.lock().unwrap() = deadline;
    }
    fn wall_clock(&self) -> u64 {
        0
    }
}

impl Cpus for FakeHost {
    fn cpuid(&self, leaf: u32, _: u32) -> [u32; 4] {
        if leaf == 0x8000_0008 { [0x3028, 0, 0, 0] } else { [u32::MAX; 4] }
    }
    fn kick(&self, index: u32) {
        self.kicks.lock().unwrap().push(index);
    }
    /// Time passes until the timer fires.
    fn idle(&self) {
        self.idled.fetch_add(1, Ordering::Relaxed);
        let timer = self.timer.lock().unwrap().take();
        self.tsc.fetch_max(timer.unwrap_or_default().0, Ordering::Relaxed);
    }
    fn take_nmi(&self) -> bool {
        self.nmi.swap(false, Ordering::Relaxed)
    }
}

impl Console for FakeHost {
    fn device_event(&self) -> bool {
        true
    }
    fn serial_read(&self, channel: usize) -> Option<Received> {
        let byte = if channel == 0 { self.typed.lock().unwrap().pop_front() } else { None };
        byte.map(Received::Byte)
    }
    fn serial_ready(&self, _: usize) -> bool {
        true
    }
    fn serial_write(&self, _: usize, byte: u8) {
        self.sent.lock().unwrap().push(byte);
    }
    fn power_button(&self) -> bool {
        false
    }
    fn report(&self, line: core::fmt::Arguments<'_>) {
        self.reports.lock().unwrap().push(std::format!("{line}"));
    }
}

/// Each byte of a host's file is the lower half of its offset.
impl Files for FakeHost {
    fn file(&self, _: &str) -> Option<HostFile> {
        None
    }
    fn uuid(&self) -> Option<[u8; 16]> {
        None
    }
    fn read_file(&self, file: HostFile, offset: u32, to: &mut [u8]) -> Result<(), Transfer> {
        let end = u64::from(offset) + to.len() as u64;
        if end > file.length.into() {
            return Err(Transfer::PastEnd);
        }
        (offset..).zip(to).for_each(|(offset, byte)| *byte = offset as u8);
        Ok(())
    }
    fn load_file(&self, _: HostFile, _: u32, _: RamRange) -> Option<Result<(), Transfer>> {
        None
    }
}

/// A change of a page that the host has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A page, by its number, gets a state.
    To(PageState, u64, Size),
    /// The entry of a page of 2 MiB, by its number, is split.
    Split(u64),
}

/// The outside.
#[derive(Debug, Default)]
pub struct Fake {
    /// The emulating machine's own host.
    pub host: FakeHost,
    /// The pages that the guest shares, by number.
    shared: Mutex<BTreeMap<u64, Box<[u8; PAGE as usize]>>>,
    /// The address and length of each read that succeeded.
    pub reads: Mutex<Vec<(u64, usize)>>,
    /// The address and length of each write that was refused.
    pub refused: Mutex<Vec<(u64, usize)>>,
    /// A byte is another one once it was read.
    pub is_fickle: AtomicBool,
    /// A page that is private again once it was read.
    lost: AtomicU64,
    /// The changes of pages, in order.
    pub changes: Mutex<Vec<Change>>,
    /// A page that can not be changed.
    pub stubborn: Mutex<Option<u64>>,
}

impl Fake {
    /// Shares a page full of zeros.
    pub fn share(&self, gpa: u64) {
        self.shared.lock().unwrap().insert(gpa / PAGE, Box::new([0; PAGE as usize]));
    }

    /// Makes a page private.
    pub fn take_back(&self, gpa: u64) {
        self.shared.lock().unwrap().remove(&(gpa / PAGE));
    }

    /// Whether a page is shared.
    pub fn is_shared(&self, gpa: u64) -> bool {
        self.shared.lock().unwrap().contains_key(&(gpa / PAGE))
    }

    /// Makes a page private after its last byte was read.
    pub fn lose_after_read(&self, gpa: u64) {
        self.lost.store(gpa / PAGE, Ordering::Relaxed);
    }

    /// Runs `with` on each byte; false if one is not shared, and then on none.
    fn access(&self, gpa: u64, length: usize, mut with: impl FnMut(usize, &mut u8)) -> bool {
        let mut shared = self.shared.lock().unwrap();
        let Some(end) = gpa.checked_add(length as u64) else { return false };
        let pages = gpa / PAGE..end.div_ceil(PAGE);
        if length == 0 || !pages.clone().all(|page| shared.contains_key(&page)) {
            return length == 0;
        }
        let mut index = 0;
        for page in pages {
            let first = (gpa + index as u64) % PAGE;
            let bytes = shared.get_mut(&page).unwrap().iter_mut().skip(first as usize);
            for byte in bytes.take(length - index) {
                with(index, byte);
                index += 1;
            }
        }
        true
    }

    /// Reads shared memory as the guest does.
    pub fn guest_reads(&self, gpa: u64, to: &mut [u8]) {
        assert!(self.access(gpa, to.len(), |index, byte| to[index] = *byte), "not shared");
    }

    /// Writes shared memory as the guest does.
    pub fn guest_writes(&self, gpa: u64, from: &[u8]) {
        assert!(self.access(gpa, from.len(), |index, byte| *byte = from[index]), "not shared");
    }

    fn change(&self, page: GuestPage, change: Change) -> Result<(), HostError> {
        let number = u64::from(page.0);
        if page.0 >= PAGES || *self.stubborn.lock().unwrap() == Some(number) {
            return Err(HostError::Input);
        }
        self.changes.lock().unwrap().push(change);
        Ok(())
    }
}

impl Outside for Fake {
    type Host = FakeHost;

    fn host(&self) -> &FakeHost {
        &self.host
    }
    fn read_shared(&self, gpa: u64, to: &mut [u8]) -> bool {
        let mask = if self.is_fickle.load(Ordering::Relaxed) { 0xff } else { 0 };
        let done = self.access(gpa, to.len(), |index, byte| {
            to[index] = *byte;
            *byte ^= mask;
        });
        if done {
            self.reads.lock().unwrap().push((gpa, to.len()));
            let lost = self.lost.load(Ordering::Relaxed);
            if gpa + to.len() as u64 == (lost + 1) * PAGE {
                self.shared.lock().unwrap().remove(&lost);
            }
        }
        done
    }
    fn write_shared(&self, gpa: u64, from: &[u8]) -> bool {
        let done = self.access(gpa, from.len(), |index, byte| *byte = from[index]);
        if !done {
            self.refused.lock().unwrap().push((gpa, from.len()));
        }
        done
    }
    fn change_page(&self, page: GuestPage, size: Size, to: PageState) -> Result<(), HostError> {
        self.change(page, Change::To(to, page.0.into(), size))
    }
    fn save_area(&self, page: GuestPage) -> Option<SystemPage> {
        let shared = self.shared.lock().unwrap();
        let is_private = page.0 < PAGES && !shared.contains_key(&page.0.into());
        is_private.then(|| SystemPage(page.0 + SYSTEM))
    }
    fn guest_request(&self, request: u64, response: u64) -> Option<Status> {
        let mut bytes = [0; 4];
        let is_read = self.read_shared(request, &mut bytes);
        (is_read && self.write_shared(response, &bytes)).then_some(Status::INVALID_PARAM)
    }
    fn split_page(&self, page: GuestPage) -> Result<(), HostError> {
        self.change(page, Change::Split(page.0.into()))
    }
}

/// A level of a VP.
#[derive(Debug, Default)]
pub struct FakeVcpu {
    /// The GHCB MSR.
    pub ghcb_msr: u64,
    /// Whether the guest has interrupts enabled.
    pub interrupts_enabled: bool,
    /// Whether the guest can take no NMI.
    pub nmis_masked: bool,
    /// The vector that the host offers.
    pub offered: Option<u8>,
    /// The vector that the guest has taken.
    pub taken: Option<u8>,
    /// The host was to be told when the guest can take an interrupt.
    pub window: bool,
    /// The event that the next entry delivers.
    pub event: Option<Event>,
    /// The task priority class.
    pub task_priority: u8,
}

impl Vcpu for FakeVcpu {
    fn ghcb_msr(&self) -> u64 {
        self.ghcb_msr
    }
    fn set_ghcb_msr(&mut self, value: u64) {
        self.ghcb_msr = value;
    }
    fn interrupts_enabled(&self) -> bool {
        self.interrupts_enabled
    }
    fn can_take_interrupt(&self) -> bool {
        self.interrupts_enabled && self.event.is_none()
    }
    fn offer_interrupt(&mut self, vector: Option<u8>) {
        self.offered = vector;
    }
    fn taken_interrupt(&mut self) -> Option<u8> {
        self.taken.take()
    }
    fn request_window(&mut self) {
        self.window = true;
    }
    fn inject(&mut self, event: Event) {
        assert_eq!(self.event, None, "an event would be lost");
        self.event = Some(event);
    }
    fn can_take_nmi(&self) -> bool {
        !self.nmis_masked && self.event.is_none()
    }
    fn has_event(&self) -> bool {
        self.event.is_some()
    }
    fn task_priority(&self) -> u8 {
        self.task_priority
    }
}
