//! The host, which is hostile, seen from a CPU of the VM.

use core::fmt::Arguments;
use core::sync::atomic::{AtomicU64, Ordering};

use device_model::HostTsc;
use guest_memory::RamRange;
use host_wire::Status;
use host_wire::paravisor_image::{Measured, STATUS_SET};
use pc::Frequencies;
use platform_api::{
    Console, Cpus, Ending, Entropy, ExitStatus, Files, HostFile, Received, StateDisk,
    StateDiskError, Time, Transfer,
};
use snp::msr_protocol::Termination;

use crate::accept::GiveToGuest;
use crate::acceptance::Acceptance;
use crate::calls::{CpuPages, Note};
use crate::counts::{self, Why};
use crate::firmware::SecureTsc;
use crate::measured_files::{MeasuredFiles, Missing};
use crate::outbox::Outbox;
use crate::{PC, found, timer};

/// How often output is tried to be sent before the VM ends.
const LAST_TRIES: u32 = 1000;

/// Outside of the VM.
#[derive(Debug)]
pub struct SnpHost {
    tsc_frequency: AtomicU64,
    secure_tsc: Option<SecureTsc>,
    files: MeasuredFiles,
    acceptance: &'static Acceptance<GiveToGuest>,
}

impl SnpHost {
    pub(crate) const fn new(
        measured: Measured<'static>,
        acceptance: &'static Acceptance<GiveToGuest>,
        secure_tsc: Option<SecureTsc>,
    ) -> Self {
        let files = MeasuredFiles::new(measured);
        let tsc_frequency = AtomicU64::new(1_000_000_000);
        Self { tsc_frequency, secure_tsc, files, acceptance }
    }

    pub(crate) fn set_frequencies(&self, found: Frequencies) {
        // What was measured is by clocks of the host's.
        let frequency = self.secure_tsc.map_or(found.tsc.max(1), |clock| clock.frequency);
        self.tsc_frequency.store(frequency, Ordering::Release);
        PC.set_timer_ratio(found.apic, found.tsc);
        OUTBOX.set_frequency(frequency);
    }
}

/// What the guest has sent by its serial ports.
static OUTBOX: Outbox = Outbox::new();

/// Sends the guest's output if it has waited long enough.
#[inline]
pub(crate) fn send_due_output() {
    call_again(OUTBOX.send_due(&PC, instructions::rdtsc));
}

/// Has the running CPU's timer fire at `due`, when output is to be sent.
fn call_again(due: Option<u64>) {
    if let (Some(due), Some(timer)) = (due, timer::own())
        && timer.also_at(due)
    {
        PC.set_deadline(Some(due));
    }
}

impl Time for SnpHost {
    #[inline]
    fn tsc(&self) -> HostTsc {
        HostTsc(instructions::rdtsc())
    }

    fn tsc_frequency(&self) -> u64 {
        self.tsc_frequency.load(Ordering::Relaxed)
    }

    fn set_timer(&self, deadline: Option<HostTsc>) {
        let Some(timer) = timer::own() else { return };
        if let Some(sooner) = timer.want(deadline.map(|at| at.0)) {
            PC.set_deadline(Some(sooner));
        }
    }

    fn wall_clock(&self) -> u64 {
        PC.wall_clock()
    }
}

impl Cpus for SnpHost {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        found::cpuid(leaf, subleaf)
    }

    fn kick(&self, index: u32) {
        PC.kick(index);
    }

    fn idle(&self) {
        let Some(pages) = CpuPages::own() else { return };
        // What came with the guest's last exit may be what the machine would wait for.
        if Note::own().take() {
            return;
        }
        call_again(OUTBOX.send_all(&PC, instructions::rdtsc()));
        // Until something comes, the time serves to accept what the guest will touch later.
        while !pages.has_events() {
            if !self.acceptance.accept_ahead() {
                break;
            }
        }
        counts::add(Why::Sleep);
        // SAFETY: the page is mapped, and the hook for #HV is set.
        unsafe { sev_guest::sleep_unless(pages.doorbell()) };
        crate::take_events(pages);
        Note::own().take();
    }

    fn take_nmi(&self) -> bool {
        kernel::cpu::take_nmis() != 0
    }
}

impl Console for SnpHost {
    fn device_event(&self) -> bool {
        PC.take_serial_event()
    }

    fn serial_read(&self, channel: usize) -> Option<Received> {
        PC.receive(channel)
    }

    fn serial_ready(&self, channel: usize) -> bool {
        OUTBOX.has_room(&PC, channel)
    }

    fn serial_write(&self, channel: usize, byte: u8) {
        call_again(OUTBOX.put(&PC, channel, byte, instructions::rdtsc()));
    }

    fn power_button(&self) -> bool {
        PC.take_power_press()
    }

    fn report(&self, line: Arguments<'_>) {
        PC.report_line(line);
    }
}

impl Files for SnpHost {
    fn file(&self, name: &str) -> Option<HostFile> {
        match self.files.find(&PC, name) {
            Ok(found) => found,
            Err(Missing) => {
                log::error!("the host does not offer {name}, which was measured");
                self.exit(ExitStatus(Status::BadGuest as u8))
            }
        }
    }

    fn uuid(&self) -> Option<[u8; 16]> {
        None
    }

    fn read_file(&self, file: HostFile, offset: u32, to: &mut [u8]) -> Result<(), Transfer> {
        self.files.read(&PC, file, offset, to)
    }

    fn load_file(&self, _: HostFile, _: u32, _: RamRange) -> Option<Result<(), Transfer>> {
        None
    }

    fn measured(&self, file: HostFile) -> Option<[u8; 32]> {
        self.files.digest(file)
    }
}

impl StateDisk for SnpHost {
    fn state_disk_sectors(&self) -> Option<u64> {
        None
    }

    fn read_state_disk(&self, _: u64, _: &mut [u8]) -> Result<(), StateDiskError> {
        Err(StateDiskError::Absent)
    }

    fn write_state_disk(&self, _: u64, _: &[u8]) -> Result<(), StateDiskError> {
        Err(StateDiskError::Absent)
    }

    fn flush_state_disk(&self) -> Result<(), StateDiskError> {
        Err(StateDiskError::Absent)
    }
}

impl Entropy for SnpHost {
    fn entropy(&self, to: &mut [u8]) -> bool {
        instructions::entropy::fill_by(found::cpuid, to)
    }
}

impl Ending for SnpHost {
    fn exit(&self, status: ExitStatus) -> ! {
        // A console that takes nothing can not keep the VM from its end.
        let _ = (0..LAST_TRIES).any(|_| OUTBOX.send_rest(&PC));
        counts::report(self);
        if status.0 == Status::PowerOff as u8 {
            PC.power_off();
        }
        sev_guest::terminate(Termination { set: STATUS_SET, reason: status.0 })
    }
}
