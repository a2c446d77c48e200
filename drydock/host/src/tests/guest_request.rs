//! Messages to the firmware, with certificates beside the answer.

extern crate std;

use std::vec;
use std::vec::Vec;

use snp::exit::ExitCode;
use snp::ghcb::{Field, InputError};

use super::fixture::{Machine, PRIVATE, Reply};

/// The message and its answer.
const REQUEST: u64 = 0xb000;
const RESPONSE: u64 = 0xc000;
/// Where the guest wants the certificates: two shared pages, and a private one behind them.
const DATA: u64 = 0xe000;
/// The error of the firmware in these tests.
const FIRMWARE: u64 = 0x16;
/// The guest's pages are too few.
const INVALID_LENGTH: u64 = 1 << 32;

fn machine(certificates: &[u8]) -> Machine {
    let machine = Machine::with_certificates(certificates.to_vec());
    let outside = machine.outside();
    [REQUEST, RESPONSE, DATA, DATA + 0x1000].into_iter().for_each(|gpa| outside.share(gpa));
    outside.guest_writes(REQUEST, b"text");
    machine
}

fn extended(machine: &mut Machine, data: u64, pages: u64) -> Reply {
    let fields = [
        (Field::SW_EXITINFO1, REQUEST),
        (Field::SW_EXITINFO2, RESPONSE),
        (Field::RAX, data),
        (Field::RBX, pages),
    ];
    machine.request(ExitCode::EXTENDED_GUEST_REQUEST, &fields)
}

fn read(machine: &Machine, gpa: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    machine.outside().guest_reads(gpa, &mut bytes);
    bytes
}

#[test]
fn certificates_come_beside_the_firmwares_answer() {
    let certificates: Vec<u8> = (0..5000_u32).map(|index| index as u8 | 1).collect();
    let mut machine = machine(&certificates);
    extended(&mut machine, DATA, 2).done(FIRMWARE, &[]);
    assert_eq!(read(&machine, RESPONSE, 4), b"text");
    let mut expected = certificates;
    expected.resize(0x2000, 0);
    assert_eq!(read(&machine, DATA, 0x2000), expected, "what lies behind them stays");
}

#[test]
fn a_guest_with_too_few_pages_learns_how_many_and_the_firmware_gets_no_message() {
    let mut machine = machine(&[7; 4097]);
    for pages in [0, 1] {
        extended(&mut machine, DATA, pages).done(INVALID_LENGTH, &[(Field::RBX, 2)]);
    }
    assert_eq!((read(&machine, RESPONSE, 4), read(&machine, DATA, 1)), (vec![0; 4], vec![0]));
}

#[test]
fn without_certificates_the_table_is_an_entry_of_zeros() {
    let mut machine = machine(&[]);
    machine.outside().guest_writes(DATA, &[0xff; 32]);
    extended(&mut machine, DATA, 1).done(FIRMWARE, &[]);
    let table = read(&machine, DATA, 32);
    assert!(table[..24] == [0; 24] && table[24..] == [0xff; 8], "{table:?}");
}

#[test]
fn a_place_that_is_no_shared_page_gets_neither_certificates_nor_an_answer() {
    let mut machine = machine(&[7; 4097]);
    for data in [DATA + 8, DATA + 0x1000, PRIVATE, u64::MAX << 12] {
        extended(&mut machine, data, 4).malformed(InputError::INVALID_INPUT);
    }
    assert_eq!((read(&machine, RESPONSE, 4), read(&machine, DATA, 1)), (vec![0; 4], vec![0]));
}
