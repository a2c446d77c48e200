//! Tests of what a guest can see of the pair.

use crate::*;
use proptest::prelude::*;
use std::vec::Vec;

const EOI: u8 = 0x20;

/// The pair as a PC's BIOS or OS sets it up, with this ICW4 for the master.
fn pic_with(icw4: u8) -> Pic {
    let mut pic = Pic::new();
    for (command, base, icw3, icw4) in [(0x20, 0x30, 0x04, icw4), (0xA0, 0x38, 0x02, 0x01)] {
        pic.write(command, 0x11);
        pic.write(command + 1, base);
        pic.write(command + 1, icw3);
        pic.write(command + 1, icw4);
    }
    pic
}

fn pic() -> Pic {
    pic_with(0x01)
}

fn pulse(pic: &mut Pic, irq: u8) {
    pic.set_line(irq, false);
    pic.set_line(irq, true);
}

/// The vector that the CPU takes, if INTR is active.
fn take(pic: &mut Pic) -> Option<u8> {
    pic.output().then(|| pic.acknowledge())
}

fn isr(pic: &mut Pic, port: u16) -> u8 {
    pic.write(port, 0x0B);
    pic.read(port)
}

#[test]
fn power_on_is_silent() {
    let mut pic = Pic::new();
    for irq in 0..16 {
        pulse(&mut pic, irq);
    }
    assert!(!pic.output());
    assert_eq!(pic.read(0x22), 0xFF);
    pic.write(0x22, 0xFF);
}

#[test]
fn each_line_has_its_vector() {
    for irq in (0..16).filter(|irq| *irq != 2) {
        let mut pic = pic();
        pulse(&mut pic, irq);
        assert_eq!(take(&mut pic), Some(0x30 + irq));
        assert_eq!(take(&mut pic), None);
        assert_eq!(isr(&mut pic, 0x20), if irq < 8 { 1 << irq } else { 4 });
        assert_eq!(isr(&mut pic, 0xA0), if irq < 8 { 0 } else { 1 << (irq - 8) });
        pic.write(0xA0, EOI);
        pic.write(0x20, EOI);
        assert_eq!((isr(&mut pic, 0x20), isr(&mut pic, 0xA0), pic.output()), (0, 0, false));
    }
    let mut pic = pic();
    pic.set_line(2, true);
    pic.set_line(16, true);
    assert!(!pic.output());
}

#[test]
fn higher_priorities_preempt_lower_wait() {
    let mut pic = pic();
    pulse(&mut pic, 4);
    assert_eq!(take(&mut pic), Some(0x34));
    pulse(&mut pic, 6);
    assert_eq!(take(&mut pic), None);
    pulse(&mut pic, 10);
    assert_eq!(take(&mut pic), Some(0x3A));
    pulse(&mut pic, 9);
    assert_eq!(take(&mut pic), None, "the slave's input 2 of the master is in service");
    pic.write(0xA0, EOI);
    pic.write(0x20, EOI);
    assert_eq!(take(&mut pic), Some(0x39));
    pic.write(0xA0, 0x61);
    pic.write(0x20, 0x62);
    pic.write(0x20, EOI);
    assert_eq!(take(&mut pic), Some(0x36));
}

#[test]
fn special_fully_nested_lets_the_slave_through() {
    let mut pic = pic_with(0x11);
    pulse(&mut pic, 10);
    assert_eq!(take(&mut pic), Some(0x3A));
    pulse(&mut pic, 3);
    assert_eq!(take(&mut pic), None);
    pulse(&mut pic, 9);
    assert_eq!(take(&mut pic), Some(0x39));
    pulse(&mut pic, 12);
    assert_eq!(take(&mut pic), None);
}

#[test]
fn masks_hold_back_yet_keep_the_request() {
    let mut pic = pic();
    pic.write(0x21, 0xFF);
    pulse(&mut pic, 1);
    assert_eq!((take(&mut pic), pic.read(0x21)), (None, 0xFF));
    pic.write(0x20, 0x0A);
    assert_eq!(pic.read(0x20), 0x02);
    pic.write(0x21, 0xFD);
    assert_eq!(take(&mut pic), Some(0x31));
}

#[test]
fn vanished_requests_become_spurious() {
    let mut pic = pic();
    pulse(&mut pic, 3);
    pic.set_line(3, false);
    assert!(!pic.output());
    assert_eq!(pic.acknowledge(), 0x37);
    assert_eq!(isr(&mut pic, 0x20), 0);
    pulse(&mut pic, 12);
    pic.slave.set_line(4, false);
    assert_eq!(pic.acknowledge(), 0x3F, "the slave's request fell during the cycle");
    assert_eq!((isr(&mut pic, 0x20), isr(&mut pic, 0xA0)), (4, 0));
}

#[test]
fn levels_repeat_edges_do_not() {
    let mut pic = pic();
    pic.write(0x4D0, 0xFF);
    pic.write(0x4D1, 0xFF);
    assert_eq!((pic.read(0x4D0), pic.read(0x4D1)), (0xF8, 0xDE));
    for irq in [5, 11] {
        pic.set_line(irq, true);
        for _ in 0..3 {
            assert_eq!(take(&mut pic), Some(0x30 + irq));
            pic.write(0xA0, EOI);
            pic.write(0x20, EOI);
        }
        pic.set_line(irq, false);
        assert_eq!(take(&mut pic), None);
    }
    pic.set_line(0, true);
    assert_eq!(take(&mut pic), Some(0x30));
    pic.write(0x20, EOI);
    assert_eq!(take(&mut pic), None);
}

#[test]
fn icw1_resets_edges_masks_and_status() {
    let mut pic = pic();
    pic.write(0x21, 0x55);
    pulse(&mut pic, 1);
    pic.write(0x20, 0x0B);
    pic.write(0x20, 0x13);
    assert_eq!(pic.read(0x21), 0);
    assert_eq!(pic.read(0x20), 0, "IRR, without the old edge");
    pic.write(0x21, 0x47);
    pic.write(0x21, 0x01);
    pulse(&mut pic, 1);
    assert_eq!(take(&mut pic), Some(0x41), "single mode skips ICW3; vectors lose bits 2:0");
    pic.write(0x20, 0x1A);
    pic.write(0x21, 0x40);
    assert_eq!(take(&mut pic), Some(0x41), "LTIM; no ICW4");
}

#[test]
fn auto_eoi_leaves_nothing_in_service_and_rotates() {
    let mut pic = pic_with(0x03);
    pulse(&mut pic, 3);
    assert_eq!(take(&mut pic), Some(0x33));
    assert_eq!(isr(&mut pic, 0x20), 0);
    pic.write(0x20, 0x80);
    pulse(&mut pic, 3);
    assert_eq!(take(&mut pic), Some(0x33));
    pulse(&mut pic, 1);
    pulse(&mut pic, 4);
    assert_eq!(take(&mut pic), Some(0x34), "3 is lowest now");
    pic.write(0x20, 0x00);
    assert_eq!(take(&mut pic), Some(0x31));
}

#[test]
fn rotation_commands_move_the_lowest_priority() {
    let mut pic = pic();
    pic.write(0x20, 0xC3);
    pulse(&mut pic, 1);
    pulse(&mut pic, 4);
    assert_eq!(take(&mut pic), Some(0x34));
    pic.write(0x20, 0xA0);
    assert_eq!(take(&mut pic), Some(0x31));
    pic.write(0x20, 0xE1);
    assert_eq!(isr(&mut pic, 0x20), 0);
    pulse(&mut pic, 1);
    pulse(&mut pic, 4);
    assert_eq!(take(&mut pic), Some(0x34), "1 is lowest");
    pic.write(0x20, 0x40);
    assert_eq!(isr(&mut pic, 0x20), 0x10);
}

#[test]
fn special_mask_mode_opens_the_other_levels() {
    let mut pic = pic();
    pulse(&mut pic, 1);
    assert_eq!(take(&mut pic), Some(0x31));
    pulse(&mut pic, 5);
    assert_eq!(take(&mut pic), None);
    pic.write(0x20, 0x68);
    pic.write(0x21, 0x02);
    assert_eq!(take(&mut pic), Some(0x35));
    pic.write(0x20, EOI);
    assert_eq!(isr(&mut pic, 0x20), 0x02, "a masked level ends by its number only");
    pic.write(0x20, 0x48);
    pic.write(0x20, EOI);
    assert_eq!(isr(&mut pic, 0x20), 0);
}

#[test]
fn poll_acknowledges_once() {
    let mut pic = pic();
    pic.write(0x20, 0x0C);
    assert_eq!(pic.read(0x20), 0x00);
    pulse(&mut pic, 9);
    pic.write(0x20, 0x0C);
    assert_eq!(pic.read(0x21), 0x82);
    pic.write(0xA0, 0x0C);
    assert_eq!(pic.read(0xA0), 0x81);
    assert_eq!(pic.read(0xA1), 0);
    assert_eq!((isr(&mut pic, 0x20), isr(&mut pic, 0xA0), pic.output()), (4, 2, false));
}

#[test]
fn each_acknowledge_of_the_slave_makes_a_new_edge() {
    for polls in [false, true] {
        let mut pic = pic();
        pic.write(0xA0, 0x11);
        for icw in [0x38, 0x02, 0x03] {
            pic.write(0xA1, icw);
        }
        pulse(&mut pic, 9);
        pulse(&mut pic, 11);
        for irq in [9, 11] {
            if polls {
                pic.write(0x20, 0x0C);
                assert_eq!(pic.read(0x20), 0x82);
                pic.write(0xA0, 0x0C);
                assert_eq!(pic.read(0xA0), 0x80 | (irq - 8));
            } else {
                assert_eq!(take(&mut pic), Some(0x30 + irq));
            }
            pic.write(0x20, EOI);
        }
        assert!(!pic.output());
    }
}

#[test]
fn a_slave_with_a_foreign_identity_stays_silent() {
    let mut pic = pic();
    pic.write(0xA0, 0x11);
    for icw in [0x38, 0x05, 0x01] {
        pic.write(0xA1, icw);
    }
    pulse(&mut pic, 8);
    assert_eq!(take(&mut pic), Some(0xFF));
}

struct Ignore;

impl Inspect for Ignore {
    fn field(&mut self, _: &str, _: device_model::Value<'_>) {}
    fn begin(&mut self, _: &str) {}
    fn end(&mut self) {}
}

/// One chip with edge-triggered inputs, by lists of inputs in the order of their priority.
#[derive(Default)]
struct Naive {
    high: Vec<u8>,
    requested: Vec<u8>,
    in_service: Vec<u8>,
    masked: u8,
    lowest: u8,
}

impl Naive {
    /// The first of these inputs by priority.
    fn first(&self, of: impl Fn(u8) -> bool) -> Option<u8> {
        (1..=8).map(|rank| (self.lowest + rank) % 8).find(|input| of(*input))
    }

    fn request(&self) -> Option<u8> {
        let open = |input| self.requested.contains(&input) && self.masked >> input & 1 == 0;
        let first = self.first(|input| open(input) || self.in_service.contains(&input))?;
        (open(first) && !self.in_service.contains(&first)).then_some(first)
    }
}

proptest! {
    #[test]
    fn priorities_agree_with_lists_of_inputs(
        steps in proptest::collection::vec((0u8..6, 0u8..8), 0..150)
    ) {
        let mut pic = Pic::new();
        for (port, word) in [(0x20, 0x13), (0x21, 0x30), (0x21, 0x01)] {
            pic.write(port, word);
        }
        let mut naive = Naive { lowest: 7, ..Naive::default() };
        for (kind, input) in steps {
            match kind {
                // Input 2 belongs to the slave.
                0 | 1 if input != 2 => {
                    pic.set_line(input, kind == 0);
                    if kind == 1 {
                        naive.high.retain(|high| *high != input);
                        naive.requested.retain(|request| *request != input);
                    } else if !naive.high.contains(&input) {
                        naive.high.push(input);
                        naive.requested.push(input);
                    }
                }
                2 => {
                    let request = naive.request();
                    prop_assert_eq!(take(&mut pic), request.map(|input| 0x30 | input));
                    if let Some(input) = request {
                        naive.requested.retain(|request| *request != input);
                        naive.in_service.push(input);
                    }
                }
                3 => {
                    pic.write(0x20, if input % 2 == 0 { EOI } else { 0xA0 });
                    if let Some(ended) = naive.first(|input| naive.in_service.contains(&input)) {
                        naive.in_service.retain(|input| *input != ended);
                        naive.lowest = if input % 2 == 0 { naive.lowest } else { ended };
                    }
                }
                4 => {
                    naive.masked ^= 1 << input;
                    pic.write(0x21, naive.masked);
                }
                _ => {
                    pic.write(0x20, 0x60 | input);
                    naive.in_service.retain(|other| *other != input);
                }
            }
            prop_assert_eq!(pic.output(), naive.request().is_some());
            let bits = naive.in_service.iter().fold(0, |bits, input| bits | 1 << input);
            prop_assert_eq!(isr(&mut pic, 0x20), bits);
        }
    }

    #[test]
    fn random_traffic_keeps_the_promises(
        ready: bool,
        steps in proptest::collection::vec((0u8..5, 0usize..6, any::<u8>()), 0..300)
    ) {
        let mut pic = if ready { pic() } else { Pic::new() };
        for (kind, port, value) in steps {
            let port = [0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1][port];
            match kind {
                0 => drop(pic.read(port)),
                1 => pic.write(port, value),
                2 => pic.set_line(value & 31, value & 32 != 0),
                3 => drop(take(&mut pic)),
                _ => drop(pic.acknowledge()),
            }
            let mut other = Pic::new();
            prop_assert_eq!(other.restore(&pic.save()), Ok(()));
            other.inspect(&mut Ignore);
            prop_assert_eq!(&other, &pic);
        }
        pic.reset(Instant::START);
        prop_assert!(!pic.output());
    }
}

#[test]
fn impossible_states_are_refused() {
    type Spoil = fn(&mut Saved);
    let cases: [(&str, Spoil); 11] = [
        ("icw1", |s| s.master.icw1 = 0x10),
        ("icw4", |s| s.master.icw4 = 0x01),
        ("icw4", |s| {
            s.master.icw1 = 0;
            s.master.icw4 = 2
        }),
        ("base", |s| s.slave.base = 1),
        ("icw3", |s| s.slave.icw3 = 8),
        ("edges", |s| s.master.edges = 1),
        ("elcr", |s| s.master.elcr = 1),
        ("lowest", |s| s.slave.lowest = 8),
        ("expects", |s| s.master.expects = 5),
        ("isr", |s| {
            s.master.expects = 1;
            s.master.isr = 1
        }),
        ("lines", |s| s.master.lines = 4),
    ];
    let mut pic = pic();
    for (field, spoil) in cases {
        let (mut bad, before) = (pic.save(), pic.clone());
        spoil(&mut bad);
        assert_eq!(pic.restore(&bad), Err(RestoreError::Field(field)));
        assert_eq!(pic, before);
    }
    let future = Saved { version: 2, ..pic.save() };
    assert_eq!(pic.restore(&future), Err(RestoreError::Version { found: 2, supported: 1 }));
}
