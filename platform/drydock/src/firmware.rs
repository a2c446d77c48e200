//! The SNP firmware of the emulated chip, with the VM that it has launched.

use alloc::boxed::Box;
use core::fmt;

use drydock_firmware::{ChipSecret, Guest, LaunchEntropy, Platform, PlatformState, Start, TscInfo};
use host_wire::chip::Chip;
use platform_api::Entropy;
use snp::report::{FirmwareVersion, PlatformInfo, Policy, TcbVersion};
use snp::status::Status;

/// The version of the ABI that is emulated: 1.55 is the first with version 3 of reports.
const VERSION: FirmwareVersion = FirmwareVersion { build: 1, minor: 55, major: 1, reserved: 0 };
/// GUEST_TSC_SCALE for a scale of one: 8.32 fixed point.
const SCALE_ONE: u64 = 1 << 32;
/// Attempts to find a scalar below the order of the curve.
const ATTEMPTS: u32 = 8;

/// The firmware.
pub(crate) struct Firmware {
    platform: Platform,
    guest: Guest,
    request: Box<[u8; 4096]>,
    response: Box<[u8; 4096]>,
}

impl fmt::Debug for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All of it is secret.
        f.debug_struct("Firmware").finish_non_exhaustive()
    }
}

/// A chip that nobody can verify: its keys are random.
pub(crate) fn random_chip(source: &impl Entropy) -> Option<Chip> {
    let mut chip = Chip { secret: [0; 32], signing_key: [0; 48], id: [0; 64], tcb: [0; 8] };
    let filled = source.entropy(&mut chip.secret)
        && source.entropy(&mut chip.signing_key)
        && source.entropy(&mut chip.id);
    filled.then_some(chip)
}

/// A VM that is being launched.
pub(crate) struct Launching {
    pub(crate) platform: Platform,
    pub(crate) guest: Guest,
}

impl Launching {
    /// SNP_LAUNCH_START on `chip`, or on a random one.
    pub(crate) fn start(
        chip: Option<&Chip>,
        policy: Policy,
        fms: u32,
        secure_tsc: bool,
        source: &impl Entropy,
    ) -> Result<Self, Status> {
        let platform = match chip {
            Some(chip) => platform(chip, fms).ok_or(Status::INVALID_CONFIG)?,
            // A random number is hardly ever no key.
            None => (0..ATTEMPTS)
                .find_map(|_| platform(&random_chip(source)?, fms))
                .ok_or(Status::HWERROR_PLATFORM)?,
        };
        let mut entropy =
            LaunchEntropy { vmpck: [[0; 32]; 4], report_id: [0; 32], root_key: [0; 32] };
        let keys = entropy.vmpck.iter_mut().chain([&mut entropy.report_id, &mut entropy.root_key]);
        for key in keys {
            if !source.entropy(key) {
                return Err(Status::HWERROR_PLATFORM);
            }
        }
        let tsc = secure_tsc.then_some(TscInfo { scale: SCALE_ONE, offset: 0, factor: 0 });
        let start =
            Start { policy, gosvw: [0; 16], vmsa_tweak_bitmap: drydock_cpu::PROTECTED, tsc };
        let guest = Guest::launch_start(&platform, start, entropy)?;
        Ok(Self { platform, guest })
    }

    /// The firmware of the VM, which has been launched.
    pub(crate) fn finish(self) -> Firmware {
        let Self { platform, guest } = self;
        Firmware { platform, guest, request: Box::new([0; 4096]), response: Box::new([0; 4096]) }
    }
}

fn platform(chip: &Chip, fms: u32) -> Option<Platform> {
    let tcb = TcbVersion(chip.tcb);
    let state = PlatformState {
        chip_id: chip.id,
        current_tcb: tcb,
        committed_tcb: tcb,
        reported_tcb: tcb,
        version: VERSION,
        info: PlatformInfo::new(),
        fms,
    };
    Platform::new(state, ChipSecret(chip.secret), &chip.signing_key)
}

impl Firmware {
    /// SNP_GUEST_REQUEST: `read` copies the request out of shared memory, `write` copies the
    /// response there. Each is false if the page is not shared.
    pub(crate) fn request(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> bool,
        write: impl FnOnce(&[u8]) -> bool,
    ) -> Status {
        if !read(self.request.as_mut_slice()) {
            return Status::INVALID_ADDRESS;
        }
        match self.guest.request(&self.platform, &self.request, &mut self.response) {
            Ok(()) if write(self.response.as_slice()) => Status::SUCCESS,
            Ok(()) => Status::INVALID_ADDRESS,
            Err(status) => status,
        }
    }
}
