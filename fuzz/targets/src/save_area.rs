//! Save areas as a guest or a loader writes them.

use drydock_cpu::{EMULATED, PROTECTED, Unfit, check_save_area};
use snp::vmsa::Vmsa;
use x86::{cr0, cr4, efer};
use zerocopy::{FromZeros, IntoBytes};

use crate::input::Input;

/// What VMRUN says to any save area at any level, with its masks of register protection.
pub fn vmsa(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (vmpl, shape) = (input.u8(), input.u8());
    let mut area = Vmsa::new_zeroed();
    if shape & 1 != 0 {
        runnable(&mut area, vmpl, shape);
    }
    // A few words of the lower half, which has all registers, get any value.
    while !input.is_empty() {
        let word = usize::from(input.u16()) % 256;
        let choice = input.u8();
        let value = if choice & 1 != 0 { 1 << (choice >> 2) } else { input.u64() };
        for (byte, change) in area.as_mut_bytes()[8 * word..].iter_mut().zip(value.to_le_bytes()) {
            *byte ^= change;
        }
        check(&area, vmpl);
    }
    check(&area, vmpl);
    let mut bitmap = PROTECTED;
    protect(&area, &bitmap);
    // Any bitmap that leaves the nonce alone.
    bitmap.iter_mut().zip(bytes).for_each(|(bits, byte)| *bits = *byte);
    bitmap[core::mem::offset_of!(Vmsa, reg_prot_nonce) / 64] &= !1;
    protect(&area, &bitmap);
}

/// 64-bit mode, with features that `shape` chooses.
fn runnable(area: &mut Vmsa, vmpl: u8, shape: u8) {
    area.vmpl = vmpl;
    area.efer = efer::SVME | efer::LME | efer::LMA;
    (area.cr0, area.cr4) = (cr0::PE | cr0::PG, cr4::PAE);
    area.cs.attributes = 1 << 9;
    area.sev_features.set_snp_active(true);
    area.sev_features.set_reflect_vc(shape & 2 != 0);
    area.sev_features.set_restricted_injection(shape & 4 != 0);
    area.sev_features.set_vmsa_reg_prot(shape & 8 != 0);
}

/// A save area that is run keeps the promises that the emulator relies on.
fn check(area: &Vmsa, vmpl: u8) {
    let answer = check_save_area(area, vmpl);
    assert_eq!(answer == Err(Unfit::Busy), area.vintr_ctrl.busy());
    if answer.is_ok() {
        assert_eq!(area.vmpl, vmpl, "a level runs the area of another one");
        assert!(area.efer & efer::SVME != 0);
        assert!(area.sev_features.snp_active());
        assert_eq!(area.sev_features.into_bits() & !EMULATED.into_bits(), 0);
    }
}

/// Masking and unmasking brings each word back, and changes no other.
fn protect(area: &Vmsa, bitmap: &[u8; 64]) {
    let mut masked = area.clone();
    masked.toggle_protection(bitmap);
    let words = area.as_bytes().chunks_exact(8).zip(masked.as_bytes().chunks_exact(8));
    for (index, (before, after)) in words.enumerate() {
        let is_masked = bitmap.get(index / 8).is_some_and(|bits| bits >> (index % 8) & 1 != 0);
        assert!(before == after || is_masked, "word {index} is not protected");
        assert!(before != after || !is_masked || area.reg_prot_nonce == 0, "word {index} is bare");
    }
    masked.toggle_protection(bitmap);
    assert_eq!(masked.as_bytes(), area.as_bytes());
}
