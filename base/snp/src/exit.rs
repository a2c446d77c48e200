//! The exit codes that a hypervisor, a #VC handler and a save area use.

use open_enum::open_enum;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An exit code (AMD64 APM vol. 2, appendix C; from 8000_0000h: GHCB specification 56421,
/// "Supported NAE events").
///
/// A #VC handler finds it as error code, a hypervisor in EXITCODE of the control block or in
/// SW_EXITCODE of the GHCB, and a higher privilege level in GUEST_EXITCODE of the save area.
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum ExitCode {
    /// A physical interrupt.
    INTR = 0x60,
    /// A physical NMI.
    NMI = 0x61,
    /// A physical SMI.
    SMI = 0x62,
    /// A physical INIT.
    INIT = 0x63,
    /// The VP can take a virtual interrupt.
    VINTR = 0x64,
    /// A write that changes CR0 beyond TS and MP.
    CR0_SEL_WRITE = 0x65,
    /// SIDT.
    IDTR_READ = 0x66,
    /// SGDT.
    GDTR_READ = 0x67,
    /// SLDT.
    LDTR_READ = 0x68,
    /// STR.
    TR_READ = 0x69,
    /// LIDT.
    IDTR_WRITE = 0x6a,
    /// LGDT.
    GDTR_WRITE = 0x6b,
    /// LLDT.
    LDTR_WRITE = 0x6c,
    /// LTR.
    TR_WRITE = 0x6d,
    /// RDTSC.
    RDTSC = 0x6e,
    /// RDPMC.
    RDPMC = 0x6f,
    /// PUSHF.
    PUSHF = 0x70,
    /// POPF.
    POPF = 0x71,
    /// CPUID.
    CPUID = 0x72,
    /// RSM.
    RSM = 0x73,
    /// IRET.
    IRET = 0x74,
    /// INT n.
    SWINT = 0x75,
    /// INVD.
    INVD = 0x76,
    /// PAUSE.
    PAUSE = 0x77,
    /// HLT.
    HLT = 0x78,
    /// INVLPG.
    INVLPG = 0x79,
    /// INVLPGA.
    INVLPGA = 0x7a,
    /// IN, OUT, INS or OUTS; EXITINFO1 is an [`IoInfo`].
    IOIO = 0x7b,
    /// RDMSR if EXITINFO1 is 0, WRMSR if it is 1.
    MSR = 0x7c,
    /// A task switch.
    TASK_SWITCH = 0x7d,
    /// FERR freeze.
    FERR_FREEZE = 0x7e,
    /// The VP has shut down.
    SHUTDOWN = 0x7f,
    /// VMRUN.
    VMRUN = 0x80,
    /// VMMCALL.
    VMMCALL = 0x81,
    /// VMLOAD.
    VMLOAD = 0x82,
    /// VMSAVE.
    VMSAVE = 0x83,
    /// STGI.
    STGI = 0x84,
    /// CLGI.
    CLGI = 0x85,
    /// SKINIT.
    SKINIT = 0x86,
    /// RDTSCP.
    RDTSCP = 0x87,
    /// ICEBP.
    ICEBP = 0x88,
    /// WBINVD or WBNOINVD.
    WBINVD = 0x89,
    /// MONITOR or MONITORX.
    MONITOR = 0x8a,
    /// MWAIT or MWAITX.
    MWAIT = 0x8b,
    /// MWAIT with the monitor armed.
    MWAIT_CONDITIONAL = 0x8c,
    /// XSETBV.
    XSETBV = 0x8d,
    /// RDPRU.
    RDPRU = 0x8e,
    /// After a write to EFER.
    EFER_WRITE_TRAP = 0x8f,
    /// INVLPGB.
    INVLPGB = 0xa0,
    /// INVLPGB with invalid operands.
    ILLEGAL_INVLPGB = 0xa1,
    /// INVPCID.
    INVPCID = 0xa2,
    /// MCOMMIT.
    MCOMMIT = 0xa3,
    /// TLBSYNC.
    TLBSYNC = 0xa4,
    /// A bus lock.
    BUSLOCK = 0xa5,
    /// HLT without a pending virtual interrupt.
    IDLE_HLT = 0xa6,
    /// A nested page fault; EXITINFO1 is a [`NestedPageFault`].
    NPF = 0x400,
    /// AVIC could not deliver an IPI.
    AVIC_INCOMPLETE_IPI = 0x401,
    /// An APIC access that AVIC does not handle.
    AVIC_NOACCEL = 0x402,
    /// VMGEXIT.
    VMGEXIT = 0x403,
    /// An access to a private page that is not validated. Only a #VC has this code.
    PAGE_NOT_VALIDATED = 0x404,

    /// MMIO read: GPA, length, buffer in the scratch area.
    MMIO_READ = 0x8000_0001,
    /// MMIO write: GPA, length, buffer in the scratch area.
    MMIO_WRITE = 0x8000_0002,
    /// An NMI was handled.
    NMI_COMPLETE = 0x8000_0003,
    /// The VP waits for INIT and SIPI.
    AP_RESET_HOLD = 0x8000_0004,
    /// Gets or sets the GPA of the jump table for APs.
    AP_JUMP_TABLE = 0x8000_0005,
    /// Page state changes; see [`page_state`](crate::page_state).
    PAGE_STATE_CHANGE = 0x8000_0010,
    /// A guest message for the firmware; see SNP firmware ABI 56860, chapter 7.
    GUEST_REQUEST = 0x8000_0011,
    /// The same, with certificates as additional answer.
    EXTENDED_GUEST_REQUEST = 0x8000_0012,
    /// Creates or destroys a VP; EXITINFO1 is an [`ApCreation`].
    AP_CREATION = 0x8000_0013,
    /// Registers the [doorbell page](crate::doorbell); EXITINFO1 is a [`DoorbellRequest`].
    HV_DOORBELL_PAGE = 0x8000_0014,
    /// Sends an IPI: EXITINFO1 has the value of the ICR.
    HV_IPI = 0x8000_0015,
    /// The timer of restricted injection.
    HV_TIMER = 0x8000_0016,
    /// The APIC IDs of the VM's VPs.
    APIC_IDS = 0x8000_0017,
    /// Runs the privilege level in EXITINFO1 on this CPU.
    RUN_VMPL = 0x8000_0018,
    /// Registers or removes the Secure AVIC page.
    SECURE_AVIC = 0x8000_001a,
    /// The features of the hypervisor; the answer is a [`HypervisorFeatures`].
    HYPERVISOR_FEATURES = 0x8000_fffd,
    /// Ends the VM.
    TERMINATION_REQUEST = 0x8000_fffe,
    /// The #VC handler met an exit code that it does not support.
    UNSUPPORTED_EVENT = 0x8000_ffff,

    /// VMRUN found the guest's state invalid.
    INVALID = 0xffff_ffff_ffff_ffff,
    /// VMRUN found BUSY set in the save area.
    BUSY = 0xffff_ffff_ffff_fffe,
    /// VMRUN found the sibling thread not idle (SmtProtection).
    IDLE_REQUIRED = 0xffff_ffff_ffff_fffd,
    /// VMRUN found invalid state of performance counters.
    INVALID_PMC = 0xffff_ffff_ffff_fffc,
}

impl ExitCode {
    /// #VC itself: the code of a reflected exit (section 15.36.9).
    pub const VC: Self = Self::exception(29);
    /// #HV, the doorbell exception.
    pub const HV: Self = Self::exception(28);

    /// MOV from control register 0–15.
    pub const fn cr_read(register: u8) -> Self {
        Self((register & 0xf) as u64)
    }

    /// MOV to control register 0–15.
    pub const fn cr_write(register: u8) -> Self {
        Self(0x10 + (register & 0xf) as u64)
    }

    /// MOV from debug register 0–15.
    pub const fn dr_read(register: u8) -> Self {
        Self(0x20 + (register & 0xf) as u64)
    }

    /// MOV to debug register 0–15.
    pub const fn dr_write(register: u8) -> Self {
        Self(0x30 + (register & 0xf) as u64)
    }

    /// The exception of vector 0–31.
    pub const fn exception(vector: u8) -> Self {
        Self(0x40 + (vector & 0x1f) as u64)
    }

    /// After a write to control register 0–15.
    pub const fn cr_write_trap(register: u8) -> Self {
        Self(0x90 + (register & 0xf) as u64)
    }
}

/// EXITINFO1 of an intercepted port access (AMD64 APM vol. 2, section 15.10.2).
#[bitfield_struct::bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct IoInfo {
    /// IN or INS.
    pub is_in: bool,
    __: bool,
    /// INS or OUTS.
    pub is_string: bool,
    /// With a REP prefix.
    pub is_repeated: bool,
    /// The operand has one byte.
    pub is_8_bit: bool,
    /// The operand has two bytes.
    pub is_16_bit: bool,
    /// The operand has four bytes.
    pub is_32_bit: bool,
    /// 16-bit addresses.
    pub address_16: bool,
    /// 32-bit addresses.
    pub address_32: bool,
    /// 64-bit addresses.
    pub address_64: bool,
    /// The effective segment, numbered as instructions encode it.
    #[bits(3)]
    pub segment: u8,
    #[bits(3)]
    __: u8,
    /// The port.
    pub port: u16,
    __: u32,
}

/// EXITINFO1 of a nested page fault (AMD64 APM vol. 2, sections 15.25.6 and 15.36.10).
#[bitfield_struct::bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct NestedPageFault {
    /// P: the page was present.
    pub present: bool,
    /// RW: the access was a write.
    pub write: bool,
    /// US: the access was a user's.
    pub user: bool,
    /// RSV: a reserved bit was set.
    pub reserved_bit: bool,
    /// ID: the access was an instruction fetch.
    pub fetch: bool,
    __: bool,
    /// SS: the access was one to a shadow stack.
    pub shadow_stack: bool,
    #[bits(24)]
    __: u32,
    /// RMP: the RMP check failed.
    pub rmp: bool,
    /// The fault was met at the final translation.
    pub final_translation: bool,
    /// The fault was met while the guest's page tables were walked.
    pub table_walk: bool,
    /// ENC: the guest's access was to private memory.
    pub encrypted: bool,
    /// SIZEM: the page sizes of RMP and nested page table differ.
    pub size_mismatch: bool,
    /// VMPL: the privilege level has no permission for the access.
    pub vmpl: bool,
    /// SSS: a supervisor shadow stack was expected.
    pub supervisor_shadow_stack: bool,
    #[bits(26)]
    __: u32,
}

/// The kinds of [`ExitCode::AP_CREATION`].
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ApCreationRequest {
    /// Creates the VP; it starts when it gets INIT.
    CREATE_ON_INIT = 0,
    /// Creates the VP and starts it.
    CREATE = 1,
    /// Destroys the VP.
    DESTROY = 2,
}

impl ApCreationRequest {
    const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    const fn into_bits(self) -> u8 {
        self.0
    }
}

/// EXITINFO1 of [`ExitCode::AP_CREATION`] (GHCB specification, "SNP AP Creation"). RAX has the
/// SEV_FEATURES and EXITINFO2 the GPA of the save area.
#[bitfield_struct::bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ApCreation {
    /// The request.
    #[bits(8, from = ApCreationRequest::from_bits, into = ApCreationRequest::into_bits)]
    pub request: ApCreationRequest,
    __: u8,
    /// The privilege level of the save area.
    #[bits(4)]
    pub vmpl: u8,
    #[bits(12)]
    __: u16,
    /// The APIC ID of the VP.
    pub apic_id: u32,
}

/// EXITINFO1 of [`ExitCode::HV_DOORBELL_PAGE`] (GHCB specification, "#HV Doorbell Page").
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum DoorbellRequest {
    /// Asks for the GPA that the hypervisor prefers.
    GET_PREFERRED = 0,
    /// Sets the GPA in EXITINFO2.
    SET = 1,
    /// Asks for the GPA in use.
    QUERY = 2,
    /// Stops the use of the page.
    CLEAR = 3,
}

/// Features of a hypervisor (GHCB specification, "Hypervisor Feature Support").
#[bitfield_struct::bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct HypervisorFeatures {
    /// SEV-SNP.
    pub snp: bool,
    /// AP creation; needs `snp`.
    pub ap_creation: bool,
    /// Restricted injection; needs `ap_creation`.
    pub restricted_injection: bool,
    /// The timer of restricted injection; needs `restricted_injection`.
    pub restricted_injection_timer: bool,
    /// The list of APIC IDs.
    pub apic_id_list: bool,
    /// Several privilege levels; needs `ap_creation`.
    pub multi_vmpl: bool,
    /// Page state changes without SNP.
    pub page_state_change: bool,
    /// Interrupts for lower levels through the doorbell page.
    pub extended_interrupts: bool,
    #[bits(56)]
    __: u64,
}
