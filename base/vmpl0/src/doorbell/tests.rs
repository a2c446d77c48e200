extern crate std;

use std::vec::Vec;

use super::*;

const TIMER: u8 = 0x40;
const KICK: u8 = 0x41;
const NMI: u16 = 1 << 8;
const MACHINE_CHECK: u16 = 1 << 9;
const NO_FURTHER_SIGNAL: u16 = 1 << 15;

fn is_asked_for(vector: u8) -> bool {
    matches!(vector, TIMER | KICK)
}

#[derive(Default)]
struct Page {
    pending: AtomicU16,
    no_eoi_required: AtomicU8,
}

impl Page {
    fn doorbell(&self) -> Doorbell<'_> {
        Doorbell { pending: &self.pending, no_eoi_required: &self.no_eoi_required }
    }

    /// What becomes of `word`, while the host writes nothing more.
    fn take(&self, word: u16) -> (Vec<Event>, u32) {
        self.pending.store(word, Ordering::Relaxed);
        let mut events = Vec::new();
        let looked = self.doorbell().take(is_asked_for, |event| events.push(event));
        assert_eq!(looked.taken as usize, events.len());
        assert!(!self.doorbell().has_events(), "{word:#x} stays");
        (events, looked.dropped)
    }
}

#[test]
fn only_vectors_that_were_asked_for_arrive() {
    let page = Page::default();
    for vector in 0..=u8::MAX {
        let expected = match vector {
            0 => (Vec::new(), 0),
            TIMER | KICK => (Vec::from([Event::Interrupt(vector)]), 0),
            _ => (Vec::new(), 1),
        };
        assert_eq!(page.take(vector.into()), expected, "{vector:#x}");
    }
}

#[test]
fn an_nmi_arrives_whatever_stands_beside_it() {
    let page = Page::default();
    assert_eq!(page.take(NMI), (Vec::from([Event::Nmi]), 0));
    let both = Vec::from([Event::Nmi, Event::Interrupt(TIMER)]);
    assert_eq!(page.take(NMI | u16::from(TIMER)), (both, 0));
    for vector in [2, 14, 29, 0x80, 0xff] {
        assert_eq!(page.take(NMI | vector), (Vec::from([Event::Nmi]), 1), "{vector:#x}");
    }
}

#[test]
fn flags_without_a_meaning_are_dropped_and_those_of_the_protocol_are_not_counted() {
    let page = Page::default();
    assert_eq!(page.take(NO_FURTHER_SIGNAL), (Vec::new(), 0));
    let timer = Vec::from([Event::Interrupt(TIMER)]);
    assert_eq!(page.take(NO_FURTHER_SIGNAL | u16::from(TIMER)), (timer.clone(), 0));
    assert_eq!(page.take(MACHINE_CHECK), (Vec::new(), 1));
    for bit in 10..15 {
        assert_eq!(page.take(1 << bit), (Vec::new(), 1), "bit {bit}");
        assert_eq!(page.take(1 << bit | u16::from(TIMER)), (timer.clone(), 1), "bit {bit}");
    }
}

#[test]
fn what_was_taken_is_not_taken_again() {
    let page = Page::default();
    assert_eq!(page.take(NMI | u16::from(KICK)).0.len(), 2);
    let again = page.doorbell().take(is_asked_for, |event| panic!("{event:?} again"));
    assert_eq!(again, Looked::default());
}

/// The end of an interrupt lets an honest host write the next one: it is taken at the same look.
#[test]
fn an_event_that_follows_the_end_of_another_is_taken_with_it() {
    let page = Page::default();
    page.pending.store(KICK.into(), Ordering::Relaxed);
    let mut events = Vec::new();
    let looked = page.doorbell().take(is_asked_for, |event| {
        events.push(event);
        if event == Event::Interrupt(KICK) {
            page.pending.store(TIMER.into(), Ordering::Relaxed);
        }
    });
    assert_eq!(events, [Event::Interrupt(KICK), Event::Interrupt(TIMER)]);
    assert_eq!(looked, Looked { taken: 2, dropped: 0 });
}

#[test]
fn a_host_that_writes_for_ever_is_left_after_some_events() {
    for word in [u16::from(TIMER), NMI, 0x80, MACHINE_CHECK, NO_FURTHER_SIGNAL] {
        let page = Page::default();
        page.pending.store(word, Ordering::Relaxed);
        let mut turns = 0;
        let storm = |vector: u8| {
            page.pending.store(word, Ordering::Relaxed);
            is_asked_for(vector)
        };
        let looked = page.doorbell().take(storm, |_| turns += 1);
        assert!(looked.taken + looked.dropped <= MOST_AT_ONCE, "{word:#x}: {looked:?}");
        assert_eq!(looked.taken, turns);
        assert!(page.doorbell().has_events(), "the rest waits");
    }
}

#[test]
fn the_word_of_a_missing_end_counts_once() {
    let page = Page::default();
    assert!(!page.doorbell().take_no_eoi_required());
    page.no_eoi_required.store(1, Ordering::Relaxed);
    assert!(page.doorbell().take_no_eoi_required());
    assert!(!page.doorbell().take_no_eoi_required());
    page.no_eoi_required.store(!1, Ordering::Relaxed);
    assert!(!page.doorbell().take_no_eoi_required(), "other bits mean nothing");
    page.no_eoi_required.store(u8::MAX, Ordering::Relaxed);
    assert!(page.doorbell().take_no_eoi_required());
    assert_eq!(page.no_eoi_required.load(Ordering::Relaxed), 0);
}
