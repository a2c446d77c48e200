//! The CPUs of the home.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use kernel::cpu::{Place, Stack};
use kernel::paging::{GUEST_BASE, PageTables};
use kernel::{Region, trampoline};

use crate::discover::Discovered;
use crate::{Home, PC, enable_svm, first_stack_top};

/// What one CPU works with.
#[derive(Debug)]
pub(crate) struct CpuPages {
    pub(crate) place: Place,
    pages: VcpuPages,
    host_save: u64,
    /// Its pages have been given out.
    is_taken: AtomicBool,
}

/// Physical addresses of pages of a CPU for the VP that it carries. All are ours, and that VP's.
#[derive(Clone, Copy, Debug)]
pub struct VcpuPages {
    /// For a control block; zeroed.
    pub vmcb: u64,
    /// Filled by VMSAVE on this CPU.
    pub host: u64,
}

/// Null until it stands; then there for ever.
static HOME: AtomicPtr<Home> = AtomicPtr::new(core::ptr::null_mut());
/// CPUs that run our code.
static RUNNING: AtomicU32 = AtomicU32::new(0);
/// The image's function for each further CPU.
static CPU_MAIN: AtomicUsize = AtomicUsize::new(0);

/// Prepares the place of each CPU.
pub(crate) fn prepare(
    region: &mut Region,
    tables: &mut PageTables,
    found: &Discovered,
) -> Vec<CpuPages> {
    let prepare_cpu = |index| {
        let stack = match index {
            0 => Stack::Existing(first_stack_top(found)),
            _ => Stack::Pages(found.stack_pages),
        };
        CpuPages {
            place: kernel::cpu::prepare(region, tables, index, stack, false),
            pages: VcpuPages { vmcb: region.take(1), host: region.take(1) },
            host_save: region.take(1),
            is_taken: AtomicBool::new(false),
        }
    };
    (0..found.cpus).map(prepare_cpu).collect()
}

/// Notes that CPU 0 runs.
pub(crate) fn note_first() {
    RUNNING.store(1, Ordering::Release);
}

impl Discovered {
    /// The VP that CPU `cpu` carries, if it carries one.
    pub(crate) const fn vp_of_cpu(&self, cpu: u32) -> Option<u32> {
        cpu.checked_sub(self.spare_cpus)
    }

    /// VPs that the VM can have.
    pub const fn vps(&self) -> u32 {
        self.cpus - self.spare_cpus
    }
}

impl Home {
    /// Whether all CPUs run our code.
    pub(crate) fn all_run(&self) -> bool {
        RUNNING.load(Ordering::Acquire) == self.found.cpus
    }

    /// The number of the VP that the running CPU carries, if it carries one.
    pub fn vp_index(&self) -> Option<u32> {
        self.found.vp_of_cpu(kernel::cpu::index())
    }

    /// Starts the other CPUs; each calls `main`. Waits until all of them run. Only the first call
    /// does anything.
    ///
    /// # Errors
    /// How many run, if the host lost some.
    pub fn start_other_cpus(&'static self, main: extern "C" fn() -> !) -> Result<(), u32> {
        let is_first = CPU_MAIN
            .compare_exchange(0, main as usize, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        // A second start would use the stacks, and low memory, once more.
        if self.found.cpus == 1 || !is_first {
            return Ok(());
        }
        HOME.store(core::ptr::from_ref(self).cast_mut(), Ordering::Release);
        let start = trampoline::Start {
            limit: self.found.cpus,
            page_tables: self.tables_root,
            stacks: self.stacks.as_ptr() as u64,
            entry: cpu_entry,
        };
        // SAFETY: low memory is free until `erase_leftovers`; the early tables are still there.
        unsafe { trampoline::install((GUEST_BASE + trampoline::PAGE) as *mut u8, &start) };
        let wait = |microseconds: u64| {
            let ticks = self.coarse.tsc / 1_000_000 * microseconds;
            let begin = instructions::rdtsc();
            while instructions::rdtsc().wrapping_sub(begin) < ticks {
                core::hint::spin_loop();
            }
        };
        PC.start_others(trampoline::PAGE, wait);
        for _ in 0..10_000 {
            if self.all_run() {
                break;
            }
            wait(1_000);
        }
        let running = RUNNING.load(Ordering::Acquire);
        if running == self.found.cpus { Ok(()) } else { Err(running) }
    }

    /// Turns AMD-V on, on the running CPU, and gives out the pages of the VP that it carries; none
    /// if it carries none, or at a second call.
    pub fn take_vcpu_pages(&self) -> Option<VcpuPages> {
        let index = self.vp_index()?;
        let cpu = self.cpus.get(kernel::cpu::index() as usize)?;
        if cpu.is_taken.swap(true, Ordering::AcqRel) {
            return None;
        }
        if index == 0 {
            PC.route_devices();
        }
        // SAFETY: the page was taken for this.
        unsafe { enable_svm(cpu.host_save, self.found.features) };
        // SAFETY: as above.
        unsafe { svm::vmsave(cpu.pages.host) };
        Some(cpu.pages)
    }

    /// Sleeps for ever, on a CPU that carries no VP.
    pub fn rest(&self) -> ! {
        loop {
            instructions::sleep();
        }
    }
}

/// The first Rust code of each further CPU.
extern "C" fn cpu_entry(index: u32) -> ! {
    let home = loop {
        // SAFETY: null, or the home, which is never changed after it was stored.
        if let Some(home) = unsafe { HOME.load(Ordering::Acquire).as_ref() } {
            break home;
        }
    };
    if let Some(cpu) = home.cpus.get(index as usize) {
        // SAFETY: tickets are unique, and the trampoline has switched to the final tables.
        unsafe { kernel::enter(&cpu.place) };
    }
    PC.enable_apic(home.found.vp_of_cpu(index));
    RUNNING.fetch_add(1, Ordering::AcqRel);
    // SAFETY: `start_other_cpus` stored a function of this type before it woke us.
    let main = unsafe {
        core::mem::transmute::<usize, extern "C" fn() -> !>(CPU_MAIN.load(Ordering::Acquire))
    };
    main()
}
