//! What firmware finds by the firmware configuration device and the clock's memory.

extern crate std;

use std::vec::Vec;

use snp::exit::{ExitCode, IoInfo};
use snp::ghcb::Field;

use super::fixture::{GHCB, MEMORY, Machine, PRIVATE, SCRATCH};
use crate::End;

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const DMA_LOW: u16 = 0x518;
const DIRECTORY: u16 = 0x19;

fn out(machine: &mut Machine, info: IoInfo, value: u64) {
    let fields = [(Field::SW_EXITINFO1, info.into_bits()), (Field::RAX, value)];
    machine.request(ExitCode::IOIO, &fields).done(0, &[]);
}

fn input(machine: &mut Machine, info: IoInfo) -> u64 {
    let fields = [(Field::SW_EXITINFO1, info.with_is_in(true).into_bits())];
    machine.request(ExitCode::IOIO, &fields).get(Field::RAX).unwrap()
}

fn byte(port: u16) -> IoInfo {
    IoInfo::new().with_port(port).with_is_8_bit(true)
}

fn word(port: u16) -> IoInfo {
    IoInfo::new().with_port(port).with_is_16_bit(true)
}

fn double_word(port: u16) -> IoInfo {
    IoInfo::new().with_port(port).with_is_32_bit(true)
}

/// An item's first bytes, by the data register.
fn item(machine: &mut Machine, key: u16, count: usize) -> Vec<u8> {
    out(machine, word(SELECTOR), key.into());
    (0..count).map(|_| input(machine, byte(DATA)) as u8).collect()
}

/// The key and length of a file, by the directory.
fn file(machine: &mut Machine, name: &str) -> Option<(u16, u32)> {
    let head = item(machine, DIRECTORY, 4);
    let count = u32::from_be_bytes(head.try_into().unwrap()) as usize;
    let all = item(machine, DIRECTORY, 4 + 64 * count);
    all[4..].chunks(64).find_map(|entry| {
        let found = entry[8..].split(|byte| *byte == 0).next()? == name.as_bytes();
        let length = u32::from_be_bytes(entry[..4].try_into().unwrap());
        found.then(|| (u16::from_be_bytes(entry[4..6].try_into().unwrap()), length))
    })
}

/// Has the device carry out a command at SCRATCH; its control field afterwards.
fn command(machine: &mut Machine, control: u32, length: u32, address: u64) -> u32 {
    let mut bytes = Vec::from(control.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(address.to_be_bytes());
    machine.outside().guest_writes(SCRATCH, &bytes);
    let low = (SCRATCH as u32).swap_bytes();
    out(machine, double_word(DMA_LOW), low.into());
    let mut status = [0; 4];
    machine.outside().guest_reads(SCRATCH, &mut status);
    u32::from_be_bytes(status)
}

#[test]
fn the_items_of_a_pc_say_what_the_machine_is() {
    let mut machine = Machine::new();
    for (what, key, bytes) in [
        ("the signature", 0x0, &b"QEMU"[..]),
        ("ports and DMA", 0x1, &[3, 0, 0, 0]),
        ("RAM", 0x3, &MEMORY.to_le_bytes()),
        ("processors", 0x5, &[2, 0]),
        ("processors at the most", 0xf, &[2, 0]),
        ("an item that there is not", 0x8, &[0, 0]),
    ] {
        assert_eq!(item(&mut machine, key, bytes.len()), bytes, "{what}");
    }
    let (key, length) = file(&mut machine, "etc/e820").unwrap();
    assert_eq!(length, 40);
    let entries = item(&mut machine, key, 40);
    let numbers = |at: usize| u64::from_le_bytes(entries[at..at + 8].try_into().unwrap());
    assert_eq!([numbers(0), numbers(8)], [0, 0xa_0000]);
    assert_eq!([numbers(20), numbers(28)], [0x10_0000, MEMORY - 0x10_0000]);
    assert_eq!((&entries[16..20], &entries[36..40]), (&[1, 0, 0, 0][..], &[1, 0, 0, 0][..]));
    assert_eq!(file(&mut machine, "etc/e82"), None);
}

#[test]
fn the_users_files_are_there() {
    let mut machine = Machine::new();
    let (own, length) = file(&mut machine, "opt/a").unwrap();
    assert_eq!((length, item(&mut machine, own, 7)), (6, b"user's\0".to_vec()));
    let (hosts, length) = file(&mut machine, "opt/z").unwrap();
    assert_eq!((length, item(&mut machine, hosts, 3)), (1000, Vec::from([0, 1, 2])));
    // The names are in order.
    assert!(own < file(&mut machine, "opt/z").unwrap().0);
}

#[test]
fn a_dma_command_copies_an_item_into_shared_memory() {
    let mut machine = Machine::new();
    let (key, _) = file(&mut machine, "opt/z").unwrap();
    let target = GHCB + 0x1000;
    assert_eq!(command(&mut machine, u32::from(key) << 16 | 8, 0, 0), 0);
    assert_eq!(command(&mut machine, 4, 10, 0), 0);
    assert_eq!(command(&mut machine, 2, 1000, target), 0);
    let mut bytes = [9; 1001];
    machine.outside().guest_reads(target, &mut bytes);
    let expected: Vec<u8> = (10..1000_u32).map(|offset| offset as u8).collect();
    assert_eq!(bytes[..990], expected);
    assert_eq!(bytes[990..], [0; 11], "zeros behind the end, and nothing behind the command");
    assert_eq!(input(&mut machine, double_word(0x514)), u64::from(u32::from_le_bytes(*b"QEMU")));
}

#[test]
fn a_dma_command_reaches_no_private_memory() {
    let mut machine = Machine::new();
    for (what, control, length, address) in [
        ("private memory", 2, 1, PRIVATE),
        ("up to private memory", 2, 2, PRIVATE - 1),
        ("the end of all addresses", 2, 2, u64::MAX),
        ("far more than there is", 2, u32::MAX, GHCB),
        ("a write", 0x10, 1, SCRATCH),
    ] {
        assert_eq!(command(&mut machine, control, length, address), 1, "{what}");
        assert_eq!(machine.ended(), None, "{what}");
    }
    // A command in private memory is none.
    let low = (PRIVATE as u32).swap_bytes();
    out(&mut machine, double_word(DMA_LOW), low.into());
    assert_eq!(machine.ended(), None);
}

#[test]
fn the_clocks_memory_has_ram_and_processors() {
    let mut machine = Machine::new();
    let mut read = |index: u64| {
        out(&mut machine, byte(0x70), index);
        input(&mut machine, byte(0x71))
    };
    let above_16 = (MEMORY - (16 << 20)) >> 16;
    assert_eq!(read(0x34) | read(0x35) << 8, above_16);
    let extended = (MEMORY - (1 << 20)) >> 10;
    assert_eq!(read(0x30) | read(0x31) << 8, extended);
    assert_eq!(read(0x17) | read(0x18) << 8, extended);
    assert_eq!((read(0x15) | read(0x16) << 8, read(0x5f)), (640, 1));
}

/// An observer gets whole lines, in which nothing controls a terminal. A line without an end is cut.
#[test]
fn lines_of_the_report_port_reach_an_observer() {
    let mut machine = Machine::new();
    assert_eq!(input(&mut machine, byte(0xe9)), 0xe9);
    let long = [&[b'x'; 450][..], b"\n"].concat();
    for text in [&b"count a 1\nhal"[..], b"f \x1b[2J\xe4\n", &long] {
        text.iter().for_each(|letter| out(&mut machine, byte(0xe9), (*letter).into()));
    }
    let reports = machine.outside().host.reports.lock().unwrap().clone();
    assert_eq!(reports[..2], ["guest count a 1", "guest half ?[2J?"]);
    let lengths: Vec<usize> = reports[2..].iter().map(|line| line.len() - 6).collect();
    assert_eq!(lengths, [200, 200, 50]);
}

#[test]
fn test_programs_find_their_ports() {
    let mut machine = Machine::new();
    for info in [byte(0xe0), word(0xe0), double_word(0xe0)] {
        out(&mut machine, info, 0x1234_5678);
        let width = [(info.is_8_bit(), 0xff), (info.is_16_bit(), 0xffff), (true, 0xffff_ffff)];
        let mask = width.into_iter().find_map(|(is, mask)| is.then_some(mask)).unwrap();
        assert_eq!(input(&mut machine, info), 0x1234_5678 & mask);
    }
    assert_eq!((input(&mut machine, byte(0xf4)), machine.ended()), (0, None));
    out(&mut machine, double_word(0xf4), 0x10);
    assert_eq!(machine.ended(), Some(End::Exit(0x10)));
}
