//! Port accesses of the guest.

extern crate std;

use snp::exit::{ExitCode, IoInfo};
use snp::features::SevFeatures;
use snp::ghcb::{Field, InputError, SHARED_BUFFER_OFFSET, SHARED_BUFFER_SIZE};

use super::fixture::{GHCB, Machine, PRIVATE, Reply, SCRATCH, area};
use crate::{Area, End, Step};

/// The first serial port's data register, and its scratch register.
const DATA: u16 = 0x3f8;
const SCRATCHPAD: u16 = 0x3ff;
const RESET: u16 = 0xcf9;
const PM_CONTROL: u16 = 0x604;

fn out(port: u16) -> IoInfo {
    IoInfo::new().with_port(port).with_is_8_bit(true)
}

fn port(machine: &mut Machine, info: IoInfo, rax: u64) -> Reply {
    let fields = [(Field::SW_EXITINFO1, info.into_bits()), (Field::RAX, rax)];
    machine.request(ExitCode::IOIO, &fields)
}

fn string(machine: &mut Machine, info: IoInfo, count: u64, scratch: u64) -> Reply {
    let fields = [
        (Field::SW_EXITINFO1, info.with_is_string(true).into_bits()),
        (Field::SW_EXITINFO2, count),
        (Field::SW_SCRATCH, scratch),
    ];
    machine.request(ExitCode::IOIO, &fields)
}

#[test]
fn a_port_keeps_what_was_written() {
    let mut machine = Machine::new();
    port(&mut machine, out(SCRATCHPAD), 0xffff_ffff_ffff_ff5a).done(0, &[]);
    port(&mut machine, out(SCRATCHPAD).with_is_in(true), 0).done(0, &[(Field::RAX, 0x5a)]);
    // PCI configuration has double words.
    let address = IoInfo::new().with_port(0xcf8).with_is_32_bit(true);
    port(&mut machine, address, 0x8000_0000).done(0, &[]);
    port(&mut machine, address.with_is_in(true), 0).done(0, &[(Field::RAX, 0x8000_0000)]);
    let id = IoInfo::new().with_port(0xcfc).with_is_16_bit(true).with_is_in(true);
    let vendor = port(&mut machine, id, 0).get(Field::RAX).unwrap();
    assert!(vendor <= 0xffff);
}

#[test]
fn a_port_without_device_reads_ones() {
    for (info, value) in [
        (IoInfo::new().with_is_8_bit(true), 0xff),
        (IoInfo::new().with_is_16_bit(true), 0xffff),
        (IoInfo::new().with_is_32_bit(true), 0xffff_ffff),
    ] {
        for number in [0x80, 0xfffe, 0xffff] {
            let mut machine = Machine::new();
            let info = info.with_port(number);
            port(&mut machine, info, 0).done(0, &[]);
            port(&mut machine, info.with_is_in(true), 0).done(0, &[(Field::RAX, value)]);
        }
    }
}

#[test]
fn an_access_has_one_width() {
    let port_80 = IoInfo::new().with_port(0x80);
    for info in [
        port_80,
        port_80.with_is_8_bit(true).with_is_16_bit(true),
        port_80.with_is_8_bit(true).with_is_32_bit(true),
        port_80.with_is_16_bit(true).with_is_32_bit(true),
    ] {
        let mut machine = Machine::new();
        port(&mut machine, info, 0).malformed(InputError::INVALID_INPUT);
        string(&mut machine, info, 1, SCRATCH).malformed(InputError::INVALID_INPUT);
    }
}

#[test]
fn outs_writes_each_element() {
    for scratch in [SCRATCH + 3, GHCB + SHARED_BUFFER_OFFSET as u64] {
        let mut machine = Machine::new();
        let text = b"Drydock";
        let mut ghcb = super::fixture::request(
            ExitCode::IOIO,
            &[
                (Field::SW_EXITINFO1, out(DATA).with_is_string(true).into_bits()),
                (Field::SW_EXITINFO2, text.len() as u64),
                (Field::SW_SCRATCH, scratch),
            ],
        );
        ghcb.shared_buffer[..text.len()].copy_from_slice(text);
        machine.outside().guest_writes(SCRATCH + 3, text);
        machine.submit(&ghcb).done(0, &[]);
        assert_eq!(*machine.outside().host.sent.lock().unwrap(), text);
    }
}

#[test]
fn a_device_loses_nothing_to_a_scratch_area_that_is_not_shared() {
    let mut machine = Machine::new();
    machine.outside().host.typed.lock().unwrap().extend(*b"a");
    machine.exit(ExitCode::INTR, 0, 0);
    let read = out(DATA).with_is_in(true);
    string(&mut machine, read, 1, PRIVATE).malformed(InputError::INVALID_SCRATCH_AREA);
    port(&mut machine, read, 0).done(0, &[(Field::RAX, b'a'.into())]);
}

/// The devices of a reflecting level's system are those of level 0.
#[test]
fn what_is_typed_reaches_the_level_that_has_the_devices() {
    let read = out(DATA).with_is_in(true);
    for (reflects, expected) in [(true, b'a'), (false, 0)] {
        let mut machine = Machine::new();
        let features = SevFeatures::new().with_snp_active(true).with_reflect_vc(reflects);
        assert!(machine.host.give(0, 1, Some(Area { features, ..area(3) })));
        machine.turn();
        machine.outside().host.typed.lock().unwrap().extend(*b"a");
        machine.exit(ExitCode::INTR, 0, 0);
        port(&mut machine, read, 0).done(0, &[(Field::RAX, expected.into())]);
    }
}

#[test]
fn ins_reads_each_element() {
    let mut machine = Machine::new();
    machine.outside().host.typed.lock().unwrap().extend(*b"ab");
    // The host looks for input when an interrupt comes.
    machine.exit(ExitCode::INTR, 0, 0);
    string(&mut machine, out(DATA).with_is_in(true), 1, SCRATCH).done(0, &[]);
    machine.exit(ExitCode::INTR, 0, 0);
    string(&mut machine, out(DATA).with_is_in(true), 1, SCRATCH + 1).done(0, &[]);
    let mut bytes = [0; 3];
    machine.outside().guest_reads(SCRATCH, &mut bytes);
    assert_eq!(bytes, *b"ab\0");
    let words = IoInfo::new().with_port(0x80).with_is_16_bit(true).with_is_in(true);
    string(&mut machine, words, 3, SCRATCH).done(0, &[]);
    let mut bytes = [0; 7];
    machine.outside().guest_reads(SCRATCH, &mut bytes);
    assert_eq!(bytes, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0], "three words");
}

#[test]
fn a_string_fits_into_the_buffer_and_shared_memory() {
    let size = SHARED_BUFFER_SIZE as u64;
    let wide = IoInfo::new().with_port(0x80).with_is_32_bit(true);
    let fine = None;
    for (what, info, count, scratch, error) in [
        ("nothing", out(0x80), 0, SCRATCH, fine),
        ("all of it", out(0x80), size, SCRATCH, fine),
        ("one too many", out(0x80), size + 1, SCRATCH, Some(InputError::INVALID_INPUT)),
        ("all of it, wide", wide, size / 4, SCRATCH, fine),
        ("one too many, wide", wide, size / 4 + 1, SCRATCH, Some(InputError::INVALID_INPUT)),
        ("more than can be counted", wide, u64::MAX, SCRATCH, Some(InputError::INVALID_INPUT)),
        ("private memory", out(0x80), 1, PRIVATE, Some(InputError::INVALID_SCRATCH_AREA)),
        ("up to private memory", out(0x80), 2, PRIVATE - 1, Some(InputError::INVALID_SCRATCH_AREA)),
        ("no memory", out(0x80), 1, u64::MAX, Some(InputError::INVALID_SCRATCH_AREA)),
    ] {
        for is_in in [false, true] {
            let mut machine = Machine::new();
            let reply = string(&mut machine, info.with_is_in(is_in), count, scratch);
            match error {
                None => reply.done(0, &[]),
                Some(error) => reply.malformed(error),
            }
            assert_eq!(machine.ended(), None, "{what}");
        }
    }
}

#[test]
fn the_guest_resets_the_machine_or_powers_it_off() {
    let sleep = IoInfo::new().with_port(PM_CONTROL).with_is_16_bit(true);
    for (info, value, end) in [
        (out(RESET), 6, End::Reset),
        (out(0x64), 0xfe, End::Reset),
        (sleep, 1 << 13, End::PowerOff),
    ] {
        let mut machine = Machine::new();
        port(&mut machine, info, value).done(0, &[]);
        assert_eq!(machine.ended(), Some(end));
        assert_eq!(machine.turn(), Step::End(end));
    }
}
