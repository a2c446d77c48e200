//! A VP with its loop.

use chipset::{MINIMUM_TIMER_PERIOD, NO_DEADLINE};
use cpu_policy::Mtrrs;
use device_model::{Device, GuestTsc, HostTsc};
use emulator::Limits;
use hyperv::VpRegisters;
use hyperv::kvm_clock::KvmClock;
use local_apic::{Effect, LintPin, LocalApic, LocalDelivery, TimerDeadline};
use platform_api::{Console, Cpus, Event, Exit, GuestVp, Platform, Time};
use x86::{Registers, SystemRegisters, VpState, rflags};

use crate::events::GENERAL_PROTECTION;
use crate::lifecycle::Rendezvous;
use crate::machine::Machine;
use crate::mailbox::{Away, Mail, Mailbox, Order};

/// Iterations of a repeated string instruction that are emulated between two checks for interrupts.
const STRING_ITERATIONS: u32 = 256;
/// The furthest deadline that the host's timer is set for, in seconds: its counter is short.
const FURTHEST_DEADLINE: u64 = 4;

/// The activity of a VP that nothing interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It runs the guest.
    Running,
    /// It has executed HLT.
    Halted,
    /// It waits for SIPI after INIT.
    WaitingForStartup,
}

/// The last translation of a page of code by the guest's tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CodePage {
    pub(crate) linear: u64,
    pub(crate) cr3: u64,
    pub(crate) gpa: u64,
}

impl CodePage {
    /// Matches no page.
    pub(crate) const UNKNOWN: Self = Self { linear: 1, cr3: 0, gpa: 0 };
}

/// A VP. It lives on the CPU that it is bound to, and nowhere else.
#[derive(Debug)]
pub struct VirtualProcessor<P: Platform> {
    pub(crate) machine: &'static Machine<P>,
    pub(crate) index: u32,
    mailbox: &'static Mailbox,
    pub(crate) cpu: P::Vp,
    pub(crate) apic: LocalApic,
    pub(crate) mtrrs: Mtrrs,
    pub(crate) hyperv: VpRegisters,
    pub(crate) kvm_clock: KvmClock,
    pub(crate) activity: Activity,
    pub(crate) limits: Limits,
    pub(crate) code_page: CodePage,
    /// The interrupt to be offered may be another one now.
    offer_due: bool,
    /// NMIs that wait: one to be taken and one behind it, at the most.
    nmis_pending: u8,
    /// An interrupt waits for the guest to lower CR8, which is watched.
    held_back: bool,
    /// The interrupt on offer is the 8259 pair's, which is acknowledged when the guest takes it.
    offers_pic: bool,
    /// Kicks in a row that brought vectors to a guest that has interrupts disabled.
    pub(crate) fruitless_kicks: u8,
    /// The state in which the VP leaves for the guest: undisturbed, if it has asked for a window,
    /// so that vectors need no kick until then.
    pub(crate) departure: Away,
    /// The host TSC that our timer is set for.
    pub(crate) armed: Option<HostTsc>,
    /// The local APIC's timer may have another deadline than `armed` covers.
    pub(crate) timer_changed: bool,
    /// This VP lets the TPM's service run.
    pub(crate) serving: bool,
    /// The TSC from which on it is the service's turn again, though the guest runs.
    pub(crate) next_slice: HostTsc,
}

/// The local APIC of VP `index` after power-on.
pub(crate) fn local_apic(index: u32, physical_bits: u8) -> LocalApic {
    LocalApic::new(index, index == 0, physical_bits, MINIMUM_TIMER_PERIOD)
}

impl<P: Platform> VirtualProcessor<P> {
    /// Makes VP `index` of `machine`, on its CPU.
    pub fn new(machine: &'static Machine<P>, index: u32, cpu: P::Vp) -> Self {
        let bits = machine.platform.physical_bits();
        let apic = local_apic(index, bits);
        let limits = Limits {
            iterations: STRING_ITERATIONS,
            physical_address_bits: bits,
            gigabyte_pages: machine.cpuid.has_gigabyte_pages(),
        };
        const NONE: &str = "a VP has a mailbox: the machine made one for each CPU";
        let mut vp = Self {
            machine,
            index,
            mailbox: machine.chipset.mailboxes().get(index).expect(NONE),
            cpu,
            apic,
            mtrrs: Mtrrs::new(bits),
            hyperv: VpRegisters::default(),
            kvm_clock: KvmClock::default(),
            activity: Activity::WaitingForStartup,
            limits,
            code_page: CodePage::UNKNOWN,
            offer_due: true,
            nmis_pending: 0,
            held_back: false,
            offers_pic: false,
            fruitless_kicks: 0,
            departure: Away::Guest,
            armed: None,
            timer_changed: false,
            serving: false,
            next_slice: HostTsc::default(),
        };
        vp.power_on(&VpState::init(machine.cpu_signature()), Activity::WaitingForStartup);
        vp
    }

    /// The state after a start of the machine.
    pub(crate) fn power_on(&mut self, state: &VpState, activity: Activity) {
        self.cpu.reset(state, true);
        self.use_machine_tsc();
        self.apic.reset(self.machine.now());
        self.mtrrs = Mtrrs::new(self.limits.physical_address_bits);
        self.hyperv = VpRegisters::default();
        self.kvm_clock = KvmClock::default();
        self.activity = activity;
        (self.nmis_pending, self.held_back) = (0, false);
        self.serving = false;
        self.timer_changed = true;
        self.offer_due = true;
        self.code_page = CodePage::UNKNOWN;
        // Posted mail stays: VP 0 may run the guest, or have ended it, before this VP is made.
        self.open();
        self.publish_identity();
    }

    /// The TSC starts at zero with the machine, on all VPs at once, where it has an offset.
    pub(crate) fn use_machine_tsc(&mut self) {
        if self.machine.platform.capabilities().tsc_offset {
            self.cpu.set_tsc_offset(self.machine.tsc_offset());
        }
    }

    /// The guest's TSC on this VP while the host's is `tsc`.
    #[inline]
    pub(crate) fn guest_tsc(&self, tsc: HostTsc) -> GuestTsc {
        self.cpu.tsc_offset().guest(tsc)
    }

    #[inline]
    pub(crate) const fn mailbox(&self) -> &'static Mailbox {
        self.mailbox
    }

    fn publish_identity(&self) {
        self.mailbox().set_identity(self.apic.identity());
    }

    /// Runs the VP for as long as the VM lives. VP 0 loads the guest first.
    pub fn run(mut self) -> ! {
        if self.index == 0 {
            self.start_guest();
        }
        loop {
            self.turn();
        }
    }

    /// One turn: mail, interrupts, timer, then the guest until it exits.
    #[inline]
    pub fn turn(&mut self) {
        if self.mailbox().is_pending() {
            self.read_mail();
        }
        if self.activity != Activity::Running && !self.wakes() {
            self.open();
            return self.idle();
        }
        if self.offer_due {
            self.offer_interrupts();
        }
        self.arm_timer();
        if !self.mailbox().leave(self.departure) {
            return;
        }
        let exit = self.cpu.run();
        self.mailbox().come_back();
        // CPUID is the only exit that can not change the interrupts.
        self.offer_due = exit != Exit::Cpuid;
        self.note_taken_interrupt();
        self.handle(exit);
    }

    #[cold]
    fn read_mail(&mut self) {
        self.offer_due = true;
        let mail = self.mailbox().drain();
        if mail.has(Order::Rendezvous) {
            return self.rendezvous();
        }
        if mail.has(Order::Init) {
            self.init();
        }
        if mail.has(Order::Startup) && self.activity == Activity::WaitingForStartup {
            let signature = self.machine.cpu_signature();
            self.cpu.reset(&VpState::startup(signature, mail.startup_vector()), false);
            self.activity = Activity::Running;
        }
        // INIT drops an NMI that came before it; one that came after it finds the VP waiting.
        let unwakeable = mail.has(Order::Init) || self.activity == Activity::WaitingForStartup;
        if !unwakeable {
            self.accept_nmis(mail.nmis());
        }
        if mail.has(Order::Timer) {
            self.timer_changed = true;
        }
        if mail.has(Order::ExtInt) {
            let level = self.machine.chipset.lines().pic_output();
            let delivery = self.apic.set_lint(LintPin::Lint0, level);
            self.take_local(delivery);
        }
        self.accept_vectors(&mail);
    }

    fn accept_vectors(&mut self, mail: &Mail) {
        for (word, (requests, level)) in (0u8..).zip(mail.requests.iter().zip(mail.level)) {
            let mut left = *requests;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                self.apic.accept(word * 64 + bit as u8, level >> bit & 1 != 0);
            }
        }
    }

    /// Adds `count` pending NMIs. A CPU holds one behind the one that it takes or serves; more are
    /// lost (AMD64 APM vol. 2, section 8.2.3).
    fn accept_nmis(&mut self, count: u8) {
        let room = if self.cpu.nmi_is_masked() { 1 } else { 2 };
        self.nmis_pending = self.nmis_pending.saturating_add(count).min(room);
    }

    fn take_local(&mut self, delivery: Option<LocalDelivery>) {
        match delivery {
            Some(LocalDelivery::Nmi) => self.accept_nmis(1),
            Some(LocalDelivery::Init) => self.init(),
            // The vector is in the IRR already; there is no handler for an SMI.
            Some(LocalDelivery::Smi) | None => {}
        }
    }

    /// INIT: the VP waits for SIPI. VP 0 would start at the reset vector, where there is no
    /// firmware, so its INIT is a reset of the machine.
    fn init(&mut self) {
        if self.index == 0 {
            return self.machine.ask_for_rendezvous(Rendezvous::Reset);
        }
        self.cpu.reset(&VpState::init(self.machine.cpu_signature()), false);
        self.apic.init();
        self.activity = Activity::WaitingForStartup;
        self.open();
        (self.nmis_pending, self.held_back) = (0, false);
        self.timer_changed = true;
        self.publish_identity();
    }

    /// Whether a VP that is not running wakes up.
    fn wakes(&mut self) -> bool {
        if self.activity == Activity::WaitingForStartup {
            return false;
        }
        let open = self.cpu.registers().rflags() & rflags::IF != 0;
        let asked = self.apic.pending().is_some() || self.ext_int_waits();
        // A masked NMI does not wake the VP: it waits for the IRET of the handler in which the VP
        // halted.
        let nmi = self.nmis_pending != 0 && !self.cpu.nmi_is_masked();
        if nmi || self.cpu.has_event() || (open && asked) {
            self.activity = Activity::Running;
        }
        self.activity == Activity::Running
    }

    /// Sleeps until this CPU is interrupted.
    #[cold]
    fn idle(&mut self) {
        if self.serving {
            // The guest may wait for an event of the meantime, its own timer for one. The next turn
            // looks for events before this CPU sleeps.
            return self.run_service(u64::MAX);
        }
        self.arm_timer();
        let machine = self.machine;
        machine.lifecycle.sleep(
            self.mailbox,
            machine.chipset.mailboxes().all(),
            self.is_unwakeable(),
            || machine.ask_for_rendezvous(Rendezvous::Halt),
            || machine.host().idle(),
        );
        self.check_timers();
    }

    /// Whether no interrupt can wake this VP: it waits for SIPI, or has halted with IF clear and
    /// no device's line is wired to an NMI or INIT.
    fn is_unwakeable(&self) -> bool {
        match self.activity {
            Activity::Running => false,
            Activity::Halted => {
                let closed = self.cpu.registers().rflags() & rflags::IF == 0;
                closed
                    && !self.apic.lint0_is_for_the_cpu()
                    && !self.machine.chipset.lines().reach_cpus()
            }
            Activity::WaitingForStartup => true,
        }
    }

    /// Whether the 8259 pair asks this VP for an interrupt.
    #[inline]
    fn ext_int_waits(&self) -> bool {
        self.machine.chipset.lines().pic_output() && self.apic.accepts_ext_int()
    }

    /// Brings pending interrupts to the CPU: an NMI, the 8259's, the local APIC's.
    #[inline]
    fn offer_interrupts(&mut self) {
        if self.nmis_pending != 0 {
            self.offer_nmi();
        }
        if self.departure == Away::UndisturbedGuest {
            if self.cpu.registers().rflags() & rflags::IF == 0 {
                return self.cpu.request_interrupt_window();
            }
            self.open();
        }
        if core::mem::take(&mut self.offers_pic) {
            self.machine.release_pic();
        }
        if self.ext_int_waits() && !self.machine.platform.capabilities().interrupt_window {
            if self.offer_pic() {
                return;
            }
        } else if self.ext_int_waits() {
            if !self.cpu.can_take_interrupt() {
                return self.cpu.request_interrupt_window();
            }
            if let Some(vector) = self.machine.chipset.lines().acknowledge_pic() {
                self.cpu.inject(Event::Interrupt(vector));
            }
        }
        let vector = self.apic.pending_at_any_task_priority();
        if vector.is_some() && !self.machine.platform.capabilities().task_priority {
            return self.offer_by_task_priority();
        }
        self.cpu.offer_interrupt(vector);
    }

    /// Offers the 8259 pair's vector, on a CPU that can not tell when the guest can take it. False
    /// if the request has gone away, or is on offer to another VP.
    #[cold]
    fn offer_pic(&mut self) -> bool {
        if !self.machine.claim_pic() {
            return false;
        }
        let vector = self.machine.chipset.lines().next_pic_vector();
        match vector {
            Some(vector) => self.cpu.offer_external_interrupt(vector),
            None => self.machine.release_pic(),
        }
        self.offers_pic = vector.is_some();
        self.offers_pic
    }

    /// Offers the interrupt that the task priority allows now. While an interrupt is held back,
    /// writes of CR8 exit.
    fn offer_by_task_priority(&mut self) {
        let allowed = self.apic.pending();
        self.cpu.offer_interrupt(allowed);
        if self.held_back != allowed.is_none() {
            self.held_back = allowed.is_none();
            self.cpu.watch_task_priority(self.held_back);
        }
    }

    /// Emulates a write of CR8 while an interrupt is held back, so that the interrupt follows it.
    ///
    /// Only the form of 64-bit mode is emulated. Another form runs without an intercept, and the
    /// interrupt comes with a later exit.
    #[cold]
    pub(crate) fn write_task_priority(&mut self) {
        match self.task_priority_operand() {
            Some(register) => match u8::try_from(self.cpu.registers().gpr(register)) {
                Ok(class @ 0..16) => {
                    self.apic.set_task_priority_class(class);
                    self.cpu.registers_mut().set_cr8(class);
                    self.advance_to(self.cpu.registers().rip().wrapping_add(4));
                }
                _ => self.cpu.inject(GENERAL_PROTECTION),
            },
            None => {
                self.held_back = false;
                self.cpu.watch_task_priority(false);
                // While an interrupt is on offer, the CPU may intercept writes of its own accord.
                self.cpu.offer_interrupt(None);
                self.offer_due = false;
            }
        }
    }

    /// Brings an NMI to the CPU. If another event or an interrupt shadow goes first, an interrupt
    /// of our own makes the guest exit again right behind it. Otherwise a guest in which every exit
    /// ends in one of them could hold the NMI off. A masked NMI waits for the exit at the handler's
    /// IRET.
    #[cold]
    fn offer_nmi(&mut self) {
        if self.cpu.can_take_nmi() {
            self.nmis_pending -= 1;
            self.cpu.inject(Event::Nmi);
        } else if !self.cpu.nmi_is_masked() {
            self.machine.host().kick(self.index);
        }
    }

    /// Notes the guest's changes that cause no exit: it took the interrupt offered, or moved CR8.
    #[inline]
    fn note_taken_interrupt(&mut self) {
        if let Some(vector) = self.cpu.taken_interrupt() {
            if core::mem::take(&mut self.offers_pic) {
                // The vector was that of this request, or of one that has gone away since.
                let _ = self.machine.chipset.lines().acknowledge_pic();
                self.machine.release_pic();
            } else {
                self.apic.acknowledge(vector);
            }
            self.offer_due = true;
        }
        let class = self.cpu.registers().cr8();
        if class != self.apic.task_priority_class() {
            self.apic.set_task_priority_class(class);
            self.offer_due = true;
        }
    }

    /// Sets the host's timer to the first deadline.
    #[inline]
    fn arm_timer(&mut self) {
        if self.timer_changed {
            self.set_timer();
        }
    }

    /// Sets the host's timer. One VP also keeps the devices' deadlines; it gets mail when the first
    /// of them becomes an earlier one.
    #[inline(never)]
    fn set_timer(&mut self) {
        self.timer_changed = false;
        let slice = self.serving.then_some(self.next_slice);
        let wanted = self.first_deadline().into_iter().chain(slice).min();
        if wanted != self.armed {
            self.armed = wanted;
            self.machine.host().set_timer(wanted);
        }
    }

    /// The TSC of the guest's first deadline, if that is known: its own timer's, or a device's.
    pub(crate) fn first_deadline(&self) -> Option<HostTsc> {
        let clock = &self.machine.clock;
        let tsc = self.machine.host().tsc();
        let own = match self.apic.timer_deadline() {
            Some(TimerDeadline::Tsc(at)) => self.cpu.tsc_offset().host_at(at, tsc),
            Some(TimerDeadline::At(at)) => clock.tsc_at(at),
            None => HostTsc::NEVER,
        };
        let first = match self.machine.chipset.deadline(self.index) {
            NO_DEADLINE => own,
            at => own.min(clock.tsc_at(device_model::Instant::from_nanos(at))),
        };
        let furthest = tsc.saturating_add(FURTHEST_DEADLINE * clock.frequency());
        (first != HostTsc::NEVER).then(|| first.min(furthest))
    }

    /// Checks everything that an interrupt of the host can mean.
    #[cold]
    pub(crate) fn check_timers(&mut self) {
        self.offer_due = true;
        let tsc = self.machine.host().tsc();
        if self.armed.is_some_and(|armed| tsc >= armed) {
            self.armed = None;
            self.timer_changed = true;
        }
        let now = self.machine.clock.at(tsc);
        self.apic.advance_timer(now, self.guest_tsc(tsc));
        let access = self.machine.access(now, self.index);
        if now.as_nanos() >= self.machine.chipset.deadline(self.index) {
            self.machine.chipset.advance(&access);
        }
        // The interrupts of the host's devices come to the first CPU.
        if self.index == 0 && self.machine.host().device_event() {
            self.machine.chipset.take_input(&access);
        }
        if self.machine.host().take_nmi() {
            self.host_nmi();
        }
    }

    /// An NMI from the host, for the guest.
    pub(crate) fn host_nmi(&mut self) {
        let delivery = self.apic.set_lint(LintPin::Lint1, true);
        self.take_local(delivery);
        let _ = self.apic.set_lint(LintPin::Lint1, false);
    }

    /// Does what a write to the local APIC asks for.
    pub(crate) fn apply(&mut self, effect: Option<Effect>) {
        let chipset = &self.machine.chipset;
        self.timer_changed |= chipset.apply(effect, &self.apic, self.index, self.machine);
        self.show_task_priority();
    }

    /// Gives CR8 the task priority that was written through the APIC.
    pub(crate) fn show_task_priority(&mut self) {
        let class = self.apic.task_priority_class();
        if self.cpu.registers().cr8() != class {
            self.cpu.registers_mut().set_cr8(class);
        }
    }
}

impl<P: Platform> Machine<P> {
    /// Requests a rendezvous of all VPs, unless one is under way.
    pub(crate) fn ask_for_rendezvous(&self, why: Rendezvous) {
        if self.lifecycle.ask(why) {
            for vp in 0..self.vps() {
                self.post(vp, |mailbox| mailbox.post(Order::Rendezvous));
            }
        }
    }
}
