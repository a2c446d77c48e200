//! Addressing in configuration space.

/// The address of a function: bus, device (0 to 31), function (0 to 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function {
    /// The bus.
    pub bus: u8,
    /// The device on the bus.
    pub device: u8,
    /// The function in the device.
    pub function: u8,
}

impl Function {
    /// The host bridge itself.
    pub(crate) const HOST_BRIDGE: Self = Self { bus: 0, device: 0, function: 0 };

    /// Decodes a 16-bit routing ID: bus 15:8, device 7:3, function 2:0.
    pub(crate) const fn from_routing_id(id: u16) -> Self {
        Self { bus: (id >> 8) as u8, device: (id >> 3 & 0x1F) as u8, function: (id & 7) as u8 }
    }
}

/// An access to bytes of one double word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) function: Function,
    /// Offset of the double word, 0 to FFCh.
    pub(crate) register: u16,
    /// The position of the accessed bits in the double word.
    pub(crate) shift: u32,
    /// The accessed bits of the double word.
    pub(crate) mask: u32,
}

impl Access {
    /// An access to `width` bytes from byte `place` of a double word; `None` unless the width is 1,
    /// 2 or 4 and the access is aligned to it.
    pub(crate) fn new(function: Function, register: u16, place: u8, width: u8) -> Option<Self> {
        let bits = match width {
            1 => 0xFF,
            2 => 0xFFFF,
            4 => u32::MAX,
            _ => return None,
        };
        if place & (width - 1) != 0 {
            return None;
        }
        let shift = 8 * u32::from(place & 3);
        Some(Self { function, register: register & 0xFFC, shift, mask: bits << shift })
    }
}
