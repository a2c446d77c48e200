//! The guest's control over speculation: SPEC_CTRL, PRED_CMD.
//!
//! Sources: AMD64 APM vol. 2, section 3.2.9; AMD, "Indirect Branch Control Extension"; AMD,
//! "Speculative Store Bypass Disable".

/// Bits of leaf 8000_0008h, EBX (AMD64 APM vol. 3, appendix E.4.7).
mod leaf {
    pub(super) const IBPB: u32 = 1 << 12;
    pub(super) const IBRS: u32 = 1 << 14;
    pub(super) const STIBP: u32 = 1 << 15;
    pub(super) const SSBD: u32 = 1 << 24;
    pub(super) const PSFD: u32 = 1 << 28;
}

/// The bits of leaf 8000_0008h, EBX, about speculation: the features above, and properties of the
/// CPU that need no register (IBRS and STIBP always on, IBRS preferred, IBRS within one mode, no
/// speculative store bypass).
pub(crate) const LEAF_BITS: u32 = leaf::IBPB
    | leaf::IBRS
    | leaf::STIBP
    | leaf::SSBD
    | leaf::PSFD
    | 1 << 16
    | 1 << 17
    | 1 << 18
    | 1 << 19
    | 1 << 26;

/// PRED_CMD.IBPB: the one command there is.
pub const IBPB: u64 = 1 << 0;

/// The speculation controls that the guest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speculation {
    /// The bits that SPEC_CTRL has; with none, the register does not exist.
    pub control: u64,
    /// Whether PRED_CMD exists.
    pub has_barrier: bool,
}

impl Speculation {
    /// As leaf 8000_0008h says in EBX.
    pub(crate) const fn from_leaf(ebx: u32) -> Self {
        let bits = [(leaf::IBRS, 0), (leaf::STIBP, 1), (leaf::SSBD, 2), (leaf::PSFD, 7)];
        let (mut control, mut index) = (0, 0);
        while index < bits.len() {
            let (feature, bit) = bits[index];
            if ebx & feature != 0 {
                control |= 1 << bit;
            }
            index += 1;
        }
        Self { control, has_barrier: ebx & leaf::IBPB != 0 }
    }

    /// Whether the guest may write `value` to SPEC_CTRL; else #GP(0).
    pub const fn control_is_valid(self, value: u64) -> bool {
        self.control != 0 && value & !self.control == 0
    }

    /// Whether the guest may write `value` to PRED_CMD; else #GP(0).
    pub const fn command_is_valid(self, value: u64) -> bool {
        self.has_barrier && value & !IBPB == 0
    }
}
