//! A host that is a notebook.

use std::collections::VecDeque;
use std::string::String;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::vec;
use std::vec::Vec;

use device_model::HostTsc;
use guest_memory::{GuestMemory, RamRange};
use platform_api::{
    Console, Cpus, Ending, Entropy, ExitStatus, Files, HostFile, Received, SharedPage, StateDisk,
    StateDiskError, Time, Transfer,
};

use super::CONFIDENTIAL;
use super::memory::{FakeMemory, Shared};

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
    /// The digest that the launch of the VM has measured.
    pub(crate) measured: Option<[u8; 32]>,
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

/// The host's notes of all requests.
#[derive(Debug, Default)]
pub(crate) struct FakeHost {
    pub(crate) tsc: AtomicU64,
    pub(crate) timer: Mutex<Option<HostTsc>>,
    pub(crate) kicks: Mutex<Vec<u32>>,
    pub(crate) sent: [Mutex<Vec<u8>>; 2],
    pub(crate) typed: [Mutex<VecDeque<Received>>; 2],
    pub(crate) pressed: AtomicBool,
    pub(crate) nmi: AtomicBool,
    pub(crate) full: AtomicBool,
    pub(crate) reports: Mutex<Vec<String>>,
    /// How often a CPU has slept.
    pub(crate) idled: AtomicU32,
    /// How often somebody has asked for entropy: no two answers are alike.
    pub(crate) draws: AtomicU64,
    /// The UUID that it gives.
    pub(crate) uuid: Mutex<Option<[u8; 16]>>,
    /// Files by selector, from 1 on.
    pub(crate) files: Mutex<Vec<FakeFile>>,
    /// The guest's memory, which it writes files to.
    pub(super) memory: OnceLock<&'static FakeMemory>,
    /// The disk for our own state, if there is one.
    pub(crate) state_disk: Mutex<Option<Vec<u8>>>,
    /// How many writes that disk takes before they fail, if they are to fail.
    pub(crate) disk_writes: Mutex<Option<u32>>,
}

impl Time for FakeHost {
    fn tsc(&self) -> HostTsc {
        HostTsc(self.tsc.load(Ordering::SeqCst))
    }
    fn tsc_frequency(&self) -> u64 {
        HERTZ
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
        if leaf == 0x8000_0008 { [0x3028, 1 << 12 | 1 << 24, 0, 0] } else { [u32::MAX; 4] }
    }
    fn kick(&self, index: u32) {
        self.kicks.lock().unwrap().push(index);
    }
    /// Time passes until the timer fires.
    fn idle(&self) {
        self.idled.fetch_add(1, Ordering::SeqCst);
        let timer = self.timer.lock().unwrap().take();
        self.tsc.fetch_max(timer.unwrap_or_default().0, Ordering::SeqCst);
    }
    fn take_nmi(&self) -> bool {
        self.nmi.swap(false, Ordering::SeqCst)
    }
}

impl Console for FakeHost {
    fn device_event(&self) -> bool {
        true
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
    fn power_button(&self) -> bool {
        self.pressed.swap(false, Ordering::SeqCst)
    }
    fn report(&self, line: core::fmt::Arguments<'_>) {
        self.reports.lock().unwrap().push(std::format!("{line}"));
    }
}

impl Files for FakeHost {
    fn file(&self, name: &str) -> Option<HostFile> {
        let files = self.files.lock().unwrap();
        let mut named = (1..).zip(files.iter()).filter(|(_, file)| file.name == name);
        if let Some((selector, file)) = named.next() {
            return Some(HostFile { selector, length: file.bytes.len() as u32 });
        }
        let is_key = name == host_wire::file::STATE_KEY && self.state_disk_sectors().is_some();
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
        if !CONFIDENTIAL {
            return file.answer(offset as usize, to);
        }
        // The host reaches nothing of ours but pages that are shared with it.
        let mut page = Shared::default();
        for (at, part) in (offset as usize..).step_by(page.0.len()).zip(to.chunks_mut(4096)) {
            file.answer(at, &mut page.0[..part.len()])?;
            page.read(0, part);
        }
        Ok(())
    }
    fn load_file(&self, file: HostFile, offset: u32, to: RamRange) -> Option<Result<(), Transfer>> {
        if CONFIDENTIAL {
            return None;
        }
        let mut bytes = vec![0; to.length() as usize];
        let done = self.read_file(file, offset, &mut bytes).and_then(|()| {
            let memory = self.memory.get().unwrap();
            memory.write(to.start(), &bytes).map_err(|_| Transfer::Refused)
        });
        Some(done)
    }
    fn measured(&self, file: HostFile) -> Option<[u8; 32]> {
        let index = usize::from(file.selector).checked_sub(1)?;
        self.files.lock().unwrap().get(index)?.measured
    }
}

impl StateDisk for FakeHost {
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
}

impl Entropy for FakeHost {
    fn entropy(&self, to: &mut [u8]) -> bool {
        let draw = self.draws.fetch_add(1, Ordering::SeqCst).to_le_bytes();
        for (place, byte) in to.iter_mut().enumerate() {
            *byte = place as u8 ^ draw[place % draw.len()];
        }
        !self.full.load(Ordering::SeqCst)
    }
}

impl Ending for FakeHost {
    fn exit(&self, status: ExitStatus) -> ! {
        panic!("exit {}", status.0)
    }
}
