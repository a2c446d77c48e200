use core::mem::offset_of;

use proptest::prelude::*;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::exit::ExitCode;
use crate::ghcb::{Field, Ghcb, InputError, PROTOCOL_VERSION, Status};
use crate::vmsa::Vmsa;

#[test]
fn a_field_stands_at_its_offset_and_sets_its_bit() {
    for field in Field::ALL {
        let mut page = Ghcb::new_zeroed();
        page.set(*field, 0x0102_0304_0506_0708);
        let bytes = page.as_bytes();
        assert_eq!(bytes[field.offset()..][..8], 0x0102_0304_0506_0708_u64.to_le_bytes());
        let bit = field.offset() / 8;
        assert_eq!(bit, field.valid_bit());
        assert_eq!(bytes[0x3f0 + bit / 8], 1 << (bit % 8));
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 9);
    }
}

#[test]
fn registers_stand_where_the_save_area_has_them() {
    // The GHCB was made of the save area; quadword by quadword they agree.
    let table = [
        (Field::XSS, offset_of!(Vmsa, xss)),
        (Field::DR7, offset_of!(Vmsa, dr7)),
        (Field::RIP, offset_of!(Vmsa, rip)),
        (Field::RSP, offset_of!(Vmsa, rsp)),
        (Field::RAX, offset_of!(Vmsa, rax)),
        (Field::RCX, offset_of!(Vmsa, rcx)),
        (Field::RDX, offset_of!(Vmsa, rdx)),
        (Field::RBX, offset_of!(Vmsa, rbx)),
        (Field::RBP, offset_of!(Vmsa, rbp)),
        (Field::RSI, offset_of!(Vmsa, rsi)),
        (Field::RDI, offset_of!(Vmsa, rdi)),
        (Field::R8, offset_of!(Vmsa, r8)),
        (Field::R9, offset_of!(Vmsa, r9)),
        (Field::R10, offset_of!(Vmsa, r10)),
        (Field::R11, offset_of!(Vmsa, r11)),
        (Field::R12, offset_of!(Vmsa, r12)),
        (Field::R13, offset_of!(Vmsa, r13)),
        (Field::R14, offset_of!(Vmsa, r14)),
        (Field::R15, offset_of!(Vmsa, r15)),
        (Field::SW_EXITCODE, offset_of!(Vmsa, guest_exit_info_1)),
        (Field::XCR0, offset_of!(Vmsa, xcr0)),
    ];
    for (field, offset) in table {
        assert_eq!(field.offset(), offset, "{field:?}");
    }
    assert_eq!(Field::CPL.offset() + 3, offset_of!(Vmsa, cpl));
}

#[test]
fn a_field_without_its_bit_has_no_value() {
    let mut page = Ghcb::new_zeroed();
    page.set(Field::RAX, 7);
    assert_eq!(page.get(Field::RAX), Some(7));
    assert_eq!(page.get(Field::RBX), None);
    page.invalidate_all();
    assert_eq!(page.get(Field::RAX), None);
    assert_eq!(page.cpl(), None);
    assert_eq!(page.status(), None);
}

#[test]
fn the_cpl_is_a_byte_of_its_quadword() {
    let mut page = Ghcb::new_zeroed();
    page.set_cpl(3);
    assert_eq!(page.as_bytes()[0xcb], 3);
    assert_eq!(page.cpl(), Some(3));
    assert_eq!(page.valid_bitmap, [1 << 25, 0]);
}

#[test]
fn the_bits_of_a_request_are_those_that_linux_sets() {
    // RDMSR: exit code, both infos and RCX, as in the valid bitmap of a Linux guest.
    let mut page = Ghcb::new_zeroed();
    page.set(Field::SW_EXITCODE, ExitCode::MSR.0);
    page.set(Field::SW_EXITINFO1, 0);
    page.set(Field::SW_EXITINFO2, 0);
    page.set(Field::RCX, 0x10);
    let bit = |offset: usize| 1_u64 << (offset / 8 - 64);
    assert_eq!(page.valid_bitmap, [0, bit(0x390) | bit(0x398) | bit(0x3a0) | bit(0x308)]);
}

#[test]
fn an_answer_is_the_low_half_of_the_first_info() {
    let mut page = Ghcb::new_zeroed();
    page.set(Field::SW_EXITINFO1, 0xdead_0000_0002);
    assert_eq!(page.status(), Some(Status::MALFORMED));
    page.set(Field::SW_EXITINFO1, 0x1_0000_0000);
    assert_eq!(page.status(), Some(Status::SUCCESS));
    assert_eq!(InputError(6), InputError::INVALID_EVENT);
}

#[test]
fn version_usage_and_buffer_stand_at_the_end() {
    let mut page = Ghcb::new_zeroed();
    page.protocol_version = PROTOCOL_VERSION;
    page.usage = 0x5566_7788;
    page.shared_buffer[0x7ef] = 0xee;
    let bytes = page.as_bytes();
    assert_eq!(bytes[0xfef], 0xee);
    assert_eq!(bytes[0xffa..], [2, 0, 0x88, 0x77, 0x66, 0x55]);
}

proptest! {
    #[test]
    fn any_page_can_be_read(bytes in prop::collection::vec(any::<u8>(), 4096)) {
        let page = Ghcb::read_from_bytes(&bytes).unwrap();
        for field in Field::ALL {
            prop_assert_eq!(page.get(*field).is_some(), page.is_valid(*field));
        }
        prop_assert_eq!(page.as_bytes(), bytes);
    }
}
