//! The instruction emulator, on any bytes and any state of the VP.

use emulator::{
    BusError, CodeSize, DecodeError, Limits, PhysicalMemory, decode as decode_one,
    emulate as emulate_one,
};
use iced_x86::{Decoder, DecoderOptions};
use x86::{Attributes, Register, Registers, Segment, SegmentRegister};

use crate::input::Input;

/// Compares the decoder with a second one: if ours accepts an instruction, both find the same
/// length.
pub fn decode(bytes: &[u8]) {
    let Some((mode, code)) = bytes.split_first() else { return };
    let (size, bits) = match mode % 3 {
        0 => (CodeSize::Bits16, 16),
        1 => (CodeSize::Bits32, 32),
        _ => (CodeSize::Bits64, 64),
    };
    let code = &code[..code.len().min(15)];
    match decode_one(code, size) {
        Ok(ours) => {
            let options = DecoderOptions::AMD;
            let theirs = Decoder::new(bits, code, options).decode();
            assert!(!theirs.is_invalid(), "only ours accepts {code:02x?} in {bits} bits");
            assert_eq!(usize::from(ours.length), theirs.len(), "{code:02x?} in {bits} bits");
        }
        Err(DecodeError::Incomplete | DecodeError::Undefined | DecodeError::Unsupported) => {}
        Err(_) => {}
    }
}

/// Registers made of the input.
struct Vp {
    gpr: [u64; 16],
    rip: u64,
    rflags: u64,
    control: [u64; 4],
    segments: [Segment; 6],
}

impl Registers for Vp {
    fn gpr(&self, register: Register) -> u64 {
        self.gpr[register as usize]
    }
    fn set_gpr(&mut self, register: Register, value: u64) {
        self.gpr[register as usize] = value;
    }
    fn rip(&self) -> u64 {
        self.rip
    }
    fn set_rip(&mut self, value: u64) {
        self.rip = value;
    }
    fn rflags(&self) -> u64 {
        self.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        self.rflags = value;
    }
    fn segment(&self, register: SegmentRegister) -> Segment {
        self.segments[register as usize]
    }
    fn cr0(&self) -> u64 {
        self.control[0]
    }
    fn cr3(&self) -> u64 {
        self.control[1]
    }
    fn cr4(&self) -> u64 {
        self.control[2]
    }
    fn efer(&self) -> u64 {
        self.control[3]
    }
    fn cpl(&self) -> u8 {
        self.segments[2].attributes.privilege()
    }
    fn xmm(&self, number: u8) -> u128 {
        u128::from(number)
    }
    fn set_xmm(&mut self, _: u8, _: u128) {}
}

/// A small memory that repeats over the whole address space.
struct Memory(Vec<u8>);

impl Memory {
    fn at(&self, gpa: u64) -> usize {
        (gpa % self.0.len() as u64) as usize
    }
}

impl PhysicalMemory for Memory {
    fn read(&mut self, gpa: u64, bytes: &mut [u8]) -> Result<(), BusError> {
        for (offset, byte) in (0..).zip(bytes) {
            *byte = self.0[self.at(gpa.wrapping_add(offset))];
        }
        Ok(())
    }
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), BusError> {
        assert!((gpa & 0xfff) + bytes.len() as u64 <= 0x1000, "a write crosses a page");
        for (offset, byte) in (0..).zip(bytes) {
            let at = self.at(gpa.wrapping_add(offset));
            self.0[at] = *byte;
        }
        Ok(())
    }
    fn fetch(&mut self, gpa: u64, bytes: &mut [u8]) -> Result<(), BusError> {
        self.read(gpa, bytes)
    }
    fn compare_exchange(
        &mut self,
        gpa: u64,
        old: u128,
        new: u128,
        size: u8,
    ) -> Result<u128, BusError> {
        let mut found = [0; 16];
        self.read(gpa, &mut found[..usize::from(size)])?;
        if u128::from_le_bytes(found) == old {
            self.write(gpa, &new.to_le_bytes()[..usize::from(size)])?;
        }
        Ok(u128::from_le_bytes(found))
    }
}

/// One instruction on any state: it ends, and RIP moves at most by its length unless it jumps.
pub fn emulate(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let gpr = core::array::from_fn(|_| input.u64());
    let mut vp = Vp {
        gpr,
        rip: input.u64(),
        rflags: input.u64() & 0x3f_7fd7 | 2,
        control: core::array::from_fn(|_| input.u64()),
        segments: core::array::from_fn(|_| Segment {
            selector: input.u16(),
            attributes: Attributes::from_bits(input.u16() & 0xfff),
            limit: input.u32(),
            base: input.u64(),
        }),
    };
    let mut content = input.rest().to_vec();
    content.resize(8192, 0x90);
    let mut memory = Memory(content);
    let limits = Limits { iterations: 16, physical_address_bits: 40, gigabyte_pages: true };
    for _ in 0..4 {
        let _ = emulate_one(&mut vp, &mut memory, limits);
    }
}
