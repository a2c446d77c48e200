//! Exceptions that an emulated instruction raises in the guest.

/// An exception to inject, with RIP still at the instruction (APM vol. 2, 8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Vector, 0 to 31.
    pub vector: u8,
    /// Error code to push, for the vectors that have one.
    pub error_code: Option<u32>,
    /// Value for CR2, for #PF only.
    pub cr2: Option<u64>,
}

impl Exception {
    /// #UD: the instruction is undefined.
    pub const INVALID_OPCODE: Self = Self { vector: 6, error_code: None, cr2: None };
    /// #NM: SSE is used while CR0.TS is set.
    pub const DEVICE_NOT_AVAILABLE: Self = Self { vector: 7, error_code: None, cr2: None };
    /// #SS(0): the stack segment refuses the access.
    pub const STACK: Self = Self { vector: 12, error_code: Some(0), cr2: None };
    /// #GP(0): another segment refuses the access.
    pub const GENERAL_PROTECTION: Self = Self { vector: 13, error_code: Some(0), cr2: None };
    /// #AC(0): misaligned user access while alignment is checked.
    pub const ALIGNMENT: Self = Self { vector: 17, error_code: Some(0), cr2: None };

    /// #PF at `linear`.
    pub const fn page_fault(linear: u64, error_code: u32) -> Self {
        Self { vector: 14, error_code: Some(error_code), cr2: Some(linear) }
    }
}
