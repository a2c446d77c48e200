//! A guest that changes its GHCB while the host reads it.

extern crate std;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::vec::Vec;

use proptest::prelude::*;
use snp::exit::{ApCreation, ApCreationRequest, ExitCode};
use snp::ghcb::{Field, Ghcb, SHARED_BUFFER_OFFSET};
use snp::page_state::{Entry, Header, Operation};
use zerocopy::IntoBytes;

use super::fixture::{GHCB, Machine, PRIVATE, Reply, SCRATCH, request};
use crate::testing::Change;
use crate::{End, Step};

const BUFFER: u64 = GHCB + SHARED_BUFFER_OFFSET as u64;
const INFO_1: Field = Field::SW_EXITINFO1;
const INFO_2: Field = Field::SW_EXITINFO2;

/// One request of each kind.
fn requests() -> Vec<Ghcb> {
    let scratch = (Field::SW_SCRATCH, SCRATCH);
    let created = ApCreation::new().with_request(ApCreationRequest::CREATE).with_apic_id(1);
    let entries = [7, 8].map(|gfn| Entry::new().with_gfn(gfn).with_operation(Operation::PRIVATE));
    let header = Header { cur_entry: 0, end_entry: 1, reserved: 0 };
    let mut list = request(ExitCode::PAGE_STATE_CHANGE, &[(Field::SW_SCRATCH, BUFFER)]);
    let bytes = [header.as_bytes(), entries.as_bytes()].concat();
    list.shared_buffer[..bytes.len()].copy_from_slice(&bytes);
    let one = |code, fields: &[(Field, u64)]| request(code, fields);
    [
        one(ExitCode::CPUID, &[(Field::RAX, 1), (Field::RCX, 0)]),
        one(ExitCode::IOIO, &[(INFO_1, 0x3f8 << 16 | 1 << 4), (Field::RAX, 0x41)]),
        one(ExitCode::IOIO, &[(INFO_1, 0x3fd << 16 | 1 << 4 | 1)]),
        one(ExitCode::IOIO, &[(INFO_1, 0x3f8 << 16 | 1 << 4 | 4), (INFO_2, 3), scratch]),
        one(ExitCode::IOIO, &[(INFO_1, 0x3fd << 16 | 1 << 4 | 5), (INFO_2, 3), scratch]),
        one(ExitCode::MSR, &[(Field::RCX, 0x1b)]),
        one(
            ExitCode::MSR,
            &[(INFO_1, 1), (Field::RCX, 0x1b), (Field::RAX, 0xfee0_0d00), (Field::RDX, 0)],
        ),
        one(ExitCode::MMIO_READ, &[(INFO_1, 0xfee0_0080), (INFO_2, 4), scratch]),
        one(ExitCode::MMIO_WRITE, &[(INFO_1, 0xfee0_0080), (INFO_2, 4), scratch]),
        one(
            ExitCode::AP_CREATION,
            &[(INFO_1, created.into_bits()), (INFO_2, 0x3000), (Field::RAX, 1)],
        ),
        one(ExitCode::VMMCALL, &[(Field::RAX, 1), (Field::CPL, 0)]),
        one(ExitCode::HLT, &[]),
        list,
    ]
    .into()
}

/// The effects of a request that the guest and the outside see.
#[derive(Debug, PartialEq)]
struct Effects {
    fields: Vec<Option<u64>>,
    scratch: [u8; 8],
    sent: Vec<u8>,
    changes: Vec<Change>,
    end: Option<End>,
    turn: Step,
    base: Option<u64>,
}

fn effects(ghcb: &Ghcb, is_fickle: bool) -> Effects {
    let mut machine = Machine::new();
    let outside = machine.outside();
    outside.guest_writes(SCRATCH, b"abcdefgh");
    outside.is_fickle.store(is_fickle, Ordering::Relaxed);
    let Reply(answer) = machine.submit(ghcb);
    outside.is_fickle.store(false, Ordering::Relaxed);
    let mut scratch = [0; 8];
    outside.guest_reads(SCRATCH, &mut scratch);
    let was_read = outside.reads.lock().unwrap().iter().any(|(gpa, _)| *gpa == SCRATCH);
    if was_read {
        // The guest's own change of it is no effect.
        scratch = [0; 8];
    }
    Effects {
        fields: Field::ALL.iter().map(|field| answer.get(*field)).collect(),
        scratch,
        sent: outside.host.sent.lock().unwrap().clone(),
        changes: outside.changes.lock().unwrap().clone(),
        end: machine.ended(),
        turn: machine.turn(),
        base: super::registers::read(&mut machine, 0x1b).get(Field::RAX),
    }
}

#[test]
fn no_byte_of_a_request_is_read_twice() {
    for ghcb in requests() {
        let mut machine = Machine::new();
        machine.submit(&ghcb);
        let mut times = BTreeMap::new();
        for (gpa, length) in machine.outside().reads.lock().unwrap().iter() {
            (*gpa..gpa + *length as u64).for_each(|at| *times.entry(at).or_insert(0) += 1);
        }
        let fields = GHCB + Ghcb::FIELDS.start as u64..GHCB + Ghcb::FIELDS.end as u64;
        assert_eq!(times.range(fields.clone()).count() as u64, fields.end - fields.start);
        let has_buffer = times.contains_key(&BUFFER);
        let is_list = ghcb.get(Field::SW_EXITCODE) == Some(ExitCode::PAGE_STATE_CHANGE.0);
        assert_eq!(has_buffer, is_list, "the buffer is read for a list in it alone");
        let twice: Vec<_> = times.into_iter().filter(|(_, times)| *times > 1).collect();
        assert_eq!(twice, [], "{:?}", ghcb.get(Field::SW_EXITCODE));
    }
}

#[test]
fn a_change_after_the_first_read_has_no_effect() {
    for ghcb in requests() {
        let (steady, fickle) = (effects(&ghcb, false), effects(&ghcb, true));
        assert_eq!(steady, fickle, "{:?}", ghcb.get(Field::SW_EXITCODE));
    }
}

#[test]
fn the_host_writes_shared_memory_alone() {
    for ghcb in requests() {
        for place in [PRIVATE, PRIVATE - 1, SCRATCH - 1, u64::MAX, 0] {
            let mut machine = Machine::new();
            let mut ghcb = ghcb.clone();
            if ghcb.is_valid(Field::SW_SCRATCH) {
                ghcb.set(Field::SW_SCRATCH, place);
            }
            machine.submit(&ghcb);
            // The outside refuses each write whose bytes are not all shared.
            let refused = machine.outside().refused.lock().unwrap().clone();
            assert!(refused.iter().all(|(gpa, _)| *gpa == place), "{refused:x?}");
            assert_eq!(machine.ended(), None);
        }
    }
}

#[test]
fn an_answer_that_can_not_be_written_ends_the_vm() {
    let mut machine = Machine::new();
    machine.outside().guest_writes(GHCB, request(ExitCode::WBINVD, &[]).as_bytes());
    machine.outside().lose_after_read(GHCB);
    machine.raw_message(GHCB);
    let end = Some(End::Unanswerable { vp: 0, code: ExitCode::VMGEXIT.0, info_1: GHCB, info_2: 1 });
    assert_eq!(machine.ended(), end);
}

fn field() -> impl Strategy<Value = (Field, u64)> {
    let value = prop_oneof![
        any::<u64>(),
        0..16_u64,
        Just(SCRATCH),
        Just(BUFFER),
        Just(PRIVATE),
        Just(0xfee0_0080),
        Just(0x1_0000_0001),
        Just(0x3f8_0015),
    ];
    (prop::sample::select(Field::ALL), value)
}

fn code() -> impl Strategy<Value = u64> {
    prop_oneof![
        0x8000_0000..0x8000_0020_u64,
        0x60..0x90_u64,
        Just(ExitCode::IOIO.0),
        Just(ExitCode::PAGE_STATE_CHANGE.0),
        any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_request_has_an_answer_or_ends_the_vm(
        code in code(),
        fields in prop::collection::vec(field(), 0..8),
        buffer in prop::collection::vec(any::<u8>(), 64),
        message in any::<u64>(),
    ) {
        let mut machine = Machine::new();
        let mut ghcb = request(ExitCode(code), &fields);
        ghcb.set(Field::SW_EXITCODE, code);
        ghcb.shared_buffer[..64].copy_from_slice(&buffer);
        let reply = machine.submit(&ghcb);
        prop_assert!(reply.0.status().is_some_and(|status| status.0 <= 2));
        machine.turn();
        machine.raw_message(message);
        machine.turn();
    }
}
