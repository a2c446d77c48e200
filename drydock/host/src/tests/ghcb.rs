//! Requests by the GHCB page.

extern crate std;

use std::sync::atomic::Ordering;
use std::vec::Vec;

use snp::exit::ExitCode;
use snp::ghcb::{Field, Ghcb, InputError};
use snp::msr_protocol::{Answer, Request as Message, Termination};

use super::fixture::{Machine, PRIVATE, Reply, SCRATCH, area, request};
use crate::{Activity, End, Step};

const RAX: Field = Field::RAX;
const RCX: Field = Field::RCX;
const RDX: Field = Field::RDX;
const RBX: Field = Field::RBX;
const INFO_1: Field = Field::SW_EXITINFO1;
const INFO_2: Field = Field::SW_EXITINFO2;
const PORT_80: u64 = 0x80 << 16;
const BYTE: u64 = 1 << 4;
const IN: u64 = 1;
const IN_SCRATCH: (Field, u64) = (Field::SW_SCRATCH, SCRATCH);

/// The code and the fields of a request.
type Request = (ExitCode, &'static [(Field, u64)]);

/// A request without one of its fields.
fn without(whole: &Ghcb, left_out: Field) -> Ghcb {
    let mut part = whole.clone();
    let bit = left_out.valid_bit();
    part.valid_bitmap[bit / 64] &= !(1 << (bit % 64));
    part
}

#[test]
fn a_request_without_a_field_that_it_needs_is_malformed() {
    let all: &[Request] = &[
        (ExitCode::WBINVD, &[]),
        (ExitCode::CPUID, &[(RAX, 0), (RCX, 0)]),
        (ExitCode::IOIO, &[(INFO_1, PORT_80 | BYTE), (RAX, 0)]),
        (ExitCode::IOIO, &[(INFO_1, PORT_80 | BYTE | 4), (INFO_2, 1), IN_SCRATCH]),
        (ExitCode::MSR, &[(RCX, 0x10)]),
        (ExitCode::MSR, &[(INFO_1, 1), (RCX, 0x10), (RAX, 0), (RDX, 0)]),
        (ExitCode::MMIO_READ, &[(INFO_1, 0xfec0_0000), (INFO_2, 4), IN_SCRATCH]),
        (ExitCode::MMIO_WRITE, &[(INFO_1, 0xfec0_0000), (INFO_2, 4), IN_SCRATCH]),
        (ExitCode::VMMCALL, &[(RAX, 0), (Field::CPL, 0)]),
        (ExitCode::AP_CREATION, &[(INFO_1, 1 << 32 | 1), (INFO_2, 0x9000), (RAX, 1)]),
        (ExitCode::PAGE_STATE_CHANGE, &[(Field::SW_SCRATCH, 0x5800)]),
    ];
    for (code, fields) in all {
        let whole = request(*code, fields);
        let first = Machine::new().submit(&whole);
        assert_eq!(first.get(INFO_1), Some(0), "{code:?} with all fields");
        let needed: Vec<_> = Field::ALL.iter().filter(|field| whole.is_valid(**field)).collect();
        assert!(needed.len() >= 3);
        for field in needed {
            let mut machine = Machine::new();
            let reply = machine.submit(&without(&whole, *field));
            reply.malformed(InputError::MISSING_INPUT);
            assert_eq!(*machine.outside().changes.lock().unwrap(), []);
        }
    }
}

#[test]
fn the_page_is_checked_before_the_request() {
    let whole = request(ExitCode::WBINVD, &[]);
    let mut usage = whole.clone();
    usage.usage = 1;
    let mut version = whole.clone();
    version.protocol_version = 3;
    let mut old = whole.clone();
    old.protocol_version = 1;
    let mut machine = Machine::new();
    machine.submit(&usage).malformed(InputError::INVALID_USAGE);
    machine.submit(&version).malformed(InputError::INVALID_INPUT);
    machine.submit(&old).done(0, &[]);
    machine.ghcb += 0x1000;
    machine.submit(&usage).malformed(InputError::NOT_REGISTERED);
}

#[test]
fn an_unknown_event_is_refused() {
    for code in [
        ExitCode(0x404),
        ExitCode(0x8000_0000),
        ExitCode(0x8000_0099),
        ExitCode(u64::MAX),
        ExitCode::VMRUN,
        ExitCode::NPF,
        ExitCode::HV_TIMER,
        ExitCode::SECURE_AVIC,
    ] {
        let mut machine = Machine::new();
        machine.request(code, &[]).malformed(InputError::INVALID_EVENT);
        assert_eq!(machine.ended(), None);
    }
}

#[test]
fn an_answer_has_the_fields_that_it_sets_and_no_others() {
    let all: Vec<_> = Field::ALL.iter().map(|field| (*field, 0x77)).collect();
    let zero = [(Field::SW_EXITCODE, ExitCode::WBINVD.0), (INFO_1, 0), (INFO_2, 0)];
    let fields: Vec<_> = all.into_iter().chain(zero).collect();
    Machine::new().request(ExitCode::WBINVD, &fields).done(0, &[]);
}

#[test]
fn small_requests_are_answered() {
    let mut machine = Machine::new();
    let tsc = 0x1_2345_6789;
    machine.outside().host.tsc.store(tsc, Ordering::Relaxed);
    let time = [(RAX, 0x2345_6789), (RDX, 1)];
    let no_hypercall = [(RAX, -1000_i64 as u64)];
    machine.request(ExitCode::WBINVD, &[]).done(0, &[]);
    machine.request(ExitCode::INVD, &[]).done(0, &[]);
    machine.request(ExitCode::NMI_COMPLETE, &[]).done(0, &[]);
    machine.request(ExitCode::RDTSC, &[]).done(0, &time);
    machine.request(ExitCode::RDTSCP, &[]).done(0, &[(RAX, 0x2345_6789), (RCX, 0), (RDX, 1)]);
    machine.request(ExitCode::dr_write(7), &[(RAX, 0x400)]).done(0, &[]);
    machine.request(ExitCode::dr_read(7), &[]).done(0, &[(Field::DR7, 0x400)]);
    machine.request(ExitCode::VMMCALL, &[(RAX, 1), (Field::CPL, 0)]).done(0, &no_hypercall);
    assert_eq!(machine.ended(), None);
}

#[test]
fn the_second_vp_has_its_own_number() {
    let (_, mut second) = Machine::with_second();
    let reply = second.request(ExitCode::RDTSCP, &[]);
    assert_eq!(reply.get(RCX), Some(1));
    let reply = second.request(ExitCode::CPUID, &[(RAX, 1), (RCX, 0)]);
    assert_eq!(reply.get(RBX).unwrap() >> 24, 1, "the initial APIC id");
}

#[test]
fn cpuid_is_the_hosts_table() {
    let mut machine = Machine::new();
    let high = 0xffff_ffff_0000_0000;
    for (leaf, subleaf) in [(0, 0), (1, 0), (7, 0), (0xb, 1), (0xd, 1), (0x4000_0000, 0)] {
        let [eax, ebx, ecx, edx] = machine.host.cpuid(leaf, subleaf, 0).map(u64::from);
        let fields = [(RAX, high | u64::from(leaf)), (RCX, high | u64::from(subleaf))];
        let reply = machine.request(ExitCode::CPUID, &fields);
        reply.done(0, &[(RAX, eax), (RCX, ecx), (RDX, edx), (RBX, ebx)]);
    }
}

/// COCONUT-SVSM does not start without XSAVE, and Linux takes none without XSAVEC.
#[test]
fn xsave_is_described_above_the_highest_leaf() {
    let mut machine = Machine::new();
    assert_eq!(machine.host.cpuid(0, 0, 0)[0], 0xb);
    assert_ne!(machine.host.cpuid(1, 0, 0)[2] & 1 << 26, 0, "XSAVE");
    // x87 and SSE lie in 576 bytes; AVX adds 256.
    for (xcr0, size) in [(None, 576), (Some(1), 576), (Some(3), 576), (Some(7), 832)] {
        let mut fields = std::vec::Vec::from([(RAX, 0xd), (RCX, 0)]);
        fields.extend(xcr0.map(|value| (Field::XCR0, value)));
        let reply = machine.request(ExitCode::CPUID, &fields);
        assert_eq!((reply.get(RAX), reply.get(RBX)), (Some(7), Some(size)), "{xcr0:?}");
    }
    let entries: std::vec::Vec<_> = machine.host.cpuid_page().collect();
    let found = |subleaf, xcr0| {
        let is = |entry: &&snp::cpuid_page::CpuidFunction| {
            (entry.eax_in, entry.ecx_in, entry.xcr0_in, entry.xss_in) == (0xd, subleaf, xcr0, 0)
        };
        entries.iter().find(is).map(|entry| [entry.eax, entry.ebx])
    };
    for xcr0 in [0, 1] {
        assert_eq!(found(0, xcr0), Some([7, 576]));
        assert_ne!(found(1, xcr0).unwrap()[0] & 1, 0, "XSAVEOPT");
    }
    assert!(found(2, 0).is_some(), "where AVX lies");
}

#[test]
fn cpuid_names_the_features_that_are_emulated() {
    let host = Machine::new().host;
    // SEV, ES, SNP, VMPL, RMPQUERY, Secure TSC, the injections, DebugSwap, PreventHostIbs,
    // VIRTUAL_TOM, VmsaRegProt.
    let features =
        [1, 3, 4, 5, 6, 8, 12, 13, 14, 15, 18, 24].map(|bit| 1 << bit).iter().sum::<u32>();
    // C-bit 39, one bit of addresses less, four levels; one guest.
    let expected = [features, 39 | 1 << 6 | 4 << 12, 1, 0];
    assert_eq!(host.cpuid(0x8000_001f, 0, 0), expected);
    assert_eq!(host.cpuid(0x8000_0000, 0, 0)[0], 0x8000_001f);
    let [highest, ebx, ecx, edx] = host.cpuid(0x4000_0000, 0, 0);
    assert_eq!(highest, 0x4000_0001);
    assert_eq!([ebx, ecx, edx].map(u32::to_le_bytes).concat(), b"KVMKVMKVM\0\0\0");
    assert_eq!(host.cpuid(1, 0, 0)[2] & 1 << 27, 0, "OSXSAVE is off");
    for leaf in [1, 0x8000_0001] {
        assert_eq!(host.cpuid(leaf, 0, 1)[0], 0x00a0_0f11, "a CPU that has SEV-SNP");
    }
    let leaves: Vec<_> = host.cpuid_page().map(|entry| entry.eax_in).collect();
    assert!([0x4000_0000, 0x4000_0001, 0x8000_001f].iter().all(|leaf| leaves.contains(leaf)));
}

#[test]
fn the_page_for_the_firmware_has_the_same_values() {
    let machine = Machine::new();
    let mut count = 0;
    for entry in machine.host.cpuid_page() {
        let values = [entry.eax, entry.ebx, entry.ecx, entry.edx];
        assert_eq!(values, machine.host.cpuid(entry.eax_in, entry.ecx_in, 0));
        count += 1;
    }
    assert!((10..=64).contains(&count));
    // Leaves that the pages of other builders' files name.
    for (leaf, subleaves) in [
        (0, 1),
        (1, 1),
        (2, 1),
        (4, 4),
        (5, 1),
        (6, 1),
        (7, 2),
        (9, 1),
        (0xa, 1),
        (0xb, 2),
        (0xd, 3),
        (0x8000_0019, 1),
        (0x8000_001a, 1),
        (0x8000_001d, 4),
        (0x8000_001e, 1),
        (0x8000_001f, 1),
    ] {
        for subleaf in 0..subleaves {
            let is_it = |entry: snp::cpuid_page::CpuidFunction| {
                (entry.eax_in, entry.ecx_in, entry.xcr0_in) == (leaf, subleaf, 0)
            };
            assert!(machine.host.cpuid_page().any(is_it), "{leaf:#x}, {subleaf}");
        }
    }
}

/// The features that the host offers.
fn features(reply: &Reply) -> u64 {
    reply.get(INFO_2).unwrap()
}

#[test]
fn every_feature_that_is_offered_is_there() {
    let mut machine = Machine::new();
    let offered = features(&machine.request(ExitCode::HYPERVISOR_FEATURES, &[]));
    let by_message = machine.message(Message::HypervisorFeatures);
    assert_eq!(by_message >> 12, offered);
    assert_eq!(by_message & 0xfff, 0x81);
    let features = snp::exit::HypervisorFeatures::from_bits(offered);
    assert!(features.snp() && features.ap_creation());
    for (is_offered, code) in [
        (features.apic_id_list(), ExitCode::APIC_IDS),
        (features.multi_vmpl(), ExitCode::RUN_VMPL),
        (features.restricted_injection(), ExitCode::HV_DOORBELL_PAGE),
        (features.restricted_injection_timer(), ExitCode::HV_TIMER),
        (features.page_state_change(), ExitCode::PAGE_STATE_CHANGE),
    ] {
        if is_offered {
            let reply = machine.request(code, &[(Field::SW_SCRATCH, SCRATCH)]);
            assert_ne!(reply.get(INFO_2), Some(InputError::INVALID_EVENT.0), "{code:?}");
        }
    }
}

#[test]
fn a_list_of_apic_ids_at_the_end_of_all_addresses_is_refused() {
    for list in [u64::MAX, u64::MAX - 3, u64::MAX - 4, PRIVATE] {
        let mut machine = Machine::new();
        let fields = [(Field::RAX, 1), (INFO_1, list)];
        machine.request(ExitCode::APIC_IDS, &fields).malformed(InputError::INVALID_INPUT);
    }
}

#[test]
fn a_vp_that_halts_sleeps() {
    for (code, answer, activity) in
        [(ExitCode::HLT, 0, Activity::Halted), (ExitCode::AP_RESET_HOLD, 1, Activity::ResetHold)]
    {
        let mut machine = Machine::new();
        machine.request(code, &[]).done(answer, &[]);
        assert_eq!(machine.vp.levels[0].activity, activity);
    }
    let mut machine = Machine::new();
    let answer = machine.message(Message::ApResetHold);
    assert_eq!(Answer::decode(answer), Ok(Answer::ApResetHold { started: true }));
    assert_eq!(machine.vp.levels[0].activity, Activity::ResetHold);
}

#[test]
fn the_guest_can_end_the_vm() {
    let mut machine = Machine::new();
    machine.request(ExitCode::TERMINATION_REQUEST, &[]);
    assert_eq!(machine.ended(), Some(End::Terminated(Termination::GENERAL)));
    let mut machine = Machine::new();
    machine.request(ExitCode::TERMINATION_REQUEST, &[(INFO_1, 0xffff_f241)]);
    assert_eq!(machine.ended(), Some(End::Terminated(Termination { set: 1, reason: 0x24 })));
    let mut machine = Machine::new();
    machine.request(ExitCode::UNSUPPORTED_EVENT, &[(INFO_1, 0x6f), (INFO_2, 3)]);
    let end = End::Unanswerable { vp: 0, code: ExitCode::VMGEXIT.0, info_1: 0x6f, info_2: 3 };
    assert_eq!(machine.ended(), Some(end));
}

#[test]
fn in_sets_rax_and_nothing_else() {
    let mut machine = Machine::new();
    let fields = [(INFO_1, PORT_80 | BYTE | IN), (RAX, u64::MAX)];
    machine.request(ExitCode::IOIO, &fields).done(0, &[(RAX, 0xff)]);
}

/// Instructions that the CPU intercepts: the guest has no counters, and nothing to wait for by
/// MONITOR.
#[test]
fn instructions_of_the_host_are_answered() {
    let fields = [(Field::RAX, 0x1000), (Field::RCX, 0), (Field::RDX, 0)];
    let mut machine = Machine::new();
    machine.request(ExitCode::MONITOR, &fields).done(0, &[]);
    machine.request(ExitCode::MWAIT, &fields).done(0, &[]);
    assert_eq!(machine.turn(), Step::Run { level: 0, area: area(1) }, "it runs on");
    machine.request(ExitCode::RDPMC, &fields).general_protection();
    for code in [ExitCode::MONITOR, ExitCode::MWAIT, ExitCode::RDPMC] {
        machine.request(code, &[]).malformed(InputError::MISSING_INPUT);
    }
}

/// OVMF sets it for an SEV-SNP VM, too.
#[test]
fn the_jump_table_for_aps_is_kept() {
    let (mut first, mut second) = Machine::with_second();
    second.turn();
    let get = [(Field::SW_EXITINFO1, 1)];
    first.request(ExitCode::AP_JUMP_TABLE, &get).done(0, &[]);
    let set = [(Field::SW_EXITINFO1, 0), (Field::SW_EXITINFO2, 0x9_f000)];
    first.request(ExitCode::AP_JUMP_TABLE, &set).done(0x9_f000, &[]);
    second.request(ExitCode::AP_JUMP_TABLE, &get).done(0x9_f000, &[]);
    let other = [(Field::SW_EXITINFO1, 2), (Field::SW_EXITINFO2, 0x1000)];
    first.request(ExitCode::AP_JUMP_TABLE, &other).malformed(InputError::INVALID_INPUT);
    first.request(ExitCode::AP_JUMP_TABLE, &get).done(0x9_f000, &[]);
}
