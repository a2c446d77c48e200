//! Configuration spaces, honest and not.

extern crate std;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::vec::Vec;

use super::*;

/// Double words by function and register; others read zero. Functions without an identity answer
/// nobody's.
#[derive(Default)]
struct Space {
    words: BTreeMap<(u8, u8), u32>,
    written: RefCell<Vec<(u8, u8, u32)>>,
}

impl Configuration for Space {
    fn read(&self, function: Function, register: u8) -> u32 {
        assert!(register.is_multiple_of(4), "{register:#x}");
        if !self.words.contains_key(&(function.0, 0)) {
            return NOBODY;
        }
        self.words.get(&(function.0, register)).copied().unwrap_or(0)
    }

    fn write(&self, function: Function, register: u8, value: u32) {
        self.written.borrow_mut().push((function.0, register, value));
    }
}

const BAR: u64 = 0x70_0000_4000;

/// A virtio capability: where, what it says.
struct Capability {
    at: u8,
    next: u8,
    length: u8,
    kind: u8,
    bar: u8,
    offset: u32,
    size: u32,
}

fn capability(at: u8, next: u8, kind: u8, offset: u32, size: u32) -> Capability {
    let length = if kind == 2 { 20 } else { 16 };
    Capability { at, next, length, kind, bar: 4, offset, size }
}

impl Space {
    /// What QEMU shows for `virtio-blk-pci,disable-legacy=on`.
    fn qemu(function: u8) -> Self {
        let mut space = Self::default();
        space.add(function);
        space
    }

    fn add(&mut self, function: u8) {
        let words = [
            (0x00, VIRTIO_BLOCK),
            (0x04, HAS_CAPABILITIES | 0x0003),
            (0x34, 0x98),
            (0x14, 0xfebd_1000),
            (0x20, BAR as u32 | 0xc),
            (0x24, (BAR >> 32) as u32),
        ];
        self.words.extend(words.map(|(register, word)| ((function, register), word)));
        // MSI-X comes first, then the window to registers, then the places.
        self.words.insert((function, 0x98), 0x8001_8411);
        self.put(function, &capability(0x84, 0x70, 5, 0, 0));
        self.put(function, &capability(0x70, 0x60, 2, 0x3000, 0x1000));
        self.words.insert((function, 0x80), 4);
        self.put(function, &capability(0x60, 0x50, 4, 0x2000, 0x1000));
        self.put(function, &capability(0x50, 0x40, 3, 0x1000, 0x1000));
        self.put(function, &capability(0x40, 0, 1, 0, 0x1000));
    }

    fn put(&mut self, function: u8, capability: &Capability) {
        let Capability { at, next, length, kind, bar, offset, size } = *capability;
        let first = u32::from_le_bytes([VENDOR_CAPABILITY, next, length, kind]);
        for (index, word) in (0..).zip([first, bar.into(), offset, size]) {
            self.words.insert((function, at + 4 * index), word);
        }
    }

    fn find(&self) -> [Option<VirtioRegisters>; 4] {
        virtio_blocks(self)
    }

    fn first(&self) -> Option<VirtioRegisters> {
        self.find()[0]
    }
}

#[test]
fn the_registers_of_qemus_device_are_found() {
    let registers = Space::qemu(0x18).first().unwrap();
    assert_eq!(
        registers,
        VirtioRegisters {
            function: Function(0x18),
            pages: GpaRange::new(BAR, BAR + 0x4000).unwrap(),
            common: BAR,
            notify: GpaRange::new(BAR + 0x3000, BAR + 0x4000).unwrap(),
            multiplier: 4,
            device: GpaRange::new(BAR + 0x2000, BAR + 0x3000).unwrap(),
        }
    );
}

#[test]
fn devices_are_found_in_order_and_no_more_than_asked_for() {
    let mut space = Space::default();
    for function in [0x08, 0x10, 0x80, 0xf8, 0xf0] {
        space.add(function);
    }
    let found = space.find().map(|found| found.unwrap().function.0);
    assert_eq!(found, [0x08, 0x10, 0x80, 0xf0]);
    assert_eq!(Space::default().find(), [None; 4]);
}

#[test]
fn further_functions_count_where_the_first_says_that_there_are_some() {
    let mut space = Space::qemu(0x1b);
    assert_eq!(space.first(), None, "no function 0");
    space.words.insert((0x18, 0), 0x1234_8086);
    assert_eq!(space.first(), None, "a single function");
    space.words.insert((0x18, 0x0c), MULTI_FUNCTION);
    assert_eq!(space.first().unwrap().function, Function(0x1b));
}

#[test]
fn other_devices_are_left_alone() {
    for identity in [0x1001_1af4, 0x1041_1af4, 0x1042_8086] {
        let mut space = Space::qemu(0x18);
        space.words.insert((0x18, 0), identity);
        assert_eq!(space.first(), None);
    }
}

#[test]
fn bars_of_32_bits_serve_and_others_do_not() {
    let with = |low: u32, high: u32| {
        let mut space = Space::qemu(0x18);
        space.words.extend([((0x18, 0x20), low), ((0x18, 0x24), high)]);
        space.first().map(|registers| registers.common)
    };
    assert_eq!(with(0xfe00_0000, 7), Some(0xfe00_0000));
    assert_eq!(with(0xfe00_0008, 7), Some(0xfe00_0000));
    assert_eq!(with(0xfe00_0004, 7), Some(0x7_fe00_0000));
    assert_eq!(with(0xc001, 0), None, "ports");
    assert_eq!(with(0xfe00_0002, 0), None, "below 1 MiB, withdrawn");
    assert_eq!(with(0xfe00_0006, 0), None, "reserved");
    assert_eq!(with(0, 0), None, "not assigned");
    assert_eq!(with(4, 0), None, "not assigned");
    assert_eq!(with(0xffff_f004, u32::MAX), None, "the end of the address space");
}

#[test]
fn registers_that_are_not_where_they_can_be_used_are_refused() {
    type Damage = fn(&mut Space);
    let cases: [(&str, Damage); 15] = [
        ("no list", |s| {
            s.words.insert((0x18, 4), 3);
        }),
        ("an empty list", |s| {
            s.words.insert((0x18, 0x34), 0);
        }),
        ("a list in the header", |s| {
            s.words.insert((0x18, 0x34), 0x10);
        }),
        ("a list that ends early", |s| s.put(0x18, &capability(0x60, 0, 4, 0x2000, 0x1000))),
        ("a loop", |s| s.put(0x18, &capability(0x60, 0x70, 4, 0x2000, 0x1000))),
        ("a loop on itself", |s| s.put(0x18, &capability(0x84, 0x84, 5, 0, 0))),
        ("a short common structure", |s| s.put(0x18, &capability(0x40, 0, 1, 0, 0x37))),
        ("no notification", |s| s.put(0x18, &capability(0x70, 0x60, 2, 0x3000, 1))),
        ("a short configuration", |s| s.put(0x18, &capability(0x60, 0x50, 4, 0x2000, 7))),
        ("unaligned", |s| s.put(0x18, &capability(0x40, 0, 1, 2, 0x1000))),
        ("an odd multiplier", |s| {
            s.words.insert((0x18, 0x80), 3);
        }),
        ("far apart", |s| s.put(0x18, &capability(0x60, 0x50, 4, 0x20_0000, 0x1000))),
        ("huge", |s| s.put(0x18, &capability(0x60, 0x50, 4, 0x2000, u32::MAX))),
        ("a BAR that there is not", |s| {
            s.put(0x18, &Capability { bar: 6, ..capability(0x40, 0, 1, 0, 0x1000) });
        }),
        ("another BAR", |s| {
            s.put(0x18, &Capability { bar: 1, ..capability(0x60, 0x50, 4, 0x2000, 0x1000) });
        }),
    ];
    for (what, damage) in cases {
        let mut space = Space::qemu(0x18);
        damage(&mut space);
        assert_eq!(space.first(), None, "{what}");
    }
}

#[test]
fn a_capability_that_is_too_short_is_none() {
    for (at, next, kind, length) in [(0x40, 0, 1, 15), (0x70, 0x60, 2, 19)] {
        let mut space = Space::qemu(0x18);
        space.put(0x18, &Capability { length, ..capability(at, next, kind, 0x3000, 0x1000) });
        assert_eq!(space.first(), None);
    }
}

#[test]
fn a_capability_at_the_very_end_is_read_within_bounds() {
    for at in [0xec, 0xf0, 0xf4, 0xfc] {
        let mut space = Space::qemu(0x18);
        space.put(0x18, &capability(0x50, at, 3, 0x1000, 0x1000));
        space.words.insert((0x18, at), u32::from_le_bytes([VENDOR_CAPABILITY, 0, 20, 1]));
        // Its structure is empty, or it does not fit: either way there is no good one.
        assert_eq!(space.first(), None, "{at:#x}");
    }
}

#[test]
fn enabling_keeps_the_command_and_clears_no_status() {
    let space = Space::qemu(0x18);
    enable(&space, Function(0x18));
    assert_eq!(*space.written.borrow(), [(0x18, 4, 0x0407)]);
}

/// Any words at all: an answer, and registers that one table maps.
#[test]
fn any_configuration_space_is_answered() {
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) as u32
    };
    let mut usable = 0;
    for _ in 0..50_000 {
        let mut space = Space::qemu(0x18);
        for _ in 0..1 + random() % 4 {
            let register = (random() % 60 + 1) as u8 * 4;
            let bits = random() >> (random() % 32);
            let old = space.words.get(&(0x18, register)).copied().unwrap_or(0);
            let new = if random() % 2 == 0 { old ^ bits } else { bits };
            space.words.insert((0x18, register), new);
        }
        if let Some(registers) = space.first() {
            usable += 1;
            let (start, last) = (registers.pages.start(), registers.pages.end() - 1);
            assert!(start / TABLE_SPAN == last / TABLE_SPAN && start % PAGE_SIZE == 0);
            let common = GpaRange::from_length(registers.common, 0x38).unwrap();
            for place in [common, registers.notify, registers.device] {
                assert!(registers.pages.contains(&place));
            }
        }
    }
    assert!((1_000..49_000).contains(&usable), "{usable}");
}
