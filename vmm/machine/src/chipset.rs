//! The devices that all VPs share, each behind a lock of its own, at their ports and addresses.
//!
//! Every access follows one pattern: lock the device, use it, set its interrupt line under the
//! same lock (so that levels reach the controllers in the order in which they arose), unlock,
//! deliver. Nothing is delivered, and no CPU kicked, under a lock.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use acpi_pm::{AcpiPm, FixedEvent};
use device_model::{Device, Instant};
use local_apic::Ipi;
use pci_host::PciHost;
use pit8254::Pit;
use platform_api::{Console, Received, Width};
use reset_control::ResetControl;
use rtc::Rtc;
use spin::Mutex;
use uart16550::{Flaw, ModemLines, Uart};

use crate::lines::{Lines, Signals, irq};

/// The shortest time between two timer interrupts that a guest gets, in nanoseconds. A guest that
/// asks for more of them gets these, so that it can not starve the other VPs and our own tasks.
pub const MINIMUM_TIMER_PERIOD: u64 = 500_000;
/// The deadline of devices that want none, in nanoseconds.
pub(crate) const NO_DEADLINE: u64 = u64::MAX;

/// The ports of the ACPI power management block.
pub(crate) const PM_BASE: u16 = 0x600;
const PM_END: u16 = PM_BASE + 0x10;

/// Where firmware's code tells of a call of the BIOS, see [`BiosCall`].
pub(crate) const BIOS_CALL_PORT: u16 = 0x610;

/// Start of the PCI configuration window in memory, for one bus.
pub(crate) const ECAM_BASE: u64 = 0xe000_0000;
/// Bytes of configuration space of a bus.
pub(crate) const ECAM_LENGTH: u64 = 1 << 20;

/// How soon a byte that could not be passed on is tried again, in nanoseconds.
const SERIAL_RETRY: u64 = 1_000_000;

/// Where interrupts go.
pub trait Deliver {
    /// Sends a message to local APICs.
    fn deliver(&self, ipi: Ipi, level_triggered: bool);
    /// The 8259 pair's output has changed.
    fn pic_changed(&self);
    /// The devices' first deadline is earlier than before; an access of VP `vp` did that.
    fn deadline_lowered(&self, vp: u32);
}

/// What every access needs: the time, the host, and the way to the VPs.
#[derive(Debug)]
pub struct Access<'a, H, D> {
    /// The time.
    pub now: Instant,
    /// The VP that makes the access.
    pub vp: u32,
    /// The host.
    pub host: &'a H,
    /// Where interrupts go.
    pub to: &'a D,
}

/// A call of the BIOS that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BiosCall {
    /// The number of the interrupt.
    pub vector: u8,
    /// AX, which holds the function's number.
    pub function: u16,
}

/// What a port access asks of the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Reset.
    Reset,
    /// Power off.
    PowerOff,
    /// End: there is no BIOS to answer.
    BiosCall(BiosCall),
}

/// The shared devices.
#[derive(Debug)]
pub struct Chipset {
    pub(crate) lines: Lines,
    pit: Mutex<Pit>,
    rtc: Mutex<Rtc>,
    pm: Mutex<AcpiPm>,
    reset: Mutex<ResetControl>,
    pci: Mutex<PciHost>,
    uarts: [Mutex<Uart>; 2],
    /// A serial byte waits for room, on one side or the other.
    serial_stalled: AtomicBool,
    /// When the first of the devices wants [`Chipset::advance`], in nanoseconds.
    deadline: AtomicU64,
}

/// The lines of a modem that is there and ready: what a terminal's cable shows. Without them a
/// guest that watches the lines would neither send nor open the port.
const TERMINAL: ModemLines = ModemLines::CTS.union(ModemLines::DSR).union(ModemLines::DCD);
const UART_IRQ: [u8; 2] = [irq::SERIAL_1, irq::SERIAL_2];

impl Chipset {
    /// Devices after power-on; it is `unix_seconds` since 1970 then.
    pub fn new(unix_seconds: u64, now: Instant) -> Self {
        Self {
            lines: Lines::new(),
            pit: Mutex::new(Pit::new(MINIMUM_TIMER_PERIOD)),
            rtc: Mutex::new(Rtc::new(unix_seconds, now)),
            pm: Mutex::new(AcpiPm::new()),
            reset: Mutex::new(ResetControl::new()),
            pci: Mutex::new(PciHost::new(Some(ECAM_BASE))),
            uarts: [(); 2].map(|()| Mutex::new(Uart::connected(TERMINAL))),
            serial_stalled: AtomicBool::new(false),
            deadline: AtomicU64::new(NO_DEADLINE),
        }
    }

    /// Reads `width` bytes at `port`.
    pub fn read_port(
        &self,
        port: u16,
        width: Width,
        on: &Access<'_, impl Console, impl Deliver>,
    ) -> u32 {
        if let Some(offset) = pm_offset(port) {
            return self.with_pm(on, |pm| pm.read(offset, width.bytes(), on.now));
        }
        if is_pci(port, width) {
            return self.pci.lock().read_port(port, width.bytes(), &mut ());
        }
        if width == Width::Byte {
            return u32::from(self.read_byte(port, on));
        }
        // Byte-wide devices see a wide access as bytes at consecutive ports.
        let mut bytes = [0xff; 4];
        for (offset, byte) in (0..u16::from(width.bytes())).zip(&mut bytes) {
            *byte = self.read_byte(port.wrapping_add(offset), on);
        }
        u32::from_le_bytes(bytes) & width.mask()
    }

    fn read_byte(&self, port: u16, on: &Access<'_, impl Console, impl Deliver>) -> u8 {
        let now = on.now;
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => {
                let (value, signals) = self.lines.read_pic(port);
                send(signals, on.to);
                value
            }
            0x40..=0x43 | 0x61 => self.with_pit(on, |pit| pit.read(port, now)),
            0x64 | 0x92 | 0xcf9 => self.reset.lock().read(port),
            0x70 | 0x71 => self.with_rtc(on, |rtc| rtc.read(port, now)),
            0x3f8..=0x3ff => self.with_uart(0, on, |u| u.read(port as u8 & 7, now)),
            0x2f8..=0x2ff => self.with_uart(1, on, |u| u.read(port as u8 & 7, now)),
            _ => 0xff,
        }
    }

    /// Writes `width` bytes of `value` at `port`.
    pub fn write_port(
        &self,
        port: u16,
        width: Width,
        value: u32,
        on: &Access<'_, impl Console, impl Deliver>,
    ) -> Option<Request> {
        if let Some(offset) = pm_offset(port) {
            let effect = self.with_pm(on, |pm| pm.write(offset, width.bytes(), value, on.now));
            return effect.map(|acpi_pm::Effect::PowerOff| Request::PowerOff);
        }
        if is_pci(port, width) {
            self.pci.lock().write_port(port, width.bytes(), value, &mut ());
            return None;
        }
        if (port, width) == (BIOS_CALL_PORT, Width::Dword) {
            let [vector, _, low, high] = value.to_le_bytes();
            let function = u16::from_le_bytes([low, high]);
            return Some(Request::BiosCall(BiosCall { vector, function }));
        }
        let mut request = None;
        for (offset, byte) in (0..u16::from(width.bytes())).zip(value.to_le_bytes()) {
            let asked = self.write_byte(port.wrapping_add(offset), byte, on);
            request = request.or(asked);
        }
        request
    }

    fn write_byte(
        &self,
        port: u16,
        value: u8,
        on: &Access<'_, impl Console, impl Deliver>,
    ) -> Option<Request> {
        let now = on.now;
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => {
                send(self.lines.write_pic(port, value), on.to);
            }
            0x40..=0x43 | 0x61 => self.with_pit(on, |pit| pit.write(port, value, now)),
            0x64 | 0x92 | 0xcf9 => {
                // INIT of all VPs without firmware to run is a reset of the machine, too.
                return self.reset.lock().write(port, value).map(|_| Request::Reset);
            }
            0x70 | 0x71 => self.with_rtc(on, |rtc| rtc.write(port, value, now)),
            0x3f8..=0x3ff => {
                self.with_uart(0, on, |u| u.write(port as u8 & 7, value, now));
            }
            0x2f8..=0x2ff => {
                self.with_uart(1, on, |u| u.write(port as u8 & 7, value, now));
            }
            _ => {}
        }
        None
    }

    /// Uses the PIT; its output 0 is an edge on IRQ 0.
    fn with_pit<T>(
        &self,
        on: &Access<'_, impl Console, impl Deliver>,
        use_it: impl FnOnce(&mut Pit) -> T,
    ) -> T {
        let mut pit = self.pit.lock();
        let result = use_it(&mut pit);
        let signals =
            if pit.take_edge() { self.lines.pulse(irq::TIMER) } else { Signals::default() };
        let lowered = self.lower_deadline(pit.deadline());
        drop(pit);
        send(signals, on.to);
        tell(lowered, on);
        result
    }

    /// Reads the ECAM window; a wide access is one of double words.
    pub(crate) fn read_ecam(&self, offset: u64, bytes: &mut [u8]) {
        let mut pci = self.pci.lock();
        for (at, part) in (offset..).step_by(4).zip(bytes.chunks_mut(4)) {
            let value = pci.read_ecam(at, part.len() as u8, &mut ());
            for (to, from) in part.iter_mut().zip(value.to_le_bytes()) {
                *to = from;
            }
        }
    }

    /// Writes the ECAM window.
    pub(crate) fn write_ecam(&self, offset: u64, bytes: &[u8]) {
        let mut pci = self.pci.lock();
        for (at, part) in (offset..).step_by(4).zip(bytes.chunks(4)) {
            let mut word = [0; 4];
            for (to, from) in word.iter_mut().zip(part) {
                *to = *from;
            }
            pci.write_ecam(at, part.len() as u8, u32::from_le_bytes(word), &mut ());
        }
    }

    /// Uses the real-time clock.
    fn with_rtc<T>(
        &self,
        on: &Access<'_, impl Console, impl Deliver>,
        use_it: impl FnOnce(&mut Rtc) -> T,
    ) -> T {
        let mut rtc = self.rtc.lock();
        let result = use_it(&mut rtc);
        let signals = self.lines.set(irq::RTC, rtc.interrupt());
        let lowered = self.lower_deadline(rtc.deadline());
        drop(rtc);
        send(signals, on.to);
        tell(lowered, on);
        result
    }

    /// Uses the ACPI power management block.
    fn with_pm<T>(
        &self,
        on: &Access<'_, impl Console, impl Deliver>,
        use_it: impl FnOnce(&mut AcpiPm) -> T,
    ) -> T {
        let mut pm = self.pm.lock();
        let result = use_it(&mut pm);
        let signals = self.lines.set(irq::SCI, pm.interrupt());
        let lowered = self.lower_deadline(pm.deadline());
        drop(pm);
        send(signals, on.to);
        tell(lowered, on);
        result
    }

    /// Uses a UART: what it sends goes to the host at once, unless the host has no room.
    fn with_uart<T>(
        &self,
        index: usize,
        on: &Access<'_, impl Console, impl Deliver>,
        use_it: impl FnOnce(&mut Uart) -> T,
    ) -> T {
        let [first, second] = &self.uarts;
        let (cell, irq) = if index == 0 { (first, UART_IRQ[0]) } else { (second, UART_IRQ[1]) };
        let mut uart = cell.lock();
        let result = use_it(&mut uart);
        let stalled = self.transmit(index, &mut uart, on);
        let signals = self.lines.set(irq, uart.interrupt());
        let retry = stalled.then(|| on.now.saturating_add(SERIAL_RETRY));
        let lowered = self.lower_deadline(uart.deadline().into_iter().chain(retry).min());
        drop(uart);
        send(signals, on.to);
        tell(lowered, on);
        result
    }

    /// Passes what the UART sends to the host. True if the host has no room now.
    fn transmit(
        &self,
        index: usize,
        uart: &mut Uart,
        on: &Access<'_, impl Console, impl Deliver>,
    ) -> bool {
        while uart.has_output() {
            if !on.host.serial_ready(index) {
                self.serial_stalled.store(true, Ordering::Release);
                return true;
            }
            if let Some(byte) = uart.transmitted() {
                on.host.serial_write(index, byte);
            }
        }
        false
    }

    /// Passes on input from outside: a press of the power button, and bytes that came in on the
    /// serial channels.
    pub fn take_input(&self, on: &Access<'_, impl Console, impl Deliver>) {
        if on.host.power_button() {
            self.with_pm(on, |pm| pm.raise(FixedEvent::PowerButton));
        }
        self.receive_serial(on);
    }

    /// Passes bytes from the host's serial channels to the guest as far as there is room.
    fn receive_serial(&self, on: &Access<'_, impl Console, impl Deliver>) {
        let now = on.now;
        self.serial_stalled.store(false, Ordering::Release);
        for index in 0..self.uarts.len() {
            let stalled = self.with_uart(index, on, |uart| {
                while uart.has_room() {
                    // There is room, as has just been asked.
                    let _ = match on.host.serial_read(index) {
                        Some(Received::Byte(byte)) => uart.receive(byte, now),
                        Some(Received::Break) => uart.receive_flawed(0, Flaw::Break, now),
                        None => return false,
                    };
                }
                true
            });
            if stalled {
                self.serial_stalled.store(true, Ordering::Release);
                tell(self.lower_deadline(Some(now.saturating_add(SERIAL_RETRY))), on);
            }
        }
    }

    /// When [`Chipset::advance`] is wanted.
    #[inline]
    pub fn deadline(&self) -> u64 {
        self.deadline.load(Ordering::Relaxed)
    }

    /// Notes a deadline. True if it is now the first.
    fn lower_deadline(&self, deadline: Option<Instant>) -> bool {
        deadline.is_some_and(|deadline| {
            let nanos = deadline.as_nanos();
            nanos < self.deadline.fetch_min(nanos, Ordering::AcqRel)
        })
    }

    /// Lets the events up to `now` happen.
    pub fn advance(&self, on: &Access<'_, impl Console, impl Deliver>) {
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

    /// Returns all devices to their power-on state.
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
    }
}

/// The offset in the power management block of a port.
const fn pm_offset(port: u16) -> Option<u16> {
    match port {
        PM_BASE..PM_END => Some(port - PM_BASE),
        _ => None,
    }
}

/// Whether an access goes to PCI configuration; a byte at CF9h is the reset register.
fn is_pci(port: u16, width: Width) -> bool {
    (0xcf8..=0xcff).contains(&port) && (port != 0xcf9 || width != Width::Byte)
}

fn tell(lowered: bool, on: &Access<'_, impl Console, impl Deliver>) {
    if lowered {
        on.to.deadline_lowered(on.vp);
    }
}

/// Delivers what a line change caused.
pub(crate) fn send(signals: Signals, to: &impl Deliver) {
    for (ipi, level) in signals.messages.into_iter().flatten() {
        to.deliver(ipi, level);
    }
    if signals.pic_changed {
        to.pic_changed();
    }
}
