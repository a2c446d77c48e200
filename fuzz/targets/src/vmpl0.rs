//! A hostile host and any exit of the guest, seen by the paravisor at VMPL0.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

use guest_memory::{GpaRange, PAGE_SIZE};
use host_wire::linux_start as layout;
use host_wire::paravisor_image as image;
use platform_api::Exit;
use snp::cpuid_page::{CpuidFunction, CpuidPage, MAX_ENTRIES};
use snp::exit::ExitCode;
use snp::ghcb::{Field, Ghcb, InputError, Status};
use snp::vmsa::EventInj;
use vmpl0::calls::{Call, Failed, Quadwords, call, run_level};
use vmpl0::doorbell::{Doorbell, Event, MOST_AT_ONCE};
use vmpl0::guest_exit::{GuestExit, NO_EXIT};
use vmpl0::launch_pages::{Found, LEGACY_HOLE, LaunchPages, cpuid, find};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::input::Input;

/// Quadwords of a page.
const QUADWORDS: usize = 512;
/// The quadword of the bitmap's first half.
const BITMAP: usize = 0x3f0 / 8;

/// A GHCB page to which the host writes at any time.
struct SharedPage<'a> {
    input: RefCell<Input<'a>>,
    words: RefCell<[u64; QUADWORDS]>,
    /// The values that were read.
    seen: RefCell<[Option<u64>; QUADWORDS]>,
}

impl Quadwords for SharedPage<'_> {
    fn read(&self, offset: usize) -> u64 {
        let value = self.words.borrow()[offset / 8];
        let before = self.seen.borrow_mut()[offset / 8].replace(value);
        assert_eq!(before, None, "the quadword at {offset:#x} is read twice");
        self.host_writes();
        value
    }

    fn write(&self, offset: usize, value: u64) {
        self.words.borrow_mut()[offset / 8] = value;
    }
}

impl SharedPage<'_> {
    /// The host changes a few quadwords: mostly those of an answer and their marks.
    fn host_writes(&self) {
        let (mut input, mut words) = (self.input.borrow_mut(), self.words.borrow_mut());
        for _ in 0..input.u8() & 3 {
            let choice = input.u8();
            let value = if choice & 1 == 0 { u64::from(input.u8() & 7) } else { input.u64() };
            let field = Field::ALL[usize::from(choice >> 3) % Field::ALL.len()];
            match choice >> 1 & 3 {
                0 => words[Field::SW_EXITINFO1.offset() / 8] = value,
                1 => words[BITMAP..][..2].fill(if value & 1 == 0 { u64::MAX } else { value }),
                2 => words[usize::from(input.u16()) % QUADWORDS] = value,
                _ => words[field.offset() / 8] = value,
            }
        }
    }

    /// A page with what was read, and with zeroes elsewhere.
    fn seen(&self) -> Ghcb {
        let words = self.seen.borrow().map(Option::unwrap_or_default);
        Ghcb::read_from_bytes(words.as_bytes()).expect("a page")
    }
}

/// Calls whose answers the host makes up and changes while they are read.
pub fn ghcb_answers(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let call_number = input.u8();
    let (words, seen) = (RefCell::new([0; QUADWORDS]), RefCell::new([None; QUADWORDS]));
    let page = SharedPage { input: RefCell::new(input), words, seen };
    let turns = Cell::new(0);
    let leave = || {
        turns.set(turns.get() + 1);
        page.host_writes();
    };
    if call_number & 1 == 0 {
        let request = Call { code: ExitCode::IOIO, info_1: 1, info_2: 0 };
        let wanted = [Field::RAX, Field::SW_EXITINFO2];
        let result = call(&page, request, &[(Field::RAX, 0)], wanted, leave);
        assert_eq!(result, judge(&page.seen(), wanted));
    } else {
        let result = run_level(&page, 1, leave);
        let seen = page.seen();
        let still_stands = seen.get(Field::SW_EXITCODE) == Some(ExitCode::RUN_VMPL.0);
        assert!(result == judge(&seen, []).map(|[]| ()) || still_stands && result == Ok(()));
    }
    assert_eq!(turns.get(), 1, "the host gets another turn");
}

/// The answer on a page that nobody changes.
fn judge<const N: usize>(page: &Ghcb, wanted: [Field; N]) -> Result<[u64; N], Failed> {
    let need = |field| page.get(field).ok_or(Failed::Missing(field));
    let status = need(Field::SW_EXITINFO1).map(|value| Status(value as u32))?;
    match status {
        Status::SUCCESS => {}
        Status::EXCEPTION => {
            return Err(Failed::Exception(EventInj::from_bits(need(Field::SW_EXITINFO2)?)));
        }
        Status::MALFORMED => return Err(Failed::Malformed(InputError(need(Field::SW_EXITINFO2)?))),
        other => return Err(Failed::UnknownStatus(other)),
    }
    if let Some(missing) = wanted.into_iter().find(|field| !page.is_valid(*field)) {
        return Err(Failed::Missing(missing));
    }
    Ok(wanted.map(|field| page.get(field).unwrap_or_default()))
}

/// A doorbell page to which the host writes before, while and after its events are handled.
pub fn doorbell(bytes: &[u8]) {
    let input = RefCell::new(Input::new(bytes));
    let (pending, no_eoi_required) = (AtomicU16::new(0), AtomicU8::new(0));
    let page = Doorbell { pending: &pending, no_eoi_required: &no_eoi_required };
    let host_writes = || {
        let mut input = input.borrow_mut();
        // With the input's end the host writes the same for ever.
        let word = if input.is_empty() { 0x803f } else { input.u16() };
        match word & 7 {
            0 => {}
            1..4 => pending.store(word >> 3, Ordering::Relaxed),
            _ => pending.store(word | 0x40, Ordering::Relaxed),
        }
        no_eoi_required.store(input.u8(), Ordering::Relaxed);
    };
    while !input.borrow().is_empty() {
        host_writes();
        let (asked, mut events) = (RefCell::new(Vec::new()), 0);
        let is_asked_for = |vector| {
            asked.borrow_mut().push(vector);
            host_writes();
            (0x40..0x44).contains(&vector)
        };
        let looked = page.take(is_asked_for, |event| {
            events += 1;
            if let Event::Interrupt(vector) = event {
                assert_eq!(asked.borrow().last(), Some(&vector));
                assert!((0x40..0x44).contains(&vector), "{vector:#x} was never asked for");
            }
            host_writes();
        });
        assert_eq!(looked.taken, events);
        assert!(asked.borrow().len() <= MOST_AT_ONCE as usize, "the host is listened to for ever");
        assert!(looked.taken + looked.dropped <= 3 * MOST_AT_ONCE);
        let flag = no_eoi_required.load(Ordering::Relaxed) & 1 != 0;
        assert_eq!(page.take_no_eoi_required(), flag);
        assert!(!page.take_no_eoi_required(), "told twice");
    }
}

/// Any exit in the guest's save area.
pub fn exit_information(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    while !input.is_empty() {
        let code = match input.u8() & 3 {
            0 => u64::from(input.u8()),
            1 => 0x400 + u64::from(input.u8() & 7),
            2 => !u64::from(input.u8()),
            _ => input.u64(),
        };
        let rip = input.u64();
        let near = rip.wrapping_add(u64::from(input.u8() & 0x1f));
        let exit = GuestExit {
            code: ExitCode(code),
            info_1: input.u64(),
            info_2: input.u64(),
            int_info: EventInj::from_bits(input.u64()),
            nrip: if input.u8() & 1 == 0 { near } else { input.u64() },
            rip,
        };
        check_exit(&exit);
    }
}

fn check_exit(exit: &GuestExit) {
    let decoded = exit.decode();
    assert_eq!(decoded == Exit::Halt, exit.length() == Some(0));
    if let Some(length) = exit.length().filter(|length| *length != 0) {
        assert_eq!(exit.rip.wrapping_add(length.into()), exit.nrip);
        assert!(length <= 15, "{length} bytes");
    }
    let page = exit.refused_page();
    match decoded {
        Exit::Memory(fault) => assert_eq!(page, Some(fault.gpa)),
        Exit::Exception { vector, error_code } => {
            assert_eq!(exit.code, ExitCode::exception(vector));
            assert!(error_code.is_none_or(|code| code == exit.info_1 as u32));
            assert_eq!(exit.fault_address(), (vector == 14).then_some(exit.info_2));
        }
        Exit::Port(access) => {
            assert_eq!(
                (u64::from(access.port), access.next_rip),
                (exit.info_1 >> 16 & 0xffff, exit.info_2)
            );
        }
        Exit::Failed(code) => assert_eq!(code, exit.code.0),
        _ => assert!(exit.code != NO_EXIT && page.is_none() && exit.fault_address().is_none()),
    }
}

/// VPs that the fuzzed paravisor can have.
const MOST_VPS: usize = 64;

/// The pages of a launch: nearly those of an honest host, with any changes.
pub fn launch_pages(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let page = honest_cpuid(&mut input);
    let (memory_map, measured) = (honest_map(&mut input), honest_measured(&mut input));
    let vps = if input.u8() & 7 == 0 { input.u32() } else { 1 + u32::from(input.u8() & 0x3f) };
    let pages = LaunchPages { cpuid: &page, vps, memory_map: &memory_map, measured: &measured };
    let own_end = |vps: u32| layout::STUB_END + 0x1_7000 * u64::from(vps);
    if let Ok(found) = find(&pages, MOST_VPS, own_end) {
        check_found(&found);
    }
    for _ in 0..4 {
        let (leaf, subleaf) = (input.u32(), input.u32());
        let answer = cpuid(&page, leaf, subleaf);
        let is_there = page.functions.iter().any(|function| function.eax_in == leaf);
        assert!(is_there || answer == [0; 4], "leaf {leaf:#x} is made up");
    }
}

/// What was found keeps the promises that page tables and acceptance rely on.
fn check_found(found: &Found<'_>) {
    assert!((32..52).contains(&found.c_bit));
    assert!((32..=found.c_bit).contains(&found.physical_bits));
    assert!((1..=MOST_VPS as u32).contains(&found.vps));
    assert!(found.own.start() == layout::INFO && found.own.end() <= image::OWN_END);
    for range in [found.own, LEGACY_HOLE] {
        let mut all = found.ram.ranges().iter();
        assert!(!all.any(|ram| ram.overlaps(&range)), "{range} is given");
    }
    assert!(found.measured.config.len() <= image::MOST_CONFIG);
    let ends = found.ram.ranges().iter().map(GpaRange::end);
    assert!(ends.max().unwrap_or_default() <= 4 << 30, "RAM that is not mapped");
}

fn honest_cpuid(input: &mut Input<'_>) -> CpuidPage {
    let mut page = CpuidPage::new_zeroed();
    let function =
        |eax_in, eax, ebx| CpuidFunction { eax_in, eax, ebx, ..CpuidFunction::new_zeroed() };
    page.functions[0] = function(0x8000_001f, 0, 51);
    page.functions[1] = function(0x8000_0008, 48, 0);
    page.count = 3;
    if input.u8() & 3 == 0 {
        page.count = u32::from(input.u8()) % (MAX_ENTRIES as u32 + 3);
    }
    for _ in 0..input.u8() & 3 {
        let place = usize::from(input.u16()) % (page.as_bytes().len() / 16);
        page.as_mut_bytes()[place] = input.u8();
    }
    page
}

/// 128 MiB of RAM, with changed or further entries.
fn honest_map(input: &mut Input<'_>) -> [u8; PAGE_SIZE as usize] {
    let mut page = [0; PAGE_SIZE as usize];
    let mut entries = vec![(0, 0x8000, 0), (0xf_e000, 16, 3)];
    for _ in 0..input.u8() & 3 {
        let choice = input.u8();
        let wide = choice & 0x30 == 0;
        let mut word = || if wide { input.u64() } else { u64::from(input.u16()) << (choice & 15) };
        entries.push((word(), word(), u64::from(choice >> 6)));
    }
    for (place, (start, pages, kind)) in page.chunks_exact_mut(24).zip(entries) {
        for (to, word) in place.chunks_exact_mut(8).zip([start, pages, kind]) {
            to.copy_from_slice(&u64::to_le_bytes(word));
        }
    }
    if input.u8() & 7 == 0 {
        page[usize::from(input.u16()) % 72] = input.u8();
    }
    page
}

/// The page of an image's builder, with changes.
fn honest_measured(input: &mut Input<'_>) -> [u8; image::PAGE_SIZE] {
    let mut page = [0; image::PAGE_SIZE];
    for _ in 0..input.u8() & 7 {
        page[usize::from(input.u8())] = input.u8();
    }
    page
}
