//! The save area of one VP at one privilege level (AMD64 APM vol. 2, table B-4).

use core::mem::size_of;

use bitfield_struct::bitfield;
use open_enum::open_enum;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::exit::ExitCode;
use crate::features::SevFeatures;
use crate::layout::assert_offsets;

/// A segment register, or in the descriptor-table registers its base and limit.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Attributes, packed into 12 bits: descriptor bits 47:40, then 55:52.
    pub attributes: u16,
    /// Limit in bytes, with the granularity applied.
    pub limit: u32,
    /// Base address.
    pub base: u64,
}

/// The virtual interrupt state of a VP with alternate injection (VINTR_CTRL, section 15.36.16).
#[bitfield(u64)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VintrCtrl {
    /// V_TPR: the task priority.
    pub tpr: u8,
    /// V_IRQ: an interrupt is pending.
    pub irq: bool,
    /// VGIF: the virtual global interrupt flag.
    pub gif: bool,
    /// INT_SHADOW: the VP is in an interrupt shadow.
    pub shadow: bool,
    /// V_NMI: an NMI is pending.
    pub nmi: bool,
    /// V_NMI_MASK: NMIs are masked.
    pub nmi_mask: bool,
    #[bits(3)]
    __: u8,
    /// V_INTR_PRIO: priority of the pending interrupt.
    #[bits(4)]
    pub priority: u8,
    /// V_IGN_TPR: the pending interrupt ignores the task priority.
    pub ignore_tpr: bool,
    #[bits(5)]
    __: u8,
    /// V_NMI_ENABLE: NMIs are virtualized.
    pub nmi_enable: bool,
    #[bits(5)]
    __: u8,
    /// V_INTR_VECTOR: vector of the pending interrupt.
    pub vector: u8,
    #[bits(23)]
    __: u32,
    /// BUSY: VMRUN refuses this save area with [`ExitCode::BUSY`].
    pub busy: bool,
}

/// The kind of an injected event (section 15.20).
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventType {
    /// An external or virtual interrupt.
    INTERRUPT = 0,
    /// A non-maskable interrupt.
    NMI = 2,
    /// An exception.
    EXCEPTION = 3,
    /// A software interrupt (INT n).
    SOFTWARE_INTERRUPT = 4,
}

impl EventType {
    const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    const fn into_bits(self) -> u8 {
        self.0
    }
}

/// An event for delivery, or one whose delivery an exit cut short (EVENTINJ, section 15.20).
#[bitfield(u64)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EventInj {
    /// Vector.
    pub vector: u8,
    /// Kind of event.
    #[bits(3, from = EventType::from_bits, into = EventType::into_bits)]
    pub event_type: EventType,
    /// EV: the event pushes an error code.
    pub has_error_code: bool,
    #[bits(19)]
    __: u32,
    /// V: there is an event.
    pub valid: bool,
    /// The error code to push.
    pub error_code: u32,
}

/// The save area. All 4096 bytes belong to it; reserved bytes must be zero.
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the fields have the names of the registers that they hold")]
pub struct Vmsa {
    pub es: Segment,
    pub cs: Segment,
    pub ss: Segment,
    pub ds: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub gdtr: Segment,
    pub ldtr: Segment,
    pub idtr: Segment,
    pub tr: Segment,
    pub pl0_ssp: u64,
    pub pl1_ssp: u64,
    pub pl2_ssp: u64,
    pub pl3_ssp: u64,
    pub u_cet: u64,
    pub reserved_0c8: [u8; 2],
    /// Privilege level of the save area, set by the firmware or by AP creation.
    pub vmpl: u8,
    pub cpl: u8,
    pub reserved_0cc: [u8; 4],
    pub efer: u64,
    pub reserved_0d8: [u8; 104],
    pub xss: u64,
    pub cr4: u64,
    pub cr3: u64,
    pub cr0: u64,
    pub dr7: u64,
    pub dr6: u64,
    pub rflags: u64,
    pub rip: u64,
    pub dr0: u64,
    pub dr1: u64,
    pub dr2: u64,
    pub dr3: u64,
    pub dr0_addr_mask: u64,
    pub dr1_addr_mask: u64,
    pub dr2_addr_mask: u64,
    pub dr3_addr_mask: u64,
    pub reserved_1c0: [u8; 24],
    pub rsp: u64,
    pub s_cet: u64,
    pub ssp: u64,
    pub isst_addr: u64,
    pub rax: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub cr2: u64,
    pub reserved_248: [u8; 32],
    pub g_pat: u64,
    pub dbgctl: u64,
    pub br_from: u64,
    pub br_to: u64,
    pub last_excp_from: u64,
    pub last_excp_to: u64,
    pub reserved_298: [u8; 72],
    pub spec_ctrl: u64,
    pub pkru: u32,
    pub tsc_aux: u32,
    /// Ratio of the guest's to the host's TSC, in 8.32 fixed point (Secure TSC).
    pub guest_tsc_scale: u64,
    /// Added to the scaled TSC (Secure TSC).
    pub guest_tsc_offset: u64,
    /// Mask of the registers while [`SevFeatures::vmsa_reg_prot`] is set.
    pub reg_prot_nonce: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rbx: u64,
    /// RSP's place in the order of general registers; RSP itself is at 1D8h.
    pub reserved_320: u64,
    pub rbp: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub reserved_380: [u8; 16],
    /// EXITINFO1 of the last automatic exit (section 15.36.9).
    pub guest_exit_info_1: u64,
    /// EXITINFO2 of the last automatic exit.
    pub guest_exit_info_2: u64,
    /// EXITINTINFO of the last automatic exit.
    pub guest_exit_int_info: EventInj,
    /// Next RIP of the last automatic exit.
    pub guest_nrip: u64,
    pub sev_features: SevFeatures,
    pub vintr_ctrl: VintrCtrl,
    /// Code of the last automatic exit.
    pub guest_exit_code: ExitCode,
    /// GPAs below it are private, those above shared ([`SevFeatures::vtom`]).
    pub virtual_tom: u64,
    pub tlb_id: u64,
    /// Zero makes the next VMRUN flush the TLB.
    pub pcpu_id: u64,
    /// The event for the next entry with alternate injection.
    pub event_inj: EventInj,
    pub xcr0: u64,
    pub reserved_3f0: [u8; 16],
    pub x87_dp: u64,
    pub mxcsr: u32,
    pub x87_ftw: u16,
    pub x87_fsw: u16,
    pub x87_fcw: u16,
    pub x87_fop: u16,
    pub x87_ds: u16,
    pub x87_cs: u16,
    pub x87_rip: u64,
    /// ST0–ST7, ten bytes each.
    pub x87_registers: [u8; 80],
    /// XMM0–XMM15.
    pub xmm: [u8; 256],
    /// The high halves of YMM0–YMM15.
    pub ymm_hi: [u8; 256],
    /// Sixteen pairs of the last branch record.
    pub lbr_stack: [u8; 256],
    pub lbr_select: u64,
    pub ibs_fetch_ctl: u64,
    pub ibs_fetch_linaddr: u64,
    pub ibs_op_ctl: u64,
    pub ibs_op_rip: u64,
    pub ibs_op_data: u64,
    pub ibs_op_data2: u64,
    pub ibs_op_data3: u64,
    pub ibs_dc_linaddr: u64,
    pub bp_ibstgt_rip: u64,
    pub ic_ibs_extd_ctl: u64,
    pub reserved_7c8: [u8; 2104],
}

impl Vmsa {
    /// Masks the words of eight bytes that `bitmap` names with the nonce, or unmasks them: bit 0 of
    /// the first byte is the word at 0. The secrets page has the bitmap of the CPU (SEV-SNP firmware
    /// ABI, secrets page; AMD64 APM vol. 2, section 15.36, VMSA register protection).
    pub fn toggle_protection(&mut self, bitmap: &[u8; 64]) {
        let nonce = self.reg_prot_nonce.to_le_bytes();
        let words = self.as_mut_bytes().as_chunks_mut::<8>().0;
        for (words, bits) in words.chunks_mut(8).zip(bitmap).filter(|(_, bits)| **bits != 0) {
            for (word, bit) in words.iter_mut().zip(0..) {
                if bits >> bit & 1 != 0 {
                    word.iter_mut().zip(nonce).for_each(|(byte, mask)| *byte ^= mask);
                }
            }
        }
    }
}

/// GPA where loaders put save areas that have no GPA of their own: the last page below 2⁴⁸.
pub const DEFAULT_VMSA_GPA: u64 = 0xffff_ffff_f000;

const _: () = assert!(size_of::<Vmsa>() == 0x1000);
assert_offsets!(Vmsa:
    es = 0x000, cs = 0x010, ss = 0x020, ds = 0x030, fs = 0x040, gs = 0x050,
    gdtr = 0x060, ldtr = 0x070, idtr = 0x080, tr = 0x090,
    pl0_ssp = 0x0a0, u_cet = 0x0c0, vmpl = 0x0ca, cpl = 0x0cb, efer = 0x0d0,
    xss = 0x140, cr4 = 0x148, cr3 = 0x150, cr0 = 0x158, dr7 = 0x160, dr6 = 0x168,
    rflags = 0x170, rip = 0x178, dr0 = 0x180, dr0_addr_mask = 0x1a0, rsp = 0x1d8,
    s_cet = 0x1e0, ssp = 0x1e8, isst_addr = 0x1f0, rax = 0x1f8, star = 0x200,
    lstar = 0x208, cstar = 0x210, sfmask = 0x218, kernel_gs_base = 0x220,
    sysenter_cs = 0x228, sysenter_esp = 0x230, sysenter_eip = 0x238, cr2 = 0x240,
    g_pat = 0x268, dbgctl = 0x270, br_from = 0x278, br_to = 0x280,
    last_excp_from = 0x288, last_excp_to = 0x290, spec_ctrl = 0x2e0, pkru = 0x2e8,
    tsc_aux = 0x2ec, guest_tsc_scale = 0x2f0, guest_tsc_offset = 0x2f8,
    reg_prot_nonce = 0x300, rcx = 0x308, rdx = 0x310, rbx = 0x318, rbp = 0x328,
    rsi = 0x330, rdi = 0x338, r8 = 0x340, r15 = 0x378, guest_exit_info_1 = 0x390,
    guest_exit_info_2 = 0x398, guest_exit_int_info = 0x3a0, guest_nrip = 0x3a8,
    sev_features = 0x3b0, vintr_ctrl = 0x3b8, guest_exit_code = 0x3c0,
    virtual_tom = 0x3c8, tlb_id = 0x3d0, pcpu_id = 0x3d8, event_inj = 0x3e0,
    xcr0 = 0x3e8, x87_dp = 0x400, mxcsr = 0x408, x87_ftw = 0x40c, x87_fsw = 0x40e,
    x87_fcw = 0x410, x87_fop = 0x412, x87_ds = 0x414, x87_cs = 0x416, x87_rip = 0x418,
    x87_registers = 0x420, xmm = 0x470, ymm_hi = 0x570, lbr_stack = 0x670,
    lbr_select = 0x770, ibs_fetch_ctl = 0x778, ic_ibs_extd_ctl = 0x7c0,
);
