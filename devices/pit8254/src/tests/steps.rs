//! Comparison of the model with a counter that is stepped clock by clock.

use super::*;

/// Counter 2 in binary, with the gate initially low.
#[derive(Debug)]
struct Stepped {
    mode: u8,
    count: i64,
    /// The count that the element was loaded with last.
    active: i64,
    element: i64,
    /// The next clock loads the count.
    loads: bool,
    /// The element holds a count that was loaded since the control word.
    loaded: bool,
    counts: bool,
    gate: bool,
    out: bool,
}

impl Stepped {
    fn new(mode: u8) -> Self {
        let out = mode != 0;
        let (count, active, element) = (0, 0, 0);
        let (loads, loaded, counts, gate) = (false, false, false, false);
        Self { mode, count, active, element, loads, loaded, counts, gate, out }
    }

    fn write(&mut self, count: u16) {
        let first = self.count == 0;
        self.count = if count == 0 { 0x1_0000 } else { i64::from(count) };
        match self.mode {
            0 | 4 => {
                self.loads = true;
                self.out = self.mode != 0;
            }
            2 | 3 => self.loads |= first && self.gate,
            _ => {}
        }
    }

    fn set_gate(&mut self, gate: bool) {
        let rises = gate && !self.gate;
        self.gate = gate;
        match self.mode {
            1 | 2 | 3 | 5 if rises && self.count != 0 => self.loads = true,
            2 | 3 if !gate => (self.out, self.loads, self.counts) = (true, false, false),
            _ => {}
        }
    }

    fn load(&mut self) {
        (self.loads, self.loaded, self.counts) = (false, true, true);
        self.out = !matches!(self.mode, 0 | 1);
        self.reload();
    }

    fn reload(&mut self) {
        self.active = self.count;
        self.element = if self.mode == 3 { self.count & !1 } else { self.count };
    }

    fn clock(&mut self) {
        // A strobe is one clock long, whatever the gate does.
        let strobes = matches!(self.mode, 4 | 5) && !self.out;
        self.out |= strobes;
        if self.loads {
            return self.load();
        }
        let gated = matches!(self.mode, 0 | 2 | 3 | 4);
        if !self.counts || (gated && !self.gate) {
            return;
        }
        match self.mode {
            2 if self.element == 1 => self.load(),
            3 => self.clock_square(),
            _ => {
                self.element = (self.element - 1).rem_euclid(0x1_0000);
                match self.mode {
                    0 | 1 => self.out |= self.element == 0,
                    2 => self.out = self.element != 1,
                    _ if self.element == 0 && self.loaded => {
                        (self.out, self.loaded) = (false, false)
                    }
                    _ => {}
                }
            }
        }
    }

    /// Each half ends as the element gets to zero; the high half of an odd count a clock later.
    fn clock_square(&mut self) {
        let last = if self.out && self.active % 2 != 0 { 0 } else { 2 };
        if self.element == last {
            self.out = !self.out;
            self.reload();
        } else {
            self.element -= 2;
        }
    }
}

/// An event between two clocks.
#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    Gate(bool),
    Count(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => Just(Event::Nothing),
        3 => any::<bool>().prop_map(Event::Gate),
        1 => (2u16..12).prop_map(Event::Count),
    ]
}

proptest! {
    #[test]
    fn every_mode_counts_as_in_the_data_sheet(
        mode in 0u8..6, first in 2u16..12, events in proptest::collection::vec(event(), 1..120)
    ) {
        let mut pit = Pit::new(0);
        let mut stepped = Stepped::new(mode);
        pit.write(CONTROL, 0xB0 | mode << 1, at(0));
        let start = [Event::Gate(true), Event::Nothing, Event::Count(first), Event::Nothing];
        for (tick, event) in (0..).zip(start.iter().chain(&events)) {
            match *event {
                Event::Nothing => {}
                Event::Gate(gate) => {
                    pit.write(SPEAKER, u8::from(gate), at(tick));
                    stepped.set_gate(gate);
                }
                Event::Count(count) => {
                    for byte in count.to_le_bytes() {
                        pit.write(COUNTER_2, byte, at(tick));
                    }
                    stepped.write(count);
                }
            }
            stepped.clock();
            prop_assert_eq!(pit.output(2, at(tick + 1)), stepped.out, "OUT at {}", tick + 1);
            if stepped.loaded && !stepped.loads {
                let count = i64::from(read_count(&mut pit, 2, tick + 1));
                prop_assert_eq!(count, stepped.element % 0x1_0000, "count at {}", tick + 1);
            }
        }
    }
}
