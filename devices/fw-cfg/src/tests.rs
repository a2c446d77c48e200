//! Tests of what a guest can see of the device.

use std::vec::Vec;

use crate::*;
use proptest::prelude::*;

/// Two items.
struct Two;

impl Two {
    fn bytes(key: u16) -> &'static [u8] {
        match key {
            0x20 => b"seven b",
            0x8003 => b"arch",
            _ => b"",
        }
    }
}

impl Items for Two {
    fn length(&self, key: u16) -> Option<u32> {
        let bytes = Self::bytes(key);
        (!bytes.is_empty()).then_some(bytes.len() as u32)
    }

    fn read(&self, key: u16, offset: u32, to: &mut [u8]) {
        let bytes = &Self::bytes(key)[offset as usize..];
        to.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }
}

fn command(control: u32, length: u32, address: u64) -> [u8; COMMAND_LENGTH] {
    let mut bytes = [0; COMMAND_LENGTH];
    bytes[..4].copy_from_slice(&control.to_be_bytes());
    bytes[4..8].copy_from_slice(&length.to_be_bytes());
    bytes[8..].copy_from_slice(&address.to_be_bytes());
    bytes
}

fn all(model: &mut FwCfg, count: usize) -> Vec<u8> {
    (0..count).map(|_| model.read_byte(0x511, &Two)).collect()
}

#[test]
fn an_item_is_read_byte_by_byte_and_then_zeros() {
    let mut model = FwCfg::new();
    model.select(0x20);
    assert_eq!(all(&mut model, 9), b"seven b\0\0");
    // Write access changes nothing, and the start is found again.
    model.select(0x4020);
    assert_eq!(all(&mut model, 3), b"sev");
    model.select(0x8003);
    assert_eq!(all(&mut model, 4), b"arch");
    model.select(0x7777);
    assert_eq!(all(&mut model, 2), [0, 0], "no such item");
    assert_eq!(model.read_byte(0x510, &Two), 0xff, "the selector is written only");
    model.reset(Instant::START);
    assert_eq!(model, FwCfg::new());
}

#[test]
fn the_dma_register_has_a_signature_and_starts_at_its_lower_half() {
    let mut model = FwCfg::new();
    let letters: Vec<u8> = (0x514..0x51c).map(|port| model.read_byte(port, &Two)).collect();
    assert_eq!(letters, b"QEMU CFG");
    assert_eq!(model.write_dma(0x518, 0x9000_u32.to_be_bytes()), Some(0x9000));
    assert_eq!(model.write_dma(0x514, 1_u32.to_be_bytes()), None);
    assert_eq!(model.write_dma(0x518, [0, 0, 0x90, 0]), Some(0x1_0000_9000));
    assert_eq!(model.write_dma(0x518, [0; 4]), Some(0), "the upper half counts once");
    assert_eq!(model.write_dma(0x516, [1; 4]), None, "the middle is no register");
}

#[test]
fn a_command_selects_skips_and_reads() {
    let mut model = FwCfg::new();
    let read = Ok(Work::Read { address: 0xabc, length: 5 });
    assert_eq!(model.begin(&command(0x20_000a, 5, 0xabc)), read);
    let mut bytes = [9; 5];
    model.read(&mut bytes, &Two);
    assert_eq!(&bytes, b"seven");
    assert_eq!(model.begin(&command(0x4, 1, 0)), Ok(Work::Done));
    let mut bytes = [9; 3];
    model.read(&mut bytes, &Two);
    assert_eq!(&bytes, b"b\0\0");
    for (what, control, done) in [
        ("nothing", 0, Ok(Work::Done)),
        ("a selection alone", 0x20_0008, Ok(Work::Done)),
        ("a write", 0x20_0018, Err(CONTROL_ERROR)),
        ("a read before a write", 0x12, read),
        ("a write before a skip", 0x14, Err(CONTROL_ERROR)),
    ] {
        assert_eq!(model.begin(&command(control, 5, 0xabc)), done, "{what}");
    }
    // The furthest skip leaves nothing to read.
    assert_eq!(model.begin(&command(0x20_000c, u32::MAX, 0)), Ok(Work::Done));
    assert_eq!(model.begin(&command(0x4, u32::MAX, 0)), Ok(Work::Done));
    assert_eq!(all(&mut model, 1), [0]);
}

#[test]
fn a_directory_names_length_key_and_file() {
    assert_eq!(directory_head(2), [0, 0, 0, 2]);
    let entry = directory_entry(0x0102_0304, 0x21, "etc/e820");
    assert_eq!(entry[..17], *b"\x01\x02\x03\x04\0\x21\0\0etc/e820\0");
    let long = directory_entry(1, 0x20, &"n".repeat(100));
    assert_eq!((long[62], long[63]), (b'n', 0), "a zero ends the longest name");
}

struct Ignore;

impl Inspect for Ignore {
    fn field(&mut self, _: &str, _: device_model::Value<'_>) {}
    fn begin(&mut self, _: &str) {}
    fn end(&mut self) {}
}

proptest! {
    #[test]
    fn random_traffic_keeps_the_promises(
        steps in proptest::collection::vec((0usize..5, any::<u16>(), any::<[u8; 16]>()), 0..50)
    ) {
        let mut model = FwCfg::new();
        for (step, port, bytes) in steps {
            let [a, b, c, d, ..] = bytes;
            match step {
                0 => model.select(port),
                1 => drop(model.write_dma(0x514 + 4 * (port & 1), [a, b, c, d])),
                2 => drop(model.begin(&bytes)),
                3 => model.read(&mut [0; 40], &Two),
                _ => drop(model.read_byte(port, &Two)),
            }
            let mut other = FwCfg::new();
            prop_assert_eq!(other.restore(&model.save()), Ok(()));
            other.inspect(&mut Ignore);
            prop_assert_eq!(&other, &model);
        }
    }
}

#[test]
fn impossible_states_are_refused() {
    let mut model = FwCfg::new();
    let good = model.save();
    let bad = Saved { key: 0x4000, ..good };
    assert_eq!(model.restore(&bad), Err(RestoreError::Field("key")));
    let bad = Saved { version: 2, ..good };
    assert_eq!(model.restore(&bad), Err(RestoreError::Version { found: 2, supported: 1 }));
    assert_eq!(model, FwCfg::new());
}
