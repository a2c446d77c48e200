//! A platform whose guest is a script and whose host is a notebook.
//!
//! It is two platforms. One is as open as a nested guest's. The other is confidential: its host
//! reaches nothing but shared pages, memory is accepted before its first use, and its CPUs have
//! neither interrupt windows nor a TSC offset. Every test of the machine runs on both.

mod host;
mod memory;
mod service;
mod vp;

use std::boxed::Box;
use std::sync::atomic::{AtomicBool, Ordering};

use device_model::HostTsc;
use guest_memory::{GpaRange, RamMap};
use platform_api::{Arrival, Capabilities, Platform};

pub(crate) use host::{FakeFile, FakeHost};
use memory::Pages;
pub(crate) use memory::{FakeMemory, RAM};
pub(crate) use service::{FakeService, Work};
pub(crate) use vp::FakeVp;

/// Whether this copy of the tests runs on the confidential platform: `lib.rs` has them twice, in
/// modules of different names.
pub(crate) const CONFIDENTIAL: bool = {
    const NAME: &[u8] = b"machine::confidential";
    let path = module_path!().as_bytes();
    let mut same = path.len() > NAME.len();
    let mut index = 0;
    while same && index < NAME.len() {
        same = path[index] == NAME[index];
        index += 1;
    }
    same
};

/// The platform.
#[derive(Debug)]
pub(crate) struct Fake {
    host: FakeHost,
    memory: FakeMemory,
    pub(crate) service: FakeService,
    /// The CPUs compare an offered interrupt with CR8 by themselves.
    pub(crate) compares_task_priority: AtomicBool,
    cpus: u32,
}

impl Fake {
    /// A platform that lives as long as the test process.
    pub(crate) fn new(cpus: u32) -> &'static Self {
        let memory = FakeMemory::new();
        let fake = Box::leak(Box::new(Self {
            host: FakeHost::default(),
            memory,
            service: FakeService::default(),
            compares_task_priority: AtomicBool::new(true),
            cpus,
        }));
        let _ = fake.host.memory.set(&fake.memory);
        fake
    }
}

impl Platform for Fake {
    type Host = FakeHost;
    type Vp = FakeVp;
    type Memory = FakeMemory;
    type Service = FakeService;
    type Confidential = Pages;
    fn host(&self) -> &FakeHost {
        &self.host
    }
    fn service(&self) -> &FakeService {
        &self.service
    }
    fn confidential(&self) -> Option<&Pages> {
        CONFIDENTIAL.then_some(&self.memory.pages)
    }
    fn capabilities(&self) -> Capabilities {
        let task_priority = self.compares_task_priority.load(Ordering::SeqCst);
        Capabilities {
            interrupt_window: !CONFIDENTIAL,
            tsc_offset: !CONFIDENTIAL,
            task_priority,
            interrupt_shadow: false,
        }
    }
    fn cpus(&self) -> u32 {
        self.cpus
    }
    fn memory(&self) -> &FakeMemory {
        &self.memory
    }
    fn ram(&self) -> &RamMap {
        self.memory.ram()
    }
    fn own_range(&self) -> GpaRange {
        GpaRange::new(RAM, RAM + 4096).unwrap()
    }
    fn physical_bits(&self) -> u8 {
        40
    }
    fn arrival(&self) -> Arrival {
        Arrival { tsc: HostTsc(0), waited: 0 }
    }
}
