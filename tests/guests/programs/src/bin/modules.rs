//! Shows the modules that it was given: text, length, first byte.
#![no_std]
#![no_main]

use guest::{Report, cpu, machine, println};

guest::main!(modules);

/// `hvm_start_info`: the number of modules and the address of their list (Xen,
/// xen/include/public/arch-x86/hvm/start_info.h).
const COUNT: u64 = 12;
const LIST: u64 = 16;
/// `hvm_modlist_entry`.
const ENTRY: u64 = 32;
const LONGEST_TEXT: usize = 64;

fn modules(_: &mut Report) {
    let info = machine::start_info();
    let list = cpu::read64(info + LIST);
    for index in 0..u64::from(cpu::read32(info + COUNT)) {
        let [start, length, text] = [0, 8, 16].map(|at| cpu::read64(list + index * ENTRY + at));
        let mut bytes = [0; LONGEST_TEXT];
        for (to, at) in bytes.iter_mut().zip(text..) {
            *to = byte(at);
            if *to == 0 {
                break;
            }
        }
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let text = core::str::from_utf8(bytes.get(..end).unwrap_or_default()).unwrap_or("?");
        println!("module `{text}` {length} {}", byte(start));
    }
}

fn byte(at: u64) -> u8 {
    (cpu::read64(at & !7) >> (8 * (at & 7))) as u8
}
