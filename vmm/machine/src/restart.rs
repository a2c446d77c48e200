//! The starts of the guest until the VM ends.

use core::sync::atomic::Ordering;

use chipset::BiosCall;
use device_model::HostTsc;
use host_wire::Status;
use platform_api::{Cpus, Ending, ExitStatus, GuestVp, Platform, Time};
use x86::{Registers, VpState, cr0};

use crate::guest::Loaded;
use crate::kicks::SPACING;
use crate::lifecycle::Rendezvous;
use crate::machine::Machine;
use crate::vp::{Activity, VirtualProcessor};

/// A guest that shuts down within this time of its start would do so after each restart.
const HOPELESS_NANOS: u64 = 1_000_000_000;

/// A VP that does not arrive is kicked again after so many nanoseconds: a host can lose a kick.
const CALL_AGAIN_NANOS: u64 = 10_000_000;

/// The number of measured exits, of which the shortest counts: the first ones also fill caches.
const MEASURED_EXITS: u32 = 4;

impl<P: Platform> VirtualProcessor<P> {
    /// Starts the guest on VP 0, or ends the VM with the reason why that is impossible.
    pub(crate) fn start_guest(&mut self) {
        if self.machine.starts.load(Ordering::Relaxed) == 0 {
            self.measure_exits();
        }
        match self.machine.load_guest() {
            Ok(Loaded { state, ticks }) => {
                if self.machine.starts.fetch_add(1, Ordering::Relaxed) == 0 {
                    self.machine.note_start_ticks(ticks);
                }
                self.machine.started.store(self.machine.now().as_nanos(), Ordering::Relaxed);
                self.power_on(&state, Activity::Running);
                self.set_up_virtual_wire();
            }
            Err(error) => {
                log::error!("{error}");
                self.machine.host().exit(ExitStatus(error.status() as u8))
            }
        }
    }

    /// Measures an exit with its entry, from which the cost of a kick follows. A VP that starts at
    /// the reset vector exits at once, as there is no firmware.
    #[inline(never)]
    fn measure_exits(&mut self) {
        let host = self.machine.host();
        let round = |_| {
            let before = host.tsc();
            host.kick(self.index);
            let _ = self.cpu.run();
            host.tsc().since(before)
        };
        let shortest = (0..MEASURED_EXITS).map(round).min().unwrap_or(0);
        self.machine.kick_cost.store(shortest.saturating_mul(SPACING), Ordering::Relaxed);
    }

    /// Meets the other VPs. VP 0 then restarts or ends the machine.
    #[cold]
    pub(crate) fn rendezvous(&mut self) {
        let machine = self.machine;
        let Some(why) = machine.lifecycle.wanted() else { return };
        self.publish_counts();
        let mut again = CallAgain::new(machine);
        if self.index != 0 {
            // Made ready before the park: once the round is open, VP 0 may send INIT and SIPI.
            self.power_on(&VpState::init(machine.cpu_signature()), Activity::WaitingForStartup);
            machine.lifecycle.park(|leader_is_here| {
                if !leader_is_here {
                    again.call(machine, 0..1);
                }
                core::hint::spin_loop();
            });
            self.use_machine_tsc();
            return;
        }
        machine.lifecycle.wait_for(machine.vps() - 1, || {
            again.call(machine, 1..machine.vps());
            core::hint::spin_loop();
        });
        if let Some(status) = machine.ends_by(why) {
            machine.power_off_tpm();
            machine.end(status);
        }
        machine.chipset.reset(machine.now());
        machine.reset_tpm();
        machine.restart_clocks();
        self.start_guest();
        for mailbox in machine.chipset.mailboxes().all() {
            // No VP posts now; earlier mail belongs to the guest that is gone.
            let _ = mailbox.drain();
        }
        machine.lifecycle.open();
    }

    /// The code at the real-mode vectors reports a call of the BIOS, for which there is no answer.
    /// The port exists in real mode only, as an emulator in the guest may run that code, too.
    #[cold]
    pub(crate) fn end_at_bios_call(&mut self, call: BiosCall) {
        if self.cpu.registers().cr0() & cr0::PE != 0 {
            return;
        }
        let BiosCall { vector, function } = call;
        log::error!(
            "VP {}: INT {vector:02X}h with AX={function:04X}h: the guest calls a BIOS, or met an \
             exception in real mode, and there is no BIOS",
            self.index
        );
        self.machine.ask_for_rendezvous(Rendezvous::BiosCall);
    }

    /// Publishes this VP's exit counts for the report.
    fn publish_counts(&mut self) {
        let mut counts = self.machine.counts.lock();
        let start = self.index as usize * P::Vp::exit_names().len();
        for (to, from) in counts.iter_mut().skip(start).zip(self.cpu.exit_counts()) {
            *to = *from;
        }
    }
}

/// The time at which the VPs that have not arrived are kicked again.
pub(crate) struct CallAgain {
    at: HostTsc,
}

impl CallAgain {
    pub(crate) fn new<P: Platform>(machine: &Machine<P>) -> Self {
        let pause = machine.clock.ticks(CALL_AGAIN_NANOS);
        Self { at: machine.host().tsc().saturating_add(pause) }
    }

    /// Kicks the CPUs of `vps`, if it is time.
    pub(crate) fn call<P: Platform>(&mut self, machine: &Machine<P>, vps: core::ops::Range<u32>) {
        if machine.host().tsc() < self.at {
            return;
        }
        *self = Self::new(machine);
        for vp in vps {
            machine.host().kick(vp);
        }
    }
}

impl<P: Platform> Machine<P> {
    /// Notes the time that the paravisor took to the first start of the guest; its files took
    /// `loading` ticks of it.
    fn note_start_ticks(&self, loading: u64) {
        let arrival = self.platform.arrival();
        let passed = self.host().tsc().since(arrival.tsc);
        let own = passed.saturating_sub(loading).saturating_sub(arrival.waited);
        self.start_ticks.store(own, Ordering::Relaxed);
    }

    /// The status that the VM ends with for the reason of the rendezvous; none if the guest starts
    /// again. Inlined, it would cost the loop of exits registers.
    #[cold]
    #[inline(never)]
    fn ends_by(&self, why: Rendezvous) -> Option<Status> {
        match why {
            Rendezvous::PowerOff => return Some(Status::PowerOff),
            Rendezvous::Reset if self.config.end_on_reset => return Some(Status::Reset),
            Rendezvous::Halt => {
                log::error!("the guest halted for good: every VP, with interrupts off");
                return Some(Status::GuestHalted);
            }
            Rendezvous::BiosCall => return Some(Status::GuestFailed),
            Rendezvous::TripleFault if self.is_hopeless() => {
                log::error!("the guest shut down by a triple fault");
                return Some(Status::GuestFailed);
            }
            _ if !self.may_log() => {}
            Rendezvous::TripleFault => log::warn!("the guest shut down by a triple fault: reset"),
            Rendezvous::Reset => log::info!("the guest asked for a reset"),
        }
        None
    }

    fn is_hopeless(&self) -> bool {
        let ran = self.now().as_nanos() - self.started.load(Ordering::Relaxed);
        self.config.end_on_crash || ran < HOPELESS_NANOS
    }

    /// Reports and ends the VM.
    fn end(&self, status: Status) -> ! {
        self.report();
        self.host().exit(ExitStatus(status as u8))
    }
}
