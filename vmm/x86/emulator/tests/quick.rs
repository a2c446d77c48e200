//! The quick moves agree with the whole decoder, and cover every move that they could do.
mod common;

use common::Vp;
use emulator::{Base, CodeSize, Instruction, Move, Operation, Place, Size, decode, quick_move};
use proptest::prelude::*;
use x86::Registers;

/// The operand's address by the whole decoder.
fn address(vp: &Vp, i: &Instruction) -> Option<u64> {
    let operand = i.memory?;
    let base = match operand.base {
        None => 0,
        Some(Base::Register(register)) => vp.gpr(register),
        Some(Base::NextRip) => vp.rip() + u64::from(i.length),
    };
    let index = operand.index.map_or(0, |register| vp.gpr(register));
    Some(base.wrapping_add(index << operand.scale).wrapping_add(operand.displacement))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn agrees_with_the_decoder(
        rex in prop::option::of(0x40u8..0x48),
        opcode in prop::sample::select(vec![0x8Bu8, 0x89, 0xC7, 0x8A, 0x03]),
        rest in prop::array::uniform14(any::<u8>()),
        gpr in prop::array::uniform16(0u64..0x1000),
    ) {
        let mut bytes = Vec::new();
        bytes.extend(rex);
        bytes.push(opcode);
        bytes.extend(rest);
        bytes.truncate(15);
        let mut vp = Vp::long();
        vp.gprs = gpr;
        let mut window = [0; 16];
        window[..15].copy_from_slice(&bytes);
        let window = u128::from_le_bytes(window);
        let whole = decode(&bytes, CodeSize::Bits64).ok();
        let place = whole.as_ref().and_then(|i| address(&vp, i));
        let gpa = 0xFEE0_0000 | place.unwrap_or(0) & 0xFFF;
        let quick = quick_move(&vp, window, gpa);
        let expected = whole.filter(|i| {
            place.is_some() && i.operation == Operation::Move && i.size == Size::Doubleword && gpa & 3 == 0
                && matches!(opcode, 0x8B | 0x89 | 0xC7)
        });
        match (quick, expected) {
            (None, None) => {}
            (Some((what, length)), Some(i)) => {
                prop_assert_eq!(length, i.length);
                match what {
                    Move::Load(register) => {
                        prop_assert_eq!(i.destination, Place::Register(register));
                    }
                    Move::Store(value) => {
                        let expected = match i.source {
                            Place::Register(register) => vp.gpr(register) as u32,
                            _ => i.immediate as u32,
                        };
                        prop_assert_eq!(value, expected);
                    }
                }
            }
            (quick, expected) => prop_assert!(false, "{:?} {:?} {:02x?}", quick, expected, bytes),
        }
        // Another place in the page than the exit's is left to the general way.
        prop_assert_eq!(quick_move(&vp, window, gpa ^ 0x800), None);
    }
}
