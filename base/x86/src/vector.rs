//! Vectors of exceptions (AMD64 APM vol. 2, table 8-1).

/// Divide error.
pub const DE: u8 = 0;
/// Debug.
pub const DB: u8 = 1;
/// Non-maskable interrupt.
pub const NMI: u8 = 2;
/// Breakpoint (INT3).
pub const BP: u8 = 3;
/// Overflow (INTO).
pub const OF: u8 = 4;
/// Invalid opcode.
pub const UD: u8 = 6;
/// Device not available.
pub const NM: u8 = 7;
/// Double fault.
pub const DF: u8 = 8;
/// Invalid TSS.
pub const TS: u8 = 10;
/// Segment not present.
pub const NP: u8 = 11;
/// Stack.
pub const SS: u8 = 12;
/// General protection.
pub const GP: u8 = 13;
/// Page fault.
pub const PF: u8 = 14;
/// Alignment check.
pub const AC: u8 = 17;
/// Machine check.
pub const MC: u8 = 18;
/// Control protection.
pub const CP: u8 = 21;
/// Hypervisor injection (SEV-SNP).
pub const HV: u8 = 28;
/// VMM communication (SEV-ES).
pub const VC: u8 = 29;
/// Security.
pub const SX: u8 = 30;
/// The first vector that is no exception.
pub const FIRST_INTERRUPT: u8 = 32;

/// Whether the CPU pushes an error code for an exception of this vector.
pub const fn has_error_code(vector: u8) -> bool {
    matches!(vector, DF | TS | NP | SS | GP | PF | AC | CP | VC | SX)
}
