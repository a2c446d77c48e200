//! Multiplies long numbers column by column.
//!
//! A limb has 58 bits, so the products of a whole column fit into 128 bits, and carries are handled
//! once per column. Nine limbs make a block of 512 bits. All lengths are multiples of a block, so
//! the code for two blocks is written out once and serves all lengths. The instructions that run
//! depend on the lengths only.

/// Bits of a limb.
pub(crate) const LIMB_BITS: u32 = 58;
/// A limb with all bits set.
pub(crate) const LIMB_MASK: u64 = (1 << LIMB_BITS) - 1;
/// Number of limbs in a block.
pub(crate) const BLOCK: usize = 9;

/// Limbs, from the lowest.
pub(crate) type Block = [u64; BLOCK];
/// Sums of products, one for each limb.
pub(crate) type Columns = [u128; BLOCK];

#[inline(always)]
fn product(one: u64, other: u64) -> u128 {
    u128::from(one) * u128::from(other)
}

/// Adds the products in column `K` of two blocks.
#[inline(always)]
fn column<const K: usize>(sum: &mut u128, one: &Block, other: &Block) {
    let from = K.saturating_sub(BLOCK - 1);
    let count = if K < BLOCK { K + 1 } else { 2 * BLOCK - 1 - K };
    let others = other.iter().rev().skip(BLOCK - 1 - (K - from)).take(count);
    for (one, other) in one.iter().skip(from).zip(others) {
        *sum += product(*one, *other);
    }
}

/// The same for the square of a block: each product of two different limbs is computed once and
/// doubled.
#[inline(always)]
fn square_column<const K: usize>(sum: &mut u128, block: &Block, doubled: &Block) {
    let from = K.saturating_sub(BLOCK - 1);
    let count = K.div_ceil(2) - from;
    let others = block.iter().rev().skip(BLOCK - 1 - (K - from)).take(count);
    for (one, other) in doubled.iter().skip(from).zip(others) {
        *sum += product(*one, *other);
    }
    if K.is_multiple_of(2) {
        let middle = block.get(K / 2).copied().unwrap_or(0);
        *sum += product(middle, middle);
    }
}

/// Adds the product of two blocks: its lower half to `low`, its upper half to `high`.
pub(crate) fn add_product(low: &mut Columns, high: &mut Columns, one: &Block, other: &Block) {
    let [c0, c1, c2, c3, c4, c5, c6, c7, c8] = low;
    column::<0>(c0, one, other);
    column::<1>(c1, one, other);
    column::<2>(c2, one, other);
    column::<3>(c3, one, other);
    column::<4>(c4, one, other);
    column::<5>(c5, one, other);
    column::<6>(c6, one, other);
    column::<7>(c7, one, other);
    column::<8>(c8, one, other);
    add_high(high, one, other);
}

/// Adds the upper half of the product of two blocks.
#[inline(always)]
fn add_high(high: &mut Columns, one: &Block, other: &Block) {
    let [c9, c10, c11, c12, c13, c14, c15, c16, _] = high;
    column::<9>(c9, one, other);
    column::<10>(c10, one, other);
    column::<11>(c11, one, other);
    column::<12>(c12, one, other);
    column::<13>(c13, one, other);
    column::<14>(c14, one, other);
    column::<15>(c15, one, other);
    column::<16>(c16, one, other);
}

/// Adds the square of a block.
pub(crate) fn add_square(low: &mut Columns, high: &mut Columns, block: &Block) {
    let doubled = &block.map(|limb| limb << 1);
    let [c0, c1, c2, c3, c4, c5, c6, c7, c8] = low;
    square_column::<0>(c0, block, doubled);
    square_column::<1>(c1, block, doubled);
    square_column::<2>(c2, block, doubled);
    square_column::<3>(c3, block, doubled);
    square_column::<4>(c4, block, doubled);
    square_column::<5>(c5, block, doubled);
    square_column::<6>(c6, block, doubled);
    square_column::<7>(c7, block, doubled);
    square_column::<8>(c8, block, doubled);
    let [c9, c10, c11, c12, c13, c14, c15, c16, _] = high;
    square_column::<9>(c9, block, doubled);
    square_column::<10>(c10, block, doubled);
    square_column::<11>(c11, block, doubled);
    square_column::<12>(c12, block, doubled);
    square_column::<13>(c13, block, doubled);
    square_column::<14>(c14, block, doubled);
    square_column::<15>(c15, block, doubled);
    square_column::<16>(c16, block, doubled);
}

/// Finds the factor that makes the lowest limb of column `K` zero; returns the carry.
#[inline(always)]
fn cancel_column<const K: usize>(
    sum: u128,
    carry: u128,
    factors: &mut Block,
    modulus: &Block,
    inverse: u64,
) -> u128 {
    let mut sum = sum + carry;
    // The factor of this column is still zero.
    column::<K>(&mut sum, factors, modulus);
    let factor = (sum as u64).wrapping_mul(inverse) & LIMB_MASK;
    if let Some(place) = factors.get_mut(K) {
        *place = factor;
    }
    let lowest = modulus.first().copied().unwrap_or(0);
    (sum + product(factor, lowest)) >> LIMB_BITS
}

/// Finds the multiple of the modulus that makes the columns of `low` zero. `modulus` is its lowest
/// block. Adds the upper half of the multiple to `high`; returns the factors, and the carry into
/// `high`.
pub(crate) fn cancel(
    low: &Columns,
    high: &mut Columns,
    modulus: &Block,
    inverse: u64,
    carry: u128,
) -> (Block, u128) {
    let [c0, c1, c2, c3, c4, c5, c6, c7, c8] = *low;
    let mut factors = [0; BLOCK];
    let carry = cancel_column::<0>(c0, carry, &mut factors, modulus, inverse);
    let carry = cancel_column::<1>(c1, carry, &mut factors, modulus, inverse);
    let carry = cancel_column::<2>(c2, carry, &mut factors, modulus, inverse);
    let carry = cancel_column::<3>(c3, carry, &mut factors, modulus, inverse);
    let carry = cancel_column::<4>(c4, carry, &mut factors, modulus, inverse);
    let carry = cancel_column::<5>(c5, carry, &mut factors, modulus, inverse);
    let carry = cancel_column::<6>(c6, carry, &mut factors, modulus, inverse);
    let carry = cancel_column::<7>(c7, carry, &mut factors, modulus, inverse);
    let carry = cancel_column::<8>(c8, carry, &mut factors, modulus, inverse);
    add_high(high, &factors, modulus);
    (factors, carry)
}
