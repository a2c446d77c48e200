//! The registers of a less privileged level, in its save area.
//!
//! Under register protection (AMD64 APM vol. 2, section 15.36, VMSA register protection) the CPU
//! masks some words of the area by a new nonce at each exit, so that a host can not tell from the
//! ciphertext whether a register has changed. Every access here masks and unmasks.

use core::mem::offset_of;

use snp::exit::ExitCode;
use snp::features::SevFeatures;
use snp::vmsa::{EventInj, Segment as AreaSegment, VintrCtrl, Vmsa};
use x86::{
    Attributes, EventRegisters, ModeRegisters, Register, Registers, Segment, SegmentRegister,
    SystemRegisters, VpState, dr6, dr7, efer, msr,
};
use zerocopy::{FromBytes, IntoBytes};

/// A save area, which lies in a page of ours. The level does not run while its registers are used:
/// the calls that run it come from the same CPU.
#[derive(Debug)]
pub struct SaveArea {
    page: u64,
    /// The words that are masked: bit 0 of the first number is the word at 0.
    masked: [u64; 8],
    /// The CPU masks RIP and all general registers, or none of them: by `register_mask`, which is the
    /// nonce or zero. Else each is looked up by itself.
    has_one_mask: bool,
    register_mask: u64,
}

/// A bit for each word of eight bytes (SEV-SNP firmware ABI, secrets page, VMSA_TWEAK_BITMAP).
pub type Bitmap = [u8; 64];

/// Reads or writes a field.
macro_rules! field {
    ($area:expr, $name:ident) => {
        // SAFETY: `new`'s caller gave the page; the field lies within, aligned.
        unsafe { $area.get(&raw const (*$area.area()).$name) }
    };
    ($area:expr, $name:ident = $value:expr) => {
        // SAFETY: as for the read.
        unsafe { $area.put(&raw mut (*$area.area()).$name, $value) }
    };
}

/// Fields that a platform reads and replaces as they are.
macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident, $set:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self) -> $type {
            // SAFETY: `new`'s caller gave the page; the field lies within, aligned.
            unsafe { (&raw const (*self.area()).$name).read_volatile() }
        }

        /// Replaces it.
        pub fn $set(&mut self, value: $type) {
            // SAFETY: as for the read.
            unsafe { (&raw mut (*self.area()).$name).write_volatile(value) }
        }
    )*

        /// Where these fields lie.
        const PLAIN: &[usize] = &[$(offset_of!(Vmsa, $name)),*];
    };
}

impl SaveArea {
    /// Uses the page at linear address `page`.
    ///
    /// # Safety
    /// The page must be a save area of this VP, mapped as private memory, and used for this only,
    /// for ever.
    pub const unsafe fn new(page: u64) -> Self {
        Self { page, masked: [0; 8], has_one_mask: false, register_mask: 0 }
    }

    /// Has the CPU mask the words that `bitmap` names, if none of them is a field that a platform uses
    /// at each exit. Answers whether it does; SEV_FEATURES must agree.
    #[must_use]
    pub fn protect(&mut self, bitmap: &Bitmap) -> bool {
        let (words, _) = bitmap.as_chunks::<8>();
        // SAFETY: the page is the same one's.
        let mut protected = unsafe { Self::new(self.page) };
        protected
            .masked
            .iter_mut()
            .zip(words)
            .for_each(|(to, word)| *to = u64::from_le_bytes(*word));
        let is_usable = Self::PLAIN.iter().all(|offset| !protected.is_masked(offset / 8));
        if is_usable {
            *self = protected;
            self.has_one_mask = self.masks_all_registers();
            self.note_nonce();
        }
        is_usable
    }

    /// Whether the CPU masks RIP and all general registers.
    fn masks_all_registers(&self) -> bool {
        let general = (0..16).map(|number| self.gpr_place(Register::from_number(number)));
        // SAFETY: as for `gpr_place`; the place is not accessed.
        let mut places = general.chain([unsafe { &raw mut (*self.area()).rip }]);
        places.all(|place| self.is_masked((place as usize - self.page as usize) / 8))
    }

    /// The level has run: the CPU has masked its registers by a new nonce.
    #[inline]
    pub fn note_nonce(&mut self) {
        if self.has_one_mask {
            self.register_mask = self.nonce();
        }
    }

    /// Reads RIP or a general register.
    #[inline]
    fn register(&self, place: *const u64) -> u64 {
        if self.has_one_mask {
            // SAFETY: the place is a field of the area.
            unsafe { place.read_volatile() ^ self.register_mask }
        } else {
            // SAFETY: as above.
            unsafe { self.get(place) }
        }
    }

    /// Replaces RIP or a general register.
    #[inline]
    fn set_register(&mut self, place: *mut u64, value: u64) {
        if self.has_one_mask {
            // SAFETY: the place is a field of the area.
            unsafe { place.write_volatile(value ^ self.register_mask) };
        } else {
            // SAFETY: as above.
            unsafe { self.put(place, value) };
        }
    }

    /// The nonce, which the CPU changes at an exit only.
    fn nonce(&self) -> u64 {
        // SAFETY: `new`'s caller gave the page.
        unsafe { (&raw const (*self.area()).reg_prot_nonce).read_volatile() }
    }

    /// Whether the CPU masks words of the area.
    pub fn is_protected(&self) -> bool {
        self.masked != [0; 8]
    }

    #[inline]
    const fn is_masked(&self, word: usize) -> bool {
        self.masked[word / 64 % 8] >> (word % 64) & 1 != 0
    }

    /// Masks `value`, which lies `offset` bytes from the start of the area, or unmasks it. A value of
    /// at most eight bytes lies in one word.
    #[inline]
    fn toggle<T: FromBytes + IntoBytes>(&self, offset: usize, mut value: T) -> T {
        if size_of::<T>() <= 8 && !self.is_masked(offset / 8) {
            return value;
        }
        let nonce = self.nonce();
        if let Some(word) = value.as_mut_bytes().as_mut_array::<8>() {
            // The usual case, without a look at each byte.
            *word = (u64::from_le_bytes(*word) ^ nonce).to_le_bytes();
            return value;
        }
        let mask = nonce.to_le_bytes();
        for (at, byte) in (offset..).zip(value.as_mut_bytes()) {
            if self.is_masked(at / 8) {
                *byte ^= mask.get(at % 8).copied().unwrap_or_default();
            }
        }
        value
    }

    /// Reads what stands at `place`.
    ///
    /// # Safety
    /// The place must be one of the area, aligned.
    unsafe fn get<T: FromBytes + IntoBytes>(&self, place: *const T) -> T {
        // SAFETY: the caller vouches.
        let value = unsafe { place.read_volatile() };
        self.toggle(place as usize - self.page as usize, value)
    }

    /// Replaces what stands at `place`.
    ///
    /// # Safety
    /// As for [`Self::get`].
    unsafe fn put<T: FromBytes + IntoBytes>(&mut self, place: *mut T, value: T) {
        let value = self.toggle(place as usize - self.page as usize, value);
        // SAFETY: the caller vouches.
        unsafe { place.write_volatile(value) };
    }

    /// The page's linear address.
    pub const fn address(&self) -> u64 {
        self.page
    }

    const fn area(&self) -> *mut Vmsa {
        self.page as *mut Vmsa
    }

    plain! {
        /// SEV_FEATURES.
        sev_features, set_sev_features: SevFeatures;
        /// The virtual top of memory.
        virtual_tom, set_virtual_tom: u64;
        /// The level, which RMPADJUST and AP creation must agree with.
        vmpl, set_vmpl: u8;
        /// The virtual interrupt.
        vintr_ctrl, set_vintr_ctrl: VintrCtrl;
        /// The event for the next entry.
        event_inj, set_event_inj: EventInj;
        /// The code of the last exit.
        guest_exit_code, set_guest_exit_code: ExitCode;
        /// EXITINFO1 of the last exit.
        guest_exit_info_1, set_guest_exit_info_1: u64;
        /// EXITINFO2 of the last exit.
        guest_exit_info_2, set_guest_exit_info_2: u64;
        /// EXITINTINFO of the last exit.
        guest_exit_int_info, set_guest_exit_int_info: EventInj;
        /// Where the instruction that exited ends.
        guest_nrip, set_guest_nrip: u64;
        /// Zero has the CPU drop the level's translations.
        pcpu_id, set_pcpu_id: u64;
        /// SPEC_CTRL.
        spec_ctrl, set_spec_ctrl: u64;
        /// GUEST_TSC_SCALE, for Secure TSC.
        guest_tsc_scale, set_guest_tsc_scale: u64;
        /// GUEST_TSC_OFFSET, for Secure TSC.
        guest_tsc_offset, set_guest_tsc_offset: u64;
    }

    /// Replaces the registers as INIT does, then sets `state`. `power_on` also resets what INIT
    /// leaves alone: the FPU and XCR0.
    pub fn reset(&mut self, state: &VpState, power_on: bool) {
        let kept = (self.vmpl(), field!(self, tsc_aux), field!(self, xcr0));
        let words = (0..offset_of!(Vmsa, guest_tsc_scale)).step_by(8);
        for offset in words.filter(|offset| *offset != offset_of!(Vmsa, reg_prot_nonce)) {
            // SAFETY: `new`'s caller gave the page.
            unsafe { self.put((self.page + offset as u64) as *mut u64, 0) };
        }
        self.set_vmpl(kept.0);
        for (number, value) in (0..).zip(state.gpr) {
            self.set_gpr(Register::from_number(number), value);
        }
        self.set_rip(state.rip);
        field!(self, rflags = state.rflags);
        field!(self, cr0 = state.control.cr0);
        field!(self, cr3 = state.control.cr3);
        field!(self, cr4 = state.control.cr4);
        field!(self, efer = state.control.efer | efer::SVME);
        field!(self, dr6 = dr6::RESET);
        field!(self, dr7 = dr7::RESET);
        field!(self, g_pat = msr::PAT_RESET);
        for (register, segment) in SegmentRegister::ALL.into_iter().zip(state.segments) {
            self.set_segment(register, segment);
        }
        if power_on {
            self.reset_fpu();
        } else {
            field!(self, tsc_aux = kept.1);
            field!(self, xcr0 = kept.2);
        }
        self.set_pcpu_id(0);
    }

    fn reset_fpu(&mut self) {
        field!(self, xcr0 = 1);
        field!(self, x87_fcw = 0x37f);
        field!(self, x87_fsw = 0);
        field!(self, x87_ftw = 0xffff);
        field!(self, x87_fop = 0);
        field!(self, x87_rip = 0);
        field!(self, x87_dp = 0);
        field!(self, mxcsr = 0x1f80);
        field!(self, x87_registers = [0; 80]);
        field!(self, xmm = [0; 256]);
    }

    fn segment_place(&self, register: SegmentRegister) -> *mut AreaSegment {
        let area = self.area();
        // SAFETY: `new`'s caller gave the page; no reference is made.
        unsafe {
            match register {
                SegmentRegister::Es => &raw mut (*area).es,
                SegmentRegister::Cs => &raw mut (*area).cs,
                SegmentRegister::Ss => &raw mut (*area).ss,
                SegmentRegister::Ds => &raw mut (*area).ds,
                SegmentRegister::Fs => &raw mut (*area).fs,
                SegmentRegister::Gs => &raw mut (*area).gs,
                SegmentRegister::Ldtr => &raw mut (*area).ldtr,
                SegmentRegister::Tr => &raw mut (*area).tr,
                SegmentRegister::Gdtr => &raw mut (*area).gdtr,
                SegmentRegister::Idtr => &raw mut (*area).idtr,
            }
        }
    }

    fn gpr_place(&self, register: Register) -> *mut u64 {
        let area = self.area();
        // SAFETY: as for segments.
        unsafe {
            match register {
                Register::Rax => &raw mut (*area).rax,
                Register::Rcx => &raw mut (*area).rcx,
                Register::Rdx => &raw mut (*area).rdx,
                Register::Rbx => &raw mut (*area).rbx,
                Register::Rsp => &raw mut (*area).rsp,
                Register::Rbp => &raw mut (*area).rbp,
                Register::Rsi => &raw mut (*area).rsi,
                Register::Rdi => &raw mut (*area).rdi,
                Register::R8 => &raw mut (*area).r8,
                Register::R9 => &raw mut (*area).r9,
                Register::R10 => &raw mut (*area).r10,
                Register::R11 => &raw mut (*area).r11,
                Register::R12 => &raw mut (*area).r12,
                Register::R13 => &raw mut (*area).r13,
                Register::R14 => &raw mut (*area).r14,
                Register::R15 => &raw mut (*area).r15,
            }
        }
    }

    fn xmm_place(&self, number: u8) -> *mut u128 {
        let offset = offset_of!(Vmsa, xmm) + 16 * usize::from(number & 15);
        (self.page + offset as u64) as *mut u128
    }
}

impl Registers for SaveArea {
    fn gpr(&self, register: Register) -> u64 {
        self.register(self.gpr_place(register))
    }

    fn set_gpr(&mut self, register: Register, value: u64) {
        self.set_register(self.gpr_place(register), value);
    }

    fn rip(&self) -> u64 {
        // SAFETY: as for `gpr_place`.
        self.register(unsafe { &raw const (*self.area()).rip })
    }

    fn set_rip(&mut self, value: u64) {
        // SAFETY: as for `gpr_place`.
        let place = unsafe { &raw mut (*self.area()).rip };
        self.set_register(place, value);
        self.set_vintr_ctrl(self.vintr_ctrl().with_shadow(false));
    }

    fn rflags(&self) -> u64 {
        field!(self, rflags)
    }

    fn set_rflags(&mut self, value: u64) {
        field!(self, rflags = value);
    }

    fn segment(&self, register: SegmentRegister) -> Segment {
        // SAFETY: the place is a field of the area.
        let AreaSegment { selector, attributes, limit, base } =
            unsafe { self.get(self.segment_place(register)) };
        Segment { selector, attributes: Attributes::from_bits(attributes), limit, base }
    }

    fn cr0(&self) -> u64 {
        field!(self, cr0)
    }

    fn cr3(&self) -> u64 {
        field!(self, cr3)
    }

    fn cr4(&self) -> u64 {
        field!(self, cr4)
    }

    fn efer(&self) -> u64 {
        field!(self, efer) & !efer::SVME
    }

    fn cpl(&self) -> u8 {
        field!(self, cpl)
    }

    fn xmm(&self, number: u8) -> u128 {
        // SAFETY: 16 bytes of the area, aligned as the field and its index are.
        unsafe { self.get(self.xmm_place(number)) }
    }

    fn set_xmm(&mut self, number: u8, value: u128) {
        // SAFETY: as for the read.
        unsafe { self.put(self.xmm_place(number), value) };
    }
}

impl SystemRegisters for SaveArea {
    fn set_efer(&mut self, efer: u64) {
        field!(self, efer = efer | efer::SVME);
        self.set_pcpu_id(0);
    }

    fn debug_registers(&self) -> (u64, u64) {
        (field!(self, dr6), field!(self, dr7))
    }

    fn set_dr6(&mut self, dr6: u64) {
        field!(self, dr6 = dr6);
    }

    fn set_cr2(&mut self, cr2: u64) {
        field!(self, cr2 = cr2);
    }

    fn cr8(&self) -> u8 {
        self.vintr_ctrl().tpr() & 15
    }

    fn set_cr8(&mut self, class: u8) {
        self.set_vintr_ctrl(self.vintr_ctrl().with_tpr(class & 15));
    }

    fn pat(&self) -> u64 {
        field!(self, g_pat)
    }

    fn set_pat(&mut self, pat: u64) {
        field!(self, g_pat = pat);
        self.set_pcpu_id(0);
    }

    fn xcr0(&self) -> u64 {
        field!(self, xcr0)
    }

    fn set_xcr0(&mut self, xcr0: u64) {
        field!(self, xcr0 = xcr0);
    }
}

impl EventRegisters for SaveArea {
    fn set_segment(&mut self, register: SegmentRegister, segment: Segment) {
        let Segment { selector, attributes, limit, base } = segment;
        let value = AreaSegment { selector, attributes: attributes.into_bits(), limit, base };
        // SAFETY: the place is a field of the area.
        unsafe { self.put(self.segment_place(register), value) };
    }

    fn set_cpl(&mut self, cpl: u8) {
        field!(self, cpl = cpl);
    }
}

impl ModeRegisters for SaveArea {
    fn set_cr0(&mut self, cr0: u64) {
        field!(self, cr0 = cr0);
        self.set_pcpu_id(0);
    }

    fn set_cr4(&mut self, cr4: u64) {
        field!(self, cr4 = cr4);
        self.set_pcpu_id(0);
    }
}

#[cfg(test)]
mod tests;
