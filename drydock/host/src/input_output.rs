//! Ports and device memory.

use chipset::Request;
use device_model::GuestTsc;
use host_wire::report;
use platform_api::{Console, Width};
use snp::exit::IoInfo;
use snp::ghcb::{Field, InputError, SHARED_BUFFER_SIZE};

use crate::ghcb::{Answer, Exchange, Refusal};
use crate::machine::End;
use crate::outside::Outside;
use crate::test_ports::Written;
use crate::vp::HostVp;

/// The longest access to device memory in bytes.
const LONGEST_ACCESS: usize = 8;

impl<O: Outside> HostVp<'_, O> {
    /// IN, OUT, INS or OUTS.
    pub(crate) fn port(&mut self, on: &mut Exchange) -> Answer {
        let info = IoInfo::from_bits(on.info_1()?);
        let width = match (info.is_8_bit(), info.is_16_bit(), info.is_32_bit()) {
            (true, false, false) => Width::Byte,
            (false, true, false) => Width::Word,
            (false, false, true) => Width::Dword,
            _ => return Err(InputError::INVALID_INPUT.into()),
        };
        if info.is_string() {
            return self.port_string(on, info, width);
        }
        if info.is_in() {
            let value = self.read_port(info.port(), width);
            on.set(Field::RAX, value.into());
        } else {
            let value = on.need(Field::RAX)? as u32;
            self.write_port(info.port(), width, value & width.mask());
        }
        Ok(0)
    }

    /// INS or OUTS: the guest moves what lies in the scratch area to or from its memory.
    fn port_string(&mut self, on: &Exchange, info: IoInfo, width: Width) -> Answer {
        let size = usize::from(width.bytes());
        let count = usize::try_from(on.info_2()?).unwrap_or(usize::MAX);
        let fits = count.checked_mul(size).filter(|bytes| *bytes <= SHARED_BUFFER_SIZE);
        let length = fits.ok_or(InputError::INVALID_INPUT)?;
        let scratch = on.need(Field::SW_SCRATCH)?;
        let mut bytes = [0; SHARED_BUFFER_SIZE];
        let bytes = bytes.get_mut(..length).unwrap_or_default();
        // For INS, too: a device is only read if the guest can get what it says.
        if !self.host.outside.read_shared(scratch, bytes) {
            return Err(InputError::INVALID_SCRATCH_AREA.into());
        }
        for element in bytes.chunks_mut(size) {
            let mut word = [0; 4];
            if info.is_in() {
                word = self.read_port(info.port(), width).to_le_bytes();
                element.copy_from_slice(word.get(..size).unwrap_or_default());
            } else {
                word.iter_mut().zip(&*element).for_each(|(to, from)| *to = *from);
                self.write_port(info.port(), width, u32::from_le_bytes(word));
            }
        }
        if info.is_in() && !self.host.outside.write_shared(scratch, bytes) {
            return Err(InputError::INVALID_SCRATCH_AREA.into());
        }
        Ok(0)
    }

    fn read_port(&self, port: u16, width: Width) -> u32 {
        let own = self.read_configuration(port, width);
        let own = own.or_else(|| self.host.test_ports.read(port, width));
        own.unwrap_or_else(|| self.chipset().read_port(port, width, &self.access()))
    }

    fn write_port(&self, port: u16, width: Width, value: u32) {
        if self.write_configuration(port, width, value) {
            return;
        }
        match self.host.test_ports.write(port, width, value) {
            Some(Written::End(number)) => return self.host.end(End::Exit(number)),
            Some(Written::Report(line)) => {
                let observer = self.host.outside.host();
                return observer.report(format_args!("{} {line}", report::GUEST));
            }
            Some(Written::Done) => return,
            None => {}
        }
        match self.chipset().write_port(port, width, value, &self.access()) {
            None => {}
            Some(Request::PowerOff) => self.host.end(End::PowerOff),
            Some(Request::Reset) => self.host.end(End::Reset),
            // There is no BIOS whose call could come here.
            Some(Request::BiosCall(_)) => {}
        }
    }

    /// Where an access to device memory goes, and how long it is.
    fn device_access(&self, on: &Exchange) -> Result<(u64, usize, u64), Refusal> {
        let gpa = on.info_1()? & !(1 << self.host.settings.c_bit);
        let length = usize::try_from(on.info_2()?).unwrap_or(usize::MAX);
        if !(1..=LONGEST_ACCESS).contains(&length) {
            return Err(InputError::INVALID_INPUT.into());
        }
        Ok((gpa, length, on.need(Field::SW_SCRATCH)?))
    }

    /// Reads device memory to the scratch area.
    pub(crate) fn mmio_read(&mut self, on: &Exchange) -> Answer {
        let (gpa, length, scratch) = self.device_access(on)?;
        let mut bytes = [0; LONGEST_ACCESS];
        let bytes = bytes.get_mut(..length).unwrap_or_default();
        // A device is only read if the guest can get what it says.
        if !self.host.outside.read_shared(scratch, bytes) {
            return Err(InputError::INVALID_SCRATCH_AREA.into());
        }
        bytes.fill(0xff);
        if self.current().apic.xapic_page() == Some(gpa & !0xfff) {
            let tsc = self.tsc();
            let (now, guest) = (self.host.clock.at(tsc), GuestTsc(tsc.0));
            let offset = gpa as u16 & 0xfff;
            let value = self.current_mut().apic.read_xapic(offset & !3, now, guest);
            chipset::memory::register_bytes(value, offset, bytes);
        } else {
            self.chipset().read_memory(gpa, bytes);
        }
        if self.host.outside.write_shared(scratch, bytes) {
            Ok(0)
        } else {
            Err(InputError::INVALID_SCRATCH_AREA.into())
        }
    }

    /// Writes the scratch area to device memory.
    pub(crate) fn mmio_write(&mut self, on: &Exchange) -> Answer {
        let (gpa, length, scratch) = self.device_access(on)?;
        let mut bytes = [0; LONGEST_ACCESS];
        let bytes = bytes.get_mut(..length).unwrap_or_default();
        if !self.host.outside.read_shared(scratch, bytes) {
            return Err(InputError::INVALID_SCRATCH_AREA.into());
        }
        if self.current().apic.xapic_page() == Some(gpa & !0xfff) {
            let tsc = self.tsc();
            let (now, guest) = (self.host.clock.at(tsc), GuestTsc(tsc.0));
            let value = chipset::memory::register_value(bytes);
            let effect = self.current_mut().apic.write_xapic(gpa as u16 & 0xfff, value, now, guest);
            self.apply(effect);
        } else {
            self.chipset().write_memory(gpa, bytes, &self.kicker);
        }
        Ok(0)
    }
}
