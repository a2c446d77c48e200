//! A machine of two VPs, with a GHCB for each.

extern crate std;

use std::boxed::Box;
use std::vec::Vec;

use drydock_rmp::{GuestPage, LEVELS, SystemPage};
use platform_api::HostFile;
use snp::exit::ExitCode;
use snp::features::SevFeatures;
use snp::ghcb::{Field, Ghcb, InputError, PROTOCOL_VERSION, Status};
use snp::msr_protocol::Request;
use zerocopy::{FromZeros, IntoBytes};

use crate::testing::{Fake, FakeVcpu};
use crate::{Area, Content, End, GuestFile, Host, HostVp, Settings, Step};

pub(super) const C_BIT: u8 = 39;
/// The first VP's GHCB; the second's is the next page.
pub(super) const GHCB: u64 = 0x5000;
/// A shared page outside of the GHCBs.
pub(super) const SCRATCH: u64 = 0x8000;
/// A private page.
pub(super) const PRIVATE: u64 = 0x9000;

/// Bytes of RAM.
pub(super) const MEMORY: u64 = 40 << 20;

/// The files that the user has named.
fn files() -> Vec<GuestFile> {
    let host = Content::Host(HostFile { selector: 7, length: 1000 });
    let own = Content::Bytes(b"user's".to_vec());
    let file = |name: &str, content| GuestFile { name: name.into(), content };
    Vec::from([file("opt/z", host), file("opt/a", own)])
}

/// A VP on its CPU.
pub(super) struct Machine {
    pub(super) host: &'static Host<Fake>,
    pub(super) vp: HostVp<'static, Fake>,
    /// The levels; the first one is most tests' own.
    pub(super) vcpus: [Box<FakeVcpu>; LEVELS],
    last: Area,
    pub(super) ghcb: u64,
}

/// A save area for the tests.
pub(super) fn area(page: u32) -> Area {
    let features = SevFeatures::new().with_snp_active(true);
    Area {
        guest: GuestPage(page),
        page: SystemPage(page + crate::testing::SYSTEM),
        features,
        serial: 0,
    }
}

impl Machine {
    /// The first VP, which runs and has registered its GHCB.
    pub(super) fn new() -> Self {
        Self::with_second().0
    }

    /// The same, on a chip with these certificates.
    pub(super) fn with_certificates(certificates: Vec<u8>) -> Self {
        Self::make(certificates).0
    }

    /// Both VPs; the second one has no save area yet.
    pub(super) fn with_second() -> (Self, Self) {
        Self::make(Vec::new())
    }

    fn make(certificates: Vec<u8>) -> (Self, Self) {
        let settings = Settings { vps: 2, c_bit: C_BIT, physical_bits: 40, memory: MEMORY };
        let outside = Fake::default();
        [GHCB, GHCB + 0x1000, SCRATCH].into_iter().for_each(|gpa| outside.share(gpa));
        let host = Host::new(outside, settings, certificates).with_files(files());
        let host = &*Box::leak(Box::new(host));
        let machine = |index| {
            let vp = HostVp::new(host, index).unwrap();
            let ghcb = GHCB + u64::from(index) * 0x1000;
            let mut machine = Self { host, vp, vcpus: Default::default(), last: area(1), ghcb };
            machine.message(Request::RegisterGhcb { gfn: ghcb >> 12 });
            machine.outside().reads.lock().unwrap().clear();
            machine
        };
        host.start(0, area(1));
        let (mut first, second) = (machine(0), machine(1));
        assert_eq!(first.turn(), Step::Run { level: 0, area: area(1) });
        (first, second)
    }

    pub(super) fn outside(&self) -> &'static Fake {
        self.host.outside()
    }

    pub(super) fn turn(&mut self) -> Step {
        match self.vp.turn(&mut self.vcpus) {
            // The number of a save area is not what these tests are about.
            Step::Run { level, area } => {
                self.last = area;
                Step::Run { level, area: Area { serial: 0, ..area } }
            }
            other => other,
        }
    }

    pub(super) fn exit(&mut self, code: ExitCode, info_1: u64, info_2: u64) {
        let level = usize::from(self.vp.level());
        self.vp.exit(self.vcpus[level].as_mut(), self.last, code, info_1, info_2);
    }

    /// Makes a request by the GHCB MSR; the MSR afterwards.
    pub(super) fn message(&mut self, request: Request) -> u64 {
        self.raw_message(request.encode())
    }

    pub(super) fn raw_message(&mut self, value: u64) -> u64 {
        let level = usize::from(self.vp.level());
        self.vcpus[level].ghcb_msr = value;
        self.exit(ExitCode::VMGEXIT, 0, 0);
        self.vcpus[level].ghcb_msr
    }

    /// Makes a request by this content of the GHCB.
    pub(super) fn submit(&mut self, ghcb: &Ghcb) -> Reply {
        self.outside().guest_writes(self.ghcb, ghcb.as_bytes());
        self.raw_message(self.ghcb);
        let mut answer = Ghcb::new_zeroed();
        self.outside().guest_reads(self.ghcb, answer.as_mut_bytes());
        Reply(answer)
    }

    /// Makes a request with these fields.
    pub(super) fn request(&mut self, code: ExitCode, fields: &[(Field, u64)]) -> Reply {
        self.submit(&request(code, fields))
    }

    /// The save area that a VP's level has.
    pub(super) fn area(&self, vp: u32, level: usize) -> Option<Area> {
        let area = self.host.areas(vp).get(level).copied().flatten()?;
        Some(Area { serial: 0, ..area })
    }

    pub(super) fn ended(&self) -> Option<End> {
        self.host.ended()
    }
}

/// A request with both EXITINFO fields zero, unless `fields` says something else.
pub(super) fn request(code: ExitCode, fields: &[(Field, u64)]) -> Ghcb {
    let mut ghcb = Ghcb::new_zeroed();
    ghcb.protocol_version = PROTOCOL_VERSION;
    let usual = [(Field::SW_EXITCODE, code.0), (Field::SW_EXITINFO1, 0), (Field::SW_EXITINFO2, 0)];
    for (field, value) in usual.iter().chain(fields) {
        ghcb.set(*field, *value);
    }
    ghcb
}

/// The GHCB after a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply(pub(super) Ghcb);

impl Reply {
    pub(super) fn get(&self, field: Field) -> Option<u64> {
        self.0.get(field)
    }

    fn status(&self) -> Option<(Status, u64)> {
        Some((self.0.status()?, self.get(Field::SW_EXITINFO2)?))
    }

    /// The status of a request that was done, with the fields that it has set besides.
    #[track_caller]
    pub(super) fn done(&self, information: u64, fields: &[(Field, u64)]) {
        assert_eq!(self.status(), Some((Status::SUCCESS, information)));
        let info = [Field::SW_EXITINFO1, Field::SW_EXITINFO2];
        let set = Field::ALL.iter().filter(|field| !info.contains(field));
        let set: Vec<_> = set.filter_map(|field| Some((*field, self.get(*field)?))).collect();
        assert_eq!(set, fields);
    }

    #[track_caller]
    pub(super) fn malformed(&self, error: InputError) {
        assert_eq!(self.status(), Some((Status::MALFORMED, error.0)));
    }

    /// The guest is to raise #GP(0): vector 13, an exception with error code, valid.
    #[track_caller]
    pub(super) fn general_protection(&self) {
        assert_eq!(self.status(), Some((Status::EXCEPTION, 13 | 3 << 8 | 1 << 11 | 1 << 31)));
    }
}
