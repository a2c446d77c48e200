//! Events on their way to the guest, in the formats of the control block.

use platform_api::Event;
use x86::Combined;

use crate::vmcb::event;

/// The outcome of the exception `second`, which has cut the delivery of `first` short.
pub fn combine(first: &Event, second: &Event) -> Combined {
    let vector = |event: &Event| match event {
        Event::Exception { vector, .. } => Some(*vector),
        Event::Interrupt(_) | Event::Nmi => None,
    };
    vector(second).map_or(Combined::Second, |second| x86::combine(vector(first), second))
}

/// The format of EVENTINJ (section 15.20).
pub fn encode(event: &Event) -> u64 {
    let (kind, vector, error_code) = match event {
        Event::Interrupt(vector) => (event::INTERRUPT, *vector, None),
        Event::Nmi => (event::NMI, 2, None),
        Event::Exception { vector, error_code } => (event::EXCEPTION, *vector, *error_code),
    };
    let error = error_code.map_or(0, |code| event::HAS_ERROR_CODE | u64::from(code) << 32);
    event::VALID | kind << event::TYPE_SHIFT | u64::from(vector) | error
}

/// The event that an exit cut short, from EXITINTINFO (section 15.7.2).
///
/// A software interrupt, INT3 or INTO is none: its instruction runs again. QEMU's software CPU
/// reports interrupts and NMIs as exceptions: an exception has a vector below 32 other than 2.
pub fn decode(info: u64) -> Option<Event> {
    if info & event::VALID == 0 {
        return None;
    }
    let vector = info as u8;
    match (info & event::TYPE_MASK) >> event::TYPE_SHIFT {
        event::INTERRUPT => Some(Event::Interrupt(vector)),
        event::NMI => Some(Event::Nmi),
        event::EXCEPTION if vector == 2 => Some(Event::Nmi),
        event::EXCEPTION if vector >= 32 => Some(Event::Interrupt(vector)),
        event::EXCEPTION if vector == 3 || vector == 4 => None,
        event::EXCEPTION => {
            let error_code = (info & event::HAS_ERROR_CODE != 0).then_some((info >> 32) as u32);
            Some(Event::Exception { vector, error_code })
        }
        _ => None,
    }
}

/// A double fault.
pub const DOUBLE_FAULT: Event = Event::Exception { vector: 8, error_code: Some(0) };

#[cfg(test)]
mod tests {
    use super::*;

    fn exception(vector: u8) -> Event {
        Event::Exception { vector, error_code: None }
    }

    #[test]
    fn exceptions_combine_as_table_8_3_says() {
        let cases = [
            (13, 13, Combined::DoubleFault),
            (0, 11, Combined::DoubleFault),
            (13, 14, Combined::Second),
            (14, 13, Combined::DoubleFault),
            (14, 14, Combined::DoubleFault),
            (14, 6, Combined::Second),
            (1, 14, Combined::Second),
            (8, 13, Combined::Shutdown),
            (8, 14, Combined::Shutdown),
            (8, 1, Combined::Second),
        ];
        for (first, second, expected) in cases {
            let combined = combine(&exception(first), &exception(second));
            assert_eq!(combined, expected, "{first} then {second}");
        }
        assert_eq!(combine(&Event::Interrupt(14), &exception(14)), Combined::Second);
        assert_eq!(combine(&Event::Nmi, &exception(13)), Combined::Second);
    }

    #[test]
    fn an_injected_event_comes_back() {
        let events = [
            Event::Interrupt(0x30),
            Event::Nmi,
            Event::Exception { vector: 14, error_code: Some(7) },
            Event::Exception { vector: 6, error_code: None },
        ];
        for event in events {
            assert_eq!(decode(encode(&event)), Some(event));
        }
    }

    #[test]
    fn software_interrupts_run_again_and_mislabelled_ones_are_corrected() {
        assert_eq!(decode(event::VALID | 4 << 8 | 0x80), None);
        assert_eq!(decode(event::VALID | 3 << 8 | 3), None);
        assert_eq!(decode(event::VALID | 3 << 8 | 0x41), Some(Event::Interrupt(0x41)));
        assert_eq!(decode(event::VALID | 3 << 8 | 2), Some(Event::Nmi));
        assert_eq!(decode(3 << 8 | 14), None);
    }
}
