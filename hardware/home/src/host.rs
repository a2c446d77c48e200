//! The host, which is a stock QEMU, seen from a CPU of the VM.

use core::fmt::Arguments;
use core::sync::atomic::{AtomicU64, Ordering};

use device_model::HostTsc;
use guest_memory::RamRange;
use kernel::Region;
use pc::{Candidates, DevicePages, Frequencies};
use platform_api::{
    Console, Cpus, Ending, Entropy, ExitStatus, Files, HostFile, Received, StateDisk,
    StateDiskError, Time, Transfer,
};

use crate::PC;
use crate::direct::Direct;

/// Outside of the VM.
#[derive(Debug)]
pub struct PcHost {
    /// It is QEMU's software CPU.
    is_software: bool,
    tsc_frequency: AtomicU64,
    state_disk: Option<pc::StateDisk<Direct>>,
}

impl PcHost {
    pub(crate) const fn new(is_software: bool) -> Self {
        Self { is_software, tsc_frequency: AtomicU64::new(1_000_000_000), state_disk: None }
    }

    /// Looks for the disk of our own state.
    pub(crate) fn find_state_disk(
        &mut self,
        candidates: &Candidates,
        region: &mut Region,
        tsc_frequency: u64,
    ) {
        // SAFETY: fresh pages of the region, which are mapped at their physical addresses.
        let pages = unsafe { DevicePages::new(region.take(DevicePages::COUNT)) };
        // SAFETY: the candidates' registers are mapped in the tables that are active.
        self.state_disk = unsafe { PC.find_state_disk(candidates, pages, tsc_frequency) };
    }

    fn state_disk(&self) -> Result<&pc::StateDisk<Direct>, StateDiskError> {
        self.state_disk.as_ref().ok_or(StateDiskError::Absent)
    }

    pub(crate) fn set_frequencies(&self, found: Frequencies) {
        self.tsc_frequency.store(found.tsc.max(1), Ordering::Release);
        PC.set_timer_ratio(found.apic, found.tsc);
    }
}

/// The way out for crash records.
pub fn write_report(text: &str) {
    PC.write_report(text);
}

/// Ends the VM.
pub fn end(status: u8) -> ! {
    PC.end(status);
    instructions::stop()
}

impl Time for PcHost {
    #[inline]
    fn tsc(&self) -> HostTsc {
        HostTsc(instructions::rdtsc())
    }

    fn tsc_frequency(&self) -> u64 {
        self.tsc_frequency.load(Ordering::Relaxed)
    }

    fn set_timer(&self, deadline: Option<HostTsc>) {
        PC.set_deadline(deadline.map(|at| at.0));
    }

    fn wall_clock(&self) -> u64 {
        PC.wall_clock()
    }
}

impl Cpus for PcHost {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        instructions::cpuid(leaf, subleaf)
    }

    fn kick(&self, index: u32) {
        PC.kick(index);
    }

    fn idle(&self) {
        if self.is_software {
            // There, a VMRUN with a virtual interrupt changes the CPU's interrupt flags without a
            // lock, and can lose an interrupt that arrives at the same moment: the APIC has it,
            // and the CPU would sleep on it.
            PC.offer_again();
        }
        instructions::sleep();
    }

    fn take_nmi(&self) -> bool {
        kernel::cpu::take_nmis() != 0
    }
}

impl Console for PcHost {
    #[inline]
    fn device_event(&self) -> bool {
        PC.take_serial_event()
    }

    fn serial_read(&self, channel: usize) -> Option<Received> {
        PC.receive(channel)
    }

    fn serial_ready(&self, channel: usize) -> bool {
        PC.is_ready(channel)
    }

    fn serial_write(&self, channel: usize, byte: u8) {
        PC.send(channel, byte);
    }

    fn power_button(&self) -> bool {
        PC.take_power_press()
    }

    fn report(&self, line: Arguments<'_>) {
        PC.report_line(line);
    }
}

impl Files for PcHost {
    fn file(&self, name: &str) -> Option<HostFile> {
        PC.find_file(name)
    }

    fn uuid(&self) -> Option<[u8; 16]> {
        PC.uuid()
    }

    fn read_file(&self, file: HostFile, offset: u32, to: &mut [u8]) -> Result<(), Transfer> {
        PC.read_file(file, offset, to)
    }

    fn load_file(&self, file: HostFile, offset: u32, to: RamRange) -> Option<Result<(), Transfer>> {
        let Ok(length) = u32::try_from(to.length()) else { return Some(Err(Transfer::PastEnd)) };
        // SAFETY: the range is guest RAM by its type, and no Rust reference covers any of that.
        Some(unsafe { PC.load_file(file, offset, to.start().0, length) })
    }
}

impl StateDisk for PcHost {
    fn state_disk_sectors(&self) -> Option<u64> {
        self.state_disk.as_ref().map(pc::StateDisk::sectors)
    }

    fn read_state_disk(&self, sector: u64, to: &mut [u8]) -> Result<(), StateDiskError> {
        self.state_disk()?.read(sector, to)
    }

    fn write_state_disk(&self, sector: u64, from: &[u8]) -> Result<(), StateDiskError> {
        self.state_disk()?.write(sector, from)
    }

    fn flush_state_disk(&self) -> Result<(), StateDiskError> {
        self.state_disk()?.flush()
    }
}

impl Entropy for PcHost {
    fn entropy(&self, to: &mut [u8]) -> bool {
        instructions::entropy::fill(to)
    }
}

impl Ending for PcHost {
    fn exit(&self, status: ExitStatus) -> ! {
        end(status.0)
    }
}
