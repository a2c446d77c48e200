//! The device tree that a loader describes the VM by (Devicetree Specification 0.4, chapters 3 and 5;
//! IGVM specification, IGVM_VHT_DEVICE_TREE).

use alloc::format;
use alloc::vec::Vec;

use igvm_defs::dt::IGVM_DT_IGVM_TYPE_PROPERTY;

/// A range of the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// The first address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// The type of the memory map's entry ([`igvm_defs::MemoryMapEntryType`]).
    pub kind: u16,
}

/// The start of a tree, in its header.
const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
const OLDEST_VERSION: u32 = 16;
/// Bytes of the header, and of the empty list of reserved memory behind it.
const HEADER: usize = 40;
const RESERVATIONS: usize = 16;

/// Tokens of the structure.
mod token {
    pub(super) const BEGIN_NODE: u32 = 1;
    pub(super) const END_NODE: u32 = 2;
    pub(super) const PROPERTY: u32 = 3;
    pub(super) const END: u32 = 9;
}

/// A tree as it grows.
#[derive(Default)]
struct Writer {
    structure: Vec<u8>,
    names: Vec<u8>,
}

impl Writer {
    #[inline(never)]
    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    /// Bytes, filled up to a whole number of words.
    #[inline(never)]
    fn bytes(&mut self, bytes: &[u8]) {
        self.structure.extend(bytes);
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    fn node(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.word(token::BEGIN_NODE);
        self.bytes(&[name.as_bytes(), &[0]].concat());
        content(self);
        self.word(token::END_NODE);
    }

    #[inline(never)]
    fn property(&mut self, name: &str, value: &[u8]) {
        self.word(token::PROPERTY);
        self.word(value.len() as u32);
        self.word(self.names.len() as u32);
        self.names.extend(name.as_bytes());
        self.names.push(0);
        self.bytes(value);
    }

    fn number(&mut self, name: &str, value: u32) {
        self.property(name, &value.to_be_bytes());
    }

    /// The whole tree, header first.
    fn finish(mut self) -> Vec<u8> {
        self.word(token::END);
        let structure = HEADER + RESERVATIONS;
        let names = structure + self.structure.len();
        let total = names + self.names.len();
        let words = [
            MAGIC,
            total as u32,
            structure as u32,
            names as u32,
            HEADER as u32,
            VERSION,
            OLDEST_VERSION,
            // The CPU that starts.
            0,
            self.names.len() as u32,
            self.structure.len() as u32,
        ];
        let mut tree: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
        tree.extend([0; RESERVATIONS]);
        tree.extend(self.structure);
        tree.extend(self.names);
        tree
    }
}

/// The tree of a VM: its processors, its memory, and the command line, without a zero behind it.
pub fn device_tree(vps: u32, memory: &[MemoryRange], command_line: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.node("", |root| {
        root.number("#address-cells", 2);
        root.number("#size-cells", 2);
        root.node("chosen", |chosen| {
            chosen.property("bootargs", &[command_line, &[0]].concat());
        });
        root.node("cpus", |cpus| {
            cpus.number("#address-cells", 1);
            cpus.number("#size-cells", 0);
            for vp in 0..vps {
                cpus.node(&format!("cpu@{vp:x}"), |cpu| {
                    cpu.property("device_type", b"cpu\0");
                    cpu.number("reg", vp);
                    cpu.property("status", b"okay\0");
                });
            }
        });
        for MemoryRange { start, size, kind } in memory {
            root.node(&format!("memory@{start:x}"), |node| {
                node.property("device_type", b"memory\0");
                node.property("reg", &[start.to_be_bytes(), size.to_be_bytes()].concat());
                node.number(IGVM_DT_IGVM_TYPE_PROPERTY, (*kind).into());
            });
        }
    });
    writer.finish()
}
