//! The Hyper-V registers of the guest.

use device_model::{GuestTsc, Inspect, Value};
use x86::Vendor;

use crate::reference_tsc::{reference_tsc_page, scale};
use crate::{INVALID_HYPERCALL_CODE, msr};

const ENABLE: u64 = 1 << 0;
const LOCKED: u64 = 1 << 1;
const PAGE: u64 = !0xfff;
const TSC_INVARIANT: u64 = 1 << 0;

/// RET.
const RETURN: u8 = 0xc3;

/// The access is the guest's fault and must raise #GP(0) in it. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;

/// The clocks that the interface reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// TSC ticks per second.
    pub tsc_frequency: u64,
    /// APIC timer ticks per second at a divisor of one.
    pub apic_frequency: u64,
    /// The guest's TSC when its reference time was zero.
    pub tsc_at_zero: u64,
}

/// Bytes that must be written to the start of a guest page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct PageWrite {
    /// The page's guest-physical address, as the guest gave it. If it is not RAM, nothing is
    /// written.
    pub gpa: u64,
    bytes: [u8; 24],
    length: usize,
}

impl PageWrite {
    fn new(gpa: u64, content: &[u8]) -> Self {
        let mut bytes = [0; 24];
        for (to, from) in bytes.iter_mut().zip(content) {
            *to = *from;
        }
        Self { gpa, bytes, length: content.len().min(24) }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

/// The registers that exist once for each VP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VpRegisters {
    assist_page: u64,
}

impl VpRegisters {
    /// Reads an MSR; `None` if it is not one of the VP's own.
    pub const fn read(&self, number: u32) -> Option<u64> {
        match number {
            msr::VP_ASSIST_PAGE => Some(self.assist_page),
            _ => None,
        }
    }

    /// Writes an MSR; false if it is not one of the VP's own. The assist page itself is never
    /// written: its features (lazy EOI, nested guests) are not offered (TLFS 10.5).
    pub const fn write(&mut self, number: u32, value: u64) -> bool {
        match number {
            msr::VP_ASSIST_PAGE => self.assist_page = value & (PAGE | ENABLE),
            _ => return false,
        }
        true
    }
}

/// The registers that all VPs share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    pub(crate) clock: Clock,
    pub(crate) vendor: Vendor,
    pub(crate) guest_os_id: u64,
    pub(crate) hypercall: u64,
    pub(crate) reference_tsc: u64,
    pub(crate) tsc_invariant: u64,
}

impl Partition {
    /// The state after the machine has started. The hypercall page gets the instruction of `vendor`.
    pub const fn new(clock: Clock, vendor: Vendor) -> Self {
        Self { clock, vendor, guest_os_id: 0, hypercall: 0, reference_tsc: 0, tsc_invariant: 0 }
    }

    /// Reads an MSR for the VP with number `vp`, whose TSC is at `tsc`.
    pub fn read(&self, number: u32, vp: u32, tsc: GuestTsc) -> Result<u64, GeneralProtection> {
        Ok(match number {
            msr::GUEST_OS_ID => self.guest_os_id,
            msr::HYPERCALL => self.hypercall,
            msr::VP_INDEX => u64::from(vp),
            msr::TIME_REF_COUNT => self.reference_time(tsc),
            msr::REFERENCE_TSC => self.reference_tsc,
            msr::TSC_FREQUENCY => self.clock.tsc_frequency,
            msr::APIC_FREQUENCY => self.clock.apic_frequency,
            msr::TSC_INVARIANT_CONTROL => self.tsc_invariant,
            _ => return Err(GeneralProtection),
        })
    }

    /// Writes an MSR.
    pub fn write(
        &mut self,
        number: u32,
        value: u64,
    ) -> Result<Option<PageWrite>, GeneralProtection> {
        match number {
            msr::GUEST_OS_ID => self.set_guest_os_id(value),
            msr::HYPERCALL => return Ok(self.set_hypercall(value)),
            msr::REFERENCE_TSC => return Ok(self.set_reference_tsc(value)),
            msr::TSC_INVARIANT_CONTROL if value & !TSC_INVARIANT == 0 => self.tsc_invariant = value,
            _ => return Err(GeneralProtection),
        }
        Ok(None)
    }

    /// The result of a hypercall; `None` if the guest has not enabled hypercalls.
    pub const fn hypercall(&self) -> Option<u64> {
        if self.hypercall & ENABLE == 0 { None } else { Some(INVALID_HYPERCALL_CODE) }
    }

    /// Reference time in units of 100 ns when the guest's TSC is `tsc` (TLFS 12.4).
    fn reference_time(&self, tsc: GuestTsc) -> u64 {
        let ticks = tsc.0.wrapping_sub(self.clock.tsc_at_zero);
        ((u128::from(ticks) * u128::from(scale(self.clock.tsc_frequency))) >> 64) as u64
    }

    /// A guest OS ID of zero also disables the hypercall page (TLFS 3.13).
    fn set_guest_os_id(&mut self, value: u64) {
        self.guest_os_id = value;
        if value == 0 {
            self.hypercall &= !ENABLE;
        }
    }

    fn set_hypercall(&mut self, value: u64) -> Option<PageWrite> {
        if self.hypercall & LOCKED != 0 {
            return None;
        }
        // The page needs a guest OS ID (TLFS 3.13).
        let kept = if self.guest_os_id == 0 { value & !ENABLE } else { value };
        self.hypercall = kept & (PAGE | LOCKED | ENABLE);
        let [first, second, third] = self.vendor.hypercall();
        let code = [first, second, third, RETURN];
        (kept & ENABLE != 0).then(|| PageWrite::new(kept & PAGE, &code))
    }

    fn set_reference_tsc(&mut self, value: u64) -> Option<PageWrite> {
        self.reference_tsc = value & (PAGE | ENABLE);
        let page = reference_tsc_page(self.clock.tsc_frequency, self.clock.tsc_at_zero);
        (value & ENABLE != 0).then(|| PageWrite::new(value & PAGE, &page))
    }

    /// Reports the state for inspection.
    pub fn inspect(&self, to: &mut dyn Inspect) {
        to.field("guest_os_id", Value::Hex(self.guest_os_id));
        to.field("hypercall", Value::Hex(self.hypercall));
        to.field("reference_tsc", Value::Hex(self.reference_tsc));
        to.field("tsc_invariant", Value::Hex(self.tsc_invariant));
    }
}
