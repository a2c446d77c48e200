//! A chipset whose host and CPUs are notebooks.

mod lines;
mod mailbox;
mod memory;
mod ports;
mod route;
mod serial;
mod time;

use core::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::vec::Vec;

use device_model::Instant;
use local_apic::{Identity, Mode};
use platform_api::{Console, Received, Width};

use crate::mailbox::{Away, Mail, Mailbox};
use crate::memory::IOAPIC_PAGE;
use crate::{Access, Chipset, Kick, Mailboxes, Request};

/// The host's end of the serial ports, and its power button.
#[derive(Default)]
struct Host {
    sent: [RefCell<Vec<u8>>; 2],
    typed: [RefCell<VecDeque<Received>>; 2],
    is_full: Cell<bool>,
    pressed: Cell<bool>,
}

impl Console for Host {
    fn device_event(&self) -> bool {
        true
    }

    fn serial_read(&self, channel: usize) -> Option<Received> {
        self.typed[channel].borrow_mut().pop_front()
    }

    fn serial_ready(&self, _channel: usize) -> bool {
        !self.is_full.get()
    }

    fn serial_write(&self, channel: usize, byte: u8) {
        self.sent[channel].borrow_mut().push(byte);
    }

    fn power_button(&self) -> bool {
        self.pressed.take()
    }

    fn report(&self, _line: core::fmt::Arguments<'_>) {}
}

/// A chipset with its VPs: VP `n` has APIC ID `n` and bit `n` of the flat logical addresses.
struct Board {
    chipset: Chipset,
    host: Host,
    kicked: RefCell<Vec<u32>>,
    now: Cell<u64>,
}

impl Kick for Board {
    fn kick(&self, vp: u32, mailbox: &Mailbox) {
        assert!(core::ptr::eq(mailbox, &self.chipset.mailboxes().all()[vp as usize]));
        self.assert_unlocked();
        self.kicked.borrow_mut().push(vp);
    }
}

fn identity(vp: u32) -> Identity {
    Identity {
        mode: Mode::XApic,
        x2apic_id: vp,
        logical_id: 1 << vp,
        model: 0xf,
        software_enabled: true,
        lint0_open: false,
    }
}

impl Board {
    /// A board whose VPs are all in the guest, so that the first post to each kicks.
    fn new(vps: u32) -> Self {
        let board = Self {
            chipset: Chipset::new(
                0,
                Instant::from_nanos(0),
                Mailboxes::new((0..vps).map(identity)),
            ),
            host: Host::default(),
            kicked: RefCell::default(),
            now: Cell::new(0),
        };
        board.enter_guest();
        board
    }

    fn enter_guest(&self) {
        for mailbox in self.chipset.mailboxes().all() {
            assert!(mailbox.leave(Away::Guest));
        }
    }

    /// No kick may be sent while a lock is held.
    fn assert_unlocked(&self) {
        let chipset = &self.chipset;
        assert!(chipset.pit.try_lock().is_some() && chipset.rtc.try_lock().is_some());
        assert!(chipset.pm.try_lock().is_some() && chipset.reset.try_lock().is_some());
        assert!(chipset.pci.try_lock().is_some());
        assert!(chipset.uarts.iter().all(|uart| uart.try_lock().is_some()));
        assert!(chipset.lines().controllers.try_lock().is_some());
    }

    fn access(&self, vp: u32) -> Access<'_, Host, Self> {
        Access { now: Instant::from_nanos(self.now.get()), vp, host: &self.host, kick: self }
    }

    fn read(&self, port: u16) -> u8 {
        self.chipset.read_port(port, Width::Byte, &self.access(0)) as u8
    }

    fn write(&self, port: u16, value: u8) -> Option<Request> {
        self.chipset.write_port(port, Width::Byte, value.into(), &self.access(0))
    }

    /// Writes the IOAPIC's register `index`.
    fn write_ioapic(&self, index: u32, value: u32) {
        for (offset, value) in [(0, index), (0x10, value)] {
            self.chipset.write_memory(IOAPIC_PAGE + offset, &value.to_le_bytes(), self);
        }
    }

    /// Routes the IOAPIC's `pin`: the low half of its entry, and the destination's ID.
    fn route_pin(&self, pin: u32, entry: u32, destination: u32) {
        self.write_ioapic(0x11 + 2 * pin, destination << 24);
        self.write_ioapic(0x10 + 2 * pin, entry);
    }

    /// Initialises the 8259 pair with vectors 20h and 28h, all IRQs open.
    fn start_pic(&self) {
        for (base, vector, cascade) in [(0x20, 0x20, 4), (0xa0, 0x28, 2)] {
            for (offset, value) in [(0, 0x11), (1, vector), (1, cascade), (1, 1), (1, 0)] {
                self.write(base + offset, value);
            }
        }
    }

    /// Takes the mail of VP `vp` out; the VP stays in the guest.
    fn mail(&self, vp: u32) -> Mail {
        self.chipset.mailboxes().all()[vp as usize].drain()
    }

    /// Whether `vector` is the only one that waits for VP `vp`; takes its mail out.
    fn got(&self, vp: u32, vector: u8) -> bool {
        let requests = self.mail(vp).requests;
        let count: u32 = requests.iter().map(|word| word.count_ones()).sum();
        count == 1 && requests[usize::from(vector >> 6)] >> (vector & 63) & 1 != 0
    }

    fn kicked(&self) -> Vec<u32> {
        self.kicked.take()
    }
}
