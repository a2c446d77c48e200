//! The table of page owners under a hostile host with a hostile guest.

use drydock_rmp::testing::{
    NAMED, Operation, PAGES, Reference, apply, check_accesses, check_attributes,
};
use drydock_rmp::{
    Adjustment, Entry, GuestPage, HostMap, Reach, Rights, Rmp, Size, SystemPage, View,
};

use crate::input::Input;

/// The most operations of one input: it bounds the time.
const OPERATIONS: usize = 64;

/// Any sequence of operations ends as in the plain model.
pub fn rmp(bytes: &[u8]) {
    let mut entries = [Entry::new(); PAGES as usize];
    let mut map = [0; PAGES as usize];
    let (mut rmp, mut map) = (Rmp::new(&mut entries), HostMap::new(&mut map));
    let mut reference = Reference::default();
    let mut input = Input::new(bytes);
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        let operation = operation(&mut input, &reference);
        let answer = apply(&mut rmp, &mut map, operation);
        assert_eq!(answer, reference.apply(operation), "{operation:?}");
        check_attributes(&rmp, &reference);
    }
    check_table(&rmp);
    check_runs(&rmp, &map, input.u8() & 3);
    check_accesses(&rmp, &mut map, &reference);
}

fn page(input: &mut Input<'_>) -> u32 {
    NAMED[usize::from(input.u8()) % NAMED.len()]
}

fn operation(input: &mut Input<'_>, reference: &Reference) -> Operation {
    let (kind, flags) = (input.u8(), input.u8());
    let (system, any) = (page(input), page(input));
    let size = if flags & 1 == 0 { Size::Small } else { Size::Large };
    let is_set = flags & 2 != 0;
    // Most instructions work on a page that is there, so that they get past the first check.
    let guest = match reference.owner(system) {
        Some(owner) if flags & 0xc != 0 => owner.guest,
        _ => any,
    };
    match kind % 20 {
        0..=3 => {
            let immutable = flags >> 4 == 0;
            Operation::Assign { system, guest: any, size, immutable }
        }
        4 => Operation::Reclaim { system, size },
        5 => Operation::Split { system },
        6..=7 => Operation::Launch { system, vmsa: is_set },
        8..=9 => Operation::Run { system, guest },
        10 => Operation::Stop { system },
        11..=14 => Operation::Validate { guest, behind: system, size, validate: is_set },
        _ => {
            let (levels, rights) = (input.u8(), Rights::from_bits(input.u8() & 0xf));
            let (current, target) = (levels & 3, levels >> 2 & 3);
            let change = Adjustment { current, target, rights, vmsa: is_set };
            Operation::Adjust { guest, behind: system, size, change }
        }
    }
}

/// What holds for every entry, also for the pages that the model does not follow.
fn check_table(rmp: &Rmp<'_>) {
    for page in (0..PAGES).map(SystemPage) {
        let (head, entry) = rmp.entry(page).expect("a page of the table");
        if !entry.assigned() {
            assert_eq!(entry, Entry::new(), "{page:?} has no owner");
            continue;
        }
        assert_eq!(entry.rights(0), Rights::ALL, "VMPL0 has lost a right on {page:?}");
        assert!(entry.size().fits(head.0) && entry.size().fits(entry.guest().0), "{page:?}");
        assert!(!entry.in_use() || entry.size() == Size::Small, "{page:?} is run as 2 MiB");
        assert!(!entry.vmsa() || entry.validated(), "{page:?} can be run unseen");
    }
}

/// The runs tell of each guest page what an access to it tells.
fn check_runs(rmp: &Rmp<'_>, map: &HostMap<'_>, vmpl: u8) {
    let view = View { rmp, map };
    let mut next = 0;
    for run in view.runs(GuestPage(0), GuestPage(PAGES), vmpl) {
        assert_eq!(run.guest.0, next, "a page is left out");
        for index in 0..run.pages {
            let expected = match view.private(GuestPage(next + index), vmpl) {
                Reach::Page { page, rights } if rights.read() => Some((page, rights)),
                _ => None,
            };
            let reach = run.reach.map(|(page, rights)| (SystemPage(page.0 + index), rights));
            assert_eq!(reach, expected, "{run:?}, page {index}");
        }
        next += run.pages;
    }
    assert_eq!(next, PAGES);
}
