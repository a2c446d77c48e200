//! The addressing of interrupt messages.

use crate::registers::{DFR_CLUSTER, DFR_FLAT};

/// The interface through which software accesses the APIC (SDM 11.12.1, table 11-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// IA32_APIC_BASE has EN = 0, EXTD = 0.
    Disabled,
    /// The register page.
    XApic,
    /// The MSRs 800h to 8FFh.
    X2Apic,
}

/// The destination of a message.
///
/// [`Destination::physical8`] and [`Destination::logical8`] widen an 8-bit broadcast to 32 bits, so
/// receivers need not know the width that the sender used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The APIC with this ID; `u32::MAX` means all APICs (SDM 11.6.2.1, 11.12.10.1).
    Physical(u32),
    /// The APICs in this logical set; `u32::MAX` means all APICs (SDM 11.6.2.2, 11.12.10.1).
    Logical(u32),
    /// All APICs including the sender (SDM 11.6.1, destination shorthand 10b).
    AllIncludingSelf,
    /// All APICs except the sender (SDM 11.6.1, destination shorthand 11b).
    AllExcludingSelf,
}

impl Destination {
    /// The physical destination of a message from an IOAPIC, an MSI or an xAPIC.
    pub const fn physical8(id: u8) -> Self {
        Self::Physical(widen(id))
    }

    /// The logical destination of a message from an IOAPIC, an MSI or an xAPIC.
    pub const fn logical8(set: u8) -> Self {
        Self::Logical(widen(set))
    }

    /// Whether the APIC with this identity receives the message. `is_sender` is true if that APIC
    /// sent the message itself, and false for messages from devices.
    pub fn matches(self, target: Identity, is_sender: bool) -> bool {
        if target.mode == Mode::Disabled {
            return false;
        }
        match self {
            Self::Physical(u32::MAX) | Self::Logical(u32::MAX) | Self::AllIncludingSelf => true,
            Self::AllExcludingSelf => !is_sender,
            Self::Physical(id) => id == target.physical_id(),
            Self::Logical(set) => target.in_logical_set(set),
        }
    }
}

const fn widen(destination: u8) -> u32 {
    if destination == 0xFF { u32::MAX } else { destination as u32 }
}

/// The facts by which senders address an APIC, small enough for one atomic word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The interface in use.
    pub mode: Mode,
    /// The 32-bit ID given at construction.
    pub x2apic_id: u32,
    /// Bits 31:24 of the xAPIC LDR.
    pub logical_id: u8,
    /// Bits 31:28 of the xAPIC DFR.
    pub model: u8,
    /// SVR bit 8. A software-disabled APIC accepts NMI, SMI, INIT and SIPI, but no vectors.
    pub software_enabled: bool,
    /// The LINT0 entry is not masked, or the APIC is globally disabled (SDM 11.4.3).
    pub lint0_open: bool,
}

impl Identity {
    const MODE_SHIFT: u32 = 44;
    const ENABLED: u64 = 1 << 46;
    const LINT0_OPEN: u64 = 1 << 47;

    /// The ID in the xAPIC page, bits 31:24.
    pub(crate) const fn xapic_id(self) -> u8 {
        self.x2apic_id as u8
    }

    /// The x2APIC logical ID, which hardware derives from the x2APIC ID: the cluster in bits 31:16,
    /// one bit set in bits 15:0 (SDM 11.12.10.2).
    pub(crate) const fn x2apic_logical_id(self) -> u32 {
        ((self.x2apic_id >> 4) << 16) | (1 << (self.x2apic_id & 0xF))
    }

    /// Packs the identity: ID 31:0, LDR 39:32, DFR 43:40, mode 45:44, software enable 46,
    /// LINT0 open 47.
    pub const fn to_bits(self) -> u64 {
        let enabled = if self.software_enabled { Self::ENABLED } else { 0 };
        self.x2apic_id as u64
            | (self.logical_id as u64) << 32
            | ((self.model & 0xF) as u64) << 40
            | (self.mode as u64) << Self::MODE_SHIFT
            | enabled
            | if self.lint0_open { Self::LINT0_OPEN } else { 0 }
    }

    /// Reverses [`Identity::to_bits`]. Zero is a disabled APIC, which receives nothing.
    pub const fn from_bits(bits: u64) -> Self {
        let mode = match (bits >> Self::MODE_SHIFT) & 3 {
            1 => Mode::XApic,
            2 => Mode::X2Apic,
            _ => Mode::Disabled,
        };
        Self {
            mode,
            x2apic_id: bits as u32,
            logical_id: (bits >> 32) as u8,
            model: ((bits >> 40) & 0xF) as u8,
            software_enabled: bits & Self::ENABLED != 0,
            lint0_open: bits & Self::LINT0_OPEN != 0,
        }
    }

    fn physical_id(self) -> u32 {
        match self.mode {
            Mode::X2Apic => self.x2apic_id,
            Mode::Disabled | Mode::XApic => u32::from(self.xapic_id()),
        }
    }

    fn in_logical_set(self, set: u32) -> bool {
        if self.mode == Mode::X2Apic {
            let own = self.x2apic_logical_id();
            return set >> 16 == own >> 16 && set & own & 0xFFFF != 0;
        }
        // An xAPIC has a logical ID of 8 bits, so a wider set contains only x2APICs.
        let Ok(set) = u8::try_from(set) else { return false };
        let own = self.logical_id;
        match self.model {
            DFR_FLAT => set & own != 0,
            DFR_CLUSTER => set >> 4 == own >> 4 && set & own & 0xF != 0,
            _ => false,
        }
    }
}

/// Picks the receiver of a lowest-priority message among `candidates`, which already match the
/// message's destination. Software-disabled APICs are skipped.
///
/// SDM 11.6.2.4 leaves the arbitration to the implementation. This one picks candidate number
/// *vector modulo count*, in the iterator's order. A vector therefore always goes to the same CPU
/// while the set of candidates stays the same, which keeps its handler in that CPU's cache;
/// different vectors spread evenly; and no task priority has to be read from another CPU.
pub fn lowest_priority<T>(
    candidates: impl Iterator<Item = (T, Identity)> + Clone,
    vector: u8,
) -> Option<T> {
    let mut enabled = candidates.filter(|(_, identity)| identity.software_enabled);
    let count = enabled.clone().count();
    let turn = usize::from(vector).checked_rem(count)?;
    enabled.nth(turn).map(|(candidate, _)| candidate)
}
