//! The memory that an idle TPM holds.

use std::alloc::System;

use cap::Cap;
use tpm::{Change, CommitError, Environment, Tpm};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// The limits for an idle TPM that is new, and for one with 30 KiB of NV indices. The project's
/// goal is 256 KiB.
const NEW: usize = 8 << 10;
const FILLED: usize = 48 << 10;
/// TPM2_Startup(CLEAR), TPM2_SelfTest(full).
const STARTED: [&[u8]; 2] =
    [&[0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0], &[0x80, 1, 0, 0, 0, 11, 0, 0, 1, 0x43, 1]];

/// A deterministic environment whose storage is not counted.
struct World(u64);

impl Environment for World {
    fn entropy(&mut self, out: &mut [u8]) -> bool {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (self.0 >> 56) as u8;
        }
        true
    }

    fn now_ms(&mut self) -> u64 {
        0
    }

    fn commit(&mut self, _: &[Change]) -> Result<(), CommitError> {
        Ok(())
    }
}

/// TPM2_NV_DefineSpace of an index of 2,048 bytes, then TPM2_NV_Write of its first 1,024.
fn fill(index: u8) -> [Vec<u8>; 2] {
    let authorized = |code: u8, handles: &[u8], parameters: &[u8]| {
        let password = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
        let rest = [&[0, 0, 1, code], handles, &password, parameters].concat();
        let size = (6 + rest.len()) as u32;
        [&[0x80, 2], &size.to_be_bytes()[..], &rest].concat()
    };
    let handle = [1, 0x50, 0, index];
    let owner = [0x40, 0, 0, 1];
    let public = [&handle[..], &[0, 0x0b, 0, 2, 0, 2, 0, 0, 8, 0]].concat();
    let define = authorized(0x2a, &owner, &[&[0, 0, 0, 14], &public[..]].concat());
    let data = [&[4, 0], &[index; 1024][..], &[0, 0]].concat();
    [define, authorized(0x37, &[owner, handle].concat(), &data)]
}

#[test]
fn an_idle_tpm_holds_little_more_than_its_storage() {
    let before = ALLOCATOR.allocated();
    let mut world = World(1);
    let mut tpm = Tpm::manufacture(&mut world).expect("a world that works");
    let mut run = |command: &[u8]| {
        let response = tpm.execute(command, 0, &mut world);
        assert_eq!(response.get(6..10), Some(&[0; 4][..]), "{command:02x?}");
    };
    STARTED.into_iter().for_each(&mut run);
    let new = size_of::<Tpm>() + ALLOCATOR.allocated() - before;
    for command in (0..15).flat_map(fill) {
        run(&command);
    }
    let full = size_of::<Tpm>() + ALLOCATOR.allocated() - before;
    println!("an idle TPM holds {new} bytes, with 30 KiB of NV indices {full}");
    assert!(full > new + (30 << 10), "the indices are somewhere");
    assert!(new <= NEW && full <= FILLED, "{new} bytes, {full} bytes");
}
