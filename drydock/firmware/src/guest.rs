//! The context of one VM, and its launch.

use snp::digest::{LaunchDigest, LowerPermissions, Page};
use snp::report::{DIGEST_SIZE, IdAuthentication, IdBlock, Policy, TcbVersion};
use snp::secrets::{self, SecretsPage, VMPCK_COUNT, VMPCK_SIZE};
use snp::status::Status;
use zerocopy::{FromZeros, IntoBytes};

use crate::cpuid::{self, HostCpuid};
use crate::identity::{self, Owner};
use crate::platform::Platform;
use crate::policy;

/// Random bytes for one VM.
#[derive(Clone)]
pub struct LaunchEntropy {
    /// The keys for messages.
    pub vmpck: [[u8; VMPCK_SIZE]; VMPCK_COUNT],
    /// REPORT_ID.
    pub report_id: [u8; 32],
    /// The VM's root key (VMRK).
    pub root_key: [u8; 32],
}

/// The parameters of Secure TSC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TscInfo {
    /// GUEST_TSC_SCALE of save areas.
    pub scale: u64,
    /// GUEST_TSC_OFFSET of save areas.
    pub offset: u64,
    /// TSC_FACTOR.
    pub factor: u32,
}

/// The parameters of SNP_LAUNCH_START.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The VM's policy.
    pub policy: Policy,
    /// GOSVW: the OS-visible workarounds, for the secrets page.
    pub gosvw: [u8; 16],
    /// Which words of a save area the CPU masks under register protection, for the secrets page.
    pub vmsa_tweak_bitmap: [u8; 64],
    /// Secure TSC, if the VM has it.
    pub tsc: Option<TscInfo>,
}

/// A page of SNP_LAUNCH_UPDATE. The firmware changes those that are mutable, in place. A CPUID page
/// is checked against the host's CPU.
#[expect(missing_docs, reason = "the names are those of `snp::digest::PageType`")]
pub enum Update<'a> {
    Normal(&'a [u8; 4096]),
    Vmsa(&'a [u8; 4096]),
    Zero(&'a mut [u8; 4096]),
    Unmeasured,
    Secrets(&'a mut [u8; 4096]),
    Cpuid(&'a mut [u8; 4096], &'a dyn HostCpuid),
}

/// The identity that the VM's owner gives it in SNP_LAUNCH_FINISH.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The ID block.
    pub block: &'a IdBlock,
    /// Its keys and signatures.
    pub authentication: &'a IdAuthentication,
    /// AUTH_KEY_EN: an author key certifies the ID key.
    pub author_key_enabled: bool,
}

/// The parameters of SNP_LAUNCH_FINISH.
#[derive(Clone, Copy, Debug)]
pub struct Finish<'a> {
    /// The owner's identity, if there is one.
    pub identity: Option<Identity<'a>>,
    /// HOST_DATA: the hypervisor's bytes for the report.
    pub host_data: [u8; 32],
}

/// The state of a VM (SNP firmware ABI 56860, "Guest state machine").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// GSTATE_LAUNCH.
    Launch,
    /// GSTATE_RUNNING.
    Running,
}

/// The firmware's context of one VM.
pub struct Guest {
    state: State,
    pub(crate) start: Start,
    pub(crate) entropy: LaunchEntropy,
    pub(crate) digest: LaunchDigest,
    pub(crate) launch_tcb: TcbVersion,
    pub(crate) owner: Owner,
    pub(crate) host_data: [u8; 32],
    /// For each key, the number of messages in both directions.
    pub(crate) messages: [u64; VMPCK_COUNT],
}

impl Guest {
    /// SNP_LAUNCH_START: makes the context of a VM.
    pub fn launch_start(
        platform: &Platform,
        start: Start,
        entropy: LaunchEntropy,
    ) -> Result<Self, Status> {
        policy::check(start.policy, &platform.state)?;
        Ok(Self {
            state: State::Launch,
            start,
            entropy,
            digest: LaunchDigest::EMPTY,
            launch_tcb: platform.state.current_tcb,
            owner: Owner::default(),
            host_data: [0; 32],
            messages: [0; VMPCK_COUNT],
        })
    }

    /// SNP_LAUNCH_UPDATE: adds a 4 KiB page. A page that is refused is not measured.
    pub fn launch_update(
        &mut self,
        platform: &Platform,
        update: Update<'_>,
        gpa: u64,
        permissions: LowerPermissions,
    ) -> Result<(), Status> {
        self.require(State::Launch)?;
        if !gpa.is_multiple_of(4096) {
            return Err(Status::INVALID_ADDRESS);
        }
        check_permissions(permissions)?;
        let page = match update {
            Update::Normal(contents) => Page::Normal(contents),
            Update::Vmsa(contents) => Page::Vmsa(contents),
            Update::Zero(contents) => {
                contents.fill(0);
                Page::Zero
            }
            Update::Unmeasured => Page::Unmeasured,
            Update::Secrets(contents) => {
                contents.copy_from_slice(self.secrets(platform).as_bytes());
                Page::Secrets
            }
            Update::Cpuid(contents, host) => {
                cpuid::check_page(contents, host)?;
                Page::Cpuid
            }
        };
        self.digest.add_with_permissions(page, gpa, permissions);
        Ok(())
    }

    /// SNP_LAUNCH_FINISH: the VM may run from here on.
    pub fn launch_finish(&mut self, finish: &Finish<'_>) -> Result<(), Status> {
        self.require(State::Launch)?;
        if let Some(identity) = &finish.identity {
            self.owner = identity::check(identity, self.digest, self.start.policy)?;
        }
        self.host_data = finish.host_data;
        self.state = State::Running;
        Ok(())
    }

    /// The launch digest so far.
    pub fn measurement(&self) -> [u8; DIGEST_SIZE] {
        self.digest.0
    }

    /// Refuses a request to a VM that is not launched yet.
    pub(crate) fn require_running(&self) -> Result<(), Status> {
        self.require(State::Running)
    }

    fn require(&self, state: State) -> Result<(), Status> {
        if self.state == state { Ok(()) } else { Err(Status::INVALID_GUEST_STATE) }
    }

    fn secrets(&self, platform: &Platform) -> SecretsPage {
        let mut page = SecretsPage::new_zeroed();
        page.version = secrets::VERSION;
        page.fms = platform.state.fms;
        page.gosvw = self.start.gosvw;
        page.vmsa_tweak_bitmap = self.start.vmsa_tweak_bitmap;
        page.vmpck = self.entropy.vmpck;
        page.tsc_factor = self.start.tsc.unwrap_or_default().factor;
        page
    }
}

/// The bits that a level's permissions can have: those of RMPADJUST without the level.
const PERMISSION_BITS: u8 = 0x1f;

fn check_permissions(permissions: LowerPermissions) -> Result<(), Status> {
    let LowerPermissions { vmpl3, vmpl2, vmpl1 } = permissions;
    if (vmpl3 | vmpl2 | vmpl1) & !PERMISSION_BITS != 0 {
        return Err(Status::INVALID_PARAM);
    }
    Ok(())
}
