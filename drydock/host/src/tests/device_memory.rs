//! Device memory.

use snp::exit::ExitCode;
use snp::ghcb::{Field, InputError};

use super::fixture::{C_BIT, Machine, PRIVATE, Reply, SCRATCH};

const IOAPIC: u64 = 0xfec0_0000;
const LOCAL_APIC: u64 = 0xfee0_0000;
const ECAM: u64 = 0xe000_0000;
const NOTHING: u64 = 0xd000_0000;
const C: u64 = 1 << C_BIT;

fn access(machine: &mut Machine, code: ExitCode, gpa: u64, length: u64, scratch: u64) -> Reply {
    let fields =
        [(Field::SW_EXITINFO1, gpa), (Field::SW_EXITINFO2, length), (Field::SW_SCRATCH, scratch)];
    machine.request(code, &fields)
}

fn read(machine: &mut Machine, gpa: u64, length: u64) -> u64 {
    machine.outside().guest_writes(SCRATCH, &[0; 8]);
    access(machine, ExitCode::MMIO_READ, gpa, length, SCRATCH).done(0, &[]);
    let mut bytes = [0; 8];
    machine.outside().guest_reads(SCRATCH, &mut bytes);
    u64::from_le_bytes(bytes)
}

fn write(machine: &mut Machine, gpa: u64, length: u64, value: u64) {
    machine.outside().guest_writes(SCRATCH, &value.to_le_bytes());
    access(machine, ExitCode::MMIO_WRITE, gpa, length, SCRATCH).done(0, &[]);
}

#[test]
fn devices_are_read_at_their_addresses() {
    for (what, gpa, length, value) in [
        ("nothing", NOTHING, 8, u64::MAX),
        ("nothing, short", NOTHING, 2, 0xffff),
        ("nothing, odd", NOTHING + 1, 3, 0xff_ffff),
        ("the highest address", u64::MAX, 8, u64::MAX),
        ("memory of the guest's", PRIVATE, 1, 0xff),
        ("the local APIC's id", LOCAL_APIC + 0x20, 4, 0),
        ("the task priority", LOCAL_APIC + 0x80, 4, 0),
        ("the spurious vector", LOCAL_APIC + 0xf0, 4, 0xff),
        ("the spurious vector with C-bit", (LOCAL_APIC + 0xf0) | C, 4, 0xff),
    ] {
        let mut machine = Machine::new();
        assert_eq!(read(&mut machine, gpa, length), value, "{what}");
    }
}

#[test]
fn devices_keep_what_is_written() {
    let mut machine = Machine::new();
    write(&mut machine, IOAPIC, 4, 1);
    assert_eq!(read(&mut machine, IOAPIC, 4), 1);
    let version = read(&mut machine, IOAPIC + 0x10, 4);
    assert_eq!(version >> 16 & 0xff, 23, "24 pins");
    write(&mut machine, LOCAL_APIC + 0x80, 4, 0x30);
    assert_eq!(read(&mut machine, LOCAL_APIC + 0x80, 4), 0x30);
    write(&mut machine, (LOCAL_APIC + 0xf0) | C, 4, 0x1f0);
    assert_eq!(read(&mut machine, LOCAL_APIC + 0xf0, 4), 0x1f0);
    write(&mut machine, NOTHING, 8, 0);
    assert_eq!(read(&mut machine, NOTHING, 8), u64::MAX);
    let by_port =
        machine.request(ExitCode::IOIO, &[(Field::SW_EXITINFO1, 0xcfc << 16 | 1 << 6 | 1)]);
    let by_memory = read(&mut machine, ECAM, 4);
    // No address was set at the port, so it reads ones; memory names the host bridge.
    assert_eq!(by_port.get(Field::RAX), Some(0xffff_ffff));
    assert_ne!(by_memory, 0xffff_ffff);
}

#[test]
fn each_vp_has_its_own_local_apic() {
    let (mut first, mut second) = Machine::with_second();
    assert_eq!(read(&mut first, LOCAL_APIC + 0x20, 4), 0);
    assert_eq!(read(&mut second, LOCAL_APIC + 0x20, 4), 1 << 24);
    write(&mut first, LOCAL_APIC + 0x80, 4, 0x50);
    assert_eq!(read(&mut second, LOCAL_APIC + 0x80, 4), 0);
}

#[test]
fn an_access_has_a_length_and_a_place_in_shared_memory() {
    for code in [ExitCode::MMIO_READ, ExitCode::MMIO_WRITE] {
        for (length, scratch, error) in [
            (0, SCRATCH, InputError::INVALID_INPUT),
            (9, SCRATCH, InputError::INVALID_INPUT),
            (u64::MAX, SCRATCH, InputError::INVALID_INPUT),
            (1 << 32 | 4, SCRATCH, InputError::INVALID_INPUT),
            (4, PRIVATE, InputError::INVALID_SCRATCH_AREA),
            (4, PRIVATE - 3, InputError::INVALID_SCRATCH_AREA),
            (8, u64::MAX - 3, InputError::INVALID_SCRATCH_AREA),
        ] {
            let mut machine = Machine::new();
            access(&mut machine, code, LOCAL_APIC + 0x80, length, scratch).malformed(error);
            assert_eq!(machine.ended(), None);
        }
    }
}
