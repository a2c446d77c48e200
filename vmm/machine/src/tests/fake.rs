//! A platform whose guest is a script and whose host is a notebook.

use std::boxed::Box;
use std::collections::VecDeque;
use std::string::String;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::vec;
use std::vec::Vec;

use memory::{GpaRange, GuestMemory, MappedMemory, RamMap, RamRange};
use platform_api::*;
use x86::{Register, Registers, Segment, SegmentRegister, SystemRegisters, VpState};

use crate::mailbox::Mailbox;

/// RAM of the fake guest: 2 MiB at zero.
const RAM: u64 = 2 << 20;
/// One TSC tick is a nanosecond.
const HERTZ: u64 = 1_000_000_000;

/// A file of a host that answers everything only once: when it is asked for a byte again, it says
/// something else.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeFile {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// How often it was asked for each byte.
    pub(crate) asked: Vec<u8>,
}

impl FakeFile {
    fn answer(&mut self, offset: usize, to: &mut [u8]) -> Result<(), Transfer> {
        let asked = self.asked.get_mut(offset..).and_then(|asked| asked.get_mut(..to.len()));
        let bytes = self.bytes.get(offset..).and_then(|bytes| bytes.get(..to.len()));
        for ((to, from), asked) in
            to.iter_mut().zip(bytes.ok_or(Transfer::PastEnd)?).zip(asked.ok_or(Transfer::PastEnd)?)
        {
            *to = *from ^ *asked;
            *asked += 1;
        }
        Ok(())
    }
}

/// What the host notes.
#[derive(Debug, Default)]
pub(crate) struct FakeHost {
    pub(crate) tsc: AtomicU64,
    pub(crate) timer: Mutex<Option<u64>>,
    pub(crate) kicks: Mutex<Vec<u32>>,
    pub(crate) sent: [Mutex<Vec<u8>>; 2],
    pub(crate) typed: [Mutex<VecDeque<Received>>; 2],
    pub(crate) pressed: AtomicBool,
    pub(crate) nmi: AtomicBool,
    pub(crate) full: AtomicBool,
    pub(crate) reports: Mutex<Vec<String>>,
    pub(crate) service: Mutex<Service>,
    /// How often a CPU has slept.
    pub(crate) idled: AtomicU32,
    /// How often somebody has asked for entropy: no two answers are alike.
    pub(crate) draws: AtomicU64,
    /// The UUID that it gives.
    pub(crate) uuid: Mutex<Option<[u8; 16]>>,
    /// Files by selector, from 1 on.
    pub(crate) files: Mutex<Vec<FakeFile>>,
    /// The guest's memory, which it writes files to.
    memory: OnceLock<&'static MappedMemory>,
    /// The disk for our own state, if there is one.
    pub(crate) state_disk: Mutex<Option<Vec<u8>>>,
    /// How many writes that disk takes before they fail, if they are to fail.
    pub(crate) disk_writes: Mutex<Option<u32>>,
}

/// The service.
#[derive(Default)]
pub(crate) struct Service {
    /// What it does; none when it has failed.
    pub(crate) work: Option<Box<dyn Fn() + Send>>,
    /// How many times it will be put aside before it has done anything.
    pub(crate) held_back: u32,
    /// How many tasks it does before it fails, if it is to fail.
    pub(crate) lives_for: Option<u32>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service({})", self.held_back)
    }
}

impl Host for FakeHost {
    fn cpuid(&self, leaf: u32, _: u32) -> [u32; 4] {
        if leaf == 0x8000_0008 { [0x3028, 1 << 12 | 1 << 24, 0, 0] } else { [u32::MAX; 4] }
    }
    fn tsc(&self) -> u64 {
        self.tsc.load(Ordering::SeqCst)
    }
    fn tsc_frequency(&self) -> u64 {
        HERTZ
    }
    fn set_timer(&self, deadline: Option<u64>) {
        *self.timer.lock().unwrap() = deadline;
    }
    fn kick(&self, index: u32) {
        self.kicks.lock().unwrap().push(index);
    }
    /// Time passes until the timer fires.
    fn idle(&self) {
        self.idled.fetch_add(1, Ordering::SeqCst);
        let timer = self.timer.lock().unwrap().take();
        self.tsc.fetch_max(timer.unwrap_or(0), Ordering::SeqCst);
    }
    fn device_event(&self) -> bool {
        true
    }
    fn power_button(&self) -> bool {
        self.pressed.swap(false, Ordering::SeqCst)
    }
    fn take_nmi(&self) -> bool {
        self.nmi.swap(false, Ordering::SeqCst)
    }
    fn serial_read(&self, channel: usize) -> Option<Received> {
        self.typed[channel].lock().unwrap().pop_front()
    }
    fn serial_ready(&self, _: usize) -> bool {
        !self.full.load(Ordering::SeqCst)
    }
    fn serial_write(&self, channel: usize, byte: u8) {
        self.sent[channel].lock().unwrap().push(byte);
    }
    fn file(&self, name: &str) -> Option<HostFile> {
        let files = self.files.lock().unwrap();
        let mut named = (1..).zip(files.iter()).filter(|(_, file)| file.name == name);
        if let Some((selector, file)) = named.next() {
            return Some(HostFile { selector, length: file.bytes.len() as u32 });
        }
        let is_key = name == wire::file::STATE_KEY && self.state_disk_sectors().is_some();
        is_key.then_some(HostFile { selector: 0, length: 32 })
    }
    fn uuid(&self) -> Option<[u8; 16]> {
        *self.uuid.lock().unwrap()
    }
    fn read_file(&self, file: HostFile, offset: u32, to: &mut [u8]) -> Result<(), Transfer> {
        if file.selector == 0 {
            to.fill(7);
            return Ok(());
        }
        let mut files = self.files.lock().unwrap();
        let file = files.get_mut(usize::from(file.selector) - 1).ok_or(Transfer::Refused)?;
        file.answer(offset as usize, to)
    }
    fn load_file(&self, file: HostFile, offset: u32, to: RamRange) -> Result<(), Transfer> {
        let mut bytes = vec![0; to.length() as usize];
        self.read_file(file, offset, &mut bytes)?;
        self.memory.get().unwrap().write(to.start(), &bytes).map_err(|_| Transfer::Refused)
    }
    fn entropy(&self, to: &mut [u8]) -> bool {
        let draw = self.draws.fetch_add(1, Ordering::SeqCst).to_le_bytes();
        for (place, byte) in to.iter_mut().enumerate() {
            *byte = place as u8 ^ draw[place % draw.len()];
        }
        !self.full.load(Ordering::SeqCst)
    }
    fn run_service(&self) -> bool {
        let work = {
            let mut service = self.service.lock().unwrap();
            if service.held_back > 0 {
                service.held_back -= 1;
                return true;
            }
            if service.lives_for == Some(0) {
                service.work = None;
            }
            service.lives_for = service.lives_for.map(|tasks| tasks.saturating_sub(1));
            service.work.take()
        };
        let Some(work) = work else { return false };
        work();
        self.service.lock().unwrap().work = Some(work);
        true
    }
    fn leave_service(&self) {}
    fn state_disk_sectors(&self) -> Option<u64> {
        let disk = self.state_disk.lock().unwrap();
        disk.as_ref().map(|bytes| bytes.len() as u64 / 512)
    }
    fn read_state_disk(&self, sector: u64, to: &mut [u8]) -> Result<(), StateDiskError> {
        let disk = self.state_disk.lock().unwrap();
        let bytes = disk.as_ref().ok_or(StateDiskError::Absent)?;
        let from = bytes.get(sector as usize * 512..).and_then(|rest| rest.get(..to.len()));
        to.copy_from_slice(from.ok_or(StateDiskError::OutOfRange)?);
        Ok(())
    }
    fn write_state_disk(&self, sector: u64, from: &[u8]) -> Result<(), StateDiskError> {
        if let Some(left) = &mut *self.disk_writes.lock().unwrap() {
            *left = left.checked_sub(1).ok_or(StateDiskError::Failed)?;
        }
        let mut disk = self.state_disk.lock().unwrap();
        let bytes = disk.as_mut().ok_or(StateDiskError::Absent)?;
        let to = bytes.get_mut(sector as usize * 512..).and_then(|rest| rest.get_mut(..from.len()));
        to.ok_or(StateDiskError::OutOfRange)?.copy_from_slice(from);
        Ok(())
    }
    fn flush_state_disk(&self) -> Result<(), StateDiskError> {
        self.state_disk_sectors().map(drop).ok_or(StateDiskError::Absent)
    }
    fn wall_clock(&self) -> u64 {
        0
    }
    fn report(&self, line: core::fmt::Arguments<'_>) {
        self.reports.lock().unwrap().push(std::format!("{line}"));
    }
    fn exit(&self, status: ExitStatus) -> ! {
        panic!("exit {}", status.0)
    }
}

/// A VP whose exits a test chooses.
#[derive(Debug, Default)]
pub(crate) struct FakeVp {
    pub(crate) gpr: [u64; 16],
    pub(crate) rip: u64,
    pub(crate) rflags: u64,
    pub(crate) state: VpState,
    pub(crate) cr8: u8,
    pub(crate) cpl: u8,
    pub(crate) tsc_offset: u64,
    pub(crate) length: Option<u8>,
    pub(crate) shadow: bool,
    pub(crate) injected: Vec<Event>,
    pub(crate) offered: Option<u8>,
    pub(crate) taken: Option<u8>,
    pub(crate) windows: u32,
    pub(crate) exits: VecDeque<Exit>,
    /// Vectors that are posted while the guest runs, one each time, and to whom.
    pub(crate) posts: VecDeque<(&'static Mailbox, u8)>,
    /// Whether each of them asked for a kick.
    pub(crate) kicked: Vec<bool>,
    pub(crate) entries: u32,
    pub(crate) busy: bool,
    /// It serves an NMI.
    pub(crate) in_nmi: bool,
    pub(crate) coarse: bool,
    pub(crate) watched: bool,
    pub(crate) speculation_control: u64,
    pub(crate) barriers: u32,
}

impl Registers for FakeVp {
    fn gpr(&self, register: Register) -> u64 {
        self.gpr[register as usize]
    }
    fn set_gpr(&mut self, register: Register, value: u64) {
        self.gpr[register as usize] = value;
    }
    fn rip(&self) -> u64 {
        self.rip
    }
    fn set_rip(&mut self, rip: u64) {
        (self.rip, self.shadow) = (rip, false);
    }
    fn rflags(&self) -> u64 {
        self.rflags
    }
    fn set_rflags(&mut self, rflags: u64) {
        self.rflags = rflags;
    }
    fn segment(&self, register: SegmentRegister) -> Segment {
        self.state.segments[register as usize]
    }
    fn cr0(&self) -> u64 {
        self.state.control.cr0
    }
    fn cr3(&self) -> u64 {
        self.state.control.cr3
    }
    fn cr4(&self) -> u64 {
        self.state.control.cr4
    }
    fn efer(&self) -> u64 {
        self.state.control.efer
    }
    fn cpl(&self) -> u8 {
        self.cpl
    }
    fn xmm(&self, _: u8) -> u128 {
        0
    }
    fn set_xmm(&mut self, _: u8, _: u128) {}
}

impl SystemRegisters for FakeVp {
    fn set_efer(&mut self, efer: u64) {
        self.state.control.efer = efer;
    }
    fn debug_registers(&self) -> (u64, u64) {
        (0xffff_0ff0, 0x400)
    }
    fn set_dr6(&mut self, _: u64) {}
    fn set_cr2(&mut self, _: u64) {}
    fn cr8(&self) -> u8 {
        self.cr8
    }
    fn set_cr8(&mut self, class: u8) {
        self.cr8 = class;
    }
    fn pat(&self) -> u64 {
        0
    }
    fn set_pat(&mut self, _: u64) {}
    fn xcr0(&self) -> u64 {
        1
    }
    fn set_xcr0(&mut self, _: u64) {}
}

impl GuestVp for FakeVp {
    type Registers = Self;

    fn registers(&self) -> &Self {
        self
    }
    fn registers_mut(&mut self) -> &mut Self {
        self
    }
    fn run(&mut self) -> Exit {
        self.entries += 1;
        if let Some((mailbox, vector)) = self.posts.pop_front() {
            self.kicked.push(mailbox.post_vector(vector, false));
        }
        self.exits.pop_front().unwrap_or(Exit::HostInterrupt)
    }
    fn reset(&mut self, state: &VpState, _: bool) {
        (self.gpr, self.rip, self.rflags) = (state.gpr, state.rip, state.rflags);
        (self.state, self.injected, self.offered) = (*state, vec![], None);
    }
    fn tsc_offset(&self) -> u64 {
        self.tsc_offset
    }
    fn speculation_control(&self) -> u64 {
        self.speculation_control
    }
    fn set_speculation_control(&mut self, control: u64) {
        self.speculation_control = control;
    }
    fn forget_branches(&mut self) {
        self.barriers += 1;
    }
    fn set_tsc_offset(&mut self, offset: u64) {
        self.tsc_offset = offset;
    }
    fn instruction_length(&self) -> Option<u8> {
        self.length
    }
    fn interrupt_shadow(&self) -> bool {
        self.shadow
    }
    fn can_take_interrupt(&self) -> bool {
        self.rflags & 0x200 != 0 && !self.shadow
    }
    fn can_take_nmi(&self) -> bool {
        !self.busy && !self.shadow && !self.in_nmi
    }
    fn nmi_is_masked(&self) -> bool {
        self.in_nmi
    }
    fn has_event(&self) -> bool {
        self.busy
    }
    fn inject(&mut self, event: Event) {
        self.in_nmi |= event == Event::Nmi;
        self.injected.push(event);
    }
    fn offer_interrupt(&mut self, vector: Option<u8>) {
        self.offered = vector;
    }
    fn compares_task_priority(&self) -> bool {
        !self.coarse
    }
    fn watch_task_priority(&mut self, on: bool) {
        self.watched = on;
    }
    fn taken_interrupt(&mut self) -> Option<u8> {
        self.taken.take()
    }
    fn request_interrupt_window(&mut self) {
        self.windows += 1;
    }
    fn exit_names() -> &'static [&'static str] {
        &["all"]
    }
    fn exit_counts(&self) -> &[u64] {
        &[]
    }
}

/// The platform.
#[derive(Debug)]
pub(crate) struct Fake {
    host: FakeHost,
    memory: MappedMemory,
    ram: RamMap,
    cpus: u32,
}

impl Fake {
    /// A platform that lives as long as the test process.
    pub(crate) fn new(cpus: u32) -> &'static Self {
        let backing: &'static mut [u64] = Box::leak(vec![0u64; RAM as usize / 8].into());
        let memory = MappedMemory::of_words(backing);
        let ram = *memory.ram();
        let fake = Box::leak(Box::new(Self { host: FakeHost::default(), memory, ram, cpus }));
        let _ = fake.host.memory.set(&fake.memory);
        fake
    }
}

impl Platform for Fake {
    type Host = FakeHost;
    type Vp = FakeVp;
    type Memory = MappedMemory;
    fn host(&self) -> &FakeHost {
        &self.host
    }
    fn cpus(&self) -> u32 {
        self.cpus
    }
    fn memory(&self) -> &MappedMemory {
        &self.memory
    }
    fn ram(&self) -> &RamMap {
        &self.ram
    }
    fn own_range(&self) -> GpaRange {
        GpaRange::new(RAM, RAM + 4096).unwrap()
    }
    fn physical_bits(&self) -> u8 {
        40
    }
    fn arrival(&self) -> Arrival {
        Arrival { tsc: 0, waited: 0 }
    }
}
