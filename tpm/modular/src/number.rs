//! Long numbers, whose length is public.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::columns::{self, BLOCK, Block, Columns, LIMB_BITS, LIMB_MASK};

/// Number of bits in a block.
pub const BLOCK_BITS: usize = 512;
/// Number of blocks of the longest number.
pub const MAX_BLOCKS: usize = 6;
/// Number of bits in a digit of an exponent.
pub const DIGIT_BITS: u32 = 4;

/// Number of words of the longest number.
const MAX_WORDS: usize = MAX_BLOCKS * BLOCK_BITS / 64;

/// A number of up to [`MAX_BLOCKS`] times [`BLOCK_BITS`] bits, cleared on drop, compared in
/// constant time, never shown. It has room for ten bits more per block.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Number {
    blocks: [Block; MAX_BLOCKS],
    length: usize,
}

impl Number {
    /// Zero, with `length` blocks; at most [`MAX_BLOCKS`].
    pub const fn zero(length: usize) -> Self {
        let length = if length < MAX_BLOCKS { length } else { MAX_BLOCKS };
        Self { blocks: [[0; BLOCK]; MAX_BLOCKS], length }
    }

    /// The number with these words, from the lowest; words beyond its blocks are dropped.
    pub fn from_words(words: &[u64], length: usize) -> Self {
        let mut number = Self::zero(length);
        let mut words = words.iter().take(number.length * (BLOCK_BITS / 64));
        let (mut rest, mut bits) = (0_u128, 0);
        for limb in number.limbs_mut() {
            if bits < LIMB_BITS {
                rest |= u128::from(words.next().copied().unwrap_or(0)) << bits;
                bits += 64;
            }
            *limb = rest as u64 & LIMB_MASK;
            rest >>= LIMB_BITS;
            bits -= LIMB_BITS;
        }
        number
    }

    /// The number of `length` blocks with the limbs from [`fill_limbs`](Self::fill_limbs); none if
    /// a limb has too many bits.
    pub fn from_limbs(limbs: &[u64], length: usize) -> Option<Self> {
        let mut number = Self::zero(length);
        number.limbs_mut().zip(limbs).for_each(|(to, from)| *to = *from);
        limbs.iter().all(|limb| *limb <= LIMB_MASK).then_some(number)
    }

    /// Fills `limbs` with the limbs of the number, which may be loose.
    pub fn fill_limbs(&self, limbs: &mut [u64]) {
        limbs.iter_mut().zip(self.limbs()).for_each(|(to, from)| *to = *from);
    }

    /// Two to the power of the bits of `length` blocks: a bit in the room above them.
    pub(crate) fn power_of_blocks(length: usize) -> Self {
        let mut power = Self::zero(length);
        let place = power.length * BLOCK_BITS;
        let (limb, bit) = (place / LIMB_BITS as usize, place % LIMB_BITS as usize);
        if let Some(limb) = power.limbs_mut().nth(limb) {
            *limb = 1 << bit;
        }
        power
    }

    /// Fills `words` with the number, from the lowest.
    pub fn fill_words(&self, words: &mut [u64]) {
        let mut limbs = self.limbs();
        let (mut rest, mut bits) = (0_u128, 0);
        for word in words {
            while bits < 64 {
                rest |= u128::from(limbs.next().copied().unwrap_or(0)) << bits;
                bits += LIMB_BITS;
            }
            *word = rest as u64;
            rest >>= 64;
            bits -= 64;
        }
    }

    /// The number of `length` blocks with these bytes, big-endian; excess high bytes are dropped.
    pub fn from_bytes(bytes: &[u8], length: usize) -> Self {
        let mut words = [0; MAX_WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.rchunks(8)) {
            *word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        let number = Self::from_words(&words, length);
        words.zeroize();
        number
    }

    /// Fills `bytes` with the number, big-endian.
    pub fn fill_bytes(&self, bytes: &mut [u8]) {
        let mut words = [0; MAX_WORDS];
        self.fill_words(&mut words);
        for (chunk, word) in bytes.rchunks_mut(8).zip(&words) {
            chunk.iter_mut().rev().zip(word.to_le_bytes()).for_each(|(to, from)| *to = from);
        }
        words.zeroize();
    }

    /// Its length in blocks.
    pub const fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn blocks(&self) -> &[Block] {
        self.blocks.get(..self.length).unwrap_or(&self.blocks)
    }

    pub(crate) fn limbs(&self) -> impl Iterator<Item = &u64> {
        self.blocks().as_flattened().iter()
    }

    fn blocks_mut(&mut self) -> &mut [Block] {
        let length = self.length.min(MAX_BLOCKS);
        self.blocks.get_mut(..length).unwrap_or_default()
    }

    pub(crate) fn limbs_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.blocks_mut().as_flattened_mut().iter_mut()
    }

    /// The lowest limb.
    pub(crate) fn lowest(&self) -> u64 {
        self.limbs().next().copied().unwrap_or(0)
    }

    /// The number with another length: padded with zeros, or without its highest blocks.
    pub fn resized(&self, length: usize) -> Self {
        let mut number = Self::zero(length);
        number.limbs_mut().zip(self.limbs()).for_each(|(to, from)| *to = *from);
        number
    }

    /// Whether the number is `word`, of at most 58 bits.
    pub fn is(&self, word: u64) -> bool {
        let mut limbs = self.limbs();
        let lowest = limbs.next().copied().unwrap_or(0);
        limbs.fold(lowest ^ word, |all, limb| all | limb) == 0
    }

    /// Whether the number is below another of its length.
    pub fn is_below(&self, other: &Self) -> bool {
        self.borrow(other) != 0
    }

    /// All ones if the number is below another of its length, else zero.
    fn borrow(&self, other: &Self) -> u64 {
        let pairs = self.limbs().zip(other.limbs());
        let borrow = pairs.fold(0_i64, |borrow, (one, other)| {
            (*one as i64 - *other as i64 + borrow) >> LIMB_BITS
        });
        core::hint::black_box(borrow as u64)
    }

    /// Adds a word of at most 58 bits.
    pub fn add_word(&mut self, word: u64) {
        self.limbs_mut().fold(word, |carry, limb| {
            let sum = *limb + carry;
            *limb = sum & LIMB_MASK;
            sum >> LIMB_BITS
        });
    }

    /// Adds a number of this length.
    pub fn add(&mut self, other: &Self) {
        self.limbs_mut().zip(other.limbs()).fold(0, |carry, (to, from)| {
            let sum = *to + *from + carry;
            *to = sum & LIMB_MASK;
            sum >> LIMB_BITS
        });
    }

    /// Subtracts a number of this length, which must not be greater.
    pub fn subtract(&mut self, other: &Self) {
        self.subtract_masked(other, u64::MAX);
    }

    fn subtract_masked(&mut self, other: &Self, mask: u64) {
        self.limbs_mut().zip(other.limbs()).fold(0_i64, |borrow, (to, from)| {
            let difference = *to as i64 - (*from & mask) as i64 + borrow;
            *to = difference as u64 & LIMB_MASK;
            difference >> LIMB_BITS
        });
    }

    /// Subtracts another of this length when the number is not below it.
    pub(crate) fn subtract_if_not_below(&mut self, other: &Self) {
        let mask = !self.borrow(other);
        self.subtract_masked(other, mask);
    }

    /// Doubles the number, using the room above its blocks.
    pub(crate) fn double(&mut self) {
        self.limbs_mut().fold(0, |carry, limb| {
            let doubled = *limb << 1 | carry;
            *limb = doubled & LIMB_MASK;
            doubled >> LIMB_BITS
        });
    }

    /// Assigns another number of this length if the mask is all ones.
    pub(crate) fn assign_if(&mut self, other: &Self, mask: u64) {
        for (to, from) in self.limbs_mut().zip(other.limbs()) {
            *to = *to & !mask | *from & mask;
        }
    }

    /// The product of two numbers, in `length` blocks; higher blocks are dropped.
    pub fn product(one: &Self, other: &Self, length: usize) -> Self {
        let mut columns = [[0; BLOCK]; 2 * MAX_BLOCKS];
        add_product(&mut columns, one.blocks(), other.blocks());
        let mut product = Self::zero(length);
        product.fill_from_columns(&columns, 0, 0);
        columns.zeroize();
        product
    }

    /// Assigns the sum of the columns and a carry, doubled if the mask is all ones.
    pub(crate) fn fill_from_columns(&mut self, columns: &[Columns], carry: u128, mask: u64) {
        let (bit, mut carry, mut out) = (mask & 1, carry, 0);
        let (blocks, columns) = (self.blocks_mut().iter_mut(), columns.iter());
        for (block, columns) in blocks.zip(columns) {
            for (limb, column) in block.iter_mut().zip(columns) {
                let sum = *column + carry;
                let word = (sum as u64 & LIMB_MASK) << bit;
                *limb = word & LIMB_MASK | out;
                out = word >> LIMB_BITS;
                carry = sum >> LIMB_BITS;
            }
        }
    }

    /// Number of factors of two. The time depends on it.
    pub fn trailing_zeros(&self) -> u32 {
        let zeros = self.limbs().take_while(|limb| **limb == 0).count() as u32;
        let last = self.limbs().find(|limb| **limb != 0);
        LIMB_BITS * zeros + last.map_or(0, |limb| limb.trailing_zeros())
    }

    /// Bits `place` to `place + 57`.
    fn bits(&self, place: u32) -> u64 {
        let (limb, shift) = ((place / LIMB_BITS) as usize, place % LIMB_BITS);
        let mut limbs = self.limbs().skip(limb);
        let mut next = || u128::from(limbs.next().copied().unwrap_or(0));
        ((next() | next() << LIMB_BITS) >> shift) as u64 & LIMB_MASK
    }

    /// The number without its `bits` lowest bits.
    pub fn shifted_right(&self, bits: u32) -> Self {
        let mut shifted = Self::zero(self.length);
        for (limb, place) in shifted.limbs_mut().zip((bits..).step_by(LIMB_BITS as usize)) {
            *limb = self.bits(place);
        }
        shifted
    }

    /// Number of digits of [`DIGIT_BITS`] bits in the blocks.
    pub const fn digits(&self) -> u32 {
        (self.length * BLOCK_BITS) as u32 / DIGIT_BITS
    }

    /// Digit `index`, from the highest.
    pub fn digit(&self, index: u32) -> u64 {
        let from_low = self.digits().saturating_sub(index + 1);
        self.bits(from_low * DIGIT_BITS) & ((1 << DIGIT_BITS) - 1)
    }
}

/// Adds the product of two numbers to columns that have room for it.
pub(crate) fn add_product(columns: &mut [Columns], one: &[Block], other: &[Block]) {
    for (place, factor) in one.iter().enumerate() {
        add_multiple(columns.get_mut(place..).unwrap_or_default(), factor, other);
    }
}

/// Adds the product of a block and a number to columns.
pub(crate) fn add_multiple(columns: &mut [Columns], factor: &Block, number: &[Block]) {
    let mut rest = columns;
    for block in number {
        let Some((low, above)) = rest.split_first_mut() else { return };
        let Some(high) = above.first_mut() else { return };
        columns::add_product(low, high, factor, block);
        rest = above;
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.limbs().zip(other.limbs());
        let difference = pairs.fold(0, |all, (one, other)| all | (one ^ other));
        self.length == other.length && core::hint::black_box(difference) == 0
    }
}

impl Eq for Number {}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Number({} bits)", self.length * BLOCK_BITS)
    }
}
