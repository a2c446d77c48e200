//! How often a VP may be kicked out of the guest.
//!
//! A kick costs its target an exit, whatever the target does with what was posted; so a VP that
//! sends interrupts without end would take another's time. Who kicks faster than the target can
//! bear waits instead, and loses its own. A VP that sleeps loses nothing, and is kicked at once.
//! Vectors do not kick a VP at all that shuts interrupts out for longer: it exits when it opens.

use platform_api::{GuestVp, Platform};
use x86::{Registers, rflags};

use crate::mailbox::Away;
use crate::vp::VirtualProcessor;

/// A kick may come each so many times the length of an exit with its entry. Where a kick costs most,
/// on an emulated CPU that throws its translations away, that leaves the target 84 to 87 % of its
/// progress.
pub(crate) const SPACING: u64 = 40;
/// Kicks that a guest with interrupts off bears in a row before vectors no longer kick it.
const FRUITLESS_KICKS: u8 = 2;

impl<P: Platform> VirtualProcessor<P> {
    /// After a kick: closes a guest that was kicked more than once while it shuts interrupts out.
    ///
    /// Nothing that is posted to it can be taken before it opens, and each kick would cost it an
    /// exit; asking for one exit when it opens costs less.
    pub(crate) fn note_kick(&mut self) {
        let can_close = self.machine.platform.capabilities().interrupt_window;
        let is_open = self.cpu.registers().rflags() & rflags::IF != 0;
        if is_open || !can_close || !self.mailbox().is_pending() {
            self.fruitless_kicks = 0;
        } else if self.fruitless_kicks < FRUITLESS_KICKS {
            self.fruitless_kicks += 1;
        } else {
            self.departure = Away::UndisturbedGuest;
        }
    }

    /// Vectors kick again.
    pub(crate) fn open(&mut self) {
        self.fruitless_kicks = 0;
        if self.departure == Away::UndisturbedGuest {
            self.departure = Away::Guest;
            self.mailbox().open();
        }
    }
}
