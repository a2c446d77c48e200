//! The registers of the TPM under any accesses.

use device_model::{Device, Instant};
use tpm_crb::registers::{CTRL_START, CTRL_STS, LENGTH, LOC_STATE, LOC_STS, LOCALITIES, PAGE};
use tpm_crb::{Buffers, Effect, TpmCrb};

use crate::input::Input;

const BUFFERS: Buffers = Buffers {
    command: 0x1_2345_6000,
    command_size: 0x1000,
    response: 0x1_2345_7000,
    response_size: 0x1000,
};

/// Most accesses of a run.
const ACCESSES: usize = 200;

/// Reads and writes of any width and place, with an engine that answers at any time: a command runs
/// only between Execute and its completion, from the locality that was active; one locality at most
/// is active; saved state is restored unchanged.
pub fn tpm_crb(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut crb = TpmCrb::new(BUFFERS);
    let mut running = false;
    for _ in 0..ACCESSES {
        if input.is_empty() {
            return;
        }
        let what = input.u8();
        let offset = u16::from(what >> 5) * PAGE + u16::from(input.u8());
        let width = 1 << (what >> 3 & 3);
        match what & 7 {
            0 if running => {
                let _wanted = crb.complete();
                running = false;
            }
            0 => assert!(!crb.complete(), "no command runs"),
            1 => {
                let value = crb.read(offset, width);
                assert!(width == 8 || offset >= LENGTH || value >> (8 * width) == 0);
            }
            2 if input.u8() == 0 => {
                crb.reset(Instant::START);
                running = false;
            }
            3 if input.u8() == 0 => crb.fail(),
            _ => {
                let before = active(&crb);
                let effect = crb.write(offset, width, input.u8().into());
                match effect {
                    Some(Effect::Execute { locality }) => {
                        assert!(!running, "one command at a time");
                        assert_eq!(before, Some(locality), "from the active locality");
                        running = true;
                    }
                    Some(Effect::Cancel) => assert!(running && crb.is_cancelled()),
                    None => {}
                }
            }
        }
        check(&crb, running);
    }
}

/// The active locality, as TPM_LOC_STATE tells.
fn active(crb: &TpmCrb) -> Option<u8> {
    let state = crb.read(LOC_STATE, 4);
    (state & 2 != 0).then_some((state >> 2 & 7) as u8)
}

fn check(crb: &TpmCrb, running: bool) {
    let granted = (0..LOCALITIES)
        .filter(|locality| crb.read(u16::from(*locality) * PAGE + LOC_STS, 4) & 1 != 0);
    assert!(granted.eq(active(crb)), "the active locality is the one that is granted");
    let (failed, idle) = (crb.read(CTRL_STS, 4) & 1 != 0, crb.read(CTRL_STS, 4) & 2 != 0);
    let executes = crb.read(CTRL_START, 4) != 0;
    assert_eq!(executes, running && !failed, "Start reads one while a command runs");
    assert!(!(executes && idle), "idle while a command runs");
    let mut copy = TpmCrb::new(BUFFERS);
    copy.restore(&crb.save()).expect("its own state");
    assert_eq!(copy, *crb);
}
