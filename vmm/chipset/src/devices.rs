//! The shared devices, each behind a lock of its own.
//!
//! Every access follows one pattern: lock the device, use it, set its interrupt line under the
//! same lock (so that levels reach the controllers in the order in which they arose), unlock,
//! deliver. Nothing is delivered, and no CPU kicked, under a lock.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use acpi_pm::AcpiPm;
use device_model::{Device, Instant};
use pci_host::PciHost;
use pit8254::Pit;
use platform_api::Console;
use reset_control::ResetControl;
use rtc::Rtc;
use spin::Mutex;
use uart16550::Uart;

use crate::lines::{Lines, Signals, irq};
use crate::mailbox::Order;
use crate::memory::ECAM_BASE;
use crate::route::{Kick, Mailboxes};
use crate::serial::TERMINAL;

/// The shortest time between two timer interrupts that a guest gets, in nanoseconds. A guest that
/// asks for more of them gets these, so that it can not starve the other VPs and our own tasks.
pub const MINIMUM_TIMER_PERIOD: u64 = 500_000;
/// The deadline of devices that want none, in nanoseconds.
pub const NO_DEADLINE: u64 = u64::MAX;

/// The arguments of every access: the time, the VP, and the way to host and CPUs.
#[derive(Debug)]
pub struct Access<'a, H, K> {
    /// The time.
    pub now: Instant,
    /// The VP that makes the access.
    pub vp: u32,
    /// The host.
    pub host: &'a H,
    /// The way to interrupt a VP's CPU.
    pub kick: &'a K,
}

/// The shared devices, with the mailboxes of the VPs that they interrupt.
#[derive(Debug)]
pub struct Chipset {
    lines: Lines,
    mailboxes: Mailboxes,
    pub(crate) pit: Mutex<Pit>,
    pub(crate) rtc: Mutex<Rtc>,
    pub(crate) pm: Mutex<AcpiPm>,
    pub(crate) reset: Mutex<ResetControl>,
    pub(crate) pci: Mutex<PciHost>,
    pub(crate) uarts: [Mutex<Uart>; 2],
    /// A serial byte waits for room, on one side or the other.
    pub(crate) serial_stalled: AtomicBool,
    /// The first time at which a device wants [`Chipset::advance`], in nanoseconds.
    deadline: AtomicU64,
    /// The VP that keeps the devices' deadlines: the one whose access set the first of them, so
    /// that a guest pays for a device's ticks on the VP that asked for them.
    watcher: AtomicU32,
}

impl Chipset {
    /// Devices after power-on; it is `unix_seconds` since 1970 then.
    pub fn new(unix_seconds: u64, now: Instant, mailboxes: Mailboxes) -> Self {
        Self {
            lines: Lines::new(),
            mailboxes,
            pit: Mutex::new(Pit::new(MINIMUM_TIMER_PERIOD)),
            rtc: Mutex::new(Rtc::new(unix_seconds, now)),
            pm: Mutex::new(AcpiPm::new()),
            reset: Mutex::new(ResetControl::new()),
            pci: Mutex::new(PciHost::new(Some(ECAM_BASE))),
            uarts: [(); 2].map(|()| Mutex::new(Uart::connected(TERMINAL))),
            serial_stalled: AtomicBool::new(false),
            deadline: AtomicU64::new(NO_DEADLINE),
            watcher: AtomicU32::new(0),
        }
    }

    /// Puts a byte into the real-time clock's memory, before the guest starts.
    pub fn set_clock_memory(&self, index: u8, value: u8) {
        self.rtc.lock().set_memory(index, value);
    }

    /// The interrupt lines.
    #[inline]
    pub const fn lines(&self) -> &Lines {
        &self.lines
    }

    /// The mailboxes of the VPs.
    #[inline]
    pub const fn mailboxes(&self) -> &Mailboxes {
        &self.mailboxes
    }

    /// Uses the PIT; its output 0 is an edge on IRQ 0.
    pub(crate) fn with_pit<T>(
        &self,
        on: &Access<'_, impl Console, impl Kick>,
        use_it: impl FnOnce(&mut Pit) -> T,
    ) -> T {
        let mut pit = self.pit.lock();
        let result = use_it(&mut pit);
        let signals =
            if pit.take_edge() { self.lines.pulse(irq::TIMER) } else { Signals::default() };
        let lowered = self.lower_deadline(pit.deadline());
        drop(pit);
        self.deliver(signals, lowered, on);
        result
    }

    /// Uses the real-time clock.
    pub(crate) fn with_rtc<T>(
        &self,
        on: &Access<'_, impl Console, impl Kick>,
        use_it: impl FnOnce(&mut Rtc) -> T,
    ) -> T {
        let mut rtc = self.rtc.lock();
        let result = use_it(&mut rtc);
        let signals = self.lines.set(irq::RTC, rtc.interrupt());
        let lowered = self.lower_deadline(rtc.deadline());
        drop(rtc);
        self.deliver(signals, lowered, on);
        result
    }

    /// Uses the ACPI power management block.
    pub(crate) fn with_pm<T>(
        &self,
        on: &Access<'_, impl Console, impl Kick>,
        use_it: impl FnOnce(&mut AcpiPm) -> T,
    ) -> T {
        let mut pm = self.pm.lock();
        let result = use_it(&mut pm);
        let signals = self.lines.set(irq::SCI, pm.interrupt());
        let lowered = self.lower_deadline(pm.deadline());
        drop(pm);
        self.deliver(signals, lowered, on);
        result
    }

    /// The time at which VP `vp` must call [`Chipset::advance`], in nanoseconds. One VP keeps the
    /// devices' deadlines; for all others it is [`NO_DEADLINE`].
    #[inline]
    pub fn deadline(&self, vp: u32) -> u64 {
        if self.watcher.load(Ordering::Acquire) == vp {
            self.deadline.load(Ordering::Relaxed)
        } else {
            NO_DEADLINE
        }
    }

    /// Notes a deadline. True if it is now the first.
    pub(crate) fn lower_deadline(&self, deadline: Option<Instant>) -> bool {
        deadline.is_some_and(|deadline| {
            let nanos = deadline.as_nanos();
            nanos < self.deadline.fetch_min(nanos, Ordering::AcqRel)
        })
    }

    /// Lets the events up to `now` happen.
    pub fn advance(&self, on: &Access<'_, impl Console, impl Kick>) {
        let now = on.now;
        self.deadline.store(NO_DEADLINE, Ordering::Release);
        self.with_pit(on, |pit| pit.advance(now));
        self.with_rtc(on, |rtc| rtc.advance(now));
        self.with_pm(on, |pm| pm.advance(now));
        for index in 0..self.uarts.len() {
            self.with_uart(index, on, |uart| uart.advance(now));
        }
        if self.serial_stalled.load(Ordering::Acquire) {
            self.receive_serial(on);
        }
    }

    /// Delivers the effects of an access, once no device is locked: `signals`, and the news to the
    /// VP that it now keeps an earlier deadline.
    pub(crate) fn deliver(
        &self,
        signals: Signals,
        lowered: bool,
        on: &Access<'_, impl Console, impl Kick>,
    ) {
        self.send(signals, on.kick);
        if lowered {
            self.watcher.store(on.vp, Ordering::Release);
            self.mailboxes.post(on.vp, on.kick, |mailbox| mailbox.post(Order::Timer));
        }
    }

    /// Delivers the effects of a change of a line.
    pub(crate) fn send(&self, signals: Signals, kick: &impl Kick) {
        for (ipi, level) in signals.messages.into_iter().flatten() {
            self.mailboxes.send(ipi, level, None, kick);
        }
        if signals.pic_changed {
            self.mailboxes.pic_changed(kick);
        }
    }

    /// Returns all devices to their power-on state; VP 0 keeps their deadlines then. Mail stays.
    pub fn reset(&self, now: Instant) {
        self.lines.reset(now);
        self.pit.lock().reset(now);
        self.rtc.lock().reset(now);
        self.pm.lock().reset(now);
        self.reset.lock().reset(now);
        self.pci.lock().reset(now);
        for uart in &self.uarts {
            uart.lock().reset(now);
        }
        self.serial_stalled.store(true, Ordering::Release);
        self.deadline.store(now.as_nanos(), Ordering::Release);
        self.watcher.store(0, Ordering::Release);
    }
}
