//! Tests of what a guest can see of a local APIC.

mod addressing;
mod interrupts;
mod models;
mod random;
mod timing;

use crate::{Effect, LocalApic};
use device_model::{GuestTsc, Instant};

const MINIMUM: u64 = 20_000;
const T0: Instant = Instant::START;
const TSC0: GuestTsc = GuestTsc(0);

/// IA32_APIC_BASE (SDM 11.4.4).
const DEFAULT_PAGE: u64 = 0xFEE0_0000;
const BASE_BSP: u64 = 1 << 8;
const BASE_EXTD: u64 = 1 << 10;
const BASE_EN: u64 = 1 << 11;

const ID: u16 = 0x20;
const VERSION: u16 = 0x30;
const TPR: u16 = 0x80;
const PPR: u16 = 0xA0;
const EOI: u16 = 0xB0;
const LDR: u16 = 0xD0;
const DFR: u16 = 0xE0;
const SVR: u16 = 0xF0;
const ISR: u16 = 0x100;
const TMR: u16 = 0x180;
const IRR: u16 = 0x200;
const ESR: u16 = 0x280;
const ICR: u16 = 0x300;
const ICR_HIGH: u16 = 0x310;
const LVT_TIMER: u16 = 0x320;
const LVT_LINT0: u16 = 0x350;
const LVT_LINT1: u16 = 0x360;
const LVT_ERROR: u16 = 0x370;
const INITIAL: u16 = 0x380;
const CURRENT: u16 = 0x390;
const DIVIDE: u16 = 0x3E0;

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

fn fresh(id: u32) -> LocalApic {
    LocalApic::new(id, true, 40, MINIMUM)
}

/// A software-enabled APIC in xAPIC mode.
fn xapic() -> LocalApic {
    let mut apic = fresh(3);
    assert_eq!(write(&mut apic, SVR, 0x1FF), Some(Effect::IdentityChanged));
    apic
}

/// A software-enabled APIC in x2APIC mode.
fn x2apic(id: u32) -> LocalApic {
    let mut apic = fresh(id);
    apic.set_apic_base(DEFAULT_PAGE | BASE_EN | BASE_EXTD | BASE_BSP).unwrap();
    assert_eq!(apic.write_msr(0x80F, 0x1FF, T0, TSC0), Ok(Some(Effect::IdentityChanged)));
    apic
}

fn read(apic: &mut LocalApic, offset: u16) -> u32 {
    apic.read_xapic(offset, T0, TSC0)
}

fn write(apic: &mut LocalApic, offset: u16, value: u32) -> Option<Effect> {
    apic.write_xapic(offset, value, T0, TSC0)
}

/// Lets the CPU take the pending interrupt.
fn take(apic: &mut LocalApic) -> Option<u8> {
    let vector = apic.pending()?;
    apic.acknowledge(vector);
    Some(vector)
}
