//! The operands and results of the instructions that work on the RMP.

use bitfield_struct::bitfield;
use open_enum::open_enum;

/// Encodings (AMD64 APM vol. 3, chapter 4).
pub mod opcode {
    /// PVALIDATE: validates a page or takes it back.
    pub const PVALIDATE: [u8; 4] = [0xf2, 0x0f, 0x01, 0xff];
    /// RMPADJUST: changes the permissions of a lower level.
    pub const RMPADJUST: [u8; 4] = [0xf3, 0x0f, 0x01, 0xfe];
    /// RMPQUERY: reads the permissions of a lower level.
    pub const RMPQUERY: [u8; 4] = [0xf3, 0x0f, 0x01, 0xfd];
    /// RMPUPDATE, the hypervisor's: assigns a page.
    pub const RMPUPDATE: [u8; 4] = [0xf2, 0x0f, 0x01, 0xfe];
    /// PSMASH, the hypervisor's: splits a 2 MiB page.
    pub const PSMASH: [u8; 4] = [0xf3, 0x0f, 0x01, 0xff];
    /// VMGEXIT: exits to the hypervisor.
    pub const VMGEXIT: [u8; 4] = [0xf3, 0x0f, 0x01, 0xd9];
    /// The other encoding of VMGEXIT.
    pub const VMGEXIT_REPNE: [u8; 4] = [0xf2, 0x0f, 0x01, 0xd9];
}

/// EAX after an instruction. PVALIDATE also sets CF if it changed nothing.
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// Done.
    SUCCESS = 0,
    /// An operand is invalid.
    FAIL_INPUT = 1,
    /// The level has no right to do this.
    FAIL_PERMISSION = 2,
    /// The page is in use, for instance as the save area of a running VP.
    FAIL_INUSE = 3,
    /// The page overlaps one of another size.
    FAIL_OVERLAP = 4,
    /// The page's sizes in the RMP and the page tables differ.
    FAIL_SIZEMISMATCH = 6,
}

/// The page size in RCX.
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum PageSize {
    /// 4 KiB.
    SIZE_4K = 0,
    /// 2 MiB.
    SIZE_2M = 1,
}

/// RDX of RMPADJUST and RMPQUERY: a level with its permissions for a page.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Permissions {
    /// The level.
    pub vmpl: u8,
    /// The level may read.
    pub read: bool,
    /// The level may write.
    pub write: bool,
    /// The level may execute in user mode.
    pub user_execute: bool,
    /// The level may execute in supervisor mode.
    pub supervisor_execute: bool,
    /// The page may be a supervisor shadow stack of the level.
    pub supervisor_shadow_stack: bool,
    #[bits(3)]
    __: u8,
    /// The page is a save area.
    pub vmsa: bool,
    #[bits(47)]
    __: u64,
}

impl Permissions {
    /// All rights to read, write and execute for a level.
    pub const fn all(vmpl: u8) -> Self {
        Self::new()
            .with_vmpl(vmpl)
            .with_read(true)
            .with_write(true)
            .with_user_execute(true)
            .with_supervisor_execute(true)
    }
}
