//! The TPM engine under any bytes as commands, alone and in sequences.

use ::tpm::{Change, CommitError, Environment, Progress, Tpm};

use crate::input::Input;

/// Entropy that repeats, storage that may refuse.
#[derive(Debug, Default)]
struct World {
    state: u64,
    now: u64,
    refuses: bool,
    records: std::collections::BTreeMap<u32, Vec<u8>>,
}

impl Environment for World {
    fn entropy(&mut self, out: &mut [u8]) -> bool {
        for byte in out {
            self.state = self.state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            *byte = (self.state >> 56) as u8;
        }
        true
    }

    fn now_ms(&mut self) -> u64 {
        self.now
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError> {
        if self.refuses {
            return Err(CommitError::Unavailable);
        }
        for change in changes {
            match &change.data {
                Some(data) => self.records.insert(change.key, data.clone()),
                None => self.records.remove(&change.key),
            };
        }
        Ok(())
    }
}

/// A response must be as long as it says, within bounds, and an error must be nothing but a code.
fn check(response: &[u8]) {
    let size = response.get(2..6).and_then(|size| size.try_into().ok()).map(u32::from_be_bytes);
    assert_eq!(size, Some(response.len() as u32), "the size of a response");
    assert!(response.len() <= ::tpm::MAX_RESPONSE);
    let good = response.get(6..10) == Some(&[0; 4]);
    assert!(good || response.len() == 10, "an error with more than a code");
}

/// A command header around a body, with empty passwords for as many handles as asked.
fn framed(code: u32, body: &[u8], handles: usize, passwords: usize) -> Vec<u8> {
    let (front, rest) = body.split_at(body.len().min(handles * 4));
    let mut inner = Vec::from(front);
    if passwords > 0 {
        inner.extend((9 * passwords as u32).to_be_bytes());
        for _ in 0..passwords {
            inner.extend([0x40, 0, 0, 9, 0, 0, 1, 0, 0]);
        }
    }
    inner.extend(rest);
    let tag: u16 = if passwords > 0 { 0x8002 } else { 0x8001 };
    let mut command = Vec::from(tag.to_be_bytes());
    command.extend((10 + inner.len() as u32).to_be_bytes());
    command.extend(code.to_be_bytes());
    command.extend(inner);
    command
}

fn started(world: &mut World) -> Tpm {
    let mut tpm = Tpm::manufacture(world).expect("storage works");
    check(&tpm.execute(&framed(0x144, &[0, 0], 0, 0), 0, world));
    tpm
}

/// Runs a command, with a key search of any length given up: its end is tested elsewhere.
fn run(tpm: &mut Tpm, world: &mut World, command: &[u8], locality: u8) {
    tpm.start(command, locality, world);
    for _ in 0..4 {
        if let Progress::Done(response) = tpm.work(64, world) {
            check(&response);
            return;
        }
    }
}

/// One command of any bytes.
pub fn tpm_command(bytes: &[u8]) {
    let mut world = World::default();
    let mut tpm = started(&mut world);
    run(&mut tpm, &mut world, bytes, 0);
}

/// A sequence of commands with right headers, of platform signals, of power failures.
pub fn tpm_sequence(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::default();
    let mut tpm = started(&mut world);
    while !input.is_empty() {
        let what = input.u8();
        match what {
            0..=3 => {
                tpm.init(&mut world);
                run(&mut tpm, &mut world, &framed(0x144, &[0, what & 1], 0, 0), 0);
            }
            4 => world.refuses = !world.refuses,
            5 => {
                tpm.hash_start();
                tpm.hash_data(&[input.u8()]);
                tpm.hash_end();
            }
            6 => world.now = world.now.wrapping_add(u64::from(input.u32())),
            7 => {
                let saved = tpm.save();
                tpm = Tpm::restore(saved, &mut world).expect("its own state");
            }
            _ => {
                let code = 0x11f + u32::from(input.u8()) % 0x7b;
                let shape = input.u8();
                let length = usize::from(input.u8() & 0x7f).min(input.rest().len());
                let body: Vec<u8> = (0..length).map(|_| input.u8()).collect();
                let command =
                    framed(code, &body, usize::from(shape & 3), usize::from(shape >> 2 & 3) % 3);
                run(&mut tpm, &mut world, &command, shape >> 4 & 7);
            }
        }
    }
}
