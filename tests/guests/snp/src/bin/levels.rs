//! A less privileged level, run and judged by VMPL0: reflected exits and alternate injection.
#![no_std]
#![no_main]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use snp::exit::{ExitCode, IoInfo, NestedPageFault};
use snp::features::{SevFeatures, SevStatus, msr};
use snp::instruction::{Outcome, PageSize, Permissions};
use snp::secrets::SecretsPage;
use snp::vmsa::{EventInj, EventType, VintrCtrl};
use snp_guest::exceptions::COUNTS;
use snp_guest::memory::FREE;
use snp_guest::{Report, attempt, cpu, field, level};
use x86::{rflags, vector};

snp_guest::main!(cases);

/// What level 1 is to do next, and what came of it.
static TASK: AtomicU64 = AtomicU64::new(0);
static RESULT: AtomicU64 = AtomicU64::new(0);
const OK: (u32, u64) = (0, 0);
const FEATURES: SevFeatures =
    SevFeatures::new().with_reflect_vc(true).with_alternate_injection(true);

mod task {
    pub(super) const CPUID: u64 = 1;
    pub(super) const READ_MSR: u64 = 2;
    pub(super) const WRITE_MSR: u64 = 3;
    pub(super) const OUT: u64 = 4;
    pub(super) const HALT: u64 = 5;
    pub(super) const TOUCH: u64 = 6;
    pub(super) const PVALIDATE: u64 = 7;
    pub(super) const STATUS: u64 = 8;
    pub(super) const MMIO: u64 = 9;
    pub(super) const OPEN: u64 = 10;
    pub(super) const RMPADJUST: u64 = 11;
    pub(super) const CALL: u64 = 12;
    pub(super) const NOT_VALIDATED: u64 = 13;
    pub(super) const READ_DR1: u64 = 14;
    pub(super) const WRITE_DR1: u64 = 15;
}
/// A page that level 1 may not touch, one that it may read, and one that is not validated.
const CLOSED: u64 = FREE;
const READ_ONLY: u64 = FREE + 0x1000;
const AWAITS: u64 = FREE + (2 << 20);
const NO_MEMORY: u64 = 0xfed0_0000;

fn cases(report: &mut Report) {
    set_up(report);
    instructions(report);
    memory(report);
    own_instructions(report);
    interrupts(report);
    events(report);
    busy(report);
    protection(report);
    breakpoints(report);
    creation(report);
}

/// APM vol. 2, 15.36, VMSA register protection: the words that the secrets page names are masked with
/// a nonce, a new one at each exit.
fn protection(report: &mut Report) {
    const FIRST: u64 = 0x1111_2222_3333_4444;
    // SAFETY: the firmware has filled the page, and nothing changes it.
    let secrets = unsafe { &*(host_wire::linux_start::SECRETS as *const SecretsPage) };
    let toggle = || {
        // SAFETY: the level does not run.
        unsafe { (*level::area()).toggle_protection(&secrets.vmsa_tweak_bitmap) };
    };
    field!(sev_features = field!(sev_features).with_vmsa_reg_prot(true));
    field!(reg_prot_nonce = FIRST);
    toggle();
    report.is("15.36.protection.runs", start(task::CPUID), ExitCode::CPUID);
    let (masked, second) = (field!(rax), field!(reg_prot_nonce));
    report.is("15.36.protection.new-nonce", second != FIRST, true);
    report.is("15.36.protection.masks-rax", masked, 0x1234_5678 ^ second);
    report.is("15.36.protection.spares-nrip", field!(guest_nrip), (field!(rip) ^ second) + 2);
    toggle();
    field!(rax = 77);
    skip();
    toggle();
    level::run();
    report.is("15.36.protection.goes-on", RESULT.load(SeqCst), 77);
    report.is("15.36.protection.third-nonce", field!(reg_prot_nonce) != second, true);
    toggle();
    field!(sev_features = field!(sev_features).with_vmsa_reg_prot(false));
    report.is("15.36.protection.off", level::take_exit() == ExitCode::CPUID && finish(), true);
    report.is("15.36.protection.off-plain", start(task::CPUID), ExitCode::CPUID);
    report.is("15.36.protection.off-rax", field!(rax), 0x1234_5678);
    field!(rax = 0);
    skip();
    result();
}

/// APM vol. 2, table B-3: DebugSwap gives each level breakpoint registers of its own.
fn breakpoints(report: &mut Report) {
    const OWN: u64 = 0x1000;
    const OTHER: u64 = 0x2000;
    field!(sev_features = field!(sev_features).with_debug_swap(true));
    field!(dr1 = OTHER);
    cpu::set_dr1(OWN);
    report.is("debug-swap.loaded", (start(task::READ_DR1), finish()), (ExitCode::CPUID, true));
    report.is("debug-swap.loaded-value", RESULT.load(SeqCst), OTHER);
    report.is("debug-swap.done", (start(task::WRITE_DR1), finish()), (ExitCode::CPUID, true));
    report.is("debug-swap.stored", field!(dr1), OTHER + 1);
    field!(sev_features = field!(sev_features).with_debug_swap(false));
    report.is("debug-swap.off", (start(task::READ_DR1), finish()), (ExitCode::CPUID, true));
    report.is("debug-swap.off-shared", RESULT.load(SeqCst), OTHER + 1);
}

/// Level 1: does each task, and ends it by a CPUID of a leaf of its own.
extern "C" fn other_level() -> ! {
    loop {
        let result = match TASK.load(SeqCst) {
            task::CPUID => u64::from(cpu::cpuid(0x1234_5678)[0]),
            // SAFETY: level 0 answers for these registers.
            task::READ_MSR => unsafe { cpu::rdmsr(0x1b) },
            task::WRITE_MSR => {
                // SAFETY: as above.
                unsafe { cpu::wrmsr(0x1b, 0xfee0_0900) };
                0
            }
            task::OUT => {
                // SAFETY: the port is level 0's to answer for.
                unsafe { asm!("out dx, ax", in("dx") 0x1f0u16, in("ax") 0x1234u16) };
                0
            }
            task::HALT => {
                // SAFETY: level 0 lets it go on.
                unsafe { asm!("hlt") };
                1
            }
            task::TOUCH => outcome(attempt(write_at, READ_ONLY)),
            task::PVALIDATE => outcome(attempt(pvalidate, FREE)),
            task::RMPADJUST => outcome(attempt(adjust, READ_ONLY)),
            // SAFETY: every SEV-SNP CPU has it.
            task::STATUS => unsafe { cpu::rdmsr(msr::SEV_STATUS) },
            task::MMIO => outcome(attempt(write_at, NO_MEMORY | snp_guest::memory::SHARED)),
            task::NOT_VALIDATED => outcome(attempt(write_at, AWAITS)),
            task::OPEN => {
                cpu::open();
                0
            }
            task::CALL => {
                // SAFETY: level 0 answers.
                unsafe { asm!("vmmcall") };
                0
            }
            task::READ_DR1 => cpu::dr1(),
            task::WRITE_DR1 => {
                cpu::set_dr1(cpu::dr1() + 1);
                0
            }
            _ => 0,
        };
        RESULT.store(result, SeqCst);
        cpu::cpuid(DONE);
    }
}

/// The leaf by which level 1 says that it is done.
const DONE: u32 = 0x4fff_0000;

fn outcome(result: Result<u64, snp_guest::Fault>) -> u64 {
    result.unwrap_or_else(|fault| u64::from(fault.vector) << 32 | fault.error)
}

extern "C" fn write_at(address: u64) -> u64 {
    // SAFETY: an attempt's.
    unsafe { snp_guest::memory::write(address, 1) };
    0
}

extern "C" fn pvalidate(address: u64) -> u64 {
    // SAFETY: an attempt's.
    u64::from(unsafe { sev_guest::pvalidate(address, PageSize::SIZE_4K, true) }.outcome.0)
}

extern "C" fn adjust(address: u64) -> u64 {
    let more = Permissions::all(2);
    // SAFETY: no such level runs.
    u64::from(unsafe { sev_guest::rmpadjust(address, PageSize::SIZE_4K, more) }.0)
}

fn set_up(report: &mut Report) {
    // SAFETY: the memory is the cases'.
    let validated = unsafe { sev_guest::pvalidate(FREE, PageSize::SIZE_2M, true) };
    report.is("set-up.memory", validated.outcome, Outcome::SUCCESS);
    report.is("set-up.program", level::permit_program(), true);
    let read_only = Permissions::new().with_vmpl(level::LEVEL).with_read(true);
    // SAFETY: as above.
    unsafe { sev_guest::rmpadjust(READ_ONLY, PageSize::SIZE_4K, read_only) };
    level::prepare(other_level, FEATURES);
    report.is("15.36.8.save-area-attribute", level::adjust(true), Outcome::SUCCESS);
    report.is("ap-creation.level-1", level::create(level::area() as u64, FEATURES), OK);
    field!(guest_exit_code = ExitCode::INVALID);
}

/// Has level 1 do `task` until its next exit.
fn start(task: u64) -> ExitCode {
    TASK.store(task, SeqCst);
    level::run();
    level::take_exit()
}

/// Answers the CPUID that ends a task, and skips it; answers whether it was that.
fn finish() -> bool {
    let is_done = field!(rax) as u32 == DONE;
    field!(rip = field!(guest_nrip));
    is_done
}

fn skip() {
    field!(rip = field!(guest_nrip));
}

/// Lets level 1 go on to the end of its task; the result.
fn result() -> u64 {
    level::run();
    let code = level::take_exit();
    if code == ExitCode::CPUID && finish() { RESULT.load(SeqCst) } else { !0 }
}

/// APM vol. 2, 15.36.9: #VC of level 1 becomes an exit; its code and information stand in the save
/// area.
fn instructions(report: &mut Report) {
    report.is("15.36.9.cpuid", start(task::CPUID), ExitCode::CPUID);
    report.is("15.36.9.cpuid-leaf", field!(rax), 0x1234_5678);
    report.is("15.36.9.nrip", field!(guest_nrip), field!(rip) + 2);
    field!(rax = 77);
    skip();
    report.is("15.36.9.cpuid-answered", result(), 77);
    report.is("15.36.9.rdmsr", start(task::READ_MSR), ExitCode::MSR);
    report.is("15.36.9.rdmsr-information", field!(guest_exit_info_1), 0);
    (field!(rax = 0x1234), field!(rdx = 0x5));
    skip();
    report.is("15.36.9.rdmsr-answered", result(), 0x5_0000_1234);
    report.is("15.36.9.wrmsr", start(task::WRITE_MSR), ExitCode::MSR);
    report.is("15.36.9.wrmsr-information", field!(guest_exit_info_1), 1);
    report.is("15.36.9.wrmsr-value", field!(rax), 0xfee0_0900);
    skip();
    report.is("15.36.9.wrmsr-answered", result(), 0);
    report.is("15.36.9.port", start(task::OUT), ExitCode::IOIO);
    let info = IoInfo::from_bits(field!(guest_exit_info_1));
    let found = (info.port(), info.is_16_bit(), info.is_in());
    report.is("15.36.9.port-information", found, (0x1f0, true, false));
    skip();
    report.is("15.36.9.port-answered", result(), 0);
    report.is("15.36.9.vmmcall", start(task::CALL), ExitCode::VMMCALL);
    skip();
    report.is("15.36.9.vmmcall-answered", result(), 0);
    report.is("15.36.9.hlt", start(task::HALT), ExitCode::HLT);
    report.is("15.36.9.hlt-has-completed", result(), 1);
    report.is("15.34.10.sev-status-does-not-exit", start(task::STATUS), ExitCode::CPUID);
    let expected = SevStatus::of_features(FEATURES.with_snp_active(true)).0;
    report.is("15.34.10.sev-status", RESULT.load(SeqCst), expected);
    finish();
}

/// APM vol. 2, 15.36.10: faults of level 1.
fn memory(report: &mut Report) {
    report.is("15.36.10.no-right-to-write", start(task::TOUCH), ExitCode::NPF);
    let fault = NestedPageFault::from_bits(field!(guest_exit_info_1));
    report.is(
        "15.36.10.no-right-is-the-levels",
        (fault.rmp(), fault.vmpl(), fault.write()),
        (true, true, true),
    );
    report.is("15.36.10.no-right-address", field!(guest_exit_info_2) & 0xffff_ffff, READ_ONLY);
    let all = Permissions::all(level::LEVEL);
    // SAFETY: the page is the cases'.
    unsafe { sev_guest::rmpadjust(READ_ONLY, PageSize::SIZE_4K, all) };
    report.is("15.36.10.right-given", result(), 0);
    report.is("15.36.10.no-memory-is-vc", start(task::MMIO), ExitCode::NPF);
    let fault = NestedPageFault::from_bits(field!(guest_exit_info_1));
    report.is("15.36.10.no-memory-by-a-reserved-bit", fault.reserved_bit(), true);
    report.is("15.36.10.no-memory-address", field!(guest_exit_info_2), NO_MEMORY);
    // MOV [register], register has three bytes.
    field!(rip = field!(rip) + 3);
    report.is("15.36.10.no-memory-skipped", result(), 0);
    report.is("15.36.10.not-validated", start(task::NOT_VALIDATED), ExitCode::PAGE_NOT_VALIDATED);
    report.is("15.36.10.not-validated-cr2", field!(cr2), AWAITS);
    // SAFETY: as above.
    unsafe {
        sev_guest::pvalidate(AWAITS, PageSize::SIZE_2M, true);
        sev_guest::rmpadjust(AWAITS, PageSize::SIZE_2M, all);
    }
    report.is("15.36.10.validated-now", result(), 0);
    let _ = CLOSED;
}

/// APM vol. 3: instructions that belong to VMPL0, and such that any level has.
fn own_instructions(report: &mut Report) {
    report.is("pvalidate.vmpl1", start(task::PVALIDATE), ExitCode::CPUID);
    report.is("pvalidate.vmpl1-raises-gp", RESULT.load(SeqCst) >> 32, vector::GP.into());
    finish();
    report.is("rmpadjust.vmpl1", start(task::RMPADJUST), ExitCode::CPUID);
    report.is("rmpadjust.vmpl1-to-vmpl2", RESULT.load(SeqCst), Outcome::SUCCESS.0.into());
    finish();
}

fn taken(vector: u8) -> u32 {
    COUNTS.get(usize::from(vector)).map_or(0, |count| count.load(SeqCst))
}

/// APM vol. 2, 15.36.16: the virtual interrupt of the save area.
fn interrupts(report: &mut Report) {
    let offer = |priority, tpr| {
        VintrCtrl::new().with_irq(true).with_vector(0x51).with_priority(priority).with_tpr(tpr)
    };
    field!(vintr_ctrl = offer(5, 0));
    start(0);
    report.is("15.36.16.interrupts-disabled", (taken(0x51), field!(vintr_ctrl).irq()), (0, true));
    finish();
    start(task::OPEN);
    report.is("15.36.16.interrupts-enabled", (taken(0x51), field!(vintr_ctrl).irq()), (1, false));
    finish();
    field!(vintr_ctrl = offer(5, 5));
    start(task::OPEN);
    report.is(
        "15.36.16.below-the-task-priority",
        (taken(0x51), field!(vintr_ctrl).irq()),
        (1, true),
    );
    report.is("15.36.16.task-priority-stays", field!(vintr_ctrl).tpr(), 5);
    finish();
    field!(vintr_ctrl = offer(5, 5).with_ignore_tpr(true));
    start(task::OPEN);
    report.is(
        "15.36.16.task-priority-ignored",
        (taken(0x51), field!(vintr_ctrl).irq()),
        (2, false),
    );
    finish();
    let nmi = VintrCtrl::new().with_nmi_enable(true).with_nmi(true);
    field!(vintr_ctrl = nmi);
    start(0);
    report.is("15.36.16.nmi", (taken(vector::NMI), field!(vintr_ctrl).nmi()), (1, false));
    finish();
    field!(vintr_ctrl = nmi.with_nmi_mask(true));
    start(0);
    report.is("15.36.16.nmi-masked", (taken(vector::NMI), field!(vintr_ctrl).nmi()), (1, true));
    finish();
    field!(vintr_ctrl = VintrCtrl::new());
}

/// APM vol. 2, 15.36.16: the event of the save area.
fn events(report: &mut Report) {
    let interrupt =
        EventInj::new().with_vector(0x61).with_event_type(EventType::INTERRUPT).with_valid(true);
    field!(event_inj = interrupt);
    field!(rflags = field!(rflags) | rflags::IF);
    start(0);
    report.is("15.36.16.event-injected", taken(0x61), 1);
    report.is("15.36.16.event-is-over", field!(event_inj).valid(), false);
    field!(rflags = field!(rflags) & !rflags::IF);
    finish();
}

/// APM vol. 2, 15.36.16: a save area that is BUSY does not run.
fn busy(report: &mut Report) {
    field!(vintr_ctrl = VintrCtrl::new().with_busy(true));
    let (before, rip) = (RESULT.load(SeqCst), field!(rip));
    report.is("15.36.16.busy", start(task::STATUS), ExitCode::INVALID);
    report.is("15.36.16.busy-did-not-run", (RESULT.load(SeqCst), field!(rip)), (before, rip));
    field!(vintr_ctrl = VintrCtrl::new());
    report.is("15.36.16.not-busy", start(task::STATUS), ExitCode::CPUID);
    finish();
}

/// GHCB specification, AP creation: what a host refuses.
fn creation(report: &mut Report) {
    let refused = (2, 5);
    report.is("ap-creation.at-2-mib", level::create(FREE, FEATURES), refused);
    report.is("ap-creation.beyond-the-memory", level::create(1 << 38, FEATURES), refused);
    report.is("ap-creation.in-a-page", level::create(level::area() as u64 + 8, FEATURES), refused);
    // A page that is no save area is taken by the host, and does not run.
    report.is("ap-creation.any-page", level::create(READ_ONLY, FEATURES), OK);
    let before = RESULT.load(SeqCst);
    report.is(
        "vmrun.no-save-area",
        (start(task::STATUS), RESULT.load(SeqCst)),
        (ExitCode::INVALID, before),
    );
}
