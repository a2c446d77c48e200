use proptest::prelude::*;

use crate::exit::HypervisorFeatures;
use crate::msr_protocol::{Answer, CpuidRegister, NO_GFN, Request, Termination, UnknownMessage};
use crate::page_state::Operation;

#[test]
fn requests_have_their_values() {
    let table = [
        (Request::Ghcb { gpa: 0x12_3000 }, 0x12_3000),
        (Request::SevInfo, 0x002),
        (
            Request::Cpuid { function: 0x8000_001f, register: CpuidRegister::Eax },
            0x8000_001f_0000_0004,
        ),
        (Request::Cpuid { function: 1, register: CpuidRegister::Ebx }, 0x1_4000_0004),
        (Request::Cpuid { function: 1, register: CpuidRegister::Ecx }, 0x1_8000_0004),
        (Request::Cpuid { function: 1, register: CpuidRegister::Edx }, 0x1_c000_0004),
        (Request::ApResetHold, 0x006),
        (Request::PreferredGhcb, 0x010),
        (Request::RegisterGhcb { gfn: 0x123 }, 0x12_3012),
        (
            Request::PageState { gfn: 0xff_ffff_ffff, operation: Operation::PRIVATE },
            0x001f_ffff_ffff_f014,
        ),
        (Request::PageState { gfn: 1, operation: Operation::SHARED }, 0x0020_0000_0000_1014),
        (Request::RunVmpl { vmpl: 1 }, 0x1_0000_0016),
        (Request::HypervisorFeatures, 0x080),
        (Request::Terminate(Termination::UNSUPPORTED_FEATURES), 0x2_0100),
        (Request::Terminate(Termination { set: 1, reason: 3 }), 0x3_1100),
    ];
    for (request, value) in table {
        assert_eq!(request.encode(), value, "{request:?}");
        assert_eq!(Request::decode(value), Ok(request));
    }
}

#[test]
fn answers_have_their_values() {
    let features = HypervisorFeatures::new().with_snp(true).with_ap_creation(true);
    let table = [
        (Answer::SevInfo { max_version: 2, min_version: 1, c_bit: 51 }, 0x0002_0001_3300_0001),
        (Answer::Cpuid { value: 0x33, register: CpuidRegister::Ebx }, 0x33_4000_0005),
        (Answer::ApResetHold { started: true }, 0x1007),
        (Answer::ApResetHold { started: false }, 0x007),
        (Answer::PreferredGhcb { gfn: NO_GFN }, 0xffff_ffff_ffff_f011),
        (Answer::RegisterGhcb { gfn: 0x123 }, 0x12_3013),
        (Answer::PageState { error: 0 }, 0x015),
        (Answer::PageState { error: 0x8000_0000 }, 0x8000_0000_0000_0015),
        (Answer::RunVmpl { error: 1 }, 0x1_0000_0017),
        (Answer::HypervisorFeatures(features), 0x3081),
    ];
    for (answer, value) in table {
        assert_eq!(answer.encode(), value, "{answer:?}");
        assert_eq!(Answer::decode(value), Ok(answer));
    }
}

#[test]
fn a_message_of_the_other_side_is_refused() {
    for value in [0x001, 0x003, 0x005, 0x007, 0x011, 0x013, 0x015, 0x017, 0x081, 0x101, 0xfff] {
        assert_eq!(Request::decode(value), Err(UnknownMessage(value)));
    }
    for value in [0x000, 0x002, 0x004, 0x006, 0x010, 0x012, 0x014, 0x016, 0x080, 0x100, 0xfff] {
        assert_eq!(Answer::decode(value), Err(UnknownMessage(value)));
    }
}

#[test]
fn a_field_that_is_too_wide_does_not_reach_its_neighbours() {
    let request = Request::PageState { gfn: u64::MAX, operation: Operation(0xf2) };
    assert_eq!(request.encode(), 0x002f_ffff_ffff_f014);
    let request = Request::Terminate(Termination { set: 0xff, reason: 0 });
    assert_eq!(request.encode(), 0xf100);
    assert_eq!(Request::Ghcb { gpa: 0x1fff }.encode(), 0x1000);
}

const REQUESTS: [u64; 10] = [0x000, 0x002, 0x004, 0x006, 0x010, 0x012, 0x014, 0x016, 0x080, 0x100];

proptest! {
    #[test]
    fn a_decoded_message_is_encoded_with_the_same_meaning(
        value: u64,
        info in prop::sample::select(&REQUESTS[..]),
    ) {
        let request = Request::decode(value & !0xfff | info).unwrap();
        prop_assert_eq!(Request::decode(request.encode()), Ok(request));
        if let Ok(answer) = Answer::decode(value & !0xfff | (info + 1)) {
            prop_assert_eq!(Answer::decode(answer.encode()), Ok(answer));
        }
    }
}
