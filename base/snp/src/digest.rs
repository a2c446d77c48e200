//! The launch digest: a hash over every page that the firmware adds to a VM.

use core::mem::size_of;

use open_enum::open_enum;
use sha2::{Digest, Sha384};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::assert_offsets;
use crate::report::DIGEST_SIZE;

/// PAGE_TYPE of SNP_LAUNCH_UPDATE (SNP firmware ABI 56860).
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u8)]
pub enum PageType {
    /// Contents from the hypervisor, measured.
    NORMAL = 1,
    /// A save area, measured.
    VMSA = 2,
    /// Zeroes.
    ZERO = 3,
    /// Contents from the hypervisor, not measured.
    UNMEASURED = 4,
    /// The secrets page.
    SECRETS = 5,
    /// The CPUID page.
    CPUID = 6,
}

/// A page, with the contents if they are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of `PageType`")]
pub enum Page<'a> {
    Normal(&'a [u8; 4096]),
    Vmsa(&'a [u8; 4096]),
    Zero,
    Unmeasured,
    Secrets,
    Cpuid,
}

impl Page<'_> {
    /// The type of the page.
    pub const fn page_type(self) -> PageType {
        match self {
            Self::Normal(_) => PageType::NORMAL,
            Self::Vmsa(_) => PageType::VMSA,
            Self::Zero => PageType::ZERO,
            Self::Unmeasured => PageType::UNMEASURED,
            Self::Secrets => PageType::SECRETS,
            Self::Cpuid => PageType::CPUID,
        }
    }

    /// The digest of the contents, or zeroes if they are not measured.
    pub fn contents(self) -> [u8; DIGEST_SIZE] {
        match self {
            Page::Normal(contents) | Page::Vmsa(contents) => Sha384::digest(contents).into(),
            Page::Zero | Page::Unmeasured | Page::Secrets | Page::Cpuid => [0; DIGEST_SIZE],
        }
    }
}

/// The permissions of the lower levels for a page, one byte each with the bits of RMPADJUST.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct LowerPermissions {
    /// Level 3.
    pub vmpl3: u8,
    /// Level 2.
    pub vmpl2: u8,
    /// Level 1.
    pub vmpl1: u8,
}

/// PAGE_INFO, the input of the hash for one page (SNP firmware ABI 56860, "Launch digest").
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct PageInfo {
    digest_cur: [u8; DIGEST_SIZE],
    /// Digest of the contents, or zeroes if they are not measured.
    contents: [u8; DIGEST_SIZE],
    length: u16,
    page_type: PageType,
    /// Bit 0: part of an initial migration image.
    imi_page: u8,
    permissions: LowerPermissions,
    reserved: u8,
    gpa: u64,
}

const _: () = assert!(size_of::<PageInfo>() == 0x70);
assert_offsets!(PageInfo: length = 0x60, page_type = 0x62, permissions = 0x64, gpa = 0x68);

/// The digest of the pages that were added so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchDigest(pub [u8; DIGEST_SIZE]);

impl LaunchDigest {
    /// The digest of no pages.
    pub const EMPTY: Self = Self([0; DIGEST_SIZE]);

    /// Adds a 4 KiB page to which lower levels have no access.
    pub fn add(&mut self, page: Page<'_>, gpa: u64) {
        self.add_with_permissions(page, gpa, LowerPermissions::default());
    }

    /// Adds a 4 KiB page.
    pub fn add_with_permissions(
        &mut self,
        page: Page<'_>,
        gpa: u64,
        permissions: LowerPermissions,
    ) {
        self.add_contents(page.page_type(), page.contents(), gpa, permissions);
    }

    /// Adds a 4 KiB page by the digest of its contents.
    pub fn add_contents(
        &mut self,
        page_type: PageType,
        contents: [u8; DIGEST_SIZE],
        gpa: u64,
        permissions: LowerPermissions,
    ) {
        let info = PageInfo {
            digest_cur: self.0,
            contents,
            length: size_of::<PageInfo>() as u16,
            page_type,
            imi_page: 0,
            permissions,
            reserved: 0,
            gpa,
        };
        self.0 = Sha384::digest(info.as_bytes()).into();
    }
}
