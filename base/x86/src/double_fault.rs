//! The outcome of an exception that arises while another event is being delivered.

use crate::vector;

/// The outcome of an exception that arises while another event is being delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combined {
    /// Deliver the exception. The first event, if it was an interrupt or NMI, has to be delivered
    /// after it.
    Second,
    /// Deliver a double fault in place of both.
    DoubleFault,
    /// The CPU shuts down.
    Shutdown,
}

/// The class of an exception (AMD64 APM vol. 2, table 8-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

impl Class {
    const fn of(vector: u8) -> Self {
        match vector {
            vector::DE | vector::TS..=vector::GP => Self::Contributory,
            vector::PF => Self::PageFault,
            vector::DF => Self::DoubleFault,
            _ => Self::Benign,
        }
    }
}

/// Combines the exception with vector `second` with the event whose delivery it has cut short:
/// the exception with vector `first`, or an interrupt or NMI if that is none.
pub fn combine(first: Option<u8>, second: u8) -> Combined {
    match (first.map_or(Class::Benign, Class::of), Class::of(second)) {
        (Class::DoubleFault, Class::Contributory | Class::PageFault) => Combined::Shutdown,
        (Class::Contributory, Class::Contributory)
        | (Class::PageFault, Class::Contributory | Class::PageFault) => Combined::DoubleFault,
        _ => Combined::Second,
    }
}
