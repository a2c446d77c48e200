//! Every device model under any sequence of accesses, with time that jumps.

use acpi_pm::AcpiPm;
use cpu_policy::Mtrrs;
use device_model::{Device, GuestTsc, Instant};
use hyperv::Partition;
use ioapic::IoApic;
use local_apic::{LintPin, LocalApic};
use pci_host::PciHost;
use pic8259::Pic;
use pit8254::Pit;
use reset_control::ResetControl;
use rtc::Rtc;
use uart16550::Uart;

use crate::input::Input;

/// Takes a result that the fuzzer does not look at.
fn forget<T>(_: T) {}

/// A step of time: mostly small, sometimes years.
fn step(input: &mut Input<'_>, now: Instant) -> Instant {
    let shift = input.u8() & 63;
    now.saturating_add(u64::from(input.u16()) << shift.min(40))
}

/// The local APIC: registers in both modes, base, timer, pins, acceptance.
pub fn apic(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut apic = LocalApic::new(input.u8().into(), true, 40, 100_000);
    let mut now = Instant::START;
    while !input.is_empty() {
        let (what, value) = (input.u8(), input.u64());
        let tsc = GuestTsc(now.as_nanos().wrapping_mul(3));
        match what % 11 {
            0 => forget(apic.write_msr(0x800 + (value >> 32 & 0xff) as u32, value, now, tsc)),
            1 => forget(apic.read_msr(0x800 + (value & 0xff) as u32, now, tsc)),
            2 => forget(apic.write_xapic(value as u16 & 0xff0, (value >> 16) as u32, now, tsc)),
            3 => forget(apic.read_xapic(value as u16, now, tsc)),
            4 => forget(apic.set_apic_base(0xfee0_0000 | value & 0xfff)),
            5 => apic.set_tsc_deadline(value, now, tsc),
            6 => forget(apic.accept(value as u8, value & 0x100 != 0)),
            7 => apic.pending().into_iter().for_each(|vector| apic.acknowledge(vector)),
            8 => forget(apic.set_lint(LintPin::Lint0, value & 1 != 0)),
            9 => apic.init(),
            _ => now = step(&mut input, now),
        }
        apic.advance_timer(now, GuestTsc(now.as_nanos().wrapping_mul(3)));
        let mut copy = apic.clone();
        copy.restore(&apic.save()).expect("its own state");
        assert_eq!(copy, apic);
    }
}

/// The other devices.
struct Board {
    pic: Pic,
    pit: Pit,
    ioapic: IoApic,
    uart: Uart,
    rtc: Rtc,
    pm: AcpiPm,
    reset: ResetControl,
    pci: PciHost,
    mtrrs: Mtrrs,
    partition: Partition,
}

impl Board {
    fn new() -> Self {
        let clock = hyperv::Clock {
            tsc_frequency: 3_000_000_000,
            apic_frequency: 1_000_000_000,
            tsc_at_zero: 0,
        };
        Self {
            pic: Pic::new(),
            pit: Pit::new(100_000),
            ioapic: IoApic::new(),
            uart: Uart::new(),
            rtc: Rtc::new(1_700_000_000, Instant::START),
            pm: AcpiPm::new(),
            reset: ResetControl::new(),
            pci: PciHost::new(Some(0xe000_0000)),
            mtrrs: Mtrrs::new(40),
            partition: Partition::new(clock, x86::Vendor::Amd),
        }
    }

    fn write(&mut self, device: u8, at: u16, value: u32, now: Instant) {
        match device % 10 {
            0 => self
                .pic
                .write([0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1][usize::from(at) % 6], value as u8),
            1 => self.pit.write(
                [0x40, 0x41, 0x42, 0x43, 0x61][usize::from(at) % 5],
                value as u8,
                now,
            ),
            2 => forget(self.ioapic.write(at & 0x1f, value).count()),
            3 => self.uart.write(at as u8, value as u8, now),
            4 => self.rtc.write(0x70 | at & 1, value as u8, now),
            5 => forget(self.pm.write(at & 15, 1 << (at >> 4 & 1), value, now)),
            6 => forget(self.reset.write([0x64, 0x92, 0xcf9][usize::from(at) % 3], value as u8)),
            7 => self.pci.write_port(0xcf8 | at & 7, 1 << (at >> 8 & 1), value, &mut ()),
            8 => forget(self.mtrrs.write(0x200 + u32::from(at & 0x1ff), value.into())),
            _ => forget(self.partition.write(0x4000_0000 + u32::from(at & 0x1ff), value.into())),
        }
    }

    fn read(&mut self, device: u8, at: u16, now: Instant) {
        match device % 10 {
            0 => forget(self.pic.read([0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1][usize::from(at) % 6])),
            1 => forget(self.pit.read([0x40, 0x41, 0x42, 0x43, 0x61][usize::from(at) % 5], now)),
            2 => forget(self.ioapic.read(at & 0x1f)),
            3 => forget(self.uart.read(at as u8, now)),
            4 => forget(self.rtc.read(0x70 | at & 1, now)),
            5 => forget(self.pm.read(at & 15, 4, now)),
            6 => forget(self.reset.read(at)),
            7 => forget(self.pci.read_port(0xcf8 | at & 7, 1 << (at >> 8 & 1), &mut ())),
            8 => forget(self.mtrrs.read(0x200 + u32::from(at & 0x1ff))),
            _ => {
                let tsc = GuestTsc(now.as_nanos());
                forget(self.partition.read(0x4000_0000 + u32::from(at & 0x1ff), 0, tsc));
            }
        }
    }

    fn lines(&mut self, value: u32) {
        self.pic.set_line(value as u8 & 15, value & 0x100 != 0);
        forget(self.ioapic.set_pin(value as u8 & 31, value & 0x100 != 0));
        if self.pic.output() {
            self.pic.acknowledge();
        }
        forget(self.ioapic.end_of_interrupt((value >> 16) as u8).count());
        let _ = self.uart.receive(value as u8, Instant::START);
        while self.uart.transmitted().is_some() {}
    }

    fn advance(&mut self, now: Instant) {
        self.pit.advance(now);
        let _ = self.pit.take_edge();
        self.uart.advance(now);
        self.rtc.advance(now);
        self.pm.advance(now);
    }
}

/// All other devices under one sequence of accesses.
pub fn chipset(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut board = Board::new();
    let mut now = Instant::START;
    while !input.is_empty() {
        let (what, device, at) = (input.u8(), input.u8(), input.u16());
        match what % 4 {
            0 => board.read(device, at, now),
            1 => board.write(device, at, input.u32(), now),
            2 => board.lines(input.u32()),
            _ => now = step(&mut input, now),
        }
        board.advance(now);
    }
}
