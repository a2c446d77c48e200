//! Limits on how often a VP is kicked out of the guest.
//!
//! A kick costs its target an exit, so a VP that sends interrupts without end would take another
//! VP's time. [`SPACING`] sets the price of a kick for which the sender waits
//! ([`Mailbox::wait_to_kick`](chipset::mailbox::Mailbox::wait_to_kick)). A VP that keeps interrupts
//! disabled is no longer kicked for new vectors: it exits when it enables them.

use platform_api::{GuestVp, Platform};
use x86::{Registers, rflags};

use crate::mailbox::Away;
use crate::vp::VirtualProcessor;

/// The time between two kicks of a VP, in lengths of an exit with its entry. Where a kick costs
/// most, on an emulated CPU that throws its translations away, that leaves the target 84 to 87 % of
/// its progress.
pub(crate) const SPACING: u64 = 40;
/// Kicks in a row after which a guest with interrupts disabled is no longer kicked for vectors.
const FRUITLESS_KICKS: u8 = 2;

impl<P: Platform> VirtualProcessor<P> {
    /// After a kick: no longer disturbs a guest that was kicked repeatedly with interrupts
    /// disabled.
    ///
    /// It can take no vector before it enables interrupts, and each kick would cost it an exit; one
    /// exit when it enables them costs less.
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
