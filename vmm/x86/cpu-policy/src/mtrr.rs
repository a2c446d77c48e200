//! The memory-type range registers, which the guest may program without any effect: the nested
//! page tables map RAM write-back, devices always exit.

const CAPABILITIES: u32 = 0xfe;
const DEFAULT_TYPE: u32 = 0x2ff;
/// Eight variable ranges, fixed ranges, write combining (AMD64 APM vol. 2, section 7.7.3).
const CAPABILITIES_VALUE: u64 = 1 << 10 | 1 << 8 | 8;
/// MTRRs and fixed ranges enabled; memory outside all ranges is write-back.
const DEFAULT_TYPE_RESET: u64 = 1 << 11 | 1 << 10 | 6;
const WRITE_BACK_ALL: u64 = 0x0606_0606_0606_0606;

/// The registers of one VP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mtrrs {
    default_type: u64,
    fixed: [u64; 11],
    variable: [u64; 16],
    /// Bits of a variable range's mask and base above the low 12.
    address: u64,
}

impl Mtrrs {
    /// The registers as firmware leaves them: all is write-back, but for the device hole below
    /// 4 GiB, which is uncacheable, as is video memory.
    pub const fn new(physical_bits: u8) -> Self {
        let width = if physical_bits > 52 { 52 } else { physical_bits };
        let address = ((1 << width) - 1) & !0xfff;
        let mut variable = [0; 16];
        variable[0] = 0xe000_0000;
        variable[1] = address & !0x1fff_ffff | 1 << 11;
        let mut fixed = [WRITE_BACK_ALL; 11];
        fixed[2] = 0;
        Self { default_type: DEFAULT_TYPE_RESET, fixed, variable, address }
    }

    fn fixed_index(number: u32) -> Option<usize> {
        match number {
            0x250 => Some(0),
            0x258 => Some(1),
            0x259 => Some(2),
            0x268..=0x26f => Some(number as usize - 0x268 + 3),
            _ => None,
        }
    }

    /// Reads a register; none for #GP(0).
    pub fn read(&self, number: u32) -> Option<u64> {
        match number {
            CAPABILITIES => Some(CAPABILITIES_VALUE),
            DEFAULT_TYPE => Some(self.default_type),
            0x200..=0x20f => self.variable.get(number as usize - 0x200).copied(),
            _ => self.fixed.get(Self::fixed_index(number)?).copied(),
        }
    }

    /// Writes a register; none for #GP(0).
    pub fn write(&mut self, number: u32, value: u64) -> Option<()> {
        let slot = match number {
            DEFAULT_TYPE if value & !0xcff == 0 && is_type(value as u8) => &mut self.default_type,
            0x200..=0x20f => {
                let allowed = if number & 1 == 0 { 0xff } else { 1 << 11 };
                let valid = number & 1 == 1 || is_type(value as u8);
                if value & !(self.address | allowed) != 0 || !valid {
                    return None;
                }
                self.variable.get_mut(number as usize - 0x200)?
            }
            _ => {
                if !value.to_le_bytes().into_iter().all(is_type) {
                    return None;
                }
                self.fixed.get_mut(Self::fixed_index(number)?)?
            }
        };
        *slot = value;
        Some(())
    }
}

const fn is_type(value: u8) -> bool {
    matches!(value, 0 | 1 | 4 | 5 | 6)
}
