//! Arithmetic with its flags.
//!
//! Values are of the operand's size with zeros above. Each function gives the result in the same
//! form and the status flags; flags that the manual leaves undefined are zero, or as before where
//! an operation is by a count (APM vol. 3, per instruction).

use x86::rflags;

use crate::forms::{Arithmetic, Shift};
use crate::size::Size;

const fn flag(condition: bool, bit: u64) -> u64 {
    if condition { bit } else { 0 }
}

fn is_negative(size: Size, value: u64) -> bool {
    (value >> (size.bits().min(64) - 1)) & 1 != 0
}

/// SF, ZF and PF of a result.
fn result_flags(size: Size, result: u64) -> u64 {
    flag(is_negative(size, result), rflags::SF)
        | flag(result == 0, rflags::ZF)
        | flag((result & 0xFF).count_ones().is_multiple_of(2), rflags::PF)
}

fn add(size: Size, a: u64, b: u64, carry: bool) -> (u64, u64) {
    let wide = u128::from(a) + u128::from(b) + u128::from(carry);
    let result = wide as u64 & size.mask();
    let flags = result_flags(size, result)
        | flag(wide > u128::from(size.mask()), rflags::CF)
        | flag((a ^ b ^ result) & 0x10 != 0, rflags::AF)
        | flag(is_negative(size, (a ^ result) & (b ^ result)), rflags::OF);
    (result, flags)
}

fn subtract(size: Size, a: u64, b: u64, borrow: bool) -> (u64, u64) {
    let result = a.wrapping_sub(b).wrapping_sub(u64::from(borrow)) & size.mask();
    let flags = result_flags(size, result)
        | flag(u128::from(a) < u128::from(b) + u128::from(borrow), rflags::CF)
        | flag((a ^ b ^ result) & 0x10 != 0, rflags::AF)
        | flag(is_negative(size, (a ^ b) & (a ^ result)), rflags::OF);
    (result, flags)
}

/// ADD, OR, ADC, SBB, AND, SUB, XOR or CMP; for CMP the result is the difference.
pub(crate) fn arithmetic(
    operation: Arithmetic,
    size: Size,
    a: u64,
    b: u64,
    old_flags: u64,
) -> (u64, u64) {
    let carry = old_flags & rflags::CF != 0;
    let logic = |result: u64| (result, result_flags(size, result));
    match operation {
        Arithmetic::Add => add(size, a, b, false),
        Arithmetic::Adc => add(size, a, b, carry),
        Arithmetic::Sub | Arithmetic::Cmp => subtract(size, a, b, false),
        Arithmetic::Sbb => subtract(size, a, b, carry),
        Arithmetic::Or => logic(a | b),
        Arithmetic::And => logic(a & b),
        Arithmetic::Xor => logic(a ^ b),
    }
}

/// INC, which leaves the carry alone.
pub(crate) fn increment(size: Size, a: u64, old_flags: u64) -> (u64, u64) {
    let (result, flags) = add(size, a, 1, false);
    (result, (flags & !rflags::CF) | (old_flags & rflags::CF))
}

/// DEC, which leaves the carry alone.
pub(crate) fn decrement(size: Size, a: u64, old_flags: u64) -> (u64, u64) {
    let (result, flags) = subtract(size, a, 1, false);
    (result, (flags & !rflags::CF) | (old_flags & rflags::CF))
}

/// NEG.
pub(crate) fn negate(size: Size, a: u64) -> (u64, u64) {
    subtract(size, 0, a, false)
}

/// A shift or rotation by `count`, not yet masked.
pub(crate) fn shift(operation: Shift, size: Size, a: u64, count: u8, old_flags: u64) -> (u64, u64) {
    let count = u32::from(count) & if size == Size::Quadword { 63 } else { 31 };
    let old_flags = old_flags & rflags::STATUS;
    if count == 0 {
        return (a, old_flags);
    }
    match operation {
        Shift::Rol | Shift::Ror => rotate(operation == Shift::Rol, size, a, count, old_flags),
        Shift::Rcl | Shift::Rcr => rotate_carry(operation == Shift::Rcl, size, a, count, old_flags),
        Shift::Shl => shift_left(size, a, count),
        Shift::Shr | Shift::Sar => shift_right(operation == Shift::Sar, size, a, count),
    }
}

fn shift_left(size: Size, a: u64, count: u32) -> (u64, u64) {
    let wide = u128::from(a) << count;
    let result = wide as u64 & size.mask();
    let carry = (wide >> size.bits()) & 1 != 0;
    let overflow = is_negative(size, result) != carry;
    (result, result_flags(size, result) | flag(carry, rflags::CF) | flag(overflow, rflags::OF))
}

fn shift_right(arithmetic: bool, size: Size, a: u64, count: u32) -> (u64, u64) {
    let fill = if arithmetic { size.sign_extend(a) } else { a };
    let wide = i128::from(fill.cast_signed());
    let wide = if arithmetic { wide } else { i128::from(a) };
    let result = (wide >> count) as u64 & size.mask();
    let carry = (wide >> (count - 1)) & 1 != 0;
    let overflow = !arithmetic && is_negative(size, a);
    (result, result_flags(size, result) | flag(carry, rflags::CF) | flag(overflow, rflags::OF))
}

/// ROL and ROR touch CF and OF only.
fn rotate(left: bool, size: Size, a: u64, count: u32, old_flags: u64) -> (u64, u64) {
    let bits = size.bits();
    let turn = if left { count % bits } else { (bits - count % bits) % bits };
    let doubled = (u128::from(a) << bits) | u128::from(a);
    let result = (doubled >> (bits - turn)) as u64 & size.mask();
    let top = is_negative(size, result);
    let carry = if left { result & 1 != 0 } else { top };
    let second = is_negative(size, result << 1);
    let overflow = if left { top != carry } else { top != second };
    (result, rotated(old_flags, carry, overflow))
}

/// RCL and RCR rotate through the carry, so one bit more.
fn rotate_carry(left: bool, size: Size, a: u64, count: u32, old_flags: u64) -> (u64, u64) {
    let bits = size.bits() + 1;
    let count = count % bits;
    let old_carry = old_flags & rflags::CF != 0;
    if count == 0 {
        return (a, old_flags);
    }
    let turn = if left { count } else { bits - count };
    let with_carry = (u128::from(old_carry) << size.bits()) | u128::from(a);
    // 65 bits doubled do not fit 128, so the two halves are shifted one by one.
    let turned = (with_carry << turn) | (with_carry >> (bits - turn));
    let result = turned as u64 & size.mask();
    let carry = (turned >> size.bits()) & 1 != 0;
    let top = is_negative(size, result);
    let overflow = if left { top != carry } else { top != is_negative(size, result << 1) };
    (result, rotated(old_flags, carry, overflow))
}

const fn rotated(old_flags: u64, carry: bool, overflow: bool) -> u64 {
    (old_flags & !(rflags::CF | rflags::OF)) | flag(carry, rflags::CF) | flag(overflow, rflags::OF)
}

/// Whether condition `code`, the low four bits of Jcc's opcode, holds (APM vol. 3, 1.2.5).
pub(crate) const fn condition(code: u8, flags: u64) -> bool {
    let signed_less = (flags & rflags::SF != 0) != (flags & rflags::OF != 0);
    let holds = match (code >> 1) & 7 {
        0 => flags & rflags::OF != 0,
        1 => flags & rflags::CF != 0,
        2 => flags & rflags::ZF != 0,
        3 => flags & (rflags::CF | rflags::ZF) != 0,
        4 => flags & rflags::SF != 0,
        5 => flags & rflags::PF != 0,
        6 => signed_less,
        _ => signed_less || flags & rflags::ZF != 0,
    };
    holds != (code & 1 != 0)
}
