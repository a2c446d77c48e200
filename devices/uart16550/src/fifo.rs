//! The FIFOs of the UART.

use crate::registers::FIFO_SIZE;

/// Up to 16 characters, each with its error bits from the LSR. Unused entries are zero, so that
/// queues with equal contents compare equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fifo {
    characters: [(u8, u8); FIFO_SIZE],
    length: usize,
}

impl Fifo {
    pub(crate) const EMPTY: Self = Self { characters: [(0, 0); FIFO_SIZE], length: 0 };

    /// The queue with these contents; `None` if the contents are impossible.
    pub(crate) fn from_parts(characters: [(u8, u8); FIFO_SIZE], length: u8) -> Option<Self> {
        let length = usize::from(length);
        let unused = characters.get(length..)?;
        unused.iter().all(|place| *place == (0, 0)).then_some(Self { characters, length })
    }

    pub(crate) fn parts(&self) -> ([(u8, u8); FIFO_SIZE], u8) {
        (self.characters, self.length as u8)
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends a character; if the queue is full, the character is dropped.
    pub(crate) fn push(&mut self, byte: u8, errors: u8) {
        if let Some(place) = self.characters.get_mut(self.length) {
            *place = (byte, errors);
            self.length += 1;
        }
    }

    pub(crate) fn pop(&mut self) -> Option<u8> {
        self.length = self.length.checked_sub(1)?;
        let (byte, _) = self.characters[0];
        self.characters.rotate_left(1);
        self.characters[FIFO_SIZE - 1] = (0, 0);
        Some(byte)
    }

    /// The error bits of the oldest character; zero if the queue is empty.
    pub(crate) fn top_errors(&self) -> u8 {
        self.characters[0].1
    }

    pub(crate) fn clear_top_errors(&mut self) {
        self.characters[0].1 = 0;
    }

    pub(crate) fn any_errors(&self) -> bool {
        self.characters.iter().any(|(_, errors)| *errors != 0)
    }
}
