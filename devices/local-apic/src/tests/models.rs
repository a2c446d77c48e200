//! Comparison of the APIC with naive models.

use super::*;
use crate::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Priorities by sets of vectors.
#[derive(Debug, Default)]
struct Priorities {
    tpr: u8,
    requested: BTreeSet<u8>,
    in_service: BTreeSet<u8>,
    level: BTreeSet<u8>,
}

impl Priorities {
    fn class_in_service(&self) -> u8 {
        self.in_service.last().map_or(0, |vector| vector >> 4)
    }

    /// The highest request, if its class is above this one.
    fn above(&self, class: u8) -> Option<u8> {
        self.requested.last().copied().filter(|vector| vector >> 4 > class)
    }

    fn ppr(&self) -> u8 {
        let class = self.class_in_service();
        if self.tpr >> 4 >= class { self.tpr } else { class << 4 }
    }

    fn pending(&self) -> Option<u8> {
        self.above(self.class_in_service().max(self.tpr >> 4))
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Accept(u8, bool),
    Take,
    End,
    Priority(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (16u8..=255, any::<bool>()).prop_map(|(vector, level)| Step::Accept(vector, level)),
        4 => Just(Step::Take),
        3 => Just(Step::End),
        1 => any::<u8>().prop_map(Step::Priority),
    ]
}

/// A timer that is clocked each nanosecond.
#[derive(Debug)]
struct Clocked {
    initial: u32,
    count: u32,
    divisor: u32,
    /// Clocks since the count changed last.
    phase: u32,
    periodic: bool,
    masked: bool,
}

impl Clocked {
    /// True if an interrupt is due.
    fn clock(&mut self) -> bool {
        if self.count == 0 {
            return false;
        }
        self.phase += 1;
        if self.phase < self.divisor {
            return false;
        }
        (self.phase, self.count) = (0, self.count - 1);
        let expires = self.count == 0;
        if expires && self.periodic {
            self.count = self.initial;
        }
        expires && !self.masked
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    Initial(u32),
    /// A code of the divide configuration, and its divisor.
    Divide(u32, u32),
    Entry(bool, bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => Just(Event::Nothing),
        2 => (0u32..7).prop_map(Event::Initial),
        1 => prop::sample::select(&[(0xB, 1), (0x0, 2), (0x1, 4)])
            .prop_map(|(code, divisor)| Event::Divide(code, divisor)),
        1 => any::<(bool, bool)>().prop_map(|(periodic, masked)| Event::Entry(periodic, masked)),
    ]
}

proptest! {
    #[test]
    fn priorities_agree_with_sets_of_vectors(steps in prop::collection::vec(step(), 0..150)) {
        let (mut apic, mut naive) = (xapic(), Priorities::default());
        for step in steps {
            match step {
                Step::Accept(vector, level) => {
                    prop_assert!(apic.accept(vector, level));
                    naive.requested.insert(vector);
                    if level { naive.level.insert(vector) } else { naive.level.remove(&vector) };
                }
                Step::Take => {
                    let vector = naive.pending();
                    prop_assert_eq!(take(&mut apic), vector);
                    if let Some(vector) = vector {
                        naive.requested.remove(&vector);
                        naive.in_service.insert(vector);
                    }
                }
                Step::End => {
                    let ended = naive.in_service.pop_last();
                    let effect = ended
                        .filter(|vector| naive.level.contains(vector))
                        .map(|vector| Effect::EndOfInterrupt { vector });
                    prop_assert_eq!(write(&mut apic, EOI, 0), effect);
                }
                Step::Priority(tpr) => {
                    naive.tpr = tpr;
                    prop_assert_eq!(write(&mut apic, TPR, u32::from(tpr)), None);
                }
            }
            prop_assert_eq!(read(&mut apic, PPR), u32::from(naive.ppr()));
            prop_assert_eq!(apic.pending(), naive.pending());
            let any_priority = naive.above(naive.class_in_service());
            prop_assert_eq!(apic.pending_at_any_task_priority(), any_priority);
        }
    }

    #[test]
    fn the_timer_agrees_with_one_that_is_clocked(
        events in prop::collection::vec(event(), 1..300)
    ) {
        let mut apic = LocalApic::new(0, true, 40, 0);
        let _ = write(&mut apic, SVR, 0x1FF);
        let _ = write(&mut apic, LVT_TIMER, 0x40);
        let mut naive =
            Clocked { initial: 0, count: 0, divisor: 2, phase: 0, periodic: false, masked: false };
        for (nanos, event) in (1..).zip(events) {
            let now = at(nanos);
            let fires = naive.clock();
            apic.advance_timer(now, TSC0);
            prop_assert_eq!(take(&mut apic).is_some(), fires, "at {}", nanos);
            let _ = apic.end_of_interrupt();
            match event {
                Event::Nothing => {}
                Event::Initial(initial) => {
                    let _ = apic.write_xapic(INITIAL, initial, now, TSC0);
                    (naive.initial, naive.count, naive.phase) = (initial, initial, 0);
                }
                Event::Divide(code, divisor) => {
                    let _ = apic.write_xapic(DIVIDE, code, now, TSC0);
                    (naive.divisor, naive.phase) = (divisor, 0);
                }
                Event::Entry(periodic, masked) => {
                    let bits = u32::from(masked) << 16 | u32::from(periodic) << 17;
                    let _ = apic.write_xapic(LVT_TIMER, 0x40 | bits, now, TSC0);
                    (naive.periodic, naive.masked) = (periodic, masked);
                }
            }
            prop_assert_eq!(apic.read_xapic(CURRENT, now, TSC0), naive.count, "at {}", nanos);
        }
    }
}
