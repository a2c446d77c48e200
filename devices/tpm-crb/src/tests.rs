//! Tests of what a guest can see of the interface.

use crate::*;
use proptest::prelude::*;

const BUFFERS: Buffers = Buffers {
    command: 0x1_2345_6000,
    command_size: 0x1000,
    response: 0x2_3456_7000,
    response_size: 0xF80,
};

fn at(locality: u8, offset: u16) -> u16 {
    u16::from(locality) * PAGE + offset
}

/// Locality 0 is active, and the interface ready.
fn ready() -> TpmCrb {
    let mut crb = TpmCrb::new(BUFFERS);
    assert_eq!(crb.write(LOC_CTRL, 4, 1), None);
    assert_eq!(crb.write(CTRL_REQ, 4, 1), None);
    crb
}

#[test]
fn a_driver_finds_the_interface_and_its_buffers() {
    let crb = TpmCrb::new(BUFFERS);
    let id = crb.read(INTF_ID, 8);
    assert_eq!((id & 0xF, id >> 14 & 1, id >> 13 & 1), (1, 1, 0), "CRB is active, FIFO absent");
    assert_eq!(crb.read(CTRL_CMD_SIZE, 4), 0x1000);
    assert_eq!(crb.read(CTRL_CMD_LADDR, 8), BUFFERS.command);
    assert_eq!(crb.read(CTRL_RSP_SIZE, 4), 0xF80);
    assert_eq!(crb.read(CTRL_RSP_ADDR, 8), BUFFERS.response);
    assert_eq!(crb.read(CTRL_RSP_ADDR + 4, 4), 2);
    assert_eq!(crb.read(LOC_STATE, 4), 0x81, "valid, not established, none active");
    assert_eq!(crb.read(LENGTH - 1, 2), 0xFF00, "nothing beyond the last page");
}

#[test]
fn a_command_runs_from_start_to_completion() {
    let mut crb = ready();
    assert_eq!(crb.read(CTRL_STS, 4), 0);
    assert_eq!(crb.write(CTRL_START, 4, 1), Some(Effect::Execute { locality: 0 }));
    assert_eq!(crb.read(CTRL_START, 4), 1);
    assert_eq!(crb.write(CTRL_START, 4, 1), None, "it runs already");
    assert_eq!(crb.write(CTRL_REQ, 4, 2), None);
    assert_eq!(crb.read(CTRL_STS, 4), 0, "it does not go idle now");
    assert!(crb.complete());
    assert_eq!(crb.read(CTRL_START, 4), 0);
    assert_eq!(crb.write(CTRL_START, 4, 1), Some(Effect::Execute { locality: 0 }), "without idle");
    assert!(crb.complete());
    assert_eq!(crb.write(CTRL_REQ, 4, 2), None);
    assert_eq!(crb.read(CTRL_STS, 4), 2, "idle");
    assert_eq!(crb.write(CTRL_START, 4, 1), None, "not from idle");
    assert!(!crb.complete(), "nothing runs");
}

#[test]
fn a_command_can_be_cancelled_once_and_completes() {
    let mut crb = ready();
    assert_eq!(crb.write(CTRL_CANCEL, 4, 1), None, "nothing runs");
    assert_eq!(crb.write(CTRL_CANCEL, 4, 0), None);
    let _ = crb.write(CTRL_START, 4, 1);
    assert_eq!(crb.write(CTRL_CANCEL, 4, 1), Some(Effect::Cancel));
    assert_eq!(crb.write(CTRL_CANCEL, 4, 1), None);
    assert!(crb.is_cancelled() && crb.complete());
    assert_eq!(crb.read(CTRL_CANCEL, 4), 1);
}

#[test]
fn localities_wait_seize_and_relinquish() {
    let mut crb = ready();
    for locality in [1, 3] {
        assert_eq!(crb.write(at(locality, LOC_CTRL), 4, 1), None);
        assert_eq!(crb.read(at(locality, LOC_STS), 4), 0, "it waits");
    }
    assert_eq!(crb.write(at(1, CTRL_START), 4, 1), None, "only the active one has a voice");
    assert_eq!(crb.write(LOC_CTRL, 4, 2), None);
    assert_eq!(crb.read(LOC_STATE, 4), 0x81 | 2 | 3 << 2, "the highest follows");
    assert_eq!(crb.read(CTRL_STS, 4), 2, "idle for whom it is new");
    assert_eq!(crb.write(at(2, LOC_CTRL), 4, 4), None);
    assert_eq!(crb.read(at(3, LOC_STS), 4), 1, "a lower one seizes nothing");
    let _ = crb.write(at(3, CTRL_REQ), 4, 1);
    let _ = crb.write(at(3, CTRL_START), 4, 1);
    assert_eq!(crb.write(at(4, LOC_CTRL), 4, 4), Some(Effect::Cancel));
    assert_eq!(crb.read(at(3, LOC_STS), 4), 2, "seized");
    assert_eq!(crb.read(at(4, LOC_STS), 4), 1);
    assert!(crb.is_cancelled() && !crb.complete(), "the response is for nobody");
    assert_eq!(crb.write(at(4, LOC_CTRL), 4, 2), None);
    assert_eq!(crb.read(at(2, LOC_STS), 4), 1, "its seizing became a request");
}

#[test]
fn only_high_localities_clear_the_sign_of_a_dynamic_root() {
    let established = Saved { established: true, ..TpmCrb::new(BUFFERS).save() };
    for (locality, bit) in [(0, 0), (2, 0), (3, 1), (4, 1)] {
        let mut crb = TpmCrb::new(BUFFERS);
        crb.restore(&established).unwrap();
        let _ = crb.write(at(locality, LOC_CTRL), 4, 8);
        assert_eq!(crb.read(LOC_STATE, 4) & 1, bit, "{locality}");
    }
}

#[test]
fn a_failed_engine_is_a_fatal_error_until_reset() {
    let mut crb = ready();
    let _ = crb.write(CTRL_START, 4, 1);
    crb.fail();
    assert_eq!(crb.read(CTRL_STS, 4) & 1, 1);
    let _ = crb.write(CTRL_REQ, 4, 1);
    assert_eq!(crb.write(CTRL_START, 4, 1), None);
    crb.reset(Instant::START);
    assert_eq!(crb, TpmCrb::new(BUFFERS));
}

#[test]
fn narrow_and_wide_writes_reach_their_bits() {
    let mut crb = TpmCrb::new(BUFFERS);
    let _ = crb.write(LOC_CTRL + 1, 1, 0xFF);
    assert_eq!(crb.read(LOC_STS, 4), 0, "the bits are in the first byte");
    let _ = crb.write(LOC_CTRL, 1, 1);
    assert_eq!(crb.read(LOC_STS, 1), 1);
    let _ = crb.write(CTRL_REQ, 1, 1);
    let both = 1 << 32;
    assert_eq!(crb.write(CTRL_CANCEL, 8, both), Some(Effect::Execute { locality: 0 }));
    assert_eq!(crb.write(LENGTH - 2, 8, u64::MAX), None);
    assert_eq!(crb.write(u16::MAX, 8, u64::MAX), None);
}

#[test]
fn every_register_has_its_reset_value_at_every_locality() {
    let crb = TpmCrb::new(BUFFERS);
    let registers = [
        (LOC_STATE, 0x81),
        (LOC_CTRL, 0),
        (LOC_STS, 0),
        // CRB of version 1, five localities, no idle between commands, 64 bytes, CRB only, locked.
        (INTF_ID, 0x000A_5B11),
        (INTF_ID + 4, 0),
        (CTRL_REQ, 0),
        (CTRL_STS, 2),
        (CTRL_CANCEL, 0),
        (CTRL_START, 0),
        (CTRL_CMD_SIZE, 0x1000),
        (CTRL_CMD_LADDR, 0x2345_6000),
        (CTRL_CMD_HADDR, 1),
        (CTRL_RSP_SIZE, 0xF80),
        (CTRL_RSP_ADDR, 0x3456_7000),
        (CTRL_RSP_ADDR + 4, 2),
    ];
    for locality in 0..LOCALITIES {
        for offset in (0..PAGE).step_by(4) {
            let known = registers.iter().find(|(register, _)| *register == offset);
            let value = known.map_or(0, |(_, value)| *value);
            assert_eq!(crb.read(at(locality, offset), 4), value, "{locality} {offset:#x}");
        }
    }
}

#[test]
fn offsets_beyond_the_last_page_read_all_ones() {
    let crb = TpmCrb::new(BUFFERS);
    for offset in [LENGTH, 0x7FFC, u16::MAX - 8, u16::MAX - 3, u16::MAX] {
        assert_eq!(crb.read(offset, 8), u64::MAX, "{offset:#x}");
    }
}

/// Brings the interface into one of the states of PTP 6.5.3.10, with locality 0 active.
fn in_state(phase: u8) -> TpmCrb {
    let mut crb = ready();
    crb.restore(&Saved { phase, ..crb.save() }).unwrap();
    crb
}

#[test]
fn each_write_leads_to_the_state_of_the_profile() {
    const IDLE: u8 = 0;
    const READY: u8 = 1;
    const RUNNING: u8 = 2;
    const UNWANTED: u8 = 3;
    const COMPLETE: u8 = 4;
    let table = [
        // State, then the next after cmdReady, goIdle, both, start.
        (IDLE, READY, IDLE, IDLE, IDLE),
        (READY, READY, IDLE, READY, RUNNING),
        (RUNNING, RUNNING, RUNNING, RUNNING, RUNNING),
        (UNWANTED, UNWANTED, UNWANTED, UNWANTED, UNWANTED),
        (COMPLETE, READY, IDLE, COMPLETE, RUNNING),
    ];
    for (state, ready, idle, both, start) in table {
        let writes = [(CTRL_REQ, 1, ready), (CTRL_REQ, 2, idle), (CTRL_REQ, 3, both)];
        for (offset, value, next) in writes.into_iter().chain([(CTRL_START, 1, start)]) {
            let mut crb = in_state(state);
            let effect = crb.write(offset, 4, value);
            let begins = next == RUNNING && state != RUNNING;
            assert_eq!(effect, begins.then_some(Effect::Execute { locality: 0 }));
            assert_eq!(crb.save().phase, next, "{state} {offset:#x} {value}");
            let runs = matches!(next, RUNNING | UNWANTED);
            assert_eq!(crb.read(CTRL_START, 4), u64::from(runs));
            assert_eq!(crb.read(CTRL_STS, 4), if next == IDLE { 2 } else { 0 });
            assert_eq!(crb.read(CTRL_REQ, 4), 0);
        }
        for value in [0, 2, 0xFFFF_FFFE] {
            let mut crb = in_state(state);
            assert_eq!(crb.write(CTRL_START, 4, value), None, "bit 0 alone starts");
            assert_eq!(crb, in_state(state));
        }
    }
}

#[test]
fn a_new_locality_can_not_start_before_the_old_ones_command_has_ended() {
    let mut crb = ready();
    let _ = crb.write(at(2, LOC_CTRL), 4, 1);
    let _ = crb.write(CTRL_START, 4, 1);
    assert_eq!(crb.write(LOC_CTRL, 4, 2), Some(Effect::Cancel));
    assert_eq!((crb.read(LOC_STS, 4), crb.read(at(2, LOC_STS), 4)), (0, 1), "given up, not seized");
    let _ = crb.write(at(2, CTRL_REQ), 4, 1);
    assert_eq!(crb.write(at(2, CTRL_START), 4, 1), None);
    assert_eq!(crb.read(at(2, CTRL_START), 4), 1, "the old one still runs");
    assert!(!crb.complete());
    assert_eq!(crb.read(at(2, CTRL_STS), 4), 2);
    let _ = crb.write(at(2, CTRL_REQ), 4, 1);
    assert_eq!(crb.write(at(2, CTRL_START), 4, 1), Some(Effect::Execute { locality: 2 }));
    assert!(!crb.is_cancelled());
}

#[test]
fn a_cancel_bit_left_set_applies_to_the_next_command() {
    let mut crb = ready();
    assert_eq!(crb.write(CTRL_CANCEL, 4, 1), None);
    assert_eq!(crb.write(CTRL_START, 4, 1), Some(Effect::Execute { locality: 0 }));
    assert!(crb.is_cancelled());
    assert_eq!(crb.write(CTRL_CANCEL, 4, 0), None);
    assert!(!crb.is_cancelled());
}

#[test]
fn a_request_can_be_withdrawn() {
    let mut crb = ready();
    let _ = crb.write(at(3, LOC_CTRL), 4, 1);
    let _ = crb.write(at(3, LOC_CTRL), 4, 2);
    let _ = crb.write(LOC_CTRL, 4, 2);
    assert_eq!(crb.read(LOC_STATE, 4), 0x81, "nobody is active");
    let _ = crb.write(at(3, LOC_CTRL), 4, 4);
    assert_eq!(crb.read(LOC_STATE, 4), 0x81 | 2 | 3 << 2, "nobody to seize from: granted");
}

struct Ignore;

impl Inspect for Ignore {
    fn field(&mut self, _: &str, _: device_model::Value<'_>) {}
    fn begin(&mut self, _: &str) {}
    fn end(&mut self) {}
}

proptest! {
    #[test]
    fn wide_reads_are_their_bytes(locality in 0u8..6, offset in 0u16..0x80, width in 0u8..=8) {
        let (crb, start) = (ready(), at(locality, offset));
        let bytes = (0..u16::from(width)).map(|place| crb.read(start + place, 1) << (8 * place));
        prop_assert_eq!(crb.read(start, width), bytes.fold(0, |all, byte| all | byte));
    }

    #[test]
    fn bytes_beside_the_first_of_a_register_have_no_effect(
        phase in 0u8..5, cancel: bool, register in 0u16..0x20, place in 1u16..4, value: u64
    ) {
        let mut crb = in_state(phase);
        let _ = crb.write(CTRL_CANCEL, 4, u64::from(cancel));
        let before = crb.clone();
        for width in 1..=(4 - place) as u8 {
            prop_assert_eq!(crb.write(4 * register + place, width, value), None);
            prop_assert_eq!(&crb, &before);
        }
    }

    #[test]
    fn a_wide_write_is_one_of_each_half(phase in 0u8..5, register in 0u16..0x1F, value: u64) {
        let (mut wide, mut narrow) = (in_state(phase), in_state(phase));
        let effect = wide.write(4 * register, 8, value);
        let halves = [(0, value & 0xFFFF_FFFF), (4, value >> 32)];
        let effects = halves.map(|(place, half)| narrow.write(4 * register + place, 4, half));
        prop_assert_eq!(effect, effects[0].or(effects[1]));
        prop_assert_eq!(wide, narrow);
    }

    #[test]
    fn an_inactive_locality_can_only_write_loc_ctrl(
        phase in 0u8..5, locality in 1u8..5, offset in 0x10u16..PAGE, value: u64
    ) {
        let mut crb = in_state(phase);
        prop_assert_eq!(crb.write(at(locality, offset), 4, value), None);
        prop_assert_eq!(crb, in_state(phase));
    }

    #[test]
    fn random_traffic_keeps_the_promises(
        steps in proptest::collection::vec((0usize..6, 0u8..6, 0u8..16, 0u8..5), 0..80)
    ) {
        let mut crb = TpmCrb::new(BUFFERS);
        let mut runs = false;
        for (register, locality, value, width) in steps {
            let offset = [LOC_CTRL, CTRL_REQ, CTRL_CANCEL, CTRL_START, LOC_STATE, 0x52][register];
            let width = [1, 2, 4, 8, 0][usize::from(width)];
            match crb.write(at(locality, offset), width, value.into()) {
                Some(Effect::Execute { .. }) => {
                    prop_assert!(!runs, "one command at a time");
                    runs = true;
                }
                Some(Effect::Cancel) => prop_assert!(runs && crb.is_cancelled()),
                None => {}
            }
            if value == 9 && runs {
                let _ = crb.complete();
                runs = false;
            }
            let granted = (0..LOCALITIES).filter(|l| crb.read(at(*l, LOC_STS), 4) & 1 != 0).count();
            prop_assert!(granted <= 1);
            let mut other = TpmCrb::new(Buffers { command: 0, ..BUFFERS });
            prop_assert_eq!(other.restore(&crb.save()), Ok(()));
            other.inspect(&mut Ignore);
            prop_assert_eq!(&other, &crb);
        }
    }
}

#[test]
fn impossible_states_are_refused() {
    let mut crb = TpmCrb::new(BUFFERS);
    let good = ready().save();
    let cases = [
        (Saved { phase: 5, ..good }, "phase"),
        (Saved { active: Some(5), ..good }, "active"),
        (Saved { active: None, ..good }, "phase"),
        (Saved { requested: 0x20, ..good }, "requested"),
        (Saved { requested: 1, ..good }, "requested"),
        (Saved { seized: 1, ..good }, "seized"),
        (Saved { active: None, phase: 0, requested: 2, ..good }, "requested"),
    ];
    for (bad, field) in cases {
        assert_eq!(crb.restore(&bad), Err(RestoreError::Field(field)));
    }
    let bad = Saved { version: 2, ..good };
    assert_eq!(crb.restore(&bad), Err(RestoreError::Version { found: 2, supported: 1 }));
    assert_eq!(crb, TpmCrb::new(BUFFERS));
}
