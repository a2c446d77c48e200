//! What the emulated host stands on.

use drydock_rmp::{GuestPage, HostError, Size, SystemPage};
use platform_api::{Console, Cpus, Event, Files, Time};
use snp::status::Status;

/// A page's state, as the host sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// The guest's own. Its content is not kept.
    Private,
    /// The host's, too. Its content is not kept.
    Shared,
}

/// The machine that emulates, as the host's part of it sees it.
pub trait Outside: Sync {
    /// The emulating machine's own host.
    type Host: Time + Cpus + Console + Files;

    /// The emulating machine's own host.
    fn host(&self) -> &Self::Host;
    /// Reads memory that the guest shares. False if some of it is not shared.
    fn read_shared(&self, gpa: u64, to: &mut [u8]) -> bool;
    /// Writes memory that the guest shares. False if some of it is not shared.
    fn write_shared(&self, gpa: u64, from: &[u8]) -> bool;
    /// Changes the state of a page of the guest's RAM. When this returns, no CPU reaches what was
    /// taken away.
    ///
    /// # Errors
    /// [`HostError`].
    fn change_page(&self, page: GuestPage, size: Size, to: PageState) -> Result<(), HostError>;
    /// The system page behind a private page of the guest, which is to be run as a save area.
    fn save_area(&self, page: GuestPage) -> Option<SystemPage>;
    /// Has the firmware answer the message in the shared page `request` into the shared page
    /// `response`. None if one of them is not shared.
    fn guest_request(&self, request: u64, response: u64) -> Option<Status>;
    /// Splits the entry of a page of 2 MiB.
    ///
    /// # Errors
    /// [`HostError`].
    fn split_page(&self, page: GuestPage) -> Result<(), HostError>;
}

/// A level of a VP, as its host sees it: what the control block tells and takes.
pub trait Vcpu {
    /// The GHCB MSR.
    fn ghcb_msr(&self) -> u64;
    /// Replaces the GHCB MSR.
    fn set_ghcb_msr(&mut self, value: u64);
    /// Whether the guest has interrupts enabled.
    fn interrupts_enabled(&self) -> bool;
    /// Whether the guest could take an interrupt right now.
    fn can_take_interrupt(&self) -> bool;
    /// Has the guest take `vector` as soon as it can, or no interrupt.
    fn offer_interrupt(&mut self, vector: Option<u8>);
    /// The offered vector, if the guest has taken it.
    fn taken_interrupt(&mut self) -> Option<u8>;
    /// Has the guest exit as soon as it can take an interrupt.
    fn request_window(&mut self);
    /// Delivers an event at the next entry.
    fn inject(&mut self, event: Event);
    /// Whether the guest could take an NMI right now.
    fn can_take_nmi(&self) -> bool;
    /// Whether an event already waits for the next entry.
    fn has_event(&self) -> bool;
    /// The task priority class.
    fn task_priority(&self) -> u8;
}
