//! A device in memory that keeps the protocol, or breaks it in one way.

extern crate std;

use std::alloc::{Layout, alloc_zeroed};
use std::cell::Cell;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use virtio_drivers::transport::{DeviceType, InterruptStatus};
use virtio_drivers::{BufferDirection, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::*;

/// Pages of the test's own, at the addresses that the device uses.
struct TestHal;

fn pages(count: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(count * PAGE_SIZE, PAGE_SIZE).unwrap();
    // SAFETY: the layout has a size.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap()
}

thread_local! {
    /// Queue pages that are out.
    static OUT: Cell<usize> = const { Cell::new(0) };
    /// Counts the looks at the clock.
    static NOW: Cell<u64> = const { Cell::new(0) };
}
use std::thread_local;

// SAFETY: fresh pages, never freed.
unsafe impl Hal for TestHal {
    fn dma_alloc(count: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        OUT.set(OUT.get() + count);
        let pointer = pages(count);
        (pointer.as_ptr() as u64, pointer)
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, count: usize) -> i32 {
        OUT.set(OUT.get() - count);
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("no PCI here")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as u64
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

impl Counter for fn() -> u64 {
    fn now(self) -> u64 {
        self()
    }
}

/// How a device breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    Never,
    // From the start on.
    NoReset,
    NoVersion1,
    RefusesFeatures,
    ChangesConfiguration,
    NoConfiguration,
    SmallQueue,
    BusyQueue,
    NoFlush,
    ReadOnly,
    // In a request.
    NoAnswer,
    LateAnswer,
    OtherId(u32),
    Length(u32),
    TwoAnswers,
    ManyAnswers,
    AnswersBefore,
    NoStatus,
    Status(u8),
    QuietFlag,
    WritesDescriptors,
}

struct Device {
    disk: Vec<u8>,
    serial: [u8; 20],
    lie: Rc<Cell<Lie>>,
    status: u32,
    driver_features: u64,
    generation: Cell<u32>,
    queue: [u64; 3],
    seen: u16,
    flushes: Rc<Cell<u32>>,
    /// The head of a request that is answered later.
    late: Option<u16>,
}

impl Device {
    fn lies(&self, lie: Lie) -> bool {
        self.lie.get() == lie
    }

    fn read<T: Copy>(address: u64) -> T {
        // SAFETY: places in the queue's pages, or buffers of the driver's.
        unsafe { (address as *const T).read_volatile() }
    }

    fn write<T: Copy>(address: u64, value: T) {
        // SAFETY: as above.
        unsafe { (address as *mut T).write_volatile(value) }
    }

    /// A request's buffers: address, length, whether the device may write.
    fn chain(&self, head: u16) -> Vec<(u64, usize, bool)> {
        let mut buffers = vec![];
        let mut index = head;
        loop {
            let at = self.queue[0] + 16 * u64::from(index);
            let flags: u16 = Self::read(at + 12);
            buffers.push((Self::read(at), Self::read::<u32>(at + 8) as usize, flags & 2 != 0));
            if flags & 1 == 0 {
                return buffers;
            }
            index = Self::read(at + 14);
        }
    }

    fn used(&mut self, id: u32, length: u32) {
        let index: u16 = Self::read(self.queue[2] + 2);
        let at = self.queue[2] + 4 + 8 * u64::from(index % QUEUE_SIZE as u16);
        Self::write(at, id);
        Self::write(at + 4, length);
        Self::write(self.queue[2] + 2, index.wrapping_add(1));
    }

    /// Does what a request asks for; answers the status and how many bytes were written.
    fn serve(&mut self, buffers: &[(u64, usize, bool)]) -> (u8, u32) {
        let (header, data) = (buffers[0], &buffers[1..buffers.len() - 1]);
        assert_eq!((header.1, header.2), (HEADER, false));
        let (kind, sector): (u32, u64) = (Self::read(header.0), Self::read(header.0 + 8));
        let start = sector as usize * SECTOR;
        match (kind, data) {
            (0, &[(address, length, true)]) => {
                for (index, byte) in self.disk[start..start + length].iter().enumerate() {
                    Self::write(address + index as u64, *byte);
                }
                (0, length as u32)
            }
            (1, &[(address, length, false)]) => {
                for index in 0..length {
                    self.disk[start + index] = Self::read(address + index as u64);
                }
                (0, 0)
            }
            (4, []) => {
                self.flushes.set(self.flushes.get() + 1);
                (0, 0)
            }
            (8, &[(address, 20, true)]) => {
                Self::write(address, self.serial);
                (0, 20)
            }
            other => panic!("no request of the specification: {other:?}"),
        }
    }

    fn answer(&mut self, head: u16) {
        let buffers = self.chain(head);
        let (mut status, written) = self.serve(&buffers);
        let last = *buffers.last().unwrap();
        assert_eq!((last.1, last.2), (1, true), "the status is one byte");
        let (mut id, mut length) = (u32::from(head), written + 1);
        match self.lie.get() {
            Lie::Status(other) => status = other,
            Lie::OtherId(other) => id = other,
            Lie::Length(other) => length = other,
            Lie::WritesDescriptors => {
                for byte in 0..64 {
                    Self::write(self.queue[0] + byte, 0xff_u8);
                }
            }
            _ => {}
        }
        if !self.lies(Lie::NoStatus) {
            Self::write(last.0, status);
        }
        self.used(id, length);
        match self.lie.get() {
            Lie::TwoAnswers => self.used(id, length),
            Lie::ManyAnswers => (0..7).for_each(|_| self.used(id, length)),
            _ => {}
        }
    }
}

impl Transport for Device {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn read_device_features(&mut self) -> u64 {
        // Features of QEMU's that are of no use here, too.
        let all = 1 << 32 | 1 << 9 | 1 << 6 | 1 << 28 | 1 << 29;
        match self.lie.get() {
            Lie::NoVersion1 => all & !(1 << 32),
            Lie::NoFlush => all & !(1 << 9),
            Lie::ReadOnly => all | 1 << 5,
            _ => all,
        }
    }

    fn write_driver_features(&mut self, features: u64) {
        self.driver_features = features;
    }

    fn max_queue_size(&mut self, _: u16) -> u32 {
        if self.lies(Lie::SmallQueue) { 2 } else { 256 }
    }

    fn notify(&mut self, queue: u16) {
        assert_eq!((queue, self.status), (0, 0b1111), "a driver that is ready");
        let index: u16 = Self::read(self.queue[1] + 2);
        assert_eq!(index, self.seen.wrapping_add(1), "one request at a time");
        let slot = u64::from(self.seen % QUEUE_SIZE as u16);
        let head = Self::read(self.queue[1] + 4 + 2 * slot);
        self.seen = index;
        match self.lie.get() {
            Lie::NoAnswer => {}
            Lie::LateAnswer => self.late = Some(head),
            _ => self.answer(head),
        }
        if self.lies(Lie::QuietFlag) {
            Self::write(self.queue[2], 1_u16);
        }
        if self.lies(Lie::AnswersBefore) {
            self.used(0, 1);
        }
    }

    fn get_status(&self) -> DeviceStatus {
        let refused = if self.lies(Lie::RefusesFeatures) { 8 } else { 0 };
        DeviceStatus::from_bits_retain(self.status & !refused)
    }

    fn set_status(&mut self, status: DeviceStatus) {
        if status.bits() != 0 || !self.lies(Lie::NoReset) {
            self.status = status.bits();
        }
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(&mut self, _: u16, size: u32, a: PhysAddr, b: PhysAddr, c: PhysAddr) {
        assert_eq!(size as usize, QUEUE_SIZE);
        self.queue = [a, b, c];
    }

    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, _: u16) -> bool {
        self.lies(Lie::BusyQueue)
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        if self.lies(Lie::ChangesConfiguration) {
            self.generation.set(self.generation.get() + 1);
        }
        self.generation.get()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<T> {
        let bytes = (self.disk.len() as u64 / 512).to_le_bytes();
        if self.lies(Lie::NoConfiguration) {
            return Err(virtio_drivers::Error::ConfigSpaceMissing);
        }
        Ok(T::read_from_bytes(&bytes[offset..offset + size_of::<T>()]).unwrap())
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _: usize,
        _: T,
    ) -> virtio_drivers::Result<()> {
        panic!("the configuration is the device's")
    }
}

/// A second is a thousand looks.
const SECOND: u64 = 1000;

struct Rig {
    block: Block<TestHal, Device, fn() -> u64>,
    lie: Rc<Cell<Lie>>,
    flushes: Rc<Cell<u32>>,
}

fn start(lie: Lie) -> Result<Rig, Error> {
    let (lie, flushes) = (Rc::new(Cell::new(lie)), Rc::new(Cell::new(0)));
    let device = Device {
        disk: (0..64 * SECTOR).map(|index| (index / 7) as u8).collect(),
        serial: *b"paravane-state\0\0\0\0\0\0",
        lie: lie.clone(),
        // As firmware leaves it.
        status: 0b1111,
        driver_features: 0,
        generation: Cell::new(0),
        queue: [0; 3],
        seen: 0,
        flushes: flushes.clone(),
        late: None,
    };
    fn now() -> u64 {
        NOW.set(NOW.get().wrapping_add(1));
        NOW.get()
    }
    let clock = Clock { counter: now as fn() -> u64, second: SECOND };
    let pages = Pages { data: pages(1), frame: pages(1) };
    // SAFETY: fresh pages; the device uses the test's addresses.
    let block = unsafe { Block::start(device, pages, clock) }?;
    Ok(Rig { block, lie, flushes })
}

#[test]
fn an_honest_disk_is_read_written_and_flushed() {
    let mut rig = start(Lie::Never).unwrap();
    let block = &mut rig.block;
    assert_eq!(block.transport.driver_features, 1 << 32 | 1 << 9, "no other feature is taken");
    assert_eq!((block.sectors(), block.is_durable()), (64, true));
    assert_eq!(&block.id().unwrap(), b"paravane-state\0\0\0\0\0\0");
    // One sector, a page, more than a page.
    for (sector, sectors) in [(0, 1), (3, 8), (10, 21), (63, 1), (64, 0)] {
        let mut read = vec![0; sectors * SECTOR];
        block.read(sector, &mut read).unwrap();
        let start = sector as usize * SECTOR;
        assert_eq!(read, block.transport.disk[start..start + read.len()]);
        read.iter_mut().for_each(|byte| *byte ^= 0x55);
        block.write(sector, &read).unwrap();
        assert_eq!(read, block.transport.disk[start..start + read.len()]);
    }
    block.flush().unwrap();
    assert_eq!(rig.flushes.get(), 1);
    // The ring's indices wrap.
    for _ in 0..70_000 {
        block.flush().unwrap();
    }
}

#[test]
fn what_is_not_on_the_disk_is_refused_without_a_request() {
    let mut rig = start(Lie::NoAnswer).unwrap();
    for (sector, bytes) in
        [(64, 512), (63, 1024), (0, 65 * 512), (u64::MAX, 512), (0, 511), (0, 513)]
    {
        let mut buffer = vec![0; bytes];
        assert_eq!(rig.block.read(sector, &mut buffer), Err(Error::OutOfRange));
        assert_eq!(rig.block.write(sector, &buffer), Err(Error::OutOfRange));
    }
    assert_eq!(rig.block.transport.seen, 0);
}

#[test]
fn a_device_that_does_not_start_is_said_so() {
    for (lie, error) in [
        (Lie::NoReset, Error::TimedOut),
        (Lie::NoVersion1, Error::Misbehaved),
        (Lie::RefusesFeatures, Error::Misbehaved),
        (Lie::ChangesConfiguration, Error::Misbehaved),
        (Lie::NoConfiguration, Error::Misbehaved),
        (Lie::SmallQueue, Error::Misbehaved),
        (Lie::BusyQueue, Error::Misbehaved),
    ] {
        assert_eq!(start(lie).err(), Some(error), "{lie:?}");
    }
    for lie in [Lie::NoFlush, Lie::ReadOnly] {
        assert!(!start(lie).unwrap().block.is_durable(), "{lie:?}");
    }
}

/// After a broken protocol the device is never asked again.
#[test]
fn a_device_that_breaks_its_protocol_is_given_up() {
    let lies = [
        (Lie::NoAnswer, Error::TimedOut),
        (Lie::LateAnswer, Error::TimedOut),
        (Lie::OtherId(1), Error::Misbehaved),
        (Lie::OtherId(u32::MAX), Error::Misbehaved),
        (Lie::Length(0), Error::Misbehaved),
        (Lie::Length(512), Error::Misbehaved),
        (Lie::Length(u32::MAX), Error::Misbehaved),
        (Lie::TwoAnswers, Error::Misbehaved),
        (Lie::ManyAnswers, Error::Misbehaved),
        (Lie::NoStatus, Error::Misbehaved),
        (Lie::Status(3), Error::Misbehaved),
        (Lie::Status(0xff), Error::Misbehaved),
    ];
    type Call = fn(&mut Block<TestHal, Device, fn() -> u64>) -> Result<(), Error>;
    let calls: [Call; 4] = [
        |block| block.read(0, &mut [0; 512]),
        |block| block.write(0, &[0; 512]),
        |block| block.flush(),
        |block| block.id().map(drop),
    ];
    for (lie, error) in lies {
        for (number, call) in calls.iter().enumerate() {
            let mut rig = start(Lie::Never).unwrap();
            rig.block.flush().unwrap();
            rig.lie.set(lie);
            assert_eq!(call(&mut rig.block), Err(error), "{lie:?} in call {number}");
            rig.lie.set(Lie::Never);
            let seen = rig.block.transport.seen;
            for call in calls {
                assert_eq!(call(&mut rig.block), Err(error), "{lie:?} is remembered");
            }
            assert_eq!(rig.block.transport.seen, seen, "it is not asked again");
            assert_eq!(rig.block.transport.status, 128, "it is told so");
        }
    }
}

#[test]
fn an_error_of_the_disk_is_no_end() {
    let mut rig = start(Lie::Status(1)).unwrap();
    assert_eq!(rig.block.read(0, &mut [0; 512]), Err(Error::Failed));
    assert_eq!(rig.block.flush(), Err(Error::Failed));
    rig.lie.set(Lie::Status(2));
    assert_eq!(rig.block.id(), Err(Error::Failed));
    rig.lie.set(Lie::Never);
    rig.block.flush().unwrap();
}

#[test]
fn an_answer_before_the_question_is_noticed() {
    let mut rig = start(Lie::Never).unwrap();
    rig.block.transport.used(0, 1);
    assert_eq!(rig.block.flush(), Err(Error::Misbehaved));
    let mut rig = start(Lie::AnswersBefore).unwrap();
    assert_eq!(rig.block.flush(), Err(Error::Misbehaved));
}

/// What a device writes into the parts of the queue that are not its own does not matter.
#[test]
fn a_device_that_spoils_the_queue_spoils_nothing_of_ours() {
    let mut rig = start(Lie::WritesDescriptors).unwrap();
    rig.block.flush().unwrap();
    rig.lie.set(Lie::Never);
    let mut read = [0; 1024];
    rig.block.read(1, &mut read).unwrap();
    assert_eq!(read, rig.block.transport.disk[512..1536]);
    rig.lie.set(Lie::QuietFlag);
    rig.block.flush().unwrap();
    rig.block.flush().unwrap();
}

#[test]
fn an_answer_just_in_time_counts() {
    let late = Cell::new(false);
    fn now() -> u64 {
        NOW.set(NOW.get() + 1_000_000);
        NOW.get()
    }
    let clock = Clock { counter: now as fn() -> u64, second: 1 };
    let looks = Cell::new(0);
    let ready = || {
        looks.set(looks.get() + 1);
        late.replace(true)
    };
    assert!(clock.wait(1, ready), "the host held us up, the device did not");
    assert_eq!(looks.get(), 2);
    assert!(!clock.wait(1, || false));
}

#[test]
fn a_queue_comes_back_only_from_a_device_that_was_reset() {
    let before = OUT.get();
    let rig = start(Lie::Never).unwrap();
    assert_eq!(OUT.get(), before + 2);
    rig.block.stop().unwrap();
    assert_eq!(OUT.get(), before);
    let rig = start(Lie::Never).unwrap();
    rig.lie.set(Lie::NoReset);
    assert_eq!(rig.block.stop(), Err(Error::TimedOut));
    assert_eq!(OUT.get(), before + 2, "it may still write there");
    drop(start(Lie::Never).unwrap());
    assert_eq!(OUT.get(), before + 4);
}
