//! A VP whose guest is a script.

use core::ops::{Deref, DerefMut};
use std::boxed::Box;
use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

use device_model::TscOffset;
use platform_api::{Event, Exit, GuestVp};
use x86::{Register, Registers, Segment, SegmentRegister, SystemRegisters, VpState};

use super::CONFIDENTIAL;
use crate::mailbox::Mailbox;

/// A page that holds a VP's registers while it is not in guest, as a save area does.
#[derive(Debug, Default)]
pub(crate) struct RegisterPage {
    pub(crate) gpr: [u64; 16],
    pub(crate) rip: u64,
    pub(crate) rflags: u64,
    pub(crate) state: VpState,
    pub(crate) cr8: u8,
    pub(crate) cpl: u8,
    pub(crate) shadow: bool,
}

impl Deref for FakeVp {
    type Target = RegisterPage;

    fn deref(&self) -> &RegisterPage {
        assert!(!self.in_guest, "the registers are the CPU's while the VP is in guest");
        &self.page
    }
}

impl DerefMut for FakeVp {
    fn deref_mut(&mut self) -> &mut RegisterPage {
        assert!(!self.in_guest, "the registers are the CPU's while the VP is in guest");
        &mut self.page
    }
}

/// A VP whose exits a test chooses.
#[derive(Debug, Default)]
pub(crate) struct FakeVp {
    page: Box<RegisterPage>,
    /// It is in guest: nobody may look at its registers.
    in_guest: bool,
    pub(crate) tsc_offset: TscOffset,
    pub(crate) length: Option<u8>,
    pub(crate) injected: Vec<Event>,
    pub(crate) offered: Option<u8>,
    pub(crate) taken: Option<u8>,
    pub(crate) windows: u32,
    pub(crate) exits: VecDeque<Exit>,
    /// Vectors that are posted while the guest runs, one each time, with their mailboxes.
    pub(crate) posts: VecDeque<(&'static Mailbox, u8)>,
    /// Whether each of them asked for a kick.
    pub(crate) kicked: Vec<bool>,
    pub(crate) entries: u32,
    pub(crate) busy: bool,
    /// It serves an NMI.
    pub(crate) in_nmi: bool,
    pub(crate) watched: bool,
    pub(crate) speculation_control: u64,
    pub(crate) barriers: u32,
}

impl Registers for RegisterPage {
    fn gpr(&self, register: Register) -> u64 {
        self.gpr[register as usize]
    }
    fn set_gpr(&mut self, register: Register, value: u64) {
        self.gpr[register as usize] = value;
    }
    fn rip(&self) -> u64 {
        self.rip
    }
    fn set_rip(&mut self, rip: u64) {
        (self.rip, self.shadow) = (rip, false);
    }
    fn rflags(&self) -> u64 {
        self.rflags
    }
    fn set_rflags(&mut self, rflags: u64) {
        self.rflags = rflags;
    }
    fn segment(&self, register: SegmentRegister) -> Segment {
        self.state.segments[register as usize]
    }
    fn cr0(&self) -> u64 {
        self.state.control.cr0
    }
    fn cr3(&self) -> u64 {
        self.state.control.cr3
    }
    fn cr4(&self) -> u64 {
        self.state.control.cr4
    }
    fn efer(&self) -> u64 {
        self.state.control.efer
    }
    fn cpl(&self) -> u8 {
        self.cpl
    }
    fn xmm(&self, _: u8) -> u128 {
        0
    }
    fn set_xmm(&mut self, _: u8, _: u128) {}
}

impl SystemRegisters for RegisterPage {
    fn set_efer(&mut self, efer: u64) {
        self.state.control.efer = efer;
    }
    fn debug_registers(&self) -> (u64, u64) {
        (0xffff_0ff0, 0x400)
    }
    fn set_dr6(&mut self, _: u64) {}
    fn set_cr2(&mut self, _: u64) {}
    fn cr8(&self) -> u8 {
        self.cr8
    }
    fn set_cr8(&mut self, class: u8) {
        self.cr8 = class;
    }
    fn pat(&self) -> u64 {
        0
    }
    fn set_pat(&mut self, _: u64) {}
    fn xcr0(&self) -> u64 {
        1
    }
    fn set_xcr0(&mut self, _: u64) {}
}

impl GuestVp for FakeVp {
    type Registers = RegisterPage;

    fn registers(&self) -> &RegisterPage {
        self
    }
    fn registers_mut(&mut self) -> &mut RegisterPage {
        self
    }
    fn run(&mut self) -> Exit {
        self.entries += 1;
        self.in_guest = true;
        if let Some((mailbox, vector)) = self.posts.pop_front() {
            self.kicked.push(mailbox.post_vector(vector, false));
        }
        self.in_guest = false;
        self.exits.pop_front().unwrap_or(Exit::HostInterrupt)
    }
    fn reset(&mut self, state: &VpState, _: bool) {
        (self.gpr, self.rip, self.rflags) = (state.gpr, state.rip, state.rflags);
        (self.state, self.injected, self.offered) = (*state, vec![], None);
    }
    fn tsc_offset(&self) -> TscOffset {
        self.tsc_offset
    }
    fn speculation_control(&self) -> u64 {
        self.speculation_control
    }
    fn set_speculation_control(&mut self, control: u64) {
        self.speculation_control = control;
    }
    fn forget_branches(&mut self) {
        self.barriers += 1;
    }
    fn set_tsc_offset(&mut self, offset: TscOffset) {
        if CONFIDENTIAL {
            panic!("there is no TSC offset");
        }
        self.tsc_offset = offset;
    }
    fn instruction_length(&self) -> Option<u8> {
        self.length
    }
    fn interrupt_shadow(&self) -> bool {
        self.shadow
    }
    fn can_take_interrupt(&self) -> bool {
        self.rflags & 0x200 != 0 && !self.shadow
    }
    fn can_take_nmi(&self) -> bool {
        !self.busy && !self.shadow && !self.in_nmi
    }
    fn nmi_is_masked(&self) -> bool {
        self.in_nmi
    }
    fn has_event(&self) -> bool {
        self.busy
    }
    fn inject(&mut self, event: Event) {
        self.in_nmi |= event == Event::Nmi;
        self.injected.push(event);
    }
    fn offer_interrupt(&mut self, vector: Option<u8>) {
        self.offered = vector;
    }
    fn watch_task_priority(&mut self, on: bool) {
        self.watched = on;
    }
    fn taken_interrupt(&mut self) -> Option<u8> {
        self.taken.take()
    }
    fn request_interrupt_window(&mut self) {
        if CONFIDENTIAL {
            panic!("there are no windows");
        }
        self.windows += 1;
    }
    fn exit_names() -> &'static [&'static str] {
        &["all"]
    }
    fn exit_counts(&self) -> &[u64] {
        &[]
    }
}
