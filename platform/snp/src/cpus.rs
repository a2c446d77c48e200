//! The CPUs of the VM, each of which carries a VP.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use guest_memory::PAGE_SIZE;
use host_wire::paravisor_image::Reason;
use kernel::Region;
use kernel::cpu::{Place, Stack};
use kernel::paging::PageTables;
use sev_guest::{Call, SaveArea};
use snp::exit::{ApCreation, ApCreationRequest, ExitCode};
use snp::ghcb::Field;
use snp::instruction::{Outcome, PageSize, Permissions};
use x86::{
    Attributes, Control, Register, Segment, SegmentRegister, VpState, cr0, cr4, efer, rflags,
};

use crate::calls::{self, CpuPages};
use crate::vp::OWN_LEVEL;
use crate::{PC, Snp, end_with};

/// Pages of each CPU's stack.
const STACK_PAGES: u64 = 4;
/// Pages that each CPU costs: its stack with the hole below, five more stacks with their holes, its
/// context, what it shares with the host, and two save areas, each of which may have to skip one.
pub(crate) const PAGES_PER_CPU: u64 = STACK_PAGES + 1 + 5 * 2 + 1 + calls::PAGES + 2 * 2;
/// How long the host may take to start a CPU, in looks at it.
const PATIENCE: u64 = 4_000_000_000;
const LARGE: u64 = 2 << 20;
/// The level that RMPADJUST names for a save area: it must be a lower one.
const LOWER_LEVEL: u8 = 1;

/// What one CPU works with.
#[derive(Debug)]
pub(crate) struct CpuSetup {
    place: Place,
    /// The first of the pages that it shares with the host.
    pub(crate) shared: u64,
    /// The page of our own level's save area; the first CPU was launched with another one.
    own_area: u64,
    /// The page of the guest's save area.
    pub(crate) guest_area: u64,
    /// The guest's save area has been given out.
    pub(crate) has_vp: AtomicBool,
}

/// Null until it stands; then there for ever.
static PLATFORM: AtomicPtr<Snp> = AtomicPtr::new(core::ptr::null_mut());
/// CPUs that run our code.
static RUNNING: AtomicU32 = AtomicU32::new(1);
/// The image's function for each further CPU.
static CPU_MAIN: AtomicUsize = AtomicUsize::new(0);

/// Prepares the place of each CPU. `shared` are the pages for the host, `stack_top` is the end of
/// the first CPU's stack.
pub(crate) fn prepare(
    region: &mut Region,
    tables: &mut PageTables,
    vps: u32,
    shared: u64,
    stack_top: u64,
) -> Vec<CpuSetup> {
    let setup = |index: u32| {
        let stack = if index == 0 { Stack::Existing(stack_top) } else { Stack::Pages(STACK_PAGES) };
        CpuSetup {
            place: kernel::cpu::prepare(region, tables, index, stack, true),
            shared: shared + u64::from(index) * calls::PAGES * PAGE_SIZE,
            own_area: take_area(region),
            guest_area: take_area(region),
            has_vp: AtomicBool::new(false),
        }
    };
    (0..vps).map(setup).collect()
}

/// A page for a save area: not the first one of 2 MiB, as CPUs report a false RMP violation there.
fn take_area(region: &mut Region) -> u64 {
    let page = region.take(1);
    if page.is_multiple_of(LARGE) { region.take(1) } else { page }
}

impl CpuSetup {
    /// Makes the running CPU use its place, and the pages that it shares with the host.
    ///
    /// # Errors
    /// [`Reason`].
    ///
    /// # Safety
    /// By the CPU that this is for, once, with the final tables active; its pages are shared.
    pub(crate) unsafe fn enter(&self) -> Result<(), Reason> {
        // SAFETY: the caller vouches.
        unsafe { kernel::enter(&self.place) };
        // SAFETY: as above.
        unsafe { CpuPages::install(self.shared) }
    }
}

/// Gives VP `index` the save area `area` at level `vmpl`, from which the host starts it.
///
/// # Errors
/// [`Reason::Levels`].
///
/// # Safety
/// What the level runs from there on must be sound.
pub(crate) unsafe fn create(area: &SaveArea, index: u32, vmpl: u8) -> Result<(), Reason> {
    let page = area.address();
    let is_area = Permissions::new().with_vmpl(LOWER_LEVEL).with_vmsa(true);
    // SAFETY: the lower level gets no right to the page.
    let outcome = unsafe { sev_guest::rmpadjust(page, PageSize::SIZE_4K, is_area) };
    if outcome != Outcome::SUCCESS {
        return Err(Reason::Levels);
    }
    let created = ApCreation::new()
        .with_request(ApCreationRequest::CREATE)
        .with_vmpl(vmpl)
        .with_apic_id(index);
    let call = Call { code: ExitCode::AP_CREATION, info_1: created.into_bits(), info_2: page };
    let features = area.sev_features().into_bits();
    let pages = CpuPages::own().ok_or(Reason::Levels)?;
    pages.call(call, &[(Field::RAX, features)], []).map(|[]| ()).map_err(|_| Reason::Levels)
}

impl Snp {
    /// Starts the other CPUs; each calls `main`. Waits until all of them run.
    ///
    /// # Errors
    /// How many run, if the host lost some.
    pub(crate) fn start_cpus(&'static self, main: extern "C" fn() -> !) -> Result<(), u32> {
        let is_first = CPU_MAIN
            .compare_exchange(0, main as usize, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if !is_first {
            return Ok(());
        }
        PLATFORM.store(core::ptr::from_ref(self).cast_mut(), Ordering::Release);
        for (index, setup) in (0..).zip(&self.cpus).skip(1) {
            // SAFETY: the page was taken for this, and is used for nothing else.
            let mut area = unsafe { SaveArea::new(setup.own_area) };
            area.set_sev_features(sev_guest::status().features());
            area.set_vmpl(OWN_LEVEL);
            if let Some(clock) = &self.secure_tsc {
                clock.set(&mut area);
            }
            area.reset(&self.first_state(index, setup.place.stack_top), true);
            // SAFETY: the CPU starts in `cpu_entry`, on a stack of its own.
            if let Err(reason) = unsafe { create(&area, index, OWN_LEVEL) } {
                end_with(reason)
            }
        }
        for _ in 0..PATIENCE {
            if RUNNING.load(Ordering::Acquire) == self.found.vps {
                return Ok(());
            }
            core::hint::spin_loop();
        }
        Err(RUNNING.load(Ordering::Acquire))
    }

    /// The registers with which another CPU starts: those of this one's mode, in [`cpu_entry`].
    fn first_state(&self, index: u32, stack_top: u64) -> VpState {
        let segment = |selector, attributes| Segment {
            selector,
            attributes: Attributes::from_bits(attributes),
            limit: u32::MAX,
            base: 0,
        };
        let mut state = VpState::init(0);
        for register in [
            SegmentRegister::Es,
            SegmentRegister::Ss,
            SegmentRegister::Ds,
            SegmentRegister::Fs,
            SegmentRegister::Gs,
        ] {
            state.segments[register as usize] = segment(0x10, 0xc93);
        }
        state.segments[SegmentRegister::Cs as usize] = segment(0x08, 0xa9b);
        state.gpr[Register::Rdi as usize] = index.into();
        // As behind a call: the stack is 8 bytes off a multiple of 16.
        state.gpr[Register::Rsp as usize] = stack_top - 8;
        state.rip = cpu_entry as *const () as u64;
        state.rflags = rflags::FIXED;
        state.control = Control {
            cr0: cr0::PG | cr0::WP | cr0::NE | cr0::ET | cr0::MP | cr0::PE,
            cr3: self.tables_root,
            cr4: cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::MCE,
            efer: efer::LME | efer::LMA | efer::NXE,
        };
        state
    }
}

/// The first code of each further CPU.
extern "C" fn cpu_entry(index: u64) -> ! {
    // SAFETY: null, or the platform, which is never changed after it was stored.
    let platform = unsafe { PLATFORM.load(Ordering::Acquire).as_ref() };
    let setup = platform.and_then(|platform| platform.cpus.get(index as usize));
    let Some(setup) = setup else { end_with(Reason::VpCount) };
    // SAFETY: the host starts a save area once, and the CPU has found its own number in it.
    if let Err(reason) = unsafe { setup.enter() } {
        end_with(reason)
    }
    PC.enable_apic(Some(index as u32));
    RUNNING.fetch_add(1, Ordering::AcqRel);
    // SAFETY: `start_cpus` stored a function of this type before it created us.
    let main = unsafe {
        core::mem::transmute::<usize, extern "C" fn() -> !>(CPU_MAIN.load(Ordering::Acquire))
    };
    main()
}
