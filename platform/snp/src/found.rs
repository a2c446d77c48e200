//! What the launch and the host have given this VM.

use core::mem::offset_of;

use guest_memory::PAGE_SIZE;
use host_wire::linux_start as layout;
use host_wire::paravisor_image::{self as image, Reason};
use sev_guest::Bitmap;
use snp::cpuid_page::CpuidPage;
use snp::features::{SevFeatures, SevStatus};
use snp::secrets::SecretsPage;
use vmpl0::features;
use vmpl0::launch_pages::{self, LaunchPages};

pub(crate) use vmpl0::launch_pages::{FIRMWARE_AREA, Found};

/// Reads a page of the launch's, or a part of one.
///
/// # Safety
/// The page must be one of the layout, mapped at its address.
unsafe fn read<const N: usize>(address: u64) -> [u8; N] {
    // SAFETY: the caller vouches; no reference stays.
    unsafe { (address as *const [u8; N]).read_volatile() }
}

/// The CPUID page, which the firmware has checked.
fn cpuid_page() -> &'static CpuidPage {
    // SAFETY: the page was launched at this address, which our tables and those of the entry code
    // map; nothing writes it.
    unsafe { &*(layout::CPUID as *const CpuidPage) }
}

/// What the CPU offers for encrypted VMs: EAX of CPUID Fn8000_001F.
fn encryption() -> u32 {
    let [offered, ..] = cpuid(0x8000_001f, 0);
    offered
}

/// The guest's features; `is_masked` tells whether registers are masked in its save area.
pub(crate) fn guest_features(is_masked: bool) -> SevFeatures {
    features::of_guest(encryption(), sev_guest::status().features(), is_masked)
}

/// The words that the CPU masks in a save area under register protection, if it offers that (AMD64
/// APM vol. 3, CPUID Fn8000_001F EAX).
pub(crate) fn register_protection() -> Option<&'static Bitmap> {
    const VMSA_REG_PROT: u32 = 1 << 24;
    let place = layout::SECRETS as usize + offset_of!(SecretsPage, vmsa_tweak_bitmap);
    // SAFETY: the page was launched at this address, which our tables map; nothing writes it.
    (encryption() & VMSA_REG_PROT != 0).then(|| unsafe { &*(place as *const Bitmap) })
}

/// The page that the image's builder has filled.
fn measured_page() -> &'static [u8; image::PAGE_SIZE] {
    // SAFETY: as for the CPUID page.
    unsafe { &*(layout::INFO as *const [u8; image::PAGE_SIZE]) }
}

/// A function of the CPUID page, as [`launch_pages::cpuid`] finds it.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    launch_pages::cpuid(cpuid_page(), leaf, subleaf)
}

/// Asks the CPU, the firmware's pages and the loader's. `image_end` is where our image ends;
/// `own_size` tells how many bytes behind it are ours in a VM with so many VPs.
///
/// # Errors
/// [`Reason`].
pub(crate) fn find(
    image_end: u64,
    own_size: impl Fn(u32) -> u64,
) -> Result<Found<'static>, Reason> {
    let status: SevStatus = sev_guest::status();
    if !features::fits(status) {
        return Err(Reason::NoSnp);
    }
    // SAFETY: pages of the layout.
    let (vps, memory_map) =
        unsafe { (read(layout::VP_COUNT), read::<{ PAGE_SIZE as usize }>(layout::MEMORY_MAP)) };
    let pages = LaunchPages {
        cpuid: cpuid_page(),
        vps: u32::from_le_bytes(vps),
        memory_map: &memory_map,
        measured: measured_page(),
    };
    launch_pages::find(&pages, pc::MAX_VPS, |vps| image_end + own_size(vps))
}
