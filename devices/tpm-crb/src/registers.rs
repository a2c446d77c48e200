//! The registers of the interface with their fields.
//!
//! Sections are those of the TCG PC Client Platform TPM Profile, version 1.05 ("PTP"). Offsets are
//! relative to the page of a locality.

use bitfield_struct::bitfield;
use bitflags::bitflags;

/// Address of the first locality's page in a PC (PTP 6.5.3, table 15).
pub const BASE: u64 = 0xFED4_0000;
/// Size of a locality's page in bytes.
pub const PAGE: u16 = 0x1000;
/// Number of localities.
pub const LOCALITIES: u8 = 5;
/// Size of all pages in bytes.
pub const LENGTH: u16 = PAGE * LOCALITIES as u16;

/// TPM_LOC_STATE (PTP 6.5.3.1).
pub const LOC_STATE: u16 = 0x00;
/// TPM_LOC_CTRL (PTP 6.5.3.2).
pub const LOC_CTRL: u16 = 0x08;
/// TPM_LOC_STS (PTP 6.5.3.3).
pub const LOC_STS: u16 = 0x0C;
/// TPM_CRB_INTF_ID, 8 bytes (PTP 6.5.3.4).
pub const INTF_ID: u16 = 0x30;
/// TPM_CRB_CTRL_REQ (PTP 6.5.3.6); the control area begins here (TCG ACPI Specification, TPM2).
pub const CTRL_REQ: u16 = 0x40;
/// TPM_CRB_CTRL_STS (PTP 6.5.3.7).
pub const CTRL_STS: u16 = 0x44;
/// TPM_CRB_CTRL_CANCEL (PTP 6.5.3.8).
pub const CTRL_CANCEL: u16 = 0x48;
/// TPM_CRB_CTRL_START (PTP 6.5.3.9).
pub const CTRL_START: u16 = 0x4C;
/// TPM_CRB_CTRL_CMD_SIZE (PTP 6.5.3.11).
pub const CTRL_CMD_SIZE: u16 = 0x58;
/// TPM_CRB_CTRL_CMD_LADDR (PTP 6.5.3.12).
pub const CTRL_CMD_LADDR: u16 = 0x5C;
/// TPM_CRB_CTRL_CMD_HADDR (PTP 6.5.3.13).
pub const CTRL_CMD_HADDR: u16 = 0x60;
/// TPM_CRB_CTRL_RSP_SIZE (PTP 6.5.3.14).
pub const CTRL_RSP_SIZE: u16 = 0x64;
/// TPM_CRB_CTRL_RSP_ADDR, 8 bytes (PTP 6.5.3.15).
pub const CTRL_RSP_ADDR: u16 = 0x68;

bitflags! {
    /// TPM_LOC_CTRL.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct LocalityControl: u32 {
        /// Requests the locality.
        const REQUEST_ACCESS = 1 << 0;
        /// Gives the locality up, or withdraws the request.
        const RELINQUISH = 1 << 1;
        /// Takes the access from a lower locality.
        const SEIZE = 1 << 2;
        /// Clears tpmEstablished; only localities 3 and 4 can.
        const RESET_ESTABLISHMENT = 1 << 3;
    }

    /// TPM_LOC_STS.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct LocalityStatus: u32 {
        /// The locality is active.
        const GRANTED = 1 << 0;
        /// A higher locality has seized the access.
        const BEEN_SEIZED = 1 << 1;
    }

    /// TPM_CRB_CTRL_REQ.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Request: u32 {
        /// Go to Ready, from Idle or Command Completion.
        const COMMAND_READY = 1 << 0;
        /// Go to Idle.
        const GO_IDLE = 1 << 1;
    }

    /// TPM_CRB_CTRL_STS.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status: u32 {
        /// The TPM has failed until the next reset.
        const FATAL = 1 << 0;
        /// The TPM is idle.
        const IDLE = 1 << 1;
    }
}

/// TPM_LOC_STATE.
#[bitfield(u32)]
pub(crate) struct LocalityState {
    /// tpmEstablished, which is active low: no dynamic root of trust has been established.
    pub(crate) not_established: bool,
    /// A locality is active.
    pub(crate) assigned: bool,
    /// The active locality.
    #[bits(3)]
    pub(crate) active: u8,
    #[bits(2)]
    _reserved: u8,
    /// All other bits are valid.
    pub(crate) valid: bool,
    #[bits(24)]
    _reserved: u32,
}

/// The only bit of TPM_CRB_CTRL_START and of TPM_CRB_CTRL_CANCEL.
pub(crate) const ONE: u32 = 1;

/// TPM_CRB_INTF_ID, lower half.
#[bitfield(u32)]
struct InterfaceId {
    /// 1 is the CRB.
    #[bits(4)]
    interface_type: u8,
    /// 1 is the CRB's only version.
    #[bits(4)]
    interface_version: u8,
    /// There are five localities.
    cap_locality: bool,
    /// A command may follow another one without Idle between them.
    cap_crb_idle_bypass: bool,
    _reserved: bool,
    /// 3: transfers of up to 64 bytes.
    #[bits(2)]
    cap_data_xfer_size: u8,
    cap_fifo: bool,
    cap_crb: bool,
    #[bits(2)]
    _reserved: u8,
    /// 1 selects the CRB.
    #[bits(2)]
    interface_selector: u8,
    /// The selector is locked.
    selector_lock: bool,
    #[bits(12)]
    _reserved: u16,
}

/// TPM_CRB_INTF_ID, lower half, as it always reads.
pub(crate) const INTERFACE: u32 = InterfaceId::new()
    .with_interface_type(1)
    .with_interface_version(1)
    .with_cap_locality(true)
    .with_cap_crb_idle_bypass(true)
    .with_cap_data_xfer_size(3)
    .with_cap_fifo(false)
    .with_cap_crb(true)
    .with_interface_selector(1)
    .with_selector_lock(true)
    .into_bits();
