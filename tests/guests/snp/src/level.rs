//! A less privileged level of the VP: VMPL1.

use core::arch::asm;

use snp::exit::{ApCreation, ApCreationRequest, ExitCode};
use snp::features::SevFeatures;
use snp::ghcb::Field;
use snp::instruction::{Outcome, PageSize, Permissions};
use snp::vmsa::{Segment, Vmsa};
use x86::{cr0, cr4, dr6, dr7, efer, msr};

use crate::{exceptions, ghcb, memory};

/// The level.
pub const LEVEL: u8 = 1;

/// A save area in a page of its own.
#[repr(C, align(4096))]
struct Page([u8; 4096]);
/// The first page is no save area: one of the two is not at a 2 MiB boundary.
static mut AREA: Page = Page([0; 4096]);
static mut STACK: [Page; 4] = [const { Page([0; 4096]) }; 4];

/// The save area.
pub fn area() -> *mut Vmsa {
    (&raw mut AREA).cast()
}

/// A field of the save area, read or replaced.
#[macro_export]
macro_rules! field {
    ($name:ident) => {
        $crate::level::get(core::mem::offset_of!(snp::vmsa::Vmsa, $name), |area| &area.$name)
    };
    ($name:ident = $value:expr) => {
        $crate::level::set(
            core::mem::offset_of!(snp::vmsa::Vmsa, $name),
            |area| &area.$name,
            $value,
        )
    };
}

/// The field at `offset` of the save area, which has the type of what `field` shows.
pub fn get<T: Copy>(offset: usize, _: fn(&Vmsa) -> &T) -> T {
    // SAFETY: the macro names a field of this type there; the level does not run while its maker
    // does.
    unsafe { area().byte_add(offset).cast::<T>().read_volatile() }
}

/// Replaces that field.
pub fn set<T: Copy>(offset: usize, _: fn(&Vmsa) -> &T, value: T) {
    // SAFETY: as for `get`.
    unsafe { area().byte_add(offset).cast::<T>().write_volatile(value) };
}

unsafe extern "C" {
    /// Where the program ends.
    static __stub_end: u8;
}

/// Gives level 1 all rights to the guest's program. True if all went well.
pub fn permit_program() -> bool {
    let program = host_wire::linux_start::STUB;
    let rights = Permissions::all(LEVEL);
    (program..(&raw const __stub_end) as u64).step_by(4096).all(|page| {
        if page == ghcb::address() || page == area() as u64 {
            return true;
        }
        // SAFETY: the level runs code of this program only, and only when it is told to.
        let outcome = unsafe { sev_guest::rmpadjust(page, PageSize::SIZE_4K, rights) };
        outcome == Outcome::SUCCESS
    })
}

/// Fills the save area: `code` runs in long mode on a stack of its own, with these features.
pub fn prepare(code: extern "C" fn() -> !, features: SevFeatures) {
    let code_segment = Segment { selector: 0x10, attributes: 0xa9b, limit: u32::MAX, base: 0 };
    let data = Segment { selector: 0x18, attributes: 0xc93, limit: u32::MAX, base: 0 };
    let (table, limit) = exceptions::table();
    let mut gdtr = [0u8; 10];
    // SAFETY: stores the GDT's place.
    unsafe { asm!("sgdt [{}]", in(reg) &mut gdtr, options(nostack)) };
    let mut base = [0; 8];
    base.copy_from_slice(&gdtr[2..]);
    let mut vmsa = <Vmsa as zerocopy::FromZeros>::new_zeroed();
    (vmsa.cs, vmsa.rip) = (code_segment, code as *const () as u64);
    (vmsa.ds, vmsa.es, vmsa.ss, vmsa.fs, vmsa.gs) = (data, data, data, data, data);
    vmsa.gdtr = Segment { limit: 31, base: u64::from_le_bytes(base), ..Segment::default() };
    vmsa.idtr = Segment { limit: limit.into(), base: table, ..Segment::default() };
    vmsa.ldtr = Segment { attributes: 0x82, ..Segment::default() };
    vmsa.tr = Segment { attributes: 0x8b, limit: 0xffff, ..Segment::default() };
    vmsa.cr0 = cr0::PG | cr0::WP | 0x20 | cr0::ET | cr0::PE;
    vmsa.cr3 = memory::root() | memory::c_bit();
    vmsa.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::MCE;
    vmsa.efer = efer::SVME | efer::LME | efer::LMA;
    vmsa.rsp = (&raw const STACK) as u64 + 4 * 4096 - 8;
    (vmsa.rflags, vmsa.dr6, vmsa.dr7) = (2, dr6::RESET, dr7::RESET);
    (vmsa.g_pat, vmsa.xcr0) = (msr::PAT_RESET, 1);
    (vmsa.mxcsr, vmsa.x87_fcw, vmsa.x87_ftw) = (0x1f80, 0x37f, 0xffff);
    vmsa.vmpl = LEVEL;
    vmsa.sev_features = features.with_snp_active(true);
    // SAFETY: the page is this function's; the level does not run.
    unsafe { area().write_volatile(vmsa) };
}

/// Makes the page of the save area one, or takes that back.
pub fn adjust(is_area: bool) -> Outcome {
    let permissions = Permissions::new().with_vmpl(LEVEL).with_vmsa(is_area);
    // SAFETY: the level gets no right to the page.
    unsafe { sev_guest::rmpadjust(area() as u64, PageSize::SIZE_4K, permissions) }
}

/// Gives the VP's level 1 the save area at `gpa`: the host's answer.
pub fn create(gpa: u64, features: SevFeatures) -> (u32, u64) {
    let info = ApCreation::new().with_request(ApCreationRequest::CREATE).with_vmpl(LEVEL);
    let fields = [(Field::RAX, features.with_snp_active(true).into_bits())];
    ghcb::request(ExitCode::AP_CREATION, info.into_bits(), gpa, &fields, &[]).status()
}

/// Runs level 1 until the host enters level 0 again; answers the host's status.
pub fn run() -> (u32, u64) {
    ghcb::request(ExitCode::RUN_VMPL, LEVEL.into(), 0, &[], &[]).status()
}

/// GUEST_EXITCODE, taken: a later entry without an exit finds none.
pub fn take_exit() -> ExitCode {
    let code = crate::field!(guest_exit_code);
    crate::field!(guest_exit_code = ExitCode::INVALID);
    code
}
