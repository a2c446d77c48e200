//! How interrupts reach the guest: by V_IRQ as it is entered, or after a window.
//!
//! V_IRQ is never left to wait while the guest runs without an exit when that ends: either the
//! guest can take the interrupt, and does before its next instruction, or V_IRQ is intercepted.

use platform_api::Event;

use crate::events;
use crate::intercepts;
use crate::vcpu::Vcpu;
use crate::vmcb::{control, virtual_interrupt};

/// The vector of a virtual interrupt that is never to be delivered. A stray one must belong to no
/// device, so it is the vector of an APIC's spurious interrupts.
pub const UNUSED_VECTOR: u8 = 0xff;

/// The purpose of a pending V_IRQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// None: V_IRQ is clear.
    Nothing,
    /// The guest takes this interrupt as it is entered.
    Offer(u8),
    /// The guest takes this interrupt as it is entered; it was acknowledged before.
    Injected(u8),
    /// The guest is to exit as soon as it can take an interrupt.
    Window,
}

impl Vcpu {
    /// Has the guest take interrupt `vector` as it is entered, if it can; else asks for a window.
    #[inline]
    pub fn offer(&mut self, vector: Option<u8>) {
        // At most exits there is nothing to do.
        if vector.is_some() || self.waiting != Waiting::Nothing {
            self.change_offer(vector);
        }
    }

    #[inline(never)]
    fn change_offer(&mut self, vector: Option<u8>) {
        match (vector, self.waiting) {
            // The injected interrupt goes first; its handler's EOI exits.
            (None, Waiting::Nothing) | (_, Waiting::Injected(_)) => {}
            (None, Waiting::Offer(_) | Waiting::Window) => self.withdraw(),
            (Some(_), _) if !self.can_take_interrupt() => self.request_window(),
            (Some(new), Waiting::Offer(old)) if new == old => {}
            (Some(new), Waiting::Nothing | Waiting::Offer(_) | Waiting::Window) => {
                self.withdraw();
                self.waiting = Waiting::Offer(new);
                self.intercept(intercepts::VIRTUAL_INTERRUPT, false);
                self.set_virtual_interrupt(new, virtual_interrupt::READY);
            }
        }
    }

    /// The offered vector, if the guest has taken it.
    #[inline]
    pub fn taken(&mut self) -> Option<u8> {
        if self.waiting == Waiting::Nothing { None } else { self.look_whether_taken() }
    }

    #[inline(never)]
    fn look_whether_taken(&mut self) -> Option<u8> {
        let offered = match self.waiting {
            Waiting::Nothing | Waiting::Window => return None,
            Waiting::Offer(vector) => Some(vector),
            Waiting::Injected(_) => None,
        };
        if self.virtual_interrupt_waits() {
            return None;
        }
        self.withdraw();
        offered
    }

    /// Asks for an exit as soon as the guest can take an interrupt.
    pub fn request_window(&mut self) {
        if !matches!(self.waiting, Waiting::Window | Waiting::Injected(_)) {
            self.withdraw();
            self.waiting = Waiting::Window;
            self.intercept_task_priority();
            self.set_virtual_interrupt(UNUSED_VECTOR, virtual_interrupt::READY);
        }
    }

    /// No interrupt is pending any more: a stray V_IRQ would be intercepted, and its vector is
    /// unused.
    pub fn withdraw(&mut self) {
        self.waiting = Waiting::Nothing;
        self.intercept(intercepts::VIRTUAL_INTERRUPT, true);
        self.intercept_task_priority();
        self.set_virtual_interrupt(UNUSED_VECTOR, 0);
    }

    /// Sets V_IRQ's vector, and whether it is [`virtual_interrupt::READY`].
    fn set_virtual_interrupt(&mut self, vector: u8, ready: u32) {
        self.vmcb.write_u32(control::VIRTUAL_VECTOR, vector.into());
        let kept = self.vmcb.read_u32(control::VIRTUAL_INTERRUPT) & !virtual_interrupt::READY;
        self.vmcb.write_u32(control::VIRTUAL_INTERRUPT, kept | ready);
    }

    /// Has writes of CR8 exit, if the machine wants to see them, or if a virtual interrupt waits
    /// and the CPU is QEMU's, which would abort (7.2 does).
    fn intercept_task_priority(&mut self) {
        let must = self.waiting == Waiting::Window && self.features.is_software;
        let on = self.watches_task_priority || must;
        self.intercept_control_write(8, on);
    }

    /// Has writes of control register `number` exit, or no longer.
    pub(crate) fn intercept_control_write(&mut self, number: u8, on: bool) {
        let others = self.vmcb.read_u16(control::INTERCEPT_CR_WRITES) & !(1 << number);
        self.vmcb.write_u16(control::INTERCEPT_CR_WRITES, others | u16::from(on) << number);
    }

    /// Has writes of CR8 exit, or no longer. They also exit while a window is asked for, on QEMU's
    /// software CPU.
    pub fn watch_task_priority(&mut self, on: bool) {
        self.watches_task_priority = on;
        self.intercept_task_priority();
    }

    /// The event injection that repeats a delivery cut short.
    #[cold]
    pub(crate) fn put_back(&self, info: u64) -> u64 {
        let Some(event) = events::decode(info) else { return 0 };
        let by_virtual_interrupt = match self.waiting {
            Waiting::Offer(vector) | Waiting::Injected(vector) => event == Event::Interrupt(vector),
            Waiting::Nothing | Waiting::Window => false,
        };
        // QEMU's software CPU leaves V_IRQ set until delivery has completed: it comes again.
        if by_virtual_interrupt && self.virtual_interrupt_waits() {
            return 0;
        }
        events::encode(&event)
    }

    /// Has `event` delivered as the guest is entered.
    #[cold]
    pub(crate) fn inject_now(&mut self, event: &Event) {
        if let (Event::Interrupt(vector), true) = (event, self.features.is_software) {
            // QEMU's software CPU delivers an injected interrupt twice, if something asks that CPU
            // to stop for a moment right then.
            self.withdraw();
            self.waiting = Waiting::Injected(*vector);
            self.intercept(intercepts::VIRTUAL_INTERRUPT, false);
            self.set_virtual_interrupt(*vector, virtual_interrupt::READY);
            return;
        }
        self.vmcb.write_u64(control::EVENT_INJECTION, events::encode(event));
    }

    fn virtual_interrupt_waits(&self) -> bool {
        self.vmcb.read_u32(control::VIRTUAL_INTERRUPT) & virtual_interrupt::PENDING != 0
    }
}
