//! Access to the registers through the xAPIC page or the x2APIC MSRs.

use crate::registers::*;
use crate::{Effect, GeneralProtection, LocalApic, Mode};
use device_model::{GuestTsc, Instant};

impl LocalApic {
    /// Reads 32 bits of the xAPIC page at byte `offset` (SDM 11.4.1).
    ///
    /// Registers are at multiples of 16, and accesses to other offsets are undefined (SDM 11.4.1).
    /// Here, an access that starts inside a register reads its upper bytes, and one between two
    /// registers reads zero. Outside xAPIC mode the page is not decoded and reads all ones.
    pub fn read_xapic(&mut self, offset: u16, now: Instant, tsc: GuestTsc) -> u32 {
        if self.mode != Mode::XApic {
            return u32::MAX;
        }
        let Some(register) = self.xapic_register(offset) else { return 0 };
        if offset & 0xC != 0 {
            return 0;
        }
        let value = match register {
            ID => u32::from(self.identity().xapic_id()) << 24,
            APR => u32::from(self.arbitration_priority()),
            LDR => LogicalDestination::new().with_logical_id(self.registers.ldr).into_bits(),
            DFR => DestinationFormat::new().with_model(self.registers.dfr_model & 0xF).into_bits(),
            ICR_HIGH => InterruptCommand::from_bits(self.registers.icr).destination(),
            EOI | REMOTE_READ => 0,
            _ => self.read_common(register, now, tsc),
        };
        value >> (8 * u32::from(offset & 3))
    }

    /// Writes 32 bits to the xAPIC page at byte `offset`. The write is ignored if `offset` is not a
    /// multiple of 16, if the register is read-only, or outside xAPIC mode.
    pub fn write_xapic(
        &mut self,
        offset: u16,
        value: u32,
        now: Instant,
        tsc: GuestTsc,
    ) -> Option<Effect> {
        if self.mode != Mode::XApic {
            return None;
        }
        let register = self.xapic_register(offset)?;
        if offset & 0xF != 0 {
            return None;
        }
        match register {
            LDR => {
                self.registers.ldr = LogicalDestination::from_bits(value).logical_id();
                Some(Effect::IdentityChanged)
            }
            DFR => {
                self.registers.dfr_model = DestinationFormat::from_bits(value).model();
                Some(Effect::IdentityChanged)
            }
            ICR_HIGH => {
                let command = InterruptCommand::from_bits(self.registers.icr);
                self.registers.icr = command.with_destination(value & ICR_XAPIC_HIGH).into_bits();
                None
            }
            ICR => self.write_command(value),
            _ => self.write_common(register, value, now, tsc),
        }
    }

    /// Reads one of the MSRs 800h to 8FFh.
    ///
    /// # Errors
    ///
    /// The APIC is not in x2APIC mode, or the register does not exist there or is write-only
    /// (SDM 11.12.1.3, table 11-6).
    pub fn read_msr(
        &mut self,
        msr: u32,
        now: Instant,
        tsc: GuestTsc,
    ) -> Result<u64, GeneralProtection> {
        let register = self.x2apic_register(msr, X2APIC_READABLE)?;
        Ok(match register {
            ID => u64::from(self.config.apic_id),
            LDR => u64::from(self.identity().x2apic_logical_id()),
            ICR => self.registers.icr,
            _ => u64::from(self.read_common(register, now, tsc)),
        })
    }

    /// Writes one of the MSRs 800h to 8FFh.
    ///
    /// # Errors
    ///
    /// The APIC is not in x2APIC mode, the register does not exist there or is read-only, or a
    /// reserved bit is set (SDM 11.12.1.3, table 11-6).
    #[inline]
    pub fn write_msr(
        &mut self,
        msr: u32,
        value: u64,
        now: Instant,
        tsc: GuestTsc,
    ) -> Result<Option<Effect>, GeneralProtection> {
        let register = self.x2apic_register(msr, X2APIC_WRITABLE)?;
        if value & !x2apic_bits(register) != 0 {
            return Err(GeneralProtection);
        }
        if register == ICR {
            self.registers.icr = value;
            return Ok(self.write_command(value as u32));
        }
        Ok(self.write_common(register, value as u32, now, tsc))
    }

    #[inline]
    fn x2apic_register(&self, msr: u32, allowed: u64) -> Result<u8, GeneralProtection> {
        let index = msr.wrapping_sub(X2APIC_MSR_FIRST);
        let exists = index < REGISTER_COUNT && allowed >> (index & 63) & 1 != 0;
        if exists && self.mode == Mode::X2Apic { Ok(index as u8) } else { Err(GeneralProtection) }
    }

    /// The register at a page offset. If there is none, logs the error and returns `None`.
    fn xapic_register(&mut self, offset: u16) -> Option<u8> {
        let index = offset >> 4;
        if index < REGISTER_COUNT as u16 && XAPIC_PRESENT >> (index & 63) & 1 != 0 {
            return Some(index as u8);
        }
        self.log_error(ErrorStatus::ILLEGAL_REGISTER_ADDRESS);
        None
    }

    fn read_common(&mut self, register: u8, now: Instant, tsc: GuestTsc) -> u32 {
        match register {
            VERSION => VERSION_VALUE,
            TPR => u32::from(self.registers.tpr),
            PPR => u32::from(self.registers.ppr),
            SVR => self.registers.svr,
            ISR_FIRST..=ISR_LAST => self.registers.isr.register(register - ISR_FIRST),
            TMR_FIRST..=TMR_LAST => self.registers.tmr.register(register - TMR_FIRST),
            IRR_FIRST..=IRR_LAST => {
                self.advance_timer(now, tsc);
                self.registers.irr.register(register - IRR_FIRST)
            }
            ESR => self.registers.esr.bits(),
            ICR => self.registers.icr as u32,
            LVT_FIRST..=LVT_LAST => {
                let entry = usize::from(register - LVT_FIRST);
                self.registers.lvt.get(entry).copied().unwrap_or(0)
            }
            INITIAL_COUNT => self.registers.timer.initial,
            CURRENT_COUNT => self.current_count(now, tsc),
            DIVIDE => self.registers.timer.divide,
            _ => 0,
        }
    }

    #[inline]
    fn write_common(
        &mut self,
        register: u8,
        value: u32,
        now: Instant,
        tsc: GuestTsc,
    ) -> Option<Effect> {
        match register {
            EOI => return self.end_of_interrupt(),
            INITIAL_COUNT => {
                self.write_initial_count(value, now);
                return Some(Effect::TimerChanged);
            }
            TPR => self.set_tpr(value as u8),
            SELF_IPI => self.write_self_ipi(value as u8),
            SVR => return self.write_svr(value, now, tsc),
            // The write latches the detected errors and arms the error interrupt again (SDM
            // 11.5.3).
            ESR => {
                self.registers.esr = self.registers.errors;
                self.registers.errors = ErrorStatus::empty();
            }
            LVT_FIRST..=LVT_LAST => {
                return self.write_lvt(usize::from(register - LVT_FIRST), value, now, tsc);
            }
            DIVIDE => {
                self.write_divide(value, now, tsc);
                return Some(Effect::TimerChanged);
            }
            _ => {}
        }
        None
    }

    /// The arbitration priority (APM 16.6.4).
    fn arbitration_priority(&self) -> u8 {
        let tpr = self.registers.tpr;
        let (requested, in_service) = (self.registers.irr.highest(), self.registers.isr.highest());
        if tpr >> 4 >= requested >> 4 && tpr >> 4 > in_service >> 4 {
            return tpr;
        }
        (tpr & in_service).max(requested) & 0xF0
    }
}

/// Bits of a register that WRMSR may set in x2APIC mode; all others are reserved.
#[inline]
fn x2apic_bits(register: u8) -> u64 {
    match register {
        // EOI and ESR accept only zero (SDM table 11-6).
        EOI | ESR => 0,
        INITIAL_COUNT => u64::from(u32::MAX),
        TPR | SELF_IPI => 0xFF,
        ICR => ICR_X2APIC_BITS,
        SVR => u64::from(SVR_BITS),
        DIVIDE => u64::from(DIVIDE_BITS),
        LVT_FIRST..=LVT_LAST => {
            let entry = usize::from(register - LVT_FIRST);
            let bits = LVT_BITS.get(entry).zip(LVT_READ_ONLY.get(entry));
            bits.map_or(0, |(writable, read_only)| u64::from(writable | read_only))
        }
        _ => 0,
    }
}
