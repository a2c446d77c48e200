//! A hostile guest's requests to Drydock's host.

use std::sync::atomic::Ordering;

use drydock_host::testing::{Change, Fake, FakeVcpu, PAGES, SYSTEM};
use drydock_host::{Area, Host, HostVp, PageState, Settings, Step};
use drydock_rmp::{GuestPage, LEVELS, SystemPage};
use snp::exit::{ApCreation, ApCreationRequest, ExitCode};
use snp::features::SevFeatures;
use snp::ghcb::{Field, Ghcb, PROTOCOL_VERSION, SHARED_BUFFER_OFFSET, Status};
use snp::msr_protocol::{Answer, Request};
use zerocopy::{FromZeros, IntoBytes};

use crate::input::Input;

const SETTINGS: Settings =
    Settings { vps: VPS as u32, c_bit: 39, physical_bits: 40, memory: 64 << 20 };
const VPS: usize = 2;
/// The most steps of one input: it bounds the time.
const STEPS: usize = 24;

/// The first VP's GHCB; the second's is the next page.
const GHCB: u64 = 0x5000;
/// A shared page outside of the GHCBs.
const SCRATCH: u64 = 0x8000;
/// A private page.
const PRIVATE: u64 = 0x9000;

/// The requests that the host serves, with some that it does not.
#[rustfmt::skip]
const CODES: [ExitCode; 26] = [
    ExitCode::IOIO, ExitCode::MSR, ExitCode::CPUID, ExitCode::MMIO_READ, ExitCode::MMIO_WRITE,
    ExitCode::PAGE_STATE_CHANGE, ExitCode::AP_CREATION, ExitCode::GUEST_REQUEST,
    ExitCode::EXTENDED_GUEST_REQUEST, ExitCode::AP_RESET_HOLD, ExitCode::RUN_VMPL,
    ExitCode::HV_DOORBELL_PAGE, ExitCode::HV_IPI, ExitCode::APIC_IDS, ExitCode::WBINVD,
    ExitCode::RDTSC, ExitCode::RDTSCP, ExitCode::HLT, ExitCode::NMI_COMPLETE,
    ExitCode::HYPERVISOR_FEATURES, ExitCode::dr_read(7), ExitCode::dr_write(7), ExitCode::VMMCALL,
    ExitCode::AP_JUMP_TABLE, ExitCode::HV_TIMER, ExitCode::MONITOR,
];

/// Exits that need no GHCB.
const EXITS: [ExitCode; 7] = [
    ExitCode::INTR,
    ExitCode::NMI,
    ExitCode::VINTR,
    ExitCode::PAUSE,
    ExitCode::NPF,
    ExitCode::HLT,
    ExitCode::IDLE_HLT,
];

/// MSRs that the host has something behind.
const MSRS: [u32; 10] =
    [0x10, 0x1b, 0x6e0, 0x80b, 0x830, 0x832, 0x838, 0x2ff, 0x4b56_4d00, 0x4b56_4d01];

/// Ports of devices.
const PORTS: [u16; 12] =
    [0x20, 0x21, 0x40, 0x43, 0x61, 0x70, 0x71, 0xa1, 0x3f8, 0x3f9, 0xcf8, 0xcfc];

/// Sequences of requests of two VPs, by GHCB pages, by the GHCB MSR and by exits.
pub fn ghcb(bytes: &[u8]) {
    let outside = Fake::default();
    [GHCB, GHCB + 0x1000, SCRATCH].into_iter().for_each(|gpa| outside.share(gpa));
    let host = Host::new(outside, SETTINGS, vec![]);
    host.start(0, first_area(1));
    let mut vps: [Vp<'_>; VPS] = [Vp::new(&host, 0), Vp::new(&host, 1)];
    let mut input = Input::new(bytes);
    if input.u8() & 1 != 0 {
        host.start(1, first_area(2));
    }
    for _ in 0..STEPS {
        if input.is_empty() || host.ended().is_some() {
            break;
        }
        let which = input.u8();
        let [first, second] = &mut vps;
        let vp = if which & 3 == 0 { second } else { first };
        vp.step(&mut input);
    }
    if let Some(end) = host.ended() {
        assert!(vps.iter_mut().all(|vp| vp.turn() == Step::End(end)), "a VP goes on");
    }
}

/// A save area of level 0 that the launch has made.
fn first_area(page: u32) -> Area {
    let features = SevFeatures::new().with_snp_active(true);
    Area { guest: GuestPage(page), page: SystemPage(page + SYSTEM), features, serial: 0 }
}

/// A value of a field: often a small number, an address of the guest's, or close to the largest.
fn value(input: &mut Input<'_>, ghcb: u64) -> u64 {
    match input.u8() & 15 {
        0..=4 => u64::from(input.u8()) & 0xf,
        5 => SCRATCH,
        6 => ghcb + SHARED_BUFFER_OFFSET as u64,
        7 => PRIVATE - u64::from(input.u8()) % 9,
        8 => 0xfee0_0000 | u64::from(input.u16()) & 0xfff,
        9 => 0xfec0_0000 | u64::from(input.u8()),
        10 => u64::from(input.u8()) << 12,
        11 => SCRATCH + u64::from(input.u16()) % 0x1001,
        12 => u64::from(PORTS[usize::from(input.u8()) % PORTS.len()]) << 16 | u64::from(input.u8()),
        13 => MSRS[usize::from(input.u8()) % MSRS.len()].into(),
        14 => u64::MAX - u64::from(input.u8() & 15),
        _ => input.u64(),
    }
}

/// A page with a request of any content.
fn request(input: &mut Input<'_>, gpa: u64) -> Ghcb {
    let mut page = Ghcb::new_zeroed();
    let choice = input.u8();
    let code = match choice {
        0 => input.u64(),
        1 => ExitCode::TERMINATION_REQUEST.0,
        2 => ExitCode::UNSUPPORTED_EVENT.0,
        _ => CODES[usize::from(choice) % CODES.len()].0,
    };
    let strange = input.u8();
    page.protocol_version = if strange == 1 { input.u16() } else { PROTOCOL_VERSION };
    page.usage = if strange == 2 { input.u32() } else { 0 };
    let operands = [
        Field::SW_EXITINFO1,
        Field::SW_EXITINFO2,
        Field::SW_SCRATCH,
        Field::RAX,
        Field::RCX,
        Field::RDX,
        Field::RBX,
        Field::CPL,
    ];
    page.set(Field::SW_EXITCODE, code);
    operands.into_iter().for_each(|field| page.set(field, value(input, gpa)));
    if strange & 3 != 0 {
        operands_of(input, ExitCode(code), &mut page, gpa);
    }
    if strange & 0xf == 3 {
        page.valid_bitmap[0] ^= 1 << (input.u8() & 63);
        page.valid_bitmap[1] ^= 1 << (input.u8() & 63);
    }
    page
}

/// Gives a request operands that its checks let pass more often.
fn operands_of(input: &mut Input<'_>, code: ExitCode, page: &mut Ghcb, gpa: u64) {
    let (first, second) = (u64::from(input.u8()), u64::from(input.u8()));
    match code {
        ExitCode::PAGE_STATE_CHANGE => list(input, page, gpa),
        ExitCode::IOIO => {
            let port = u64::from(PORTS[first as usize % PORTS.len()]);
            let width = 1 << (4 + second % 3);
            page.set(Field::SW_EXITINFO1, port << 16 | width | second >> 4 & 0xd);
        }
        ExitCode::MSR => {
            page.set(Field::RCX, MSRS[first as usize % MSRS.len()].into());
            if first as usize % MSRS.len() == 1 {
                // The modes of the local APIC.
                page.set(Field::RAX, 0xfee0_0000 | (second & 0xd) << 8);
                page.set(Field::RDX, 0);
            }
        }
        ExitCode::MMIO_READ | ExitCode::MMIO_WRITE => {
            page.set(Field::SW_EXITINFO2, 1 + first % 8);
            page.set(Field::SW_SCRATCH, SCRATCH + second);
        }
        ExitCode::AP_CREATION => {
            let request = ApCreationRequest((second >> 4 & 3) as u8);
            let created = ApCreation::new().with_request(request).with_apic_id(first as u32 & 1);
            let created = created.with_vmpl((second & 3) as u8);
            page.set(Field::SW_EXITINFO1, created.into_bits());
            page.set(Field::SW_EXITINFO2, (0x10 + (first >> 4)) << 12);
            // Reflection, restricted and alternate injection.
            page.set(Field::RAX, 1 | (first >> 1 & 7) << 2);
        }
        ExitCode::RUN_VMPL => page.set(Field::SW_EXITINFO1, first & 3),
        ExitCode::HV_DOORBELL_PAGE => {
            page.set(Field::SW_EXITINFO1, first & 3);
            page.set(Field::SW_EXITINFO2, SCRATCH);
        }
        ExitCode::GUEST_REQUEST | ExitCode::EXTENDED_GUEST_REQUEST => {
            page.set(Field::SW_EXITINFO1, SCRATCH);
            page.set(Field::SW_EXITINFO2, GHCB + (first & 3) * 0x1000);
            page.set(Field::RAX, SCRATCH);
        }
        _ => {}
    }
}

/// Writes a list of page state changes into the shared buffer.
fn list(input: &mut Input<'_>, page: &mut Ghcb, gpa: u64) {
    if input.u8() & 15 != 0 {
        page.set(Field::SW_SCRATCH, gpa + SHARED_BUFFER_OFFSET as u64);
    }
    let (current, end) = (u16::from(input.u8() & 1), input.u8());
    let end = if end & 15 == 0 { input.u16() } else { u16::from(end & 3) };
    page.shared_buffer[..2].copy_from_slice(&current.to_le_bytes());
    page.shared_buffer[2..4].copy_from_slice(&end.to_le_bytes());
    for entry in page.shared_buffer[8..40].chunks_exact_mut(8) {
        let strange = input.u8() & 15 == 0;
        let (page, operation) = (u64::from(input.u16()) & 0xfff, u64::from(input.u8() % 6));
        let is_large = u64::from(input.u8() & 1);
        let page = if is_large == 0 { page } else { page & !0x1ff };
        let usual = page << 12 | operation << 52 | is_large << 56;
        let bits = if strange { input.u64() } else { usual };
        entry.copy_from_slice(&bits.to_le_bytes());
    }
}

/// A VP with the hostile guest in it.
struct Vp<'a> {
    host: &'a Host<Fake>,
    vp: HostVp<'a, Fake>,
    vcpus: [Box<FakeVcpu>; LEVELS],
    /// What ran last.
    last: Option<Area>,
    ghcb: u64,
}

impl<'a> Vp<'a> {
    fn new(host: &'a Host<Fake>, index: u32) -> Self {
        let vp = HostVp::new(host, index).expect("a VP");
        let ghcb = GHCB + u64::from(index) * 0x1000;
        Self { host, vp, vcpus: Default::default(), last: None, ghcb }
    }

    fn turn(&mut self) -> Step {
        self.vp.turn(&mut self.vcpus)
    }

    /// One turn, with what the guest does if it runs.
    fn step(&mut self, input: &mut Input<'_>) {
        match self.turn() {
            Step::End(_) => {}
            Step::Again => self.pass_time(input),
            Step::Run { level, area } => {
                assert_eq!(level, self.vp.level());
                assert!(area.guest.0 < PAGES, "a save area outside of RAM");
                assert_eq!(area.page.0, area.guest.0 + SYSTEM, "a page that the outside has given");
                self.last = Some(area);
                self.enter(input);
                self.act(input);
                self.follow_changes();
            }
        }
    }

    fn pass_time(&self, input: &mut Input<'_>) {
        let host = &self.host.outside().host;
        host.tsc.fetch_add(u64::from(input.u32()), Ordering::Relaxed);
        host.nmi.store(input.u8() & 15 == 0, Ordering::Relaxed);
    }

    /// The CPU delivers what waits; the guest changes what it can without an exit.
    fn enter(&mut self, input: &mut Input<'_>) {
        let flags = input.u8();
        let vcpu = &mut self.vcpus[usize::from(self.vp.level())];
        vcpu.event = None;
        if vcpu.interrupts_enabled {
            vcpu.taken = vcpu.offered.take();
        }
        vcpu.interrupts_enabled = flags & 1 != 0;
        vcpu.nmis_masked = flags & 2 != 0;
        vcpu.task_priority = flags >> 4;
    }

    fn act(&mut self, input: &mut Input<'_>) {
        match input.u8() & 15 {
            0 => self.pass_time(input),
            1..=3 => self.message(input),
            4 => {
                let choice = input.u8();
                let code = match choice {
                    0 => input.u64(),
                    1 => ExitCode::SHUTDOWN.0,
                    _ => EXITS[usize::from(choice) % EXITS.len()].0,
                };
                let (info_1, info_2) = (input.u64(), u64::from(input.u32()) & 0xff_ffff);
                self.exit(ExitCode(code), info_1, info_2);
            }
            choice => {
                if choice & 1 != 0 {
                    self.raw_message(Request::RegisterGhcb { gfn: self.ghcb >> 12 }.encode());
                }
                self.page(input);
            }
        }
    }

    fn exit(&mut self, code: ExitCode, info_1: u64, info_2: u64) {
        let Some(area) = self.last else { return };
        let vcpu = &mut self.vcpus[usize::from(self.vp.level())];
        self.vp.exit(vcpu.as_mut(), area, code, info_1, info_2);
    }

    fn raw_message(&mut self, message: u64) -> u64 {
        let level = usize::from(self.vp.level());
        self.vcpus[level].ghcb_msr = message;
        self.exit(ExitCode::VMGEXIT, 0, 0);
        self.vcpus[level].ghcb_msr
    }

    /// Whether the level that runs is a guest of level 0, which gets its calls.
    fn reflects(&self) -> bool {
        self.vp.level() != 0 && self.last.is_some_and(|area| area.features.reflect_vc())
    }

    /// A message has an answer, or it ends the VM. That of a reflecting level enters level 0.
    fn message(&mut self, input: &mut Input<'_>) {
        let kinds = [2, 4, 6, 0x10, 0x12, 0x14, 0x16, 0x80];
        let choice = input.u8();
        let kind = match choice {
            0 => None,
            1 => Some(0),
            2 => Some(0x100),
            _ => Some(kinds[usize::from(choice) % kinds.len()]),
        };
        let data = value(input, self.ghcb);
        let message = match kind {
            Some(0x14) => 0x14 | (data & 0xfff) << 12 | u64::from(input.u8() & 3) << 52,
            Some(0x16) => 0x16 | data << 32,
            Some(kind) => kind | data << 12,
            None => data,
        };
        if self.reflects() {
            let level = usize::from(self.vp.level());
            self.raw_message(message);
            assert_eq!(self.vp.level(), 0, "level 0 has the call");
            assert_eq!(self.vcpus[level].ghcb_msr, message, "and the host no answer");
            return;
        }
        let answer = self.raw_message(message);
        let is_page = matches!(Request::decode(message), Ok(Request::Ghcb { .. }));
        if self.host.ended().is_none() && !is_page {
            assert!(Answer::decode(answer).is_ok(), "{answer:#x} to {message:#x}");
        }
    }

    /// A request by a page gets a status, or it ends the VM.
    fn page(&mut self, input: &mut Input<'_>) {
        let outside = self.host.outside();
        let request = request(input, self.ghcb);
        if outside.is_shared(self.ghcb) {
            outside.guest_writes(self.ghcb, request.as_bytes());
        }
        outside.refused.lock().expect("no panic").clear();
        if self.reflects() {
            self.raw_message(self.ghcb);
            assert_eq!(self.vp.level(), 0, "level 0 has the call");
            return;
        }
        // The other VP may change what the host has read, or make the page private.
        let race = input.u8();
        outside.is_fickle.store(race & 7 == 0, Ordering::Relaxed);
        outside.lose_after_read(if race & 0x3f == 1 { self.ghcb } else { 0 });
        self.raw_message(self.ghcb);
        outside.is_fickle.store(false, Ordering::Relaxed);
        outside.lose_after_read(0);
        if !outside.is_shared(self.ghcb) {
            assert!(self.host.ended().is_some(), "there is no place for an answer");
            return;
        }
        let mut answer = Ghcb::new_zeroed();
        outside.guest_reads(self.ghcb, answer.as_mut_bytes());
        let status = answer.status().expect("a status");
        assert!(status.0 <= Status::MALFORMED.0, "{status:?}");
        assert!(answer.is_valid(Field::SW_EXITINFO2), "no information");
        // The outside refuses each write to memory that is not shared. The guest learns of it,
        // unless it is a record of KVM's clock, which has no answer.
        let was_refused = !outside.refused.lock().expect("no panic").is_empty();
        let is_msr = request.get(Field::SW_EXITCODE) == Some(ExitCode::MSR.0);
        assert!(!was_refused || is_msr || status == Status::MALFORMED, "{:?}", request);
    }

    /// Pages become what the host has asked for.
    fn follow_changes(&self) {
        let outside = self.host.outside();
        let changes = std::mem::take(&mut *outside.changes.lock().expect("no panic"));
        for change in changes {
            match change {
                Change::To(state, page, size) => {
                    assert!(size.fits(page as u32), "a page of that size starts elsewhere");
                    match state {
                        PageState::Private => outside.take_back(page << 12),
                        PageState::Shared => outside.share(page << 12),
                    }
                }
                Change::Split(page) => assert!(page < u64::from(PAGES)),
            }
        }
    }
}
