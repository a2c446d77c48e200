//! A virtio block device that is asked for one thing at a time (virtio 1.2, section 5.2).
//!
//! The device is the host's: whatever it answers, and whether it answers, no call panics or waits
//! for ever. After it has broken its protocol or let the time pass it is not asked again, because
//! it may still write to the memory that it was given.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use platform_api::StateDiskError as Error;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{DeviceStatus, Transport};
use virtio_drivers::{Hal, PAGE_SIZE};

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 512;
/// Bytes that one request moves at the most.
pub(crate) const MAX_TRANSFER: usize = PAGE_SIZE;
/// Bytes of a device's identity.
const ID: usize = 20;

const QUEUE: u16 = 0;
/// Descriptors: header, data, status; a power of two.
const QUEUE_SIZE: usize = 4;
/// Tries to read the capacity while the device says that it changes.
const CONFIG_TRIES: usize = 16;
/// Seconds that the device may take for a request, and for a reset.
const REQUEST_SECONDS: u64 = 30;
const RESET_SECONDS: u64 = 2;

/// Feature bits (virtio 1.2, sections 5.2.3 and 6).
mod feature {
    pub(super) const READ_ONLY: u64 = 1 << 5;
    pub(super) const FLUSH: u64 = 1 << 9;
    pub(super) const VERSION_1: u64 = 1 << 32;
}

/// What a request asks for (virtio 1.2, section 5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read = 0,
    Write = 1,
    Flush = 4,
    GetId = 8,
}

/// The answer to a request.
const STATUS_OK: u8 = 0;
const STATUS_IO_ERROR: u8 = 1;
const STATUS_UNSUPPORTED: u8 = 2;
/// What stands there before the device has answered.
const STATUS_NONE: u8 = 0xff;

/// A counter of time.
pub(crate) trait Counter: Copy {
    /// Reads it.
    fn now(self) -> u64;
}

/// The time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock<C> {
    /// The counter.
    pub(crate) counter: C,
    /// How far it counts in a second.
    pub(crate) second: u64,
}

impl<C: Counter> Clock<C> {
    /// Waits until `ready`, for so many seconds at the most; false if they have passed.
    fn wait(self, seconds: u64, mut ready: impl FnMut() -> bool) -> bool {
        let start = self.counter.now();
        let limit = self.second.saturating_mul(seconds);
        loop {
            if ready() {
                return true;
            }
            if self.counter.now().wrapping_sub(start) > limit {
                // The host may have held us up just before we looked.
                return ready();
            }
            core::hint::spin_loop();
        }
    }
}

/// Two pages that the device reads and writes: one for data, one for a request's frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pages {
    /// For data.
    pub(crate) data: NonNull<u8>,
    /// For a request's header and status.
    pub(crate) frame: NonNull<u8>,
}

/// Bytes of a request's header: kind, reserved, sector.
const HEADER: usize = 16;
/// Where the status byte lies in its page.
const STATUS_OFFSET: usize = 64;

/// The device.
pub(crate) struct Block<H: Hal, T: Transport, C> {
    transport: T,
    /// Given back only after a reset: until then the device may write there.
    queue: ManuallyDrop<VirtQueue<H, QUEUE_SIZE>>,
    pages: Pages,
    clock: Clock<C>,
    sectors: u64,
    features: u64,
    dead: Option<Error>,
}

// SAFETY: the pages are the device's and this value's alone, whichever CPU it is used on.
unsafe impl<H: Hal, T: Transport + Send, C: Send> Send for Block<H, T, C> {}

impl<H: Hal, T: Transport, C: Counter> Block<H, T, C> {
    /// Resets a device and prepares it for requests.
    ///
    /// # Errors
    /// If it does not do its part.
    ///
    /// # Safety
    /// The pages must be aligned, writable, and used by nothing else, for ever; addresses that `H`
    /// shares must be those that the device uses.
    pub(crate) unsafe fn start(transport: T, pages: Pages, clock: Clock<C>) -> Result<Self, Error> {
        let mut transport = transport;
        reset(&mut transport, clock)?;
        let status = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
        transport.set_status(status);
        let offered = transport.read_device_features();
        if offered & feature::VERSION_1 == 0 {
            return Err(Error::Misbehaved);
        }
        // A disk that is offered as read-only is one, whatever the driver accepts.
        let features = offered & (feature::VERSION_1 | feature::FLUSH | feature::READ_ONLY);
        transport.write_driver_features(features);
        let status = status | DeviceStatus::FEATURES_OK;
        transport.set_status(status);
        if !transport.get_status().contains(DeviceStatus::FEATURES_OK) {
            return Err(Error::Misbehaved);
        }
        let sectors = capacity(&transport)?;
        let queue = VirtQueue::new(&mut transport, QUEUE, false, false);
        let mut queue = ManuallyDrop::new(queue.map_err(|_| Error::Misbehaved)?);
        // The driver polls.
        queue.set_dev_notify(false);
        transport.set_status(status | DeviceStatus::DRIVER_OK);
        Ok(Self { transport, queue, pages, clock, sectors, features, dead: None })
    }

    /// How many sectors the disk had when it was started.
    pub(crate) const fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Whether it can be written, with a flush that makes writes durable.
    pub(crate) const fn is_durable(&self) -> bool {
        self.features & (feature::FLUSH | feature::READ_ONLY) == feature::FLUSH
    }

    /// Its serial number, padded with zeros.
    ///
    /// # Errors
    /// If it does not say.
    pub(crate) fn id(&mut self) -> Result<[u8; ID], Error> {
        self.request(Kind::GetId, 0, ID)?;
        let mut id = [0; ID];
        self.take_data(&mut id);
        Ok(id)
    }

    /// Reads whole sectors.
    ///
    /// # Errors
    /// Why they were not all read.
    pub(crate) fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<(), Error> {
        self.check_range(sector, to.len())?;
        let sectors = (sector..).step_by(MAX_TRANSFER / SECTOR);
        for (sector, part) in sectors.zip(to.chunks_mut(MAX_TRANSFER)) {
            self.request(Kind::Read, sector, part.len())?;
            self.take_data(part);
        }
        Ok(())
    }

    /// Writes whole sectors.
    ///
    /// # Errors
    /// Why they were not all written.
    pub(crate) fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), Error> {
        self.check_range(sector, from.len())?;
        let sectors = (sector..).step_by(MAX_TRANSFER / SECTOR);
        for (sector, part) in sectors.zip(from.chunks(MAX_TRANSFER)) {
            self.check_alive()?;
            // SAFETY: the page is ours and as long as the largest part, and no request is under
            // way while the device lives.
            unsafe {
                core::ptr::copy_nonoverlapping(part.as_ptr(), self.pages.data.as_ptr(), part.len());
            }
            self.request(Kind::Write, sector, part.len())?;
        }
        Ok(())
    }

    /// Makes all writes so far durable.
    ///
    /// # Errors
    /// If it may not be.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.request(Kind::Flush, 0, 0)
    }

    /// Resets the device; its queue's memory is given back if it obeys.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) fn stop(mut self) -> Result<(), Error> {
        reset(&mut self.transport, self.clock)?;
        ManuallyDrop::into_inner(self.queue);
        Ok(())
    }

    fn check_alive(&self) -> Result<(), Error> {
        self.dead.map_or(Ok(()), Err)
    }

    fn check_range(&self, sector: u64, bytes: usize) -> Result<(), Error> {
        let sectors = (bytes / SECTOR) as u64;
        let fits = bytes.is_multiple_of(SECTOR)
            && sector.checked_add(sectors).is_some_and(|end| end <= self.sectors);
        if fits { Ok(()) } else { Err(Error::OutOfRange) }
    }

    /// Copies out what the device has written.
    fn take_data(&self, to: &mut [u8]) {
        let length = to.len().min(MAX_TRANSFER);
        // SAFETY: the page is ours and that long. The request is done; a device that writes there
        // all the same spoils bytes, which are its own word anyway.
        unsafe {
            core::ptr::copy_nonoverlapping(self.pages.data.as_ptr(), to.as_mut_ptr(), length);
        }
    }

    /// Makes one request and waits for its end.
    fn request(&mut self, kind: Kind, sector: u64, bytes: usize) -> Result<(), Error> {
        self.check_alive()?;
        let result = self.try_request(kind, sector, bytes);
        if let Err(error @ (Error::TimedOut | Error::Misbehaved)) = result {
            self.dead = Some(error);
            self.transport.set_status(DeviceStatus::FAILED);
        }
        result
    }

    fn try_request(&mut self, kind: Kind, sector: u64, bytes: usize) -> Result<(), Error> {
        // An answer before the question.
        if self.queue.can_pop() {
            return Err(Error::Misbehaved);
        }
        self.write_frame(kind, sector);
        let token = self.with_buffers(kind, bytes, |queue, inputs, outputs| {
            // SAFETY: the buffers are parts of pages that are there for ever, and are not touched
            // until the request is done.
            unsafe { queue.add(inputs, outputs) }.map_err(|_| Error::Misbehaved)
        })?;
        self.transport.notify(QUEUE);
        let queue = &self.queue;
        if !self.clock.wait(REQUEST_SECONDS, || queue.can_pop()) {
            return Err(Error::TimedOut);
        }
        let written = self.with_buffers(kind, bytes, |queue, inputs, outputs| {
            // SAFETY: the same buffers.
            unsafe { queue.pop_used(token, inputs, outputs) }.map_err(|_| Error::Misbehaved)
        })?;
        if self.queue.can_pop() {
            return Err(Error::Misbehaved);
        }
        let wanted = if matches!(kind, Kind::Read | Kind::GetId) { bytes + 1 } else { 1 };
        match self.status() {
            STATUS_OK if written as usize == wanted => Ok(()),
            STATUS_IO_ERROR | STATUS_UNSUPPORTED => Err(Error::Failed),
            _ => Err(Error::Misbehaved),
        }
    }

    /// Writes a request's header, and a status that no device gives.
    fn write_frame(&mut self, kind: Kind, sector: u64) {
        let mut header = [0; HEADER];
        let (words, _) = header.as_chunks_mut::<8>();
        for (word, value) in words.iter_mut().zip([kind as u64, sector]) {
            *word = value.to_le_bytes();
        }
        let frame = self.pages.frame.as_ptr();
        // SAFETY: the page is ours, and no request is under way while the device lives.
        unsafe {
            core::ptr::copy_nonoverlapping(header.as_ptr(), frame, HEADER);
            frame.add(STATUS_OFFSET).write_volatile(STATUS_NONE);
        }
    }

    fn status(&self) -> u8 {
        // SAFETY: the page is ours.
        unsafe { self.pages.frame.as_ptr().add(STATUS_OFFSET).read_volatile() }
    }

    /// Calls `act` with the queue and a request's buffers: what the device reads, what it writes.
    fn with_buffers<R>(
        &mut self,
        kind: Kind,
        bytes: usize,
        act: impl for<'a> FnOnce(
            &mut VirtQueue<H, QUEUE_SIZE>,
            &'a [&'a [u8]],
            &'a mut [&'a mut [u8]],
        ) -> R,
    ) -> R {
        let Pages { data, frame } = self.pages;
        // SAFETY: three parts of the two pages that do not overlap, with a length of at most one
        // page; nothing else refers to them meanwhile. The queue looks at their places only.
        let (header, data, status) = unsafe {
            (
                core::slice::from_raw_parts(frame.as_ptr(), HEADER),
                core::slice::from_raw_parts_mut(data.as_ptr(), bytes.clamp(1, MAX_TRANSFER)),
                core::slice::from_raw_parts_mut(frame.as_ptr().add(STATUS_OFFSET), 1),
            )
        };
        match kind {
            Kind::Read | Kind::GetId => act(&mut self.queue, &[header], &mut [data, status]),
            Kind::Write => act(&mut self.queue, &[header, data], &mut [status]),
            Kind::Flush => act(&mut self.queue, &[header], &mut [status]),
        }
    }
}

impl<H: Hal, T: Transport, C> fmt::Debug for Block<H, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("sectors", &self.sectors)
            .field("dead", &self.dead)
            .finish_non_exhaustive()
    }
}

/// Resets a device (virtio 1.2, section 4.1.4.3.2: until the status reads zero).
fn reset(transport: &mut impl Transport, clock: Clock<impl Counter>) -> Result<(), Error> {
    transport.set_status(DeviceStatus::empty());
    let done = clock.wait(RESET_SECONDS, || transport.get_status() == DeviceStatus::empty());
    if done { Ok(()) } else { Err(Error::TimedOut) }
}

/// Reads the capacity, in one piece although it is two registers.
fn capacity(transport: &impl Transport) -> Result<u64, Error> {
    for _ in 0..CONFIG_TRIES {
        let before = transport.read_config_generation();
        let low = transport.read_config_space::<u32>(0).map_err(|_| Error::Misbehaved)?;
        let high = transport.read_config_space::<u32>(4).map_err(|_| Error::Misbehaved)?;
        if transport.read_config_generation() == before {
            return Ok(u64::from(high) << 32 | u64::from(low));
        }
    }
    Err(Error::Misbehaved)
}

#[cfg(test)]
mod tests;
