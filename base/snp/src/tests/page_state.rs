use crate::page_state::{Entry, Header, InvalidList, MAX_ENTRIES, Operation, Outcome};

#[test]
fn a_list_has_253_entries() {
    assert_eq!(MAX_ENTRIES, 253);
}

#[test]
fn an_entry_has_its_bits() {
    let entry = Entry::new()
        .with_cur_page(0x123)
        .with_gfn(0xab_cdef_0123)
        .with_operation(Operation::UNSMASH)
        .with_is_2m(true);
    assert_eq!(entry.into_bits(), 0x014a_bcde_f012_3123);
}

#[test]
fn a_header_is_in_order_and_in_the_buffer() {
    let header = |cur_entry, end_entry| Header { cur_entry, end_entry, reserved: 0 }.check();
    assert_eq!(header(0, 0), Ok(()));
    assert_eq!(header(252, 252), Ok(()));
    assert_eq!(header(0, 253), Err(InvalidList::Header));
    assert_eq!(header(2, 1), Err(InvalidList::Header));
    assert_eq!(header(0xffff, 0xffff), Err(InvalidList::Header));
    assert_eq!(InvalidList::Header.outcome(), Outcome(0x1_0000_0001));
}

#[test]
fn an_entry_that_can_not_be_carried_out_is_refused() {
    let small = Entry::new().with_gfn(3).with_operation(Operation::SHARED);
    let large = Entry::new().with_gfn(512).with_operation(Operation::PRIVATE).with_is_2m(true);
    assert_eq!(small.check(), Ok(()));
    assert_eq!(small.with_cur_page(1).check(), Ok(()));
    assert_eq!(large.with_cur_page(512).check(), Ok(()));
    let refused = [
        small.with_operation(Operation(0)),
        small.with_operation(Operation(5)),
        small.with_cur_page(2),
        large.with_gfn(513),
        large.with_cur_page(513),
    ];
    for entry in refused {
        assert_eq!(entry.check(), Err(InvalidList::Entry), "{entry:?}");
    }
    assert_eq!(InvalidList::Entry.outcome(), Outcome(0x1_0000_0002));
    assert_eq!(Outcome::hypervisor_error(5), Outcome(0x100_0000_0005));
}
