//! Memory of page tables for tests.

extern crate alloc;

use alloc::collections::BTreeMap;

use crate::page_table::{ENTRIES, TableMemory};

/// Tables that are taken one after the other from a start address on. An access to a table that was
/// not taken is a panic.
#[derive(Debug)]
pub struct Tables {
    start: u64,
    tables: BTreeMap<u64, [u64; ENTRIES]>,
}

impl Tables {
    /// No table yet; the first one will lie at `start`.
    pub const fn from(start: u64) -> Self {
        Self { start, tables: BTreeMap::new() }
    }

    /// How many tables were taken.
    pub fn count(&self) -> usize {
        self.tables.len()
    }
}

impl TableMemory for Tables {
    fn read(&self, table: u64, index: usize) -> u64 {
        self.tables[&table][index]
    }

    fn write(&mut self, table: u64, index: usize, entry: u64) {
        self.tables.get_mut(&table).expect("a table that was taken")[index] = entry;
    }

    fn take(&mut self) -> u64 {
        let table = self.start + self.tables.len() as u64 * 0x1000;
        self.tables.insert(table, [0; ENTRIES]);
        table
    }
}
