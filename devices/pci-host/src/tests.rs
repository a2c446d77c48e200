//! Tests of what a guest can see of the host bridge.

use crate::*;
use proptest::prelude::*;

const ECAM: u64 = 0xE000_0000;

/// A function at 02:1f.3 whose registers all share one value.
#[derive(Default)]
struct Probe {
    value: u32,
    last_register: u16,
}

impl ConfigurationSpace for Probe {
    fn read(&mut self, register: u16) -> u32 {
        self.last_register = register;
        self.value
    }
    fn write(&mut self, register: u16, value: u32, mask: u32) {
        self.last_register = register;
        self.value = (self.value & !mask) | (value & mask);
    }
}

impl Functions for Probe {
    fn function(&mut self, address: Function) -> Option<&mut dyn ConfigurationSpace> {
        (address == Function { bus: 2, device: 31, function: 3 }).then_some(self)
    }
}

fn host() -> PciHost {
    PciHost::new(Some(ECAM))
}

fn select(host: &mut PciHost, address: u32) {
    host.write_port(CONFIG_ADDRESS, 4, address, &mut ());
}

#[test]
fn the_bridge_identifies_itself_both_ways() {
    let mut host = host();
    let registers = [
        (0x00, 0x29C0_8086),
        (0x04, 0x0000_0006),
        (0x08, 0x0600_0002),
        (0x0C, 0),
        (0x10, 0),
        (0x34, 0),
        (0x60, 0xE000_0001),
        (0x64, 0),
    ];
    for (register, value) in registers {
        select(&mut host, 0x8000_0000 | register);
        assert_eq!(host.read_port(CONFIG_DATA, 4, &mut ()), value);
        assert_eq!(host.read_ecam(u64::from(register), 4, &mut ()), value);
    }
    assert_eq!(host.read_ecam(0xFFC, 4, &mut ()), 0);
    assert_eq!(host.ecam_base(), Some(ECAM));
    let high = PciHost::new(Some(0xC_1234_5678));
    assert_eq!(high.ecam_base(), Some(0xC_1000_0000));
    assert_eq!(PciHost::new(None).ecam_base(), None);
}

#[test]
fn narrow_accesses_pick_their_bytes() {
    let mut host = host();
    select(&mut host, 0x8000_0000);
    let reads = [
        (0, 1, 0x86),
        (1, 1, 0x80),
        (2, 1, 0xC0),
        (3, 1, 0x29),
        (0, 2, 0x8086),
        (2, 2, 0x29C0),
        (1, 2, 0xFFFF),
        (3, 2, 0xFFFF),
        (1, 4, 0xFFFF_FFFF),
        (0, 3, 0xFFFF_FFFF),
    ];
    for (place, width, value) in reads {
        assert_eq!(host.read_port(CONFIG_DATA + place, width, &mut ()), value);
        assert_eq!(host.read_ecam(u64::from(place), width, &mut ()), value);
    }
}

#[test]
fn config_address_is_a_double_word() {
    let mut host = host();
    select(&mut host, 0xFFFF_FFFF);
    assert_eq!(host.read_port(CONFIG_ADDRESS, 4, &mut ()), 0x80FF_FFFC);
    for (port, width) in [(0xCF8, 1), (0xCF8, 2), (0xCF9, 1), (0xCFA, 2), (0xCF7, 4), (0xD00, 4)] {
        host.write_port(port, width, 0, &mut ());
        let ones = u32::MAX >> (32 - 8 * u32::from(width));
        assert_eq!(host.read_port(port, width, &mut ()), ones);
    }
    assert_eq!(host.read_port(CONFIG_ADDRESS, 4, &mut ()), 0x80FF_FFFC);
    select(&mut host, 0);
    assert_eq!(host.read_port(CONFIG_DATA, 4, &mut ()), u32::MAX, "not enabled");
    host.reset(Instant::START);
    assert_eq!(host, self::host());
}

#[test]
fn absent_functions_read_all_ones() {
    let mut host = host();
    for id in (1..=0xFFFF).step_by(13) {
        select(&mut host, 0x8000_0000 | id << 8);
        host.write_port(CONFIG_DATA, 4, 0, &mut ());
        assert_eq!(host.read_port(CONFIG_DATA, 2, &mut ()), 0xFFFF);
        assert_eq!(host.read_ecam(u64::from(id) << 12, 4, &mut ()), u32::MAX);
    }
    assert_eq!(host.read_ecam(ECAM_SIZE, 4, &mut ()), u32::MAX);
}

#[test]
fn only_serr_can_be_written() {
    let mut host = host();
    for register in (0..0x1000).step_by(4) {
        let before = host.read_ecam(register, 4, &mut ());
        host.write_ecam(register, 4, !before, &mut ());
        let serr = if register == 4 { 0x100 } else { 0 };
        assert_eq!(host.read_ecam(register, 4, &mut ()), before | serr);
    }
    host.write_ecam(4, 1, 0, &mut ());
    assert_eq!(host.read_ecam(4, 2, &mut ()), 0x106);
    host.write_ecam(5, 1, 0, &mut ());
    assert_eq!(host.read_ecam(4, 2, &mut ()), 0x006);
}

#[test]
fn other_functions_are_reached_with_their_bytes() {
    let (mut host, mut probe) = (host(), Probe::default());
    let base = 2 << 20 | 31 << 15 | 3 << 12;
    host.write_ecam(base | 0xABC, 4, 0x1122_3344, &mut probe);
    assert_eq!((probe.last_register, probe.value), (0xABC, 0x1122_3344));
    host.write_ecam(base | 0xABE, 2, 0xFFFF_5566, &mut probe);
    assert_eq!(probe.value, 0x5566_3344);
    select(&mut host, 0x8002_FB40);
    host.write_port(CONFIG_DATA + 1, 1, 0x99, &mut probe);
    assert_eq!((probe.last_register, probe.value), (0x40, 0x5566_9944));
    assert_eq!(host.read_port(CONFIG_DATA + 2, 2, &mut probe), 0x5566);
}

struct Ignore;

impl Inspect for Ignore {
    fn field(&mut self, _: &str, _: device_model::Value<'_>) {}
    fn begin(&mut self, _: &str) {}
    fn end(&mut self) {}
}

proptest! {
    /// Both mechanisms reach the same bytes, however they are divided into accesses.
    #[test]
    fn accesses_of_any_width_are_their_bytes(
        value: u32, written: u32, register in (0u16..64).prop_map(|index| 4 * index),
        place in 0u8..4, width in prop::sample::select(&[1u8, 2, 4]), by_port: bool
    ) {
        let place = place & !(width - 1);
        let mut probe = Probe { value, last_register: 0 };
        let mut host = host();
        let bits = u32::MAX >> (32 - 8 * u32::from(width));
        let shift = 8 * u32::from(place);
        let offset = (2 << 20 | 31 << 15 | 3 << 12) + u64::from(register) + u64::from(place);
        let port = CONFIG_DATA + u16::from(place);
        select(&mut host, 0x8002_FB00 | u32::from(register));
        let read = if by_port {
            host.read_port(port, width, &mut probe)
        } else {
            host.read_ecam(offset, width, &mut probe)
        };
        prop_assert_eq!((read, probe.last_register), (value >> shift & bits, register));
        if by_port {
            host.write_port(port, width, written, &mut probe);
        } else {
            host.write_ecam(offset, width, written, &mut probe);
        }
        let expected = value & !(bits << shift) | (written & bits) << shift;
        prop_assert_eq!((probe.value, probe.last_register), (expected, register));
    }

    #[test]
    fn random_traffic_keeps_the_promises(
        steps in proptest::collection::vec(
            (0u8..4, 0xCF0u16..0xD08, any::<u64>(), 0u8..9, any::<u32>()), 0..100)
    ) {
        let (mut host, mut probe) = (host(), Probe::default());
        for (kind, port, offset, width, value) in steps {
            match kind {
                0 => drop(host.read_port(port, width, &mut probe)),
                1 => host.write_port(port, width, value, &mut probe),
                2 => drop(host.read_ecam(offset >> 34, width, &mut probe)),
                _ => host.write_ecam(offset, width, value, &mut probe),
            }
            prop_assert_eq!(host.read_ecam(0, 4, &mut ()), 0x29C0_8086);
            let mut other = self::host();
            prop_assert_eq!(other.restore(&host.save()), Ok(()));
            other.inspect(&mut Ignore);
            prop_assert_eq!(&other, &host);
        }
    }
}

#[test]
fn impossible_states_are_refused() {
    let mut host = host();
    let good = host.save();
    let bad = [
        ("address", Saved { address: 1, ..good }),
        ("pciexbar", Saved { pciexbar: 0xB000_0001, ..good }),
        ("command", Saved { command: 6, ..good }),
    ];
    for (field, bad) in bad {
        assert_eq!(host.restore(&bad), Err(RestoreError::Field(field)));
    }
    let future = Saved { version: 2, ..good };
    assert_eq!(host.restore(&future), Err(RestoreError::Version { found: 2, supported: 1 }));
    assert_eq!(host, self::host());
}
