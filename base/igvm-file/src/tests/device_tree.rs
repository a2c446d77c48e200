//! The device tree, read by a walker of the tests' own.

extern crate std;

use std::format;
use std::string::String;
use std::vec::Vec;

use crate::{MemoryRange, device_tree};

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn text(bytes: &[u8], at: usize) -> String {
    let length = bytes[at..].iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(bytes[at..at + length].to_vec()).unwrap()
}

/// Every property as its path and value.
fn properties(tree: &[u8]) -> Vec<(String, Vec<u8>)> {
    let (mut at, names) = (word(tree, 8), word(tree, 12));
    let end = at + word(tree, 36);
    let (mut path, mut found) = (Vec::new(), Vec::new());
    while at < end {
        let token = word(tree, at);
        at += 4;
        match token {
            1 => {
                let name = text(tree, at);
                at = (at + name.len() + 1).next_multiple_of(4);
                path.push(name);
            }
            2 => drop(path.pop().unwrap()),
            3 => {
                let (length, name) = (word(tree, at), text(tree, names + word(tree, at + 4)));
                let value = tree[at + 8..at + 8 + length].to_vec();
                at = (at + 8 + length).next_multiple_of(4);
                found.push((format!("{}/{name}", path.join("/")), value));
            }
            9 => assert_eq!((at, path.len()), (end, 0)),
            other => panic!("token {other}"),
        }
    }
    found
}

#[test]
fn a_tree_tells_of_processors_memory_and_command_line() {
    let memory = [
        MemoryRange { start: 0, size: 0xa_0000, kind: 0 },
        MemoryRange { start: 0x80_0000_0000, size: 0x100_0000, kind: 1 },
    ];
    let tree = device_tree(3, &memory, b"quiet x");
    assert_eq!((word(&tree, 0), word(&tree, 4)), (0xd00d_feed, tree.len()));
    assert_eq!((word(&tree, 20), word(&tree, 24), word(&tree, 28)), (17, 16, 0));
    assert_eq!(tree[word(&tree, 16)..][..16], [0; 16], "no memory is reserved");
    let found = properties(&tree);
    let value = |path: &str| {
        let mut all = found.iter().filter(|(name, _)| name == path);
        let first = all.next().map(|(_, value)| value.clone());
        assert!(all.next().is_none(), "{path} stands twice");
        first
    };
    assert_eq!(value("/#address-cells").unwrap(), [0, 0, 0, 2]);
    assert_eq!(value("/#size-cells").unwrap(), [0, 0, 0, 2]);
    assert_eq!(value("/chosen/bootargs").unwrap(), b"quiet x\0");
    assert_eq!(value("/cpus/#address-cells").unwrap(), [0, 0, 0, 1]);
    for vp in 0..3_u8 {
        assert_eq!(value(&format!("/cpus/cpu@{vp}/reg")).unwrap(), [0, 0, 0, vp]);
        assert_eq!(value(&format!("/cpus/cpu@{vp}/device_type")).unwrap(), b"cpu\0");
    }
    assert_eq!(value("/cpus/cpu@3/reg"), None);
    let first = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa, 0, 0];
    assert_eq!(value("/memory@0/reg").unwrap(), first);
    assert_eq!(value("/memory@0/microsoft,igvm-type").unwrap(), [0; 4]);
    let second = [0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    assert_eq!(value("/memory@8000000000/reg").unwrap(), second);
    assert_eq!(value("/memory@8000000000/microsoft,igvm-type").unwrap(), [0, 0, 0, 1]);
    assert_eq!(found.len(), 4 + 2 + 3 * 3 + 2 * 3 - 1);
}
