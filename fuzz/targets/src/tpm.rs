//! The TPM engine under any bytes: as commands, alone and in sequences, as contexts, as records.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use ::tpm::{Change, CommitError, Environment, Progress, Saved, Tpm};

use crate::input::Input;

/// Entropy that repeats, storage that may refuse.
#[derive(Clone, Debug, Default)]
struct World {
    state: u64,
    now: u64,
    refuses: bool,
    records: BTreeMap<u32, Vec<u8>>,
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

const STARTUP: u32 = 0x144;
const PASSWORD: [u8; 9] = [0x40, 0, 0, 9, 0, 0, 1, 0, 0];
/// TPM_RH_NULL.
const NULL: [u8; 4] = [0x40, 0, 0, 7];
/// TPM_RH_OWNER.
const OWNER: [u8; 4] = [0x40, 0, 0, 1];

/// A response must be as long as it says, within bounds, and an error must be nothing but a code.
/// Returns the code.
fn check(response: &[u8]) -> u32 {
    let word = |at: usize| {
        let bytes = response.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_be_bytes)
    };
    assert_eq!(word(2), Some(response.len() as u32), "the size of a response");
    assert!(response.len() <= ::tpm::MAX_RESPONSE);
    let code = word(6).expect("a response has a code");
    assert!(code == 0 || response.len() == 10, "an error with more than a code");
    code
}

/// A command header around a body, with empty passwords for as many handles as asked.
fn framed(code: u32, body: &[u8], handles: usize, passwords: usize) -> Vec<u8> {
    let (front, rest) = body.split_at(body.len().min(handles * 4));
    let mut inner = Vec::from(front);
    if passwords > 0 {
        inner.extend((9 * passwords as u32).to_be_bytes());
        for _ in 0..passwords {
            inner.extend(PASSWORD);
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

/// A TPM with its environment, after Startup. It is made once: each run continues from its saved
/// state.
fn started() -> (Tpm, World) {
    static STARTED: OnceLock<(Saved, World)> = OnceLock::new();
    let (saved, world) = STARTED.get_or_init(|| {
        let mut world = World::default();
        let mut tpm = Tpm::manufacture(&mut world).expect("storage works");
        assert_eq!(check(&tpm.execute(&framed(STARTUP, &[0, 0], 0, 0), 0, &mut world)), 0);
        (tpm.save(), world)
    });
    let mut world = world.clone();
    let tpm = Tpm::restore(saved.clone(), &mut world).expect("its own state");
    (tpm, world)
}

/// Runs a command, with a key search of any length given up: its end is tested elsewhere. Returns
/// the response, if there is one.
fn run(tpm: &mut Tpm, world: &mut World, command: &[u8], locality: u8) -> Option<Vec<u8>> {
    tpm.start(command, locality, world);
    for _ in 0..4 {
        if let Progress::Done(response) = tpm.work(64, world) {
            check(&response);
            return Some(response);
        }
    }
    None
}

/// One command of any bytes.
pub fn tpm_command(bytes: &[u8]) {
    let (mut tpm, mut world) = started();
    run(&mut tpm, &mut world, bytes, 0);
}

/// A sequence of commands with right headers, of platform signals, of power failures.
pub fn tpm_sequence(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (mut tpm, mut world) = started();
    while !input.is_empty() {
        let what = input.u8();
        match what {
            0..=3 => {
                tpm.init(&mut world);
                run(&mut tpm, &mut world, &framed(STARTUP, &[0, what & 1], 0, 0), 0);
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
            _ => generated(&mut tpm, &mut world, &mut input),
        }
    }
}

/// A command with a header that is right and a body of the input's bytes.
fn generated(tpm: &mut Tpm, world: &mut World, input: &mut Input<'_>) {
    let code = 0x11f + u32::from(input.u8()) % 0x7b;
    let shape = input.u8();
    let length = usize::from(input.u8() & 0x7f).min(input.rest().len());
    let body: Vec<u8> = (0..length).map(|_| input.u8()).collect();
    let command = framed(code, &body, usize::from(shape & 3), usize::from(shape >> 2 & 3) % 3);
    run(tpm, world, &command, shape >> 4 & 7);
}

/// A TPM that has saved contexts, with them: of a key, of a sequence, of a session.
fn with_contexts() -> (Tpm, World, &'static [Vec<u8>]) {
    static SAVED: OnceLock<(Saved, World, Vec<Vec<u8>>)> = OnceLock::new();
    let (saved, world, contexts) = SAVED.get_or_init(|| {
        let (mut tpm, mut world) = started();
        let mut execute = |command: &[u8]| {
            let response = tpm.execute(command, 0, &mut world);
            assert_eq!(check(&response), 0);
            response
        };
        // An ECDSA key on P-256 of the owner's hierarchy, without a scheme of its own.
        let public = [
            &[0, 0x23, 0, 0x0b, 0, 4, 0, 0x72, 0, 0][..],
            &[0, 0x10, 0, 0x10, 0, 3, 0, 0x10, 0, 0, 0, 0],
        ]
        .concat();
        let size = (public.len() as u16).to_be_bytes();
        let key = [&OWNER[..], &[0, 4, 0, 0, 0, 0], &size[..], &public, &[0; 6]].concat();
        let session = [&NULL[..], &NULL, &[0, 16], &[5; 16], &[0, 0, 1, 0, 0x10, 0, 0x0b]].concat();
        let made = [
            execute(&framed(0x131, &key, 1, 1)),
            execute(&framed(0x186, &[0, 0, 0, 0x0b], 0, 0)),
            execute(&framed(0x176, &session, 2, 0)),
        ];
        let contexts = made.iter().map(|response| {
            let handle = response.get(10..14).expect("a handle");
            let context = execute(&framed(0x162, handle, 1, 0));
            context.get(10..).expect("a context").to_vec()
        });
        let contexts = contexts.collect();
        (tpm.save(), world, contexts)
    });
    let mut world = world.clone();
    let tpm = Tpm::restore(saved.clone(), &mut world).expect("its own state");
    (tpm, world, contexts)
}

/// A saved context with modifications: every modified one is refused.
pub fn tpm_context(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (mut tpm, mut world, contexts) = with_contexts();
    let [key, sequence, session] = contexts else { return };
    let whole = match input.u8() % 3 {
        0 => key,
        1 => sequence,
        _ => session,
    };
    let mut bent = whole.clone();
    match input.u8() % 8 {
        0 => bent.truncate(usize::from(input.u16())),
        1 => bent.extend(input.rest()),
        // Any bytes of the blob's size, with the header as it was or not.
        2 => bent.iter_mut().skip(input.u8().into()).for_each(|byte| *byte = input.u8()),
        _ => {
            while !input.is_empty() {
                let (place, bits) = (input.u16(), input.u8());
                if let Some(byte) = bent.get_mut(usize::from(place) % whole.len()) {
                    *byte ^= bits;
                }
            }
        }
    }
    let response = run(&mut tpm, &mut world, &framed(0x161, &bent, 0, 0), 0).expect("no search");
    assert_eq!(check(&response) == 0, bent == *whole, "only what was saved is loaded");
}

/// Records of arbitrary bytes: the result is an error, or a working TPM whose own records open
/// again.
pub fn tpm_records(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (_, mut world) = started();
    let mut records = world.records.clone();
    for _ in 0..input.u8() % 8 {
        let key = match input.u8() % 4 {
            0 | 1 => 0,
            2 => 0x0150_0000 | u32::from(input.u8() & 3),
            _ => 0x8100_0000 | u32::from(input.u8() & 3),
        };
        let record = records.entry(key).or_insert_with(|| vec![2]);
        let (place, length) = (usize::from(input.u16()), usize::from(input.u8()));
        let place = place % (record.len() + 1);
        let end = (place + usize::from(input.u8())).min(record.len());
        record.splice(place..end, (0..length).map(|_| input.u8()));
    }
    let given = records.iter().map(|(key, record)| (*key, &record[..]));
    let Ok(mut tpm) = Tpm::open(given, &mut world) else { return };
    world.records = records.clone();
    run(&mut tpm, &mut world, &framed(STARTUP, &[0, input.u8() & 1], 0, 0), 0);
    for _ in 0..4 {
        generated(&mut tpm, &mut world, &mut input);
    }
    run(&mut tpm, &mut world, &framed(0x145, &[0, 0], 0, 0), 0);
    let own: Vec<(u32, Vec<u8>)> = world.records.clone().into_iter().collect();
    Tpm::open(own.iter().map(|(key, record)| (*key, &record[..])), &mut world)
        .expect("its own records open");
}
