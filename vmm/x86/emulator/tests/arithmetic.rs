//! Results and flags against a bit-by-bit reference.
mod common;

use common::{DONE, Memory, Vp, run};
use proptest::prelude::*;

const CF: u64 = 1;
const PF: u64 = 4;
const AF: u64 = 16;
const ZF: u64 = 64;
const SF: u64 = 128;
const OF: u64 = 2048;
const ALL: u64 = CF | PF | AF | ZF | SF | OF;
const AT: u64 = 0x4000;

fn bit(value: u64, n: u32) -> bool {
    value >> n & 1 == 1
}

/// A ripple-carry adder: sum, carry out, carry into the top, carry out of bit 3.
fn ripple(bits: u32, a: u64, b: u64, carry: bool) -> (u64, bool, bool, bool) {
    let (mut sum, mut c, mut into_top, mut half) = (0_u64, carry, false, false);
    for n in 0..bits {
        if n == bits - 1 {
            into_top = c;
        }
        let ones = u32::from(bit(a, n)) + u32::from(bit(b, n)) + u32::from(c);
        sum |= u64::from(ones & 1) << n;
        c = ones > 1;
        if n == 3 {
            half = c;
        }
    }
    (sum, c, into_top, half)
}

fn common_flags(bits: u32, result: u64) -> u64 {
    let mut flags = 0;
    if result == 0 {
        flags |= ZF;
    }
    if bit(result, bits - 1) {
        flags |= SF;
    }
    if (0..8).filter(|&n| bit(result, n)).count() % 2 == 0 {
        flags |= PF;
    }
    flags
}

/// Result and flags of opcode row `row` (ADD, OR, ADC, SBB, AND, SUB, XOR, CMP).
fn reference(row: u8, bits: u32, a: u64, b: u64, carry: bool) -> (u64, u64) {
    let mask = u64::MAX >> (64 - bits);
    let (result, carry_out, into_top, half) = match row {
        0 => ripple(bits, a, b, false),
        2 => ripple(bits, a, b, carry),
        // a - b - borrow = a + !b + !borrow, and each carry is an inverted borrow.
        3 | 5 | 7 => {
            let (r, c, t, h) = ripple(bits, a, !b & mask, row != 3 || !carry);
            (r, !c, !t, !h)
        }
        1 => (a | b, false, false, false),
        4 => (a & b, false, false, false),
        _ => (a ^ b, false, false, false),
    };
    let mut flags = common_flags(bits, result);
    for (set, flag) in [(carry_out, CF), (carry_out != into_top, OF), (half, AF)] {
        if set {
            flags |= flag;
        }
    }
    (if row == 7 { a } else { result }, flags)
}

/// Code with the operand-size prefixes for `log2` bytes; `opcode` is the byte form's.
fn code(log2: u32, opcode: &[u8], tail: &[u8]) -> Vec<u8> {
    let mut code = match log2 {
        1 => vec![0x66],
        3 => vec![0x48],
        _ => vec![],
    };
    code.extend_from_slice(opcode);
    if log2 > 0 {
        *code.last_mut().unwrap() |= 1;
    }
    code.extend_from_slice(tail);
    code
}

struct Case {
    vp: Vp,
    memory: Memory,
    bits: u32,
    mask: u64,
}

fn case(log2: u32, a: u64, b: u64, carry: bool) -> Case {
    let bits = 8 << log2;
    let mask = u64::MAX >> (64 - bits);
    let mut vp = Vp::long();
    vp.gprs[3] = AT;
    vp.gprs[1] = b;
    vp.rflags = 2 | u64::from(carry);
    let mut memory = Memory::new();
    // The bytes above the operand must survive.
    memory.put(AT, &u64::MAX.to_le_bytes());
    memory.put(AT, &a.to_le_bytes()[..1 << log2]);
    Case { vp, memory, bits, mask }
}

impl Case {
    fn finish(&mut self, code: &[u8]) -> (u64, u64) {
        assert_eq!(run(&mut self.vp, &mut self.memory, code), DONE);
        assert_eq!(self.vp.rip, common::CODE_AT + code.len() as u64);
        let all = self.memory.u64_at(AT);
        assert_eq!(all | self.mask, u64::MAX, "bytes above the operand changed");
        (all & self.mask, self.vp.rflags & ALL)
    }
}

/// Shifts and rotations one bit at a time: value, carry.
fn turn(kind: u8, bits: u32, mut a: u64, mut carry: bool, count: u32) -> (u64, bool) {
    let top = bits - 1;
    for _ in 0..count {
        let (high, low) = (bit(a, top), bit(a, 0));
        let put = |value: u64, n: u32, set: bool| value & !(1 << n) | u64::from(set) << n;
        let left = a << 1 & u64::MAX >> (64 - bits);
        let right = a >> 1;
        (a, carry) = match kind {
            0 => (put(left, 0, high), high),
            1 => (put(right, top, low), low),
            2 => (put(left, 0, carry), high),
            3 => (put(right, top, carry), low),
            4 | 6 => (left, high),
            5 => (right, low),
            _ => (put(right, top, high), low),
        };
    }
    (a, carry)
}

fn corner() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        any::<u64>().prop_map(|v| v & 0xFF),
        prop_oneof![
            Just(0),
            Just(1),
            Just(u64::MAX),
            Just(1 << 63),
            Just(0x7FFF_FFFF_FFFF_FFFF),
            Just(0x80),
            Just(0x8000),
            Just(0x8000_0000),
            Just(0x7F),
            Just(0x7FFF),
            Just(0x7FFF_FFFF)
        ],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_operands(row in 0..8_u8, log2 in 0..4_u32, a in corner(), b in corner(), carry: bool) {
        let mut c = case(log2, a, b, carry);
        let (a, b) = (a & c.mask, b & c.mask);
        let got = c.finish(&code(log2, &[row << 3], &[0x0B]));
        prop_assert_eq!(got, reference(row, c.bits, a, b, carry));
    }

    #[test]
    fn sign_extended_immediate(row in 0..8_u8, log2 in 1..4_u32, a in corner(), b: i8, carry: bool) {
        let mut c = case(log2, a, 0, carry);
        let immediate = i64::from(b).cast_unsigned() & c.mask;
        let got = c.finish(&code(log2, &[0x83], &[0x03 | row << 3, b.cast_unsigned()]));
        prop_assert_eq!(got, reference(row, c.bits, a & c.mask, immediate, carry));
    }

    #[test]
    fn one_operand(reg in 0..4_u8, log2 in 0..4_u32, a in corner(), carry: bool) {
        let mut c = case(log2, a, 0, carry);
        let a = a & c.mask;
        let keep = |(result, flags): (u64, u64)| (result, flags & !CF | u64::from(carry));
        let (opcode, modrm, expected) = match reg {
            0 => (0xFE, 0x03, keep(reference(0, c.bits, a, 1, false))),
            1 => (0xFE, 0x0B, keep(reference(5, c.bits, a, 1, false))),
            2 => (0xF6, 0x13, (!a & c.mask, u64::from(carry))),
            _ => (0xF6, 0x1B, reference(5, c.bits, 0, a, false)),
        };
        prop_assert_eq!(c.finish(&code(log2, &[opcode], &[modrm])), expected);
    }

    #[test]
    fn test_keeps_memory(log2 in 0..4_u32, a in corner(), b in corner()) {
        let mut c = case(log2, a, b, true);
        let (a, b) = (a & c.mask, b & c.mask);
        let flags = reference(4, c.bits, a, b, false).1;
        prop_assert_eq!(c.finish(&code(log2, &[0x84], &[0x0B])), (a, flags));
    }

    #[test]
    fn exchange_and_add(log2 in 0..4_u32, a in corner(), b in corner()) {
        let mut c = case(log2, a, b, false);
        let (a, low) = (a & c.mask, b & c.mask);
        let got = c.finish(&code(log2, &[0x0F, 0xC0], &[0x0B]));
        prop_assert_eq!(got, reference(0, c.bits, a, low, false));
        let kept = if log2 < 2 { b & !c.mask } else { 0 };
        prop_assert_eq!(c.vp.gprs[1], a | kept);
    }

    #[test]
    fn shifts(kind in 0..8_u8, log2 in 0..4_u32, a in corner(), carry: bool, count: u8, by_cl: bool) {
        let mut c = case(log2, a, u64::from(count), carry);
        c.vp.rflags |= ZF | AF;
        let a = a & c.mask;
        let masked = u32::from(count) & if log2 == 3 { 63 } else { 31 };
        let modrm = 0x03 | kind << 3;
        let code = if by_cl { code(log2, &[0xD2], &[modrm]) } else { code(log2, &[0xC0], &[modrm, count]) };
        let (value, flags) = c.finish(&code);
        let (expected, carried) = turn(kind, c.bits, a, carry, masked);
        prop_assert_eq!(value, expected);
        prop_assert_eq!(flags & CF != 0, if masked == 0 { carry } else { carried });
        let rotation = kind < 4;
        if masked == 0 || rotation {
            prop_assert_eq!(flags & (PF | ZF | SF | AF), ZF | AF);
        } else {
            prop_assert_eq!(flags & (PF | ZF | SF), common_flags(c.bits, expected));
        }
        if masked == 1 {
            let top = bit(expected, c.bits - 1);
            let overflow = match kind {
                0 | 2 | 4 | 6 => top != carried,
                1 | 3 => top != bit(expected, c.bits - 2),
                5 => bit(a, c.bits - 1),
                _ => false,
            };
            prop_assert_eq!(flags & OF != 0, overflow);
        }
    }

    /// SETcc for all conditions against their definition in the manual.
    #[test]
    fn conditions(code in 0..16_u8, flags: u64) {
        let mut c = case(0, 0, 0, false);
        c.vp.rflags = flags & ALL | 2;
        let f = |mask: u64| flags & mask != 0;
        let expected = match code {
            0 => f(OF), 1 => !f(OF), 2 => f(CF), 3 => !f(CF), 4 => f(ZF), 5 => !f(ZF),
            6 => f(CF) || f(ZF), 7 => !f(CF) && !f(ZF), 8 => f(SF), 9 => !f(SF), 10 => f(PF),
            11 => !f(PF), 12 => f(SF) != f(OF), 13 => f(SF) == f(OF),
            14 => f(ZF) || f(SF) != f(OF), _ => !f(ZF) && f(SF) == f(OF),
        };
        prop_assert_eq!(c.finish(&[0x0F, 0x90 | code, 0x03]).0, u64::from(expected));
    }
}
