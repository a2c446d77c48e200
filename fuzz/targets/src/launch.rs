//! The launch of a VM whose pages, CPUID table and identity are hostile.

use drydock_firmware::{CpuidResult, Finish, HostCpuid, Identity, Update};
use snp::cpuid_page::{CpuidFunction, CpuidPage, MAX_ENTRIES};
use snp::digest::{LaunchDigest, LowerPermissions, Page};
use snp::report::{IdAuthentication, IdBlock, Policy};
use snp::status::Status;
use zerocopy::{FromZeros, IntoBytes};

use crate::guest_message::{PLATFORM, launching};
use crate::input::Input;

/// The most pages of one input: it bounds the time.
const PAGES: usize = 6;

/// Functions with rules of their own.
const FUNCTIONS: [u32; 7] = [0, 1, 7, 0xd, 0x8000_0008, 0x8000_001f, 0x4000_0000];

/// A CPU whose answers are as many as its questions.
struct Cpu(u32);

impl HostCpuid for Cpu {
    fn cpuid(&self, function: u32, subfunction: u32) -> CpuidResult {
        // Leaf Dh describes components of any size at any place.
        let seed = self.0.rotate_left(function & 31) ^ subfunction.wrapping_mul(0x9e37_79b9);
        CpuidResult { eax: seed, ebx: !seed, ecx: seed >> 3, edx: seed << 5 }
    }
}

/// Pages of all kinds, then the end of the launch with or without an identity.
pub fn launch(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut guest = launching();
    // The digest is that of the pages that were accepted, and of no others.
    let mut digest = LaunchDigest::EMPTY;
    for _ in 0..PAGES {
        let kind = input.u8();
        let gpa = input.u64() & !0xfff;
        let mut page = [0; 4096];
        page[usize::from(input.u16()) % 4096] = input.u8();
        let cpu = Cpu(input.u32());
        let kind = kind % 6;
        if kind == 5 {
            cpuid_page(&mut input, &mut page);
        }
        let before = page;
        let (update, measured) = match kind {
            0 => (Update::Normal(&before), Page::Normal(&before)),
            1 => (Update::Vmsa(&before), Page::Vmsa(&before)),
            2 => (Update::Zero(&mut page), Page::Zero),
            3 => (Update::Unmeasured, Page::Unmeasured),
            4 => (Update::Secrets(&mut page), Page::Secrets),
            _ => (Update::Cpuid(&mut page, &cpu), Page::Cpuid),
        };
        match guest.launch_update(&PLATFORM, update, gpa, LowerPermissions::default()) {
            Ok(()) => digest.add(measured, gpa),
            Err(_) => check_corrected(&page, &cpu),
        }
        assert_eq!(
            guest.measurement(),
            digest.0,
            "a page that was refused is measured, or none is"
        );
    }
    finish(&mut input, guest, digest);
}

/// A table with entries that may be the CPU's or not.
fn cpuid_page(input: &mut Input<'_>, page: &mut [u8; 4096]) {
    let mut table = CpuidPage::new_zeroed();
    let count = usize::from(input.u8()) % (MAX_ENTRIES + 2);
    table.count = count as u32;
    for entry in table.functions.iter_mut().take(count.min(4)) {
        *entry = CpuidFunction {
            eax_in: FUNCTIONS[usize::from(input.u8()) % FUNCTIONS.len()]
                ^ u32::from(input.u8() == 0),
            ecx_in: u32::from(input.u8()) & 0x3f,
            xcr0_in: u64::from(input.u8()),
            xss_in: u64::from(input.u8() & 1) << 11,
            eax: input.u32(),
            ebx: input.u32(),
            ecx: input.u32(),
            edx: input.u32(),
            reserved: u64::from(input.u8() == 0),
        };
    }
    page.copy_from_slice(table.as_bytes());
}

/// A table that was refused and corrected is accepted as it is now.
fn check_corrected(page: &[u8; 4096], cpu: &Cpu) {
    let mut guest = launching();
    let mut again = *page;
    let none = LowerPermissions::default();
    let done = guest.launch_update(&PLATFORM, Update::Cpuid(&mut again, cpu), 0, none);
    if done.is_ok() {
        assert_eq!(again, *page, "an accepted table is changed");
    }
}

/// SNP_LAUNCH_FINISH: an identity that nobody has signed is refused, and the VM does not run.
fn finish(input: &mut Input<'_>, mut guest: drydock_firmware::Guest, digest: LaunchDigest) {
    let is_named = input.u8() & 1 != 0;
    let mut block = IdBlock::new_zeroed();
    let mut authentication = IdAuthentication::new_zeroed();
    // Values that come far, then bytes of the input anywhere.
    (block.version, block.launch_digest) = (1, digest.0);
    block.policy = Policy::from_bits(0x3_0000);
    authentication.id_key_algorithm.0 = 1;
    authentication.id_key.curve.0 = 2;
    let author_key_enabled = input.u8() & 1 != 0;
    for bytes in [block.as_mut_bytes(), authentication.as_mut_bytes()] {
        for _ in 0..input.u8() & 7 {
            let place = usize::from(input.u16()) % bytes.len();
            bytes[place] = input.u8();
        }
    }
    let identity = Identity { block: &block, authentication: &authentication, author_key_enabled };
    let request = Finish { identity: is_named.then_some(identity), host_data: [1; 32] };
    let done = guest.launch_finish(&request);
    assert_eq!(done.is_ok(), !is_named, "a signature from nobody");
    if is_named {
        // The launch goes on, and can still end without a name.
        let request = Finish { identity: None, host_data: [1; 32] };
        assert_eq!(guest.launch_finish(&request), Ok(()));
    }
    let late = guest.launch_update(&PLATFORM, Update::Unmeasured, 0, LowerPermissions::default());
    assert_eq!(late, Err(Status::INVALID_GUEST_STATE), "a page after the end of the launch");
}
