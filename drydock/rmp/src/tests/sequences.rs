//! Sequences of operations, against the model.
//!
//! The host may change its map before each instruction and each access, so the system page behind
//! an address is part of the operation, and every access is tried with every page behind it.

extern crate std;

use std::collections::{HashSet, VecDeque};
use std::vec::Vec;

use proptest::prelude::*;

use super::fixture::Machine;
use crate::Size::{self, Large, Small};
use crate::testing::{self, Answer, NAMED, Operation, Reference};
use crate::{Adjustment, Entry, PAGES_IN_LARGE, Rights, SystemPage};

/// Three pages: the start of a large one, a page inside it, and the start of the next.
const PAGES: [u32; 3] = [0, 1, PAGES_IN_LARGE];
const SIZES: [Size; 2] = [Small, Large];

impl Machine {
    fn apply(&mut self, operation: Operation) -> Answer {
        testing::apply(&mut self.rmp, &mut self.map, operation)
    }

    /// The entries that are not empty.
    fn saved(&self) -> Vec<(SystemPage, Entry)> {
        let all = (0..self.rmp.len()).map(SystemPage);
        let own = all.filter_map(|page| self.rmp.entry(page));
        let mut saved: Vec<_> = own.filter(|(_, entry)| entry.assigned()).collect();
        saved.dedup_by_key(|(head, _)| *head);
        saved
    }

    fn restore(&mut self, saved: &[(SystemPage, Entry)]) {
        for head in (0..self.rmp.len()).map(SystemPage) {
            self.rmp.set(head, Entry::new());
        }
        saved.iter().for_each(|&(head, entry)| self.rmp.set(head, entry));
    }
}

/// All operations of the host on pages, and PVALIDATE with every page behind every address.
fn page_operations() -> Vec<Operation> {
    let mut all = Vec::new();
    for system in PAGES {
        all.push(Operation::Split { system });
        for size in SIZES {
            all.push(Operation::Reclaim { system, size });
            for guest in PAGES {
                all.push(Operation::Assign { system, guest, size, immutable: false });
                for validate in [false, true] {
                    all.push(Operation::Validate { guest, behind: system, size, validate });
                }
            }
        }
    }
    all
}

#[test]
fn every_sequence_of_page_state_changes_ends_as_in_the_model() {
    let operations = page_operations();
    let mut machine = Machine::new();
    let mut seen = HashSet::from([Reference::default()]);
    let mut open = VecDeque::from([(Reference::default(), Vec::new())]);
    while let Some((state, saved)) = open.pop_front() {
        machine.restore(&saved);
        testing::check_accesses(&machine.rmp, &mut machine.map, &state);
        for &operation in &operations {
            let mut reference = state.clone();
            let answer = machine.apply(operation);
            assert_eq!(answer, reference.apply(operation), "{operation:?} in {state:?}");
            testing::check_attributes(&machine.rmp, &reference);
            if reference == state {
                continue;
            }
            if seen.insert(reference.clone()) {
                open.push_back((reference, machine.saved()));
            }
            machine.restore(&saved);
        }
    }
    assert!(seen.len() > 1000, "only {} states", seen.len());
}

fn operation() -> impl Strategy<Value = Operation> {
    let page = || prop::sample::select(&NAMED[..]);
    let size = || prop::sample::select(&SIZES[..]);
    let yes = any::<bool>;
    let change = (0..4u8, 0..4u8, 0..16u8, yes()).prop_map(|(current, target, rights, vmsa)| {
        Adjustment { current, target, rights: Rights::from_bits(rights), vmsa }
    });
    prop_oneof![
        3 => (page(), page(), size(), prop::bool::weighted(0.1)).prop_map(
            |(system, guest, size, immutable)| Operation::Assign { system, guest, size, immutable }
        ),
        1 => (page(), size()).prop_map(|(system, size)| Operation::Reclaim { system, size }),
        1 => page().prop_map(|system| Operation::Split { system }),
        2 => (page(), yes()).prop_map(|(system, vmsa)| Operation::Launch { system, vmsa }),
        2 => (page(), page()).prop_map(|(system, guest)| Operation::Run { system, guest }),
        1 => page().prop_map(|system| Operation::Stop { system }),
        5 => (page(), page(), size(), yes()).prop_map(
            |(guest, behind, size, validate)| Operation::Validate { guest, behind, size, validate }
        ),
        5 => (page(), page(), size(), change).prop_map(
            |(guest, behind, size, change)| Operation::Adjust { guest, behind, size, change }
        ),
    ]
}

/// Aims most operations at a page that is assigned, so that they get past the first check.
fn aim(operation: Operation, reference: &Reference, seed: usize) -> Operation {
    let aimed = |guest: u32, behind: u32| match reference.owner(behind) {
        Some(owner) if !seed.is_multiple_of(4) => owner.guest,
        _ => guest,
    };
    match operation {
        Operation::Run { system, guest } => {
            let guest = aimed(guest, system);
            Operation::Run { system, guest }
        }
        Operation::Validate { guest, behind, size, validate } => {
            let guest = aimed(guest, behind);
            Operation::Validate { guest, behind, size, validate }
        }
        Operation::Adjust { guest, behind, size, change } => {
            let guest = aimed(guest, behind);
            Operation::Adjust { guest, behind, size, change }
        }
        Operation::Assign { .. }
        | Operation::Reclaim { .. }
        | Operation::Split { .. }
        | Operation::Launch { .. }
        | Operation::Stop { .. } => operation,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn long_sequences_of_all_operations_end_as_in_the_model(
        operations in prop::collection::vec((operation(), any::<usize>()), 1..60),
    ) {
        let mut machine = Machine::new();
        let mut reference = Reference::default();
        for (operation, seed) in operations {
            let operation = aim(operation, &reference, seed);
            let answer = machine.apply(operation);
            prop_assert_eq!(answer, reference.apply(operation), "{:?}", operation);
            testing::check_attributes(&machine.rmp, &reference);
        }
        testing::check_accesses(&machine.rmp, &mut machine.map, &reference);
    }
}
