//! The way to the host's devices by calls: the host reaches shared pages alone.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};

use guest_memory::PAGE_SIZE;
use host_wire::paravisor_image::Reason;
use kernel::service::masked;
use pc::{Access, DeviceRegisters, Direction, Lent, MAX_VPS};
use platform_api::Width;
use sev_guest::{Call, GhcbPage};
use snp::doorbell::{NO_EOI_REQUIRED, PENDING_EVENTS};
use snp::exit::{DoorbellRequest, ExitCode, IoInfo};
use snp::ghcb::{Field, SHARED_BUFFER_SIZE};
use snp::msr_protocol::{Answer, Request};
use spin::Mutex;
use vmpl0::doorbell::{Doorbell, Event, Looked};

use crate::counts::{self, Why};

/// Pages that a CPU shares with the host: its GHCB, its doorbell page, one for transfers.
pub(crate) const PAGES: u64 = 3;

/// The longest command to a device, which the device reads and writes. Commands lie behind the data in
/// the transfer page, because both are lent at once.
const COMMAND: usize = 16;
/// The most bytes of data in the transfer page.
const MOST_IN_PAGE: usize = PAGE_SIZE as usize - COMMAND;

/// Pages of the area for large transfers, which all CPUs share.
pub(crate) const AREA_PAGES: u64 = 16;

/// The address of that area, or zero. A CPU uses it while it holds the lock.
static AREA: Mutex<u64> = Mutex::new(0);

/// Has the pages from `start` on be the area for large transfers. They are shared with the host and
/// mapped so at their addresses.
pub(crate) fn set_transfer_area(start: u64) {
    *AREA.lock() = start;
}

/// Calls `use_it` with the address of that area, which nobody else uses meanwhile.
pub(crate) fn with_transfer_area<R>(use_it: impl FnOnce(u64) -> R) -> R {
    use_it(*AREA.lock())
}

/// The first shared page of each CPU, or zero. They are mapped at their guest-physical addresses.
static SHARED: [AtomicU64; MAX_VPS] = [const { AtomicU64::new(0) }; MAX_VPS];

/// Any CPU has its pages. Before that, a CPU may not have entered its place, and knows no number.
static ANY: AtomicBool = AtomicBool::new(false);
/// Events were taken on each CPU that the machine has not been told of: it looks at its timers when
/// it is, so it must neither sleep nor run the guest before.
static TAKEN: [AtomicBool; MAX_VPS] = [const { AtomicBool::new(false) }; MAX_VPS];

/// Events of all CPUs that nothing had asked for.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Counts events that were dropped. The log tells of them ever more rarely, so that a host can not
/// fill it.
pub(crate) fn count_dropped(events: u32) {
    if events == 0 {
        return;
    }
    let before = DROPPED.fetch_add(events.into(), Ordering::Relaxed);
    let count = before.wrapping_add(events.into());
    if is_worth_a_line(before, count) {
        log::warn!("the host has sent {count} events that nothing asked for");
    }
}

/// The count has reached a further power of two.
const fn is_worth_a_line(before: u64, count: u64) -> bool {
    before.leading_zeros() > count.leading_zeros()
}

/// The note of one CPU that it has taken events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note(&'static AtomicBool);

impl Note {
    /// That of no CPU.
    pub(crate) fn nobodys() -> Self {
        static NONE: AtomicBool = AtomicBool::new(false);
        Self(&NONE)
    }

    /// That of the running CPU.
    pub(crate) fn own() -> Self {
        TAKEN.get(kernel::cpu::index() as usize).map_or_else(Self::nobodys, Self)
    }

    /// Notes that the CPU has taken events.
    pub(crate) fn set(self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the CPU has taken events since the last call.
    #[inline]
    pub(crate) fn take(self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

/// The pages that a CPU shares with the host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuPages(u64);

impl CpuPages {
    /// Those of the running CPU, if it has any yet.
    pub(crate) fn own() -> Option<Self> {
        if !ANY.load(Ordering::Acquire) {
            return None;
        }
        let index = kernel::cpu::index() as usize;
        let start = SHARED.get(index)?.load(Ordering::Relaxed);
        (start != 0).then_some(Self(start))
    }

    /// Makes the pages from `start` on those of the running CPU, which makes calls by them from
    /// now on.
    ///
    /// # Errors
    /// [`Reason`], if the host refuses the GHCB or the doorbell page.
    ///
    /// # Safety
    /// The pages must be shared with the host, mapped so at their addresses, and used for this
    /// only, for ever.
    pub(crate) unsafe fn install(start: u64) -> Result<(), Reason> {
        let gfn = start / PAGE_SIZE;
        // SAFETY: a registration changes no memory.
        let answer = unsafe { sev_guest::request(Request::RegisterGhcb { gfn }) };
        if answer != Ok(Answer::RegisterGhcb { gfn }) {
            return Err(Reason::Share);
        }
        sev_guest::set_ghcb(start);
        if let Some(place) = SHARED.get(kernel::cpu::index() as usize) {
            place.store(start, Ordering::Relaxed);
        }
        ANY.store(true, Ordering::Release);
        let pages = Self(start);
        let call = Call {
            code: ExitCode::HV_DOORBELL_PAGE,
            info_1: DoorbellRequest::SET.0,
            info_2: pages.doorbell(),
        };
        let is_set = pages.call(call, &[], [Field::SW_EXITINFO2]) == Ok([pages.doorbell()]);
        if is_set { Ok(()) } else { Err(Reason::Levels) }
    }

    pub(crate) const fn ghcb(self) -> GhcbPage {
        // SAFETY: `install`'s caller gave the page.
        unsafe { GhcbPage::new(self.0, self.0) }
    }

    /// The address of the doorbell page.
    pub(crate) const fn doorbell(self) -> u64 {
        self.0 + PAGE_SIZE
    }

    /// The place in the transfer page for data or a command.
    const fn transfer(self, direction: Direction) -> u64 {
        let page = self.0 + 2 * PAGE_SIZE;
        match direction {
            Direction::FromDevice => page,
            Direction::Both => page + MOST_IN_PAGE as u64,
        }
    }

    /// Makes a call, and answers the `wanted` fields.
    pub(crate) fn call<const N: usize>(
        self,
        call: Call,
        fields: &[(Field, u64)],
        wanted: [Field; N],
    ) -> Result<[u64; N], sev_guest::Failed> {
        // SAFETY: the callers' requests concern devices, and pages that are shared.
        unsafe { self.ghcb().call(call, fields, wanted) }
    }

    const fn doorbell_words(self) -> Doorbell<'static> {
        let page = self.doorbell() as usize;
        // SAFETY: `install`'s caller gave the page for ever; both sides change these words of it by
        // atomic accesses.
        unsafe {
            Doorbell {
                pending: AtomicU16::from_ptr((page + PENDING_EVENTS) as _),
                no_eoi_required: AtomicU8::from_ptr((page + NO_EOI_REQUIRED) as _),
            }
        }
    }

    /// Whether the host has put anything into the doorbell page that was not taken.
    pub(crate) fn has_events(self) -> bool {
        self.doorbell_words().has_events()
    }

    /// Gives what the host has put into the doorbell page on to `handle`, if it was asked for.
    pub(crate) fn take_events(self, handle: impl FnMut(Event)) -> Looked {
        self.doorbell_words().take(pc::is_asked_for, handle)
    }

    fn port_read(self, port: u16, width: Width) -> u32 {
        counts::add(counts::of_port(port));
        let call = port_call(IoInfo::new().with_port(port).with_is_in(true), width);
        match self.call(call, &[(Field::RAX, 0)], [Field::RAX]) {
            Ok([value]) => value as u32 & width.mask(),
            Err(_) => width.mask(),
        }
    }

    fn port_write(self, port: u16, width: Width, value: u32) {
        counts::add(counts::of_port(port));
        let call = port_call(IoInfo::new().with_port(port), width);
        // A host that refuses loses output of its own.
        let _ = self.call(call, &[(Field::RAX, value.into())], []);
    }

    /// OUTS: the host takes the bytes from the shared buffer.
    fn port_bytes(self, port: u16, bytes: &[u8]) {
        counts::add(Why::Port);
        self.ghcb().put_buffer(bytes);
        let info = IoInfo::new().with_port(port).with_is_8_bit(true).with_address_64(true);
        let info = info.with_is_string(true).with_is_repeated(true).into_bits();
        let call = Call { code: ExitCode::IOIO, info_1: info, info_2: bytes.len() as u64 };
        // A host that refuses loses what the bytes were for.
        let _ = self.call(call, &[(Field::SW_SCRATCH, self.ghcb().buffer_address())], []);
    }

    /// Has the host carry the message in the shared page `request` to the firmware, which answers in the
    /// shared page `response`. Answers whether the host says so.
    pub(crate) fn guest_request(self, request: u64, response: u64) -> bool {
        let call = Call { code: ExitCode::GUEST_REQUEST, info_1: request, info_2: response };
        self.call(call, &[], [Field::SW_EXITINFO2]) == Ok([0])
    }

    fn memory(self, code: ExitCode, address: u64, width: Width) -> bool {
        counts::add(counts::of_register(address));
        let call = Call { code, info_1: address, info_2: u64::from(width.bytes()) };
        self.call(call, &[(Field::SW_SCRATCH, self.ghcb().buffer_address())], []).is_ok()
    }
}

fn port_call(info: IoInfo, width: Width) -> Call {
    let info = match width {
        Width::Byte => info.with_is_8_bit(true),
        Width::Word => info.with_is_16_bit(true),
        Width::Dword => info.with_is_32_bit(true),
    };
    Call { code: ExitCode::IOIO, info_1: info.into_bits(), info_2: 0 }
}

/// The way by calls. Before a CPU has its pages, reads answer all ones and writes do nothing.
///
/// The service is not put aside while it makes a call: other code of this CPU uses the same pages,
/// and the service may go on on another CPU.
#[derive(Clone, Copy, Debug)]
pub struct Calls;

impl Access for Calls {
    const IS_DONE_AT_ONCE: bool = true;
    const MOST_LENT: usize = (AREA_PAGES * PAGE_SIZE) as usize;

    fn port_read(&self, port: u16, width: Width) -> u32 {
        masked(|| CpuPages::own().map_or(width.mask(), |pages| pages.port_read(port, width)))
    }

    fn port_write(&self, port: u16, width: Width, value: u32) {
        masked(|| {
            if let Some(pages) = CpuPages::own() {
                pages.port_write(port, width, value);
            }
        });
    }

    fn port_write_bytes(&self, port: u16, bytes: &[u8]) {
        for part in bytes.chunks(SHARED_BUFFER_SIZE) {
            masked(|| CpuPages::own().map(|pages| pages.port_bytes(port, part)));
        }
    }

    fn register_read(&self, registers: &DeviceRegisters, offset: u64, width: Width) -> u32 {
        let Some(address) = registers.address(offset, width) else { return width.mask() };
        masked(|| {
            let pages = CpuPages::own();
            let read = |pages: &CpuPages| pages.memory(ExitCode::MMIO_READ, address, width);
            let Some(pages) = pages.filter(read) else { return width.mask() };
            let mut value = [0; 4];
            pages.ghcb().get_buffer(&mut value);
            u32::from_le_bytes(value) & width.mask()
        })
    }

    fn register_write(&self, registers: &DeviceRegisters, offset: u64, width: Width, value: u32) {
        let Some(address) = registers.address(offset, width) else { return };
        masked(|| {
            if let Some(pages) = CpuPages::own() {
                pages.ghcb().put_buffer(&value.to_le_bytes());
                pages.memory(ExitCode::MMIO_WRITE, address, width);
            }
        });
    }

    fn no_eoi_required(&self) -> bool {
        CpuPages::own().is_some_and(|pages| pages.doorbell_words().take_no_eoi_required())
    }

    fn tsc(&self) -> u64 {
        instructions::rdtsc()
    }

    fn lend<R>(
        &self,
        bytes: &mut [u8],
        direction: Direction,
        transfer: impl FnOnce(&Lent) -> R,
    ) -> R {
        // The service makes no large transfers, so nobody who holds the lock is put aside.
        let is_large = bytes.len() > MOST_IN_PAGE && direction == Direction::FromDevice;
        let area = is_large.then(|| AREA.lock());
        let own = || CpuPages::own().map_or(0, |pages| pages.transfer(direction));
        let page = area.as_ref().map_or_else(own, |area| **area);
        let most = match direction {
            Direction::FromDevice => Self::MOST_LENT,
            Direction::Both => COMMAND,
        };
        let length = if page == 0 { 0 } else { bytes.len().min(most) };
        let place = page as *mut u8;
        if direction == Direction::Both {
            for (offset, byte) in bytes.iter().take(length).enumerate() {
                // SAFETY: within the shared page, which this CPU uses for one transfer at a time.
                unsafe { place.add(offset).write_volatile(*byte) };
            }
        }
        // SAFETY: as above; without a page the length is zero.
        let lent =
            unsafe { Lent::new(NonNull::new(place).unwrap_or(NonNull::dangling()), length, page) };
        let result = transfer(&lent);
        for (offset, byte) in bytes.iter_mut().take(length).enumerate() {
            // SAFETY: as above.
            *byte = unsafe { place.add(offset).read_volatile() };
        }
        result
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::boxed::Box;
    use std::vec::Vec;

    use pc::{KICK_VECTOR, TIMER_VECTOR};

    use super::*;

    #[repr(C, align(4096))]
    struct Pages([u8; 3 * PAGE_SIZE as usize]);

    /// Pages of the heap, to which the test's host writes as atomically as the CPU.
    fn pages() -> CpuPages {
        let pages = Box::leak(Box::new(Pages([0; 3 * PAGE_SIZE as usize])));
        CpuPages(pages.0.as_mut_ptr().expose_provenance() as u64)
    }

    fn host_writes(pages: CpuPages, word: u16) {
        // SAFETY: the page is the test's for ever, and is reached by atomic accesses alone.
        let pending = unsafe { AtomicU16::from_ptr(pages.doorbell() as *mut u16) };
        pending.store(word, Ordering::Release);
    }

    #[test]
    fn the_doorbell_page_gives_what_was_asked_for_and_counts_the_rest() {
        let pages = pages();
        assert!(!pages.has_events());
        let mut events = Vec::new();
        let mut dropped = 0;
        for vector in 0..=u8::MAX {
            host_writes(pages, vector.into());
            assert_eq!(pages.has_events(), vector != 0);
            dropped += pages.take_events(|event| events.push(event)).dropped;
            assert!(!pages.has_events());
        }
        let asked = [TIMER_VECTOR, KICK_VECTOR, 0x42, 0x43, pc::SPURIOUS_VECTOR];
        assert_eq!(events, asked.map(Event::Interrupt));
        assert_eq!(dropped, 255 - asked.len() as u32);
    }

    #[test]
    fn the_flag_for_a_missing_end_is_the_third_byte() {
        let pages = pages();
        host_writes(pages, 0xffff);
        assert!(!pages.doorbell_words().take_no_eoi_required());
        // SAFETY: as for the word before it.
        let flag = unsafe { AtomicU8::from_ptr((pages.doorbell() + 2) as *mut u8) };
        flag.store(1, Ordering::Release);
        assert!(pages.doorbell_words().take_no_eoi_required());
        assert!(pages.has_events(), "events stay");
    }

    #[test]
    fn a_storm_of_dropped_events_has_few_lines() {
        let lines = (0..100_000_u64).filter(|count| is_worth_a_line(*count, count + 1)).count();
        assert_eq!(lines, 17);
        assert!(is_worth_a_line(0, 64) && is_worth_a_line(1, 2) && !is_worth_a_line(2, 3));
    }
}
