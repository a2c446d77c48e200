//! Sets of interrupt vectors whose highest member is found without a scan.

use crate::registers::FIRST_LEGAL_VECTOR;

/// The content of IRR, ISR or TMR. Vectors below 16 are never members, so 0 can mean "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VectorSet {
    words: [u64; 4],
    /// Bit n is set exactly if word n is not zero.
    occupied: u8,
}

impl VectorSet {
    pub(crate) const EMPTY: Self = Self { words: [0; 4], occupied: 0 };

    /// The set with these members; `None` if a vector below 16 is among them.
    pub(crate) fn from_words(words: [u64; 4]) -> Option<Self> {
        let legal = words[0] & ((1 << FIRST_LEGAL_VECTOR) - 1) == 0;
        let mut occupied = 0;
        for (index, word) in words.iter().enumerate() {
            occupied |= u8::from(*word != 0) << index;
        }
        legal.then_some(Self { words, occupied })
    }

    pub(crate) fn words(&self) -> [u64; 4] {
        self.words
    }

    /// Members `32 * index ..` as a register shows them.
    pub(crate) fn register(&self, index: u8) -> u32 {
        let word = self.words[usize::from((index >> 1) & 3)];
        (word >> (32 * u32::from(index & 1))) as u32
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    #[inline]
    pub(crate) fn contains(&self, vector: u8) -> bool {
        self.words[usize::from(vector >> 6)] & bit(vector) != 0
    }

    #[inline]
    pub(crate) fn insert(&mut self, vector: u8) {
        self.words[usize::from(vector >> 6)] |= bit(vector);
        self.occupied |= 1 << (vector >> 6);
    }

    #[inline]
    pub(crate) fn remove(&mut self, vector: u8) {
        let word = &mut self.words[usize::from(vector >> 6)];
        *word &= !bit(vector);
        if *word == 0 {
            self.occupied &= !(1 << (vector >> 6));
        }
    }

    /// The highest member, or 0 if there is none.
    #[inline]
    pub(crate) fn highest(&self) -> u8 {
        // The `| 1` make both logarithms total. They only affect the empty set, for which the
        // result becomes 0.
        let index = ((self.occupied | 1).ilog2() & 3) as u8;
        let word = self.words[usize::from(index)];
        index * 64 + (word | 1).ilog2() as u8
    }
}

#[inline]
fn bit(vector: u8) -> u64 {
    1 << (vector & 63)
}
