//! The model of one 8259A chip.

use crate::registers::{Command, DEFAULT_IR, Icw1, Icw4, Ocw2, Ocw3, POLL_INTERRUPT};

/// The command word that the next write to the data port is (DS figure 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expects {
    /// None before an ICW1: the chip has been powered on and requests nothing.
    Nothing,
    Icw2,
    Icw3,
    Icw4,
    /// Initialization is complete.
    Ocw1,
}

/// The register that a read of the command port returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Irr,
    Isr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chip {
    pub(crate) is_master: bool,
    pub(crate) expects: Expects,
    pub(crate) icw1: Icw1,
    /// Bits 7:3 of the vectors.
    pub(crate) base: u8,
    /// In the master, the inputs with slaves; in the slave, its identity in bits 2:0.
    pub(crate) icw3: u8,
    pub(crate) icw4: Icw4,
    pub(crate) lines: u8,
    /// Inputs that have risen since their last acknowledge and are still high.
    pub(crate) edges: u8,
    pub(crate) isr: u8,
    pub(crate) imr: u8,
    pub(crate) elcr: u8,
    /// The input with the lowest priority.
    pub(crate) lowest: u8,
    pub(crate) rotates_on_auto_eoi: bool,
    pub(crate) special_mask: bool,
    pub(crate) polls: bool,
    pub(crate) status: Status,
}

impl Chip {
    pub(crate) fn power_on(is_master: bool, lines: u8) -> Self {
        Self {
            is_master,
            expects: Expects::Nothing,
            icw1: Icw1::empty(),
            base: 0,
            icw3: 0,
            icw4: Icw4::empty(),
            lines,
            edges: 0,
            isr: 0,
            imr: 0,
            elcr: 0,
            lowest: 7,
            rotates_on_auto_eoi: false,
            special_mask: false,
            polls: false,
            status: Status::Irr,
        }
    }

    /// Sets the level of an input. An edge counts only while the input stays high: if it falls
    /// before the acknowledge, the default IR7 results (DS, "Edge and level triggered modes").
    pub(crate) fn set_line(&mut self, input: u8, level: bool) {
        let bit = 1 << (input & 7);
        if level {
            self.edges |= bit & !self.lines;
            self.lines |= bit;
        } else {
            self.edges &= !bit;
            self.lines &= !bit;
        }
    }

    pub(crate) fn irr(&self) -> u8 {
        let levels = if self.icw1.contains(Icw1::LEVEL) { 0xFF } else { self.elcr };
        (self.lines & levels) | (self.edges & !levels)
    }

    /// The input for which the INT output is active, if it is.
    pub(crate) fn request(&self) -> Option<u8> {
        if self.expects != Expects::Ocw1 {
            return None;
        }
        let request = self.first(self.irr() & !self.imr)?;
        let Some(blocker) = self.first(self.blocking()) else { return Some(request) };
        let again = self.is_master
            && self.icw4.contains(Icw4::SPECIAL_FULLY_NESTED)
            && request == blocker
            && self.has_slave(request);
        (again || self.rank(request) < self.rank(blocker)).then_some(request)
    }

    /// The inputs in service that block others: in the special mask mode, only those not masked
    /// (DS, "Special mask mode").
    fn blocking(&self) -> u8 {
        if self.special_mask { self.isr & !self.imr } else { self.isr }
    }

    /// Whether ICW3 of the master assigns this input to a slave.
    pub(crate) fn has_slave(&self, input: u8) -> bool {
        !self.icw1.contains(Icw1::SINGLE) && self.icw3 >> (input & 7) & 1 != 0
    }

    /// Acknowledges the highest request and returns its input, which is then in service unless the
    /// automatic EOI is on; `None` if the request has gone away.
    pub(crate) fn acknowledge(&mut self) -> Option<u8> {
        let input = self.request()?;
        let bit = 1 << input;
        self.edges &= !bit;
        if !self.icw4.contains(Icw4::AUTO_EOI) {
            self.isr |= bit;
        } else if self.rotates_on_auto_eoi {
            self.lowest = input;
        }
        Some(input)
    }

    /// The vector of an input, or for `None` that of a request that has gone away.
    pub(crate) fn vector(&self, input: Option<u8>) -> u8 {
        self.base | input.unwrap_or(DEFAULT_IR)
    }

    pub(crate) fn write_command(&mut self, value: u8) {
        if value & Icw1::IS_ICW1.bits() != 0 {
            self.initialize(Icw1::from_bits_truncate(value));
        } else if value & Ocw3::IS_OCW3.bits() != 0 {
            self.write_ocw3(Ocw3::from_bits_truncate(value));
        } else {
            self.write_ocw2(Ocw2::from_bits(value));
        }
    }

    /// Takes ICW1 (DS, "Initialization command words 1 and 2"). An input that is already high must
    /// fall before it can make an edge.
    fn initialize(&mut self, icw1: Icw1) {
        *self = Self {
            expects: Expects::Icw2,
            icw1: icw1 - Icw1::IS_ICW1,
            base: self.base,
            // "The slave mode address is set to 7."
            icw3: if self.is_master { self.icw3 } else { 7 },
            icw4: if icw1.contains(Icw1::NEEDS_ICW4) { self.icw4 } else { Icw4::empty() },
            elcr: self.elcr,
            ..Self::power_on(self.is_master, self.lines)
        };
    }

    fn write_ocw2(&mut self, ocw2: Ocw2) {
        match ocw2.command() {
            Command::RotateInAutomaticEoiClear => self.rotates_on_auto_eoi = false,
            Command::RotateInAutomaticEoiSet => self.rotates_on_auto_eoi = true,
            Command::NonSpecificEoi => self.end_first(false),
            Command::RotateOnNonSpecificEoi => self.end_first(true),
            Command::SpecificEoi => self.end(ocw2.level(), false),
            Command::RotateOnSpecificEoi => self.end(ocw2.level(), true),
            Command::SetPriority => self.lowest = ocw2.level(),
            Command::NoOperation => {}
        }
    }

    fn end_first(&mut self, rotate: bool) {
        if let Some(input) = self.first(self.blocking()) {
            self.end(input, rotate);
        }
    }

    fn end(&mut self, input: u8, rotate: bool) {
        self.isr &= !(1 << input);
        if rotate {
            self.lowest = input;
        }
    }

    fn write_ocw3(&mut self, ocw3: Ocw3) {
        if ocw3.contains(Ocw3::ENABLE_SPECIAL_MASK) {
            self.special_mask = ocw3.contains(Ocw3::SPECIAL_MASK);
        }
        if ocw3.contains(Ocw3::READ_REGISTER) {
            let isr = ocw3.contains(Ocw3::READ_ISR);
            self.status = if isr { Status::Isr } else { Status::Irr };
        }
        self.polls = ocw3.contains(Ocw3::POLL);
    }

    pub(crate) fn write_data(&mut self, value: u8) {
        match self.expects {
            Expects::Nothing | Expects::Ocw1 => self.imr = value,
            Expects::Icw2 => {
                self.base = value & 0xF8;
                let single = self.icw1.contains(Icw1::SINGLE);
                self.expects = if single { self.after_icw3() } else { Expects::Icw3 };
            }
            Expects::Icw3 => {
                self.icw3 = if self.is_master { value } else { value & 7 };
                self.expects = self.after_icw3();
            }
            Expects::Icw4 => {
                self.icw4 = Icw4::from_bits_truncate(value);
                self.expects = Expects::Ocw1;
            }
        }
    }

    fn after_icw3(&self) -> Expects {
        if self.icw1.contains(Icw1::NEEDS_ICW4) { Expects::Icw4 } else { Expects::Ocw1 }
    }

    /// Reads a port. After a poll command, a read of either port acknowledges (DS, "Poll command").
    pub(crate) fn read(&mut self, data_port: bool) -> u8 {
        if core::mem::take(&mut self.polls) {
            return self.acknowledge().map_or(0, |input| POLL_INTERRUPT | input);
        }
        match (data_port, self.status) {
            (true, _) => self.imr,
            (false, Status::Irr) => self.irr(),
            (false, Status::Isr) => self.isr,
        }
    }

    /// The number of inputs with a higher priority.
    fn rank(&self, input: u8) -> u8 {
        input.wrapping_sub(self.lowest).wrapping_sub(1) & 7
    }

    /// The input with the highest priority in a set.
    fn first(&self, set: u8) -> Option<u8> {
        let start = self.lowest.wrapping_add(1) & 7;
        let rank = set.rotate_right(u32::from(start)).trailing_zeros() as u8;
        (set != 0).then_some(rank.wrapping_add(start) & 7)
    }
}
