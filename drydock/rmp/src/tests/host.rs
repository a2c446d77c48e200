//! The operations of the host on the table.

extern crate std;

use std::string::ToString;

use super::fixture::{Machine, PAGES};
use crate::Size::{Large, Small};
use crate::entry::GUEST_PAGES;
use crate::{Backing, Entry, GuestPage, HostError, HostMap, Rmp, Size, SystemPage};

type Setup = fn(&mut Machine);
/// The system page, and the guest page that gets it.
type Assign = (&'static str, Setup, u32, u32, Size, Result<(), HostError>);
type Reclaim = (&'static str, Setup, u32, Size, Result<(), HostError>);

const EMPTY: Setup = |_| {};
const SMALL: Setup = |machine| machine.validated(7, 3, Small);
const LARGE: Setup = |machine| machine.validated(0, 512, Large);
const IN_USE: Setup = |machine| {
    machine.save_area(7, 3);
    assert!(machine.rmp.run(SystemPage(7), GuestPage(3)));
};
const IMMUTABLE: Setup = |machine| {
    machine.rmp.assign(SystemPage(7), GuestPage(3), Small, true).unwrap();
};
const IMMUTABLE_LARGE: Setup = |machine| {
    machine.rmp.assign(SystemPage(0), GuestPage(512), Large, true).unwrap();
};

#[test]
fn a_page_is_assigned_where_nothing_is_in_the_way() {
    use HostError::{InUse, Input, Overlap, Permission};
    #[rustfmt::skip]
    let cases: &[Assign] = &[
        ("a free page", EMPTY, 7, 3, Small, Ok(())),
        ("a free large page", EMPTY, 512, 0, Large, Ok(())),
        ("the last page", EMPTY, PAGES - 1, 3, Small, Ok(())),
        ("the guest's last page", EMPTY, 7, GUEST_PAGES - 1, Small, Ok(())),
        ("the guest's last large page", EMPTY, 0, GUEST_PAGES - 512, Large, Ok(())),
        ("a page again", SMALL, 7, 3, Small, Ok(())),
        ("a page to another address", SMALL, 7, 4, Small, Ok(())),
        ("a large page again", LARGE, 0, 512, Large, Ok(())),
        ("no such system page", EMPTY, PAGES, 3, Small, Err(Input)),
        ("no such large page", EMPTY, PAGES, 0, Large, Err(Input)),
        ("the highest number", EMPTY, u32::MAX, 3, Small, Err(Input)),
        ("no such guest page", EMPTY, 7, GUEST_PAGES, Small, Err(Input)),
        ("the highest guest page", EMPTY, 7, u32::MAX, Small, Err(Input)),
        ("a large page at no boundary", EMPTY, 8, 0, Large, Err(Input)),
        ("at no boundary of the guest", EMPTY, 0, 8, Large, Err(Input)),
        ("4 KiB at the start of a large page", LARGE, 0, 3, Small, Err(Overlap)),
        ("4 KiB in a large page", LARGE, 7, 3, Small, Err(Overlap)),
        ("2 MiB over a small page", SMALL, 0, 512, Large, Err(Overlap)),
        ("a page in use", IN_USE, 7, 3, Small, Err(InUse)),
        ("2 MiB around a page in use", IN_USE, 0, 512, Large, Err(InUse)),
        ("an immutable page", IMMUTABLE, 7, 3, Small, Err(Permission)),
        ("2 MiB around an immutable page", IMMUTABLE, 0, 512, Large, Err(Permission)),
        ("an immutable large page", IMMUTABLE_LARGE, 0, 512, Large, Err(Permission)),
    ];
    for (what, setup, system, guest, size, expected) in cases {
        let mut machine = Machine::new();
        setup(&mut machine);
        let before = [0, 7, 512].map(|page| machine.entry(page));
        let outcome = machine.rmp.assign(SystemPage(*system), GuestPage(*guest), *size, false);
        assert_eq!(outcome, *expected, "{what}");
        if outcome.is_ok() {
            let entry = machine.entry(*system);
            assert!(entry.assigned() && !entry.validated() && !entry.vmsa(), "{what}");
            assert_eq!((entry.guest(), entry.size()), (GuestPage(*guest), *size), "{what}");
        } else {
            assert_eq!([0, 7, 512].map(|page| machine.entry(page)), before, "{what}");
        }
    }
}

#[test]
fn a_page_is_reclaimed_unless_it_is_in_use_or_immutable() {
    use HostError::{InUse, Input, Overlap, Permission};
    let cases: &[Reclaim] = &[
        ("a page", SMALL, 7, Small, Ok(())),
        ("a large page", LARGE, 0, Large, Ok(())),
        ("a page that is free", EMPTY, 7, Small, Ok(())),
        ("part of a large page", LARGE, 7, Small, Err(Overlap)),
        ("the start of a large page", LARGE, 0, Small, Err(Overlap)),
        ("a small page as a large one", SMALL, 0, Large, Err(Overlap)),
        ("a page in use", IN_USE, 7, Small, Err(InUse)),
        ("an immutable page", IMMUTABLE, 7, Small, Err(Permission)),
        ("no such page", EMPTY, PAGES, Small, Err(Input)),
        ("at no boundary", LARGE, 7, Large, Err(Input)),
    ];
    for (what, setup, system, size, expected) in cases {
        let mut machine = Machine::new();
        setup(&mut machine);
        let before = [0, 7, 512].map(|page| machine.entry(page));
        let outcome = machine.rmp.reclaim(SystemPage(*system), *size);
        assert_eq!(outcome, *expected, "{what}");
        if outcome.is_ok() {
            assert_eq!(machine.entry(*system), Entry::new(), "{what}");
        } else {
            assert_eq!([0, 7, 512].map(|page| machine.entry(page)), before, "{what}");
        }
    }
}

#[test]
fn a_split_page_is_512_pages_with_the_same_attributes() {
    let mut machine = Machine::new();
    machine.validated(0, 512, Large);
    let whole = machine.entry(0);
    assert_eq!(machine.rmp.split(SystemPage(0)), Ok(()));
    for index in 0..512 {
        let (head, entry) = machine.rmp.entry(SystemPage(index)).unwrap();
        assert_eq!(head, SystemPage(index));
        assert_eq!(entry.guest(), GuestPage(512 + index));
        let same = entry.with_rights(0, whole.rights(0)) == entry;
        assert!(same && entry.validated() && entry.assigned() && entry.size() == Small);
    }
    assert!(!machine.entry(512).assigned(), "the next page is not touched");
}

#[test]
fn only_a_large_page_that_may_change_is_split() {
    let cases: &[(&str, Setup, u32, HostError)] = &[
        ("a free page", EMPTY, 0, HostError::Input),
        ("a small page", SMALL, 7, HostError::Input),
        ("the middle of a large page", LARGE, 7, HostError::Input),
        ("no such page", EMPTY, PAGES, HostError::Input),
        ("an immutable page", IMMUTABLE_LARGE, 0, HostError::Permission),
    ];
    for (what, setup, system, expected) in cases {
        let mut machine = Machine::new();
        setup(&mut machine);
        let before = machine.rmp.entry(SystemPage(*system));
        assert_eq!(machine.rmp.split(SystemPage(*system)), Err(*expected), "{what}");
        assert_eq!(machine.rmp.entry(SystemPage(*system)), before, "{what}");
    }
}

#[test]
fn a_launched_page_is_validated_and_changeable() {
    for vmsa in [false, true] {
        let mut machine = Machine::new();
        IMMUTABLE(&mut machine);
        machine.rmp.launch(SystemPage(7), vmsa).unwrap();
        let entry = machine.entry(7);
        assert!(entry.validated() && !entry.immutable());
        assert_eq!(entry.vmsa(), vmsa);
    }
    let mut machine = Machine::new();
    assert_eq!(machine.rmp.launch(SystemPage(7), false), Err(HostError::Input));
    assert_eq!(machine.rmp.launch(SystemPage(PAGES), false), Err(HostError::Input));
}

#[test]
fn only_a_free_vmsa_at_its_address_is_run() {
    let large_vmsa: Setup = |machine| {
        machine.assign(0, 512, Large);
        machine.rmp.launch(SystemPage(0), true).unwrap();
    };
    let awaiting: Setup = |machine| {
        machine.save_area(7, 3);
        machine.assign(7, 3, Small);
    };
    let cases: &[(&str, Setup, u32, u32, bool)] = &[
        ("a save area", |machine| machine.save_area(7, 3), 7, 3, true),
        ("a save area at another address", |machine| machine.save_area(7, 3), 7, 4, false),
        ("a save area that another CPU runs", IN_USE, 7, 3, false),
        ("a page without the attribute", SMALL, 7, 3, false),
        ("a save area that was assigned again", awaiting, 7, 3, false),
        ("a free page", EMPTY, 7, 3, false),
        ("a page of the host's", |machine| machine.map(3, 7, 1), 7, 3, false),
        ("a large page", large_vmsa, 0, 512, false),
        ("the middle of a large page", large_vmsa, 3, 515, false),
        ("no such page", EMPTY, PAGES, 3, false),
    ];
    for (what, setup, system, guest, expected) in cases {
        let mut machine = Machine::new();
        setup(&mut machine);
        let before = machine.rmp.entry(SystemPage(*system));
        assert_eq!(machine.rmp.run(SystemPage(*system), GuestPage(*guest)), *expected, "{what}");
        let after = machine.rmp.entry(SystemPage(*system));
        assert!(*expected || before == after, "{what}");
    }
}

#[test]
fn a_vmsa_is_in_use_from_run_to_stop() {
    let mut machine = Machine::new();
    machine.save_area(7, 3);
    for _ in 0..2 {
        assert!(machine.rmp.run(SystemPage(7), GuestPage(3)));
        assert!(machine.entry(7).in_use());
        machine.rmp.stop(SystemPage(7));
        assert!(!machine.entry(7).in_use());
    }
    machine.rmp.stop(SystemPage(PAGES));
}

#[test]
fn the_map_holds_what_the_host_puts_there() {
    let mut entries = [9; 3];
    let mut map = HostMap::new(&mut entries);
    assert_eq!((map.len(), map.is_empty()), (3, false));
    let page = GuestPage(2);
    assert_eq!(map.get(page), None, "nothing is left from before");
    for backing in [
        Some(Backing::Private(SystemPage(0))),
        Some(Backing::Shared),
        Some(Backing::Private(SystemPage(12345))),
        None,
    ] {
        assert!(map.set(page, backing));
        assert_eq!(map.get(page), backing);
    }
    for beyond in [3, u32::MAX] {
        assert!(!map.set(GuestPage(beyond), Some(Backing::Shared)));
        assert_eq!(map.get(GuestPage(beyond)), None);
    }
}

#[test]
fn a_table_starts_empty_and_knows_its_size() {
    let mut entries = [Entry::new().with_assigned(true); 2];
    let rmp = Rmp::new(&mut entries);
    assert_eq!((rmp.len(), rmp.is_empty()), (2, false));
    assert_eq!(rmp.entry(SystemPage(1)), Some((SystemPage(1), Entry::new())));
    assert_eq!(rmp.entry(SystemPage(2)), None);
    assert!(Rmp::new(&mut []).is_empty());
}

#[test]
fn pages_are_numbered_by_their_address() {
    for (address, page) in [
        (0, Some(0)),
        (0xfff, Some(0)),
        (0x1000, Some(1)),
        (0xfff_ffff_ffff, Some(u32::MAX)),
        (0x1000_0000_0000, None),
        (u64::MAX, None),
    ] {
        assert_eq!(GuestPage::of(address), page.map(GuestPage), "{address:#x}");
    }
    assert_eq!(GuestPage(u32::MAX).address(), 0xfff_ffff_f000);
}

#[test]
fn each_refusal_has_a_sentence_of_its_own() {
    use HostError::{InUse, Input, Overlap, Permission};
    let sentences = [Input, Permission, InUse, Overlap].map(|error| error.to_string());
    for (index, sentence) in sentences.iter().enumerate() {
        assert!(!sentence.is_empty() && !sentences[..index].contains(sentence));
    }
}

#[test]
fn pages_far_above_have_entries_and_shared_memory_of_their_own() {
    const FAR: u64 = 0x1234_5000;
    let (low, high) = (GuestPage(0xf_fe00), GuestPage(0x800_0003));
    let mut entries = [9; 2000];
    let mut map = HostMap::with_far(&mut entries, 100, FAR);
    assert_eq!(map.get(low), None, "nothing is there yet");
    assert!(!map.set(low, Some(Backing::Shared)));
    assert!(map.add(low, 512) && map.add(high, 4));
    assert_eq!(map.len(), 100, "the pages from zero on stay what they were");
    let ranges = [0..100, 0xf_fe00..0x10_0000, 0x800_0003..0x800_0007];
    assert!(map.ranges().eq(ranges));
    // A large page of the guest starts at a large system page.
    let usual = [(0, 0), (99, 99), (low.0, 512), (low.0 + 511, 1023), (high.0, 1027)];
    for (page, system) in usual {
        assert_eq!(map.usual(GuestPage(page)), Some(SystemPage(system)), "{page:#x}");
    }
    assert_eq!(map.shared_at(GuestPage(99)), Some(99 << 12), "near memory lies where it lies");
    assert_eq!(map.shared_at(low), Some(FAR + (412 << 12)));
    assert_eq!(map.shared_at(GuestPage(high.0 + 3)), Some(FAR + (930 << 12)));
    for page in [100, low.0 - 1, low.0 + 512, high.0 - 1, high.0 + 4] {
        let page = GuestPage(page);
        assert_eq!((map.usual(page), map.shared_at(page), map.get(page)), (None, None, None));
    }
    assert!(map.set(high, Some(Backing::Private(SystemPage(1027)))));
    assert_eq!(map.get(high), Some(Backing::Private(SystemPage(1027))));
    assert_eq!(map.get(GuestPage(high.0 + 1)), None);
}

#[test]
fn the_map_takes_no_more_ranges_than_it_has_room_for() {
    let mut entries = [0; 2000];
    let mut map = HostMap::with_far(&mut entries, 512, 0);
    for (what, first, pages) in [
        ("more pages than entries", 0x1000, 1489),
        ("pages that have entries", 511, 2),
        ("pages around them", 0, 1000),
        ("pages beyond the last number", u32::MAX, 2),
    ] {
        assert!(!map.add(GuestPage(first), pages), "{what}");
    }
    for number in 0..8 {
        assert!(map.add(GuestPage(0x1000 + 2 * number), 1));
    }
    assert!(!map.add(GuestPage(0x2000), 1), "a ninth range");
}
