extern crate std;

use std::boxed::Box;

use snp::vmsa::VintrCtrl;
use zerocopy::FromZeros;

use super::*;

/// RIP and the general registers are masked, and nothing else.
static REGISTERS: Bitmap = {
    let mut bitmap = [0; 64];
    let mut offset = offset_of!(Vmsa, rcx);
    while offset <= offset_of!(Vmsa, r15) {
        bitmap[offset / 64] |= 1 << (offset / 8 % 8);
        offset += 8;
    }
    let others = [offset_of!(Vmsa, rip), offset_of!(Vmsa, rsp), offset_of!(Vmsa, rax)];
    let mut index = 0;
    while index < others.len() {
        bitmap[others[index] / 64] |= 1 << (others[index] / 8 % 8);
        index += 1;
    }
    bitmap
};

/// Every third word of the area is masked, but not the nonce, and no field that is always plain.
static BITMAP: Bitmap = {
    let mut bitmap = [0; 64];
    let mut word = 1;
    while word < 0x670 / 8 {
        let mut is_plain = word * 8 == offset_of!(Vmsa, reg_prot_nonce);
        let mut index = 0;
        while index < SaveArea::PLAIN.len() {
            is_plain |= SaveArea::PLAIN[index] / 8 == word;
            index += 1;
        }
        if !is_plain {
            bitmap[word / 8] |= 1 << (word % 8);
        }
        word += 3;
    }
    bitmap
};

/// What the CPU does between two exits: it unmasks the area, runs, and masks it by a new nonce.
fn run(vmsa: &mut Vmsa, bitmap: &Bitmap, nonce: u64, then: impl FnOnce(&mut Vmsa)) {
    vmsa.toggle_protection(bitmap);
    then(vmsa);
    vmsa.reg_prot_nonce = nonce;
    vmsa.toggle_protection(bitmap);
}

/// The registers by number: distinct values.
fn value(register: Register) -> u64 {
    0x1111_1111_1111_1111 * (1 + register as u64 % 15)
}

#[test]
fn registers_are_the_same_behind_any_nonce() {
    for bitmap in [&BITMAP, &REGISTERS] {
        registers_are_the_same(bitmap);
    }
}

fn registers_are_the_same(bitmap: &Bitmap) {
    let vmsa = Box::leak(Box::new(Vmsa::new_zeroed()));
    let place = std::ptr::from_mut(vmsa);
    // SAFETY: the area is leaked, and used through the pointer alone.
    let mut area = unsafe { SaveArea::new(place as u64) };
    assert!(area.protect(bitmap));
    assert_eq!(area.has_one_mask, bitmap == &REGISTERS);
    // SAFETY: as above.
    let run = |nonce, then: &dyn Fn(&mut Vmsa)| run(unsafe { &mut *place }, bitmap, nonce, then);
    let all = || (0..16).map(Register::from_number);
    area.reset(&VpState::init(0), true);
    for nonce in [0x0123_4567_89ab_cdef, u64::MAX, 0] {
        all().for_each(|register| area.set_gpr(register, value(register)));
        area.set_rip(0x1234_5678_9abc);
        let segment = Segment {
            selector: 0x33,
            attributes: Attributes::from_bits(0xafb),
            limit: 0xf_ffff,
            base: 0x7fff_0000,
        };
        SegmentRegister::ALL.iter().for_each(|register| area.set_segment(*register, segment));
        area.set_xmm(5, 0xf0e1 << 90 | 7);
        area.set_cpl(3);
        run(nonce, &|vmsa| {
            assert_eq!(
                (vmsa.rax, vmsa.r15, vmsa.rip),
                (value(Register::Rax), value(Register::R15), 0x1234_5678_9abc)
            );
            assert_eq!(
                (vmsa.cs.selector, vmsa.cs.base, vmsa.fs.limit),
                (0x33, 0x7fff_0000, 0xf_ffff)
            );
            assert_eq!((vmsa.cpl, vmsa.xmm[80]), (3, 7));
            vmsa.rbx = 99;
        });
        area.note_nonce();
        assert_eq!(area.gpr(Register::Rbx), 99);
        assert_eq!(area.gpr(Register::Rdx), value(Register::Rdx));
        assert_eq!((area.segment(SegmentRegister::Gs), area.cpl()), (segment, 3));
        assert_eq!(area.xmm(5), 0xf0e1 << 90 | 7);
    }
}

#[test]
fn a_reset_leaves_nothing_behind_any_nonce() {
    let state = VpState::init(0);
    let reset = |bitmap: Option<&'static Bitmap>| {
        let vmsa = Box::leak(Box::new(Vmsa::new_zeroed()));
        let place = std::ptr::from_mut(vmsa);
        // SAFETY: as in the test above.
        let mut area = unsafe { SaveArea::new(place as u64) };
        if let Some(bitmap) = bitmap {
            assert!(area.protect(bitmap));
        }
        area.set_vintr_ctrl(VintrCtrl::new().with_busy(true));
        if let Some(bitmap) = bitmap {
            // SAFETY: as above.
            run(unsafe { &mut *place }, bitmap, 0xdead_beef, |vmsa| {
                (vmsa.r9, vmsa.mxcsr) = (77, 0x9fc0);
                (vmsa.x87_registers, vmsa.xmm) = ([5; 80], [6; 256]);
            });
        }
        area.reset(&state, true);
        // SAFETY: as above.
        let mut vmsa = unsafe { place.read() };
        if bitmap.is_some() {
            vmsa.toggle_protection(&BITMAP);
        }
        vmsa.reg_prot_nonce = 0;
        vmsa
    };
    let (plain, protected) = (reset(None), reset(Some(&BITMAP)));
    assert!(plain.as_bytes() == protected.as_bytes());
}

#[test]
fn a_cpu_that_masks_what_is_used_at_each_exit_is_not_asked_to() {
    let vmsa = Box::leak(Box::new(Vmsa::new_zeroed()));
    // SAFETY: as in the tests above.
    let mut area = unsafe { SaveArea::new(std::ptr::from_mut(vmsa) as u64) };
    for offset in SaveArea::PLAIN {
        let mut bitmap = BITMAP;
        bitmap[offset / 64] |= 1 << (offset / 8 % 8);
        assert!(!area.protect(&bitmap) && !area.is_protected(), "{offset:#x}");
    }
    assert!(area.protect(&BITMAP) && area.is_protected());
}
