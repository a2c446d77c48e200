extern crate std;

use core::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use snp::exit::IoInfo;

use super::*;

/// A page whose host answers when it has its turn. Then it changes each quadword as soon as that was
/// read, and the page counts the reads.
#[derive(Default)]
struct Page {
    words: RefCell<BTreeMap<usize, u64>>,
    reads: RefCell<BTreeMap<usize, u32>>,
    is_answered: Cell<bool>,
}

impl Quadwords for Page {
    fn read(&self, offset: usize) -> u64 {
        assert!(offset.is_multiple_of(8) && offset < 4096, "{offset:#x} is no quadword");
        assert!(self.is_answered.get(), "the request is read back");
        *self.reads.borrow_mut().entry(offset).or_default() += 1;
        let mut words = self.words.borrow_mut();
        let word = words.entry(offset).or_default();
        core::mem::replace(word, !*word)
    }

    fn write(&self, offset: usize, value: u64) {
        assert!(offset.is_multiple_of(8) && offset < 4096, "{offset:#x} is no quadword");
        assert!(!self.is_answered.get(), "the answer is overwritten");
        self.words.borrow_mut().insert(offset, value);
    }
}

impl Page {
    fn word(&self, offset: usize) -> u64 {
        self.words.borrow().get(&offset).copied().unwrap_or_default()
    }

    /// The host's turn: it replaces the bitmap by one that names these fields.
    fn answer(&self, fields: &[(Field, u64)]) {
        let mut words = self.words.borrow_mut();
        let mut valid = [0_u64; 2];
        for (field, value) in fields {
            words.insert(field.offset(), *value);
            valid[field.valid_bit() / 64] |= 1 << (field.valid_bit() % 64);
        }
        words.insert(BITMAP, valid[0]);
        words.insert(BITMAP + 8, valid[1]);
        self.is_answered.set(true);
    }

    /// The host's turn: it changes these words, and nothing else.
    fn change(&self, changes: &[(usize, u64)]) {
        self.words.borrow_mut().extend(changes.iter().copied());
        self.is_answered.set(true);
    }

    fn most_reads(&self) -> u32 {
        self.reads.borrow().values().copied().max().unwrap_or_default()
    }
}

const PORT: Call = Call { code: ExitCode::IOIO, info_1: 0x3f8 << 16 | 1, info_2: 7 };
const INFO_1: Field = Field::SW_EXITINFO1;
const INFO_2: Field = Field::SW_EXITINFO2;

/// What a port read makes of the host's answer.
fn port_read(answer: &[(Field, u64)]) -> Result<[u64; 1], Failed> {
    let page = Page::default();
    let result = call(&page, PORT, &[(Field::RAX, 0)], [Field::RAX], || page.answer(answer));
    assert_eq!(page.most_reads(), 1, "{answer:x?} is read again");
    result
}

#[test]
fn the_host_finds_the_request_and_its_form() {
    let page = Page::default();
    let mut seen = None;
    let result = call(&page, PORT, &[(Field::RAX, 0x41), (Field::RCX, 5)], [], || {
        seen = Some(page.words.borrow().clone());
        page.answer(&[(INFO_1, 0)]);
    });
    assert_eq!(result, Ok([]));
    let bit = |field: Field| 1_u64 << (field.valid_bit() % 64);
    let high = bit(Field::SW_EXITCODE) | bit(INFO_1) | bit(INFO_2) | bit(Field::RCX);
    let expected = [
        (Field::RAX.offset(), 0x41),
        (Field::RCX.offset(), 5),
        (Field::SW_EXITCODE.offset(), 0x7b),
        (INFO_1.offset(), IoInfo::new().with_port(0x3f8).with_is_in(true).into_bits()),
        (INFO_2.offset(), 7),
        (BITMAP, bit(Field::RAX)),
        (BITMAP + 8, high),
        (0xff8, 2 << 16),
    ];
    assert_eq!(seen, Some(BTreeMap::from(expected)));
}

#[test]
fn success_has_the_fields_that_were_wanted() {
    let all = [(INFO_1, 0), (INFO_2, 3), (Field::RAX, 0x1234)];
    assert_eq!(port_read(&all), Ok([0x1234]));
    assert_eq!(port_read(&[(INFO_1, 0), (Field::RAX, 5)]), Ok([5]), "nobody wants SW_EXITINFO2");
    // The upper half is no part of the status.
    assert_eq!(port_read(&[(INFO_1, 7 << 32), (Field::RAX, 5)]), Ok([5]));
}

#[test]
fn a_field_that_is_not_marked_is_missing_whatever_stands_there() {
    let missing = |field| Err(Failed::Missing(field));
    assert_eq!(port_read(&[]), missing(INFO_1), "success by an empty bitmap");
    assert_eq!(port_read(&[(INFO_1, 0)]), missing(Field::RAX));
    assert_eq!(port_read(&[(INFO_1, 0), (INFO_2, 9)]), missing(Field::RAX));
    assert_eq!(port_read(&[(INFO_1, 1), (Field::RAX, 9)]), missing(INFO_2), "no exception");
    assert_eq!(port_read(&[(INFO_1, 2), (Field::RAX, 9)]), missing(INFO_2), "no reason");
}

#[test]
fn refusals_say_why() {
    let refused = |status, why| port_read(&[(INFO_1, status), (INFO_2, why), (Field::RAX, 1)]);
    for error in [
        InputError::NOT_REGISTERED,
        InputError::INVALID_USAGE,
        InputError::INVALID_SCRATCH_AREA,
        InputError::MISSING_INPUT,
        InputError::INVALID_INPUT,
        InputError::INVALID_EVENT,
        InputError(0),
        InputError(u64::MAX),
    ] {
        assert_eq!(refused(2, error.0), Err(Failed::Malformed(error)));
    }
    let fault = EventInj::new().with_vector(13).with_valid(true);
    assert_eq!(refused(1, fault.into_bits()), Err(Failed::Exception(fault)));
}

#[test]
fn a_status_that_the_protocol_does_not_have_is_no_success() {
    for status in [3, 4, 0x8000_0000, u64::from(u32::MAX)] {
        let result = port_read(&[(INFO_1, status), (INFO_2, 0), (Field::RAX, 1)]);
        assert_eq!(result, Err(Failed::UnknownStatus(Status(status as u32))));
    }
}

/// The page of the fake changes behind each read, so the first value is the one that counts.
#[test]
fn nothing_is_read_twice_even_if_everything_is_wanted() {
    const OTHERS: usize = Field::ALL.len() - 1;
    let page = Page::default();
    let fields: std::vec::Vec<_> =
        Field::ALL.iter().filter(|field| **field != INFO_1).copied().collect();
    let wanted: [Field; OTHERS] = fields.try_into().expect("all but one");
    let answer = wanted.map(|field| (field, field.offset() as u64 * 3));
    let result = call(&page, PORT, &[], wanted, || {
        page.answer(&[&answer[..], &[(INFO_1, 0)]].concat());
    });
    assert_eq!(result, Ok(answer.map(|(_, value)| value)));
    assert_eq!(page.most_reads(), 1);
    assert_eq!(page.reads.borrow().len(), OTHERS + 1 + 2, "fields, status, bitmap");
}

#[test]
fn a_request_that_still_stands_was_never_made() {
    let page = Page::default();
    assert_eq!(run_level(&page, 1, || page.change(&[])), Ok(()));
    assert_eq!(page.most_reads(), 1);
}

#[test]
fn the_host_finds_which_level_to_run_and_its_answer_counts() {
    let run = |answer: &[(Field, u64)]| {
        let page = Page::default();
        let result = run_level(&page, 2, || {
            assert_eq!(page.word(Field::SW_EXITCODE.offset()), ExitCode::RUN_VMPL.0);
            assert_eq!(page.word(INFO_1.offset()), 2);
            page.answer(answer);
        });
        assert!(page.most_reads() <= 1, "{answer:x?} is read again");
        result
    };
    assert_eq!(run(&[(INFO_1, 0), (INFO_2, 0)]), Ok(()));
    // Whatever code the host leaves, its status tells.
    let code = |code: ExitCode| (Field::SW_EXITCODE, code.0);
    assert_eq!(run(&[code(ExitCode::HLT), (INFO_1, 0)]), Ok(()));
    let invalid = Err(Failed::Malformed(InputError::INVALID_INPUT));
    assert_eq!(run(&[(INFO_1, 2), (INFO_2, 5)]), invalid);
    assert_eq!(run(&[code(ExitCode::HLT), (INFO_1, 2), (INFO_2, 5)]), invalid);
    assert_eq!(run(&[]), Err(Failed::Missing(INFO_1)));
    assert_eq!(run(&[(INFO_1, 77)]), Err(Failed::UnknownStatus(Status(77))));
}

/// A host that answers nothing at all is like one that was never asked: the platform counts entries
/// without an exit.
#[test]
fn a_host_that_returns_at_once_gets_no_second_turn() {
    let (page, mut turns) = (Page::default(), 0);
    let result = run_level(&page, 1, || {
        turns += 1;
        page.change(&[(INFO_1.offset(), 2), (INFO_2.offset(), 5)]);
    });
    assert_eq!((result, turns), (Ok(()), 1));
}
