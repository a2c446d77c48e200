//! A virtual processor on the CPU that it is bound to.

use device_model::{HostTsc, TscOffset};
use guest_memory::{GpaRange, GuestMemory, RamMap};
use x86::{SystemRegisters, VpState};

use crate::{Confidential, Exit, Host, Service};

/// An event to deliver to the guest at the next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interrupt that the guest can take now; its controller has been acknowledged.
    Interrupt(u8),
    /// A non-maskable interrupt. NMIs stay masked until the guest's IRET.
    Nmi,
    /// An exception.
    Exception {
        /// Its vector.
        vector: u8,
        /// The error code, for the vectors that push one.
        error_code: Option<u32>,
    },
}

/// What a platform's VPs can do. The machine has a fallback for everything that one can not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// [`GuestVp::request_interrupt_window`] makes the guest exit as soon as it can take an
    /// interrupt. Without it the machine offers the 8259 pair's interrupts like others, acknowledges
    /// them when they were taken, and kicks for every vector.
    pub interrupt_window: bool,
    /// [`GuestVp::set_tsc_offset`] changes what the guest reads as its TSC. Without it the guest's
    /// TSC is the host's: it can not be written, and goes on over a reset.
    pub tsc_offset: bool,
    /// The CPU holds an offered interrupt back as long as its class is not above the guest's CR8,
    /// and delivers it when the guest lowers CR8. Without it the machine offers only what CR8
    /// allows, and asks for exits at writes of CR8.
    pub task_priority: bool,
    /// An interrupt shadow outlives an exit for a host interrupt and the entry behind it. Without
    /// it the machine executes the HLT of a guest that was interrupted between STI and HLT.
    pub interrupt_shadow: bool,
}

/// One virtual processor. All calls come from the CPU that it is bound to.
pub trait GuestVp {
    /// What stores its registers.
    type Registers: SystemRegisters;

    /// Runs the guest until it exits. Host interrupts are taken before this returns.
    fn run(&mut self) -> Exit;

    /// Replaces the whole state, FPU and MSRs included, as INIT does, then sets `state`.
    /// `power_on` also resets what INIT leaves alone: the FPU, MSRs and the TSC.
    fn reset(&mut self, state: &VpState, power_on: bool);

    /// The registers, while the VP is not in guest.
    fn registers(&self) -> &Self::Registers;
    /// The registers, to be changed.
    fn registers_mut(&mut self) -> &mut Self::Registers;
    /// SPEC_CTRL, which holds while the guest runs (AMD64 APM vol. 2, section 3.2.9).
    fn speculation_control(&self) -> u64;
    /// Sets SPEC_CTRL; the caller has checked it.
    fn set_speculation_control(&mut self, control: u64);
    /// PRED_CMD.IBPB: branches of before predict none after. The caller knows that the CPU has it.
    fn forget_branches(&mut self);
    /// The guest's TSC minus the host's.
    fn tsc_offset(&self) -> TscOffset;
    /// Sets the guest's TSC minus the host's, if the VP has [`Capabilities::tsc_offset`].
    fn set_tsc_offset(&mut self, offset: TscOffset);

    /// The length of the exiting instruction, where the CPU tells it.
    fn instruction_length(&self) -> Option<u8>;
    /// Whether an instruction like STI or MOV SS has just shut interrupts out for one instruction.
    fn interrupt_shadow(&self) -> bool;
    /// Whether the guest could take an interrupt right now.
    fn can_take_interrupt(&self) -> bool;
    /// Whether the guest could take an NMI right now.
    fn can_take_nmi(&self) -> bool;
    /// Whether the guest serves an NMI, so that the next one waits for its IRET.
    fn nmi_is_masked(&self) -> bool;
    /// Whether an event already waits for the next entry.
    fn has_event(&self) -> bool;
    /// Delivers `event` at the next entry, with the combination rules for an exception during
    /// delivery (AMD64 APM vol. 2, section 8.2.9). A triple fault becomes [`Exit::Shutdown`].
    fn inject(&mut self, event: Event);
    /// Lets the CPU take interrupt `vector` as soon as the guest can; `None` takes the offer back.
    /// A CPU that can not hold an offer injects at once or exits with [`Exit::InterruptWindow`],
    /// and the offer is to be made again.
    fn offer_interrupt(&mut self, vector: Option<u8>);
    /// As [`GuestVp::offer_interrupt`], for an interrupt of the 8259 pair, which CR8 does not hold
    /// back. Called where there is no [`Capabilities::interrupt_window`].
    fn offer_external_interrupt(&mut self, vector: u8) {
        self.offer_interrupt(Some(vector));
    }
    /// Asks for [`Exit::TaskPriority`] at each write of CR8, or no longer. A CPU may exit so, too,
    /// while an interrupt is on offer or a window is asked for.
    fn watch_task_priority(&mut self, on: bool);
    /// The offered vector, if the guest has taken it since the last call.
    fn taken_interrupt(&mut self) -> Option<u8>;
    /// Asks for [`Exit::InterruptWindow`] as soon as the guest can take an interrupt, if the VP has
    /// [`Capabilities::interrupt_window`].
    fn request_interrupt_window(&mut self);
    /// Names of the exit reasons that are counted, in the order of [`GuestVp::exit_counts`].
    fn exit_names() -> &'static [&'static str];
    /// How often the VP has exited, by reason.
    fn exit_counts(&self) -> &[u64];
}

/// When the paravisor came to life, in ticks of the host's TSC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The TSC at its first instructions.
    pub tsc: HostTsc,
    /// Ticks spent since in waits that end by a clock.
    pub waited: u64,
}

/// What holds the guest below us.
pub trait Platform: Sync + 'static {
    /// The outside.
    type Host: Host;
    /// A virtual processor.
    type Vp: GuestVp;
    /// The guest's memory.
    type Memory: GuestMemory + Sync;
    /// The context for long work.
    type Service: Service + Sync;
    /// What the platform adds if it is confidential; else [`crate::NotConfidential`].
    type Confidential: Confidential;

    /// The outside.
    fn host(&self) -> &Self::Host;
    /// The context for long work.
    fn service(&self) -> &Self::Service;
    /// What the platform adds, if it is confidential.
    fn confidential(&self) -> Option<&Self::Confidential>;
    /// What the VPs can do.
    fn capabilities(&self) -> Capabilities;
    /// CPUs of the VM that carry a VP each.
    fn cpus(&self) -> u32;
    /// The guest's memory, by copying.
    fn memory(&self) -> &Self::Memory;
    /// The guest's RAM.
    fn ram(&self) -> &RamMap;
    /// Our own range, which the guest can not reach.
    fn own_range(&self) -> GpaRange;
    /// Guest-physical address bits.
    fn physical_bits(&self) -> u8;
    /// When the paravisor came to life.
    fn arrival(&self) -> Arrival;
}
