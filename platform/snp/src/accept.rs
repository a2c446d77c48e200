//! Acceptance of memory: each page once, large ones first.

use guest_memory::GpaRange;
use host_wire::paravisor_image::Reason;
use kernel::paging::GUEST_BASE;
use snp::instruction::{Outcome, PageSize, Permissions};

use crate::acceptance::Accept;
use crate::end_with;
use crate::vp::GUEST_LEVEL;

const SMALL: u64 = 4 << 10;
const LARGE: u64 = 2 << 20;

/// What becomes of a page by one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Done,
    /// The host has pages of another size there.
    OtherSize,
}

/// Accepts the pages of `range`, which are mapped `base` above their addresses. A page that was
/// accepted already is the host's attack: it has put another one in the place of that.
///
/// # Errors
/// [`Reason::Accept`].
///
/// # Safety
/// Nothing uses the pages.
pub(crate) unsafe fn accept(range: GpaRange, base: u64) -> Result<(), Reason> {
    each_page(range, |at, size| {
        // SAFETY: the caller vouches.
        let done = unsafe { sev_guest::pvalidate(base + at, size, true) };
        judge(done.outcome, done.changed)
    })
}

/// Gives level `vmpl` all rights to the pages of `range`, which are mapped `base` above their
/// addresses.
///
/// # Errors
/// [`Reason::Accept`].
///
/// # Safety
/// Rust code relies on nothing in the pages.
pub(crate) unsafe fn permit(range: GpaRange, base: u64, vmpl: u8) -> Result<(), Reason> {
    each_page(range, |at, size| {
        // SAFETY: the caller vouches.
        let outcome = unsafe { sev_guest::rmpadjust(base + at, size, Permissions::all(vmpl)) };
        judge(outcome, true)
    })
}

/// Accepts the guest's memory, and gives it to the guest's level.
#[derive(Debug)]
pub(crate) struct GiveToGuest(());

impl GiveToGuest {
    /// The one that does it.
    ///
    /// # Safety
    /// It must be asked for memory of the guest's alone, which is mapped at [`GUEST_BASE`], and
    /// which Rust code relies on nothing in.
    pub(crate) const unsafe fn new() -> Self {
        Self(())
    }
}

impl Accept for GiveToGuest {
    fn accept(&self, range: GpaRange) {
        // SAFETY: the memory is the guest's, as `new`'s caller vouched, and new to it.
        let done = unsafe {
            accept(range, GUEST_BASE).and_then(|()| permit(range, GUEST_BASE, GUEST_LEVEL))
        };
        if let Err(reason) = done {
            end_with(reason)
        }
    }
}

/// What the result of an instruction means for the page.
fn judge(outcome: Outcome, changed: bool) -> Result<Step, Reason> {
    match outcome {
        Outcome::SUCCESS if changed => Ok(Step::Done),
        Outcome::FAIL_SIZEMISMATCH => Ok(Step::OtherSize),
        _ => Err(Reason::Accept),
    }
}

/// Calls `change` for the pages of `range`, by 2 MiB where that is possible.
fn each_page(
    range: GpaRange,
    mut change: impl FnMut(u64, PageSize) -> Result<Step, Reason>,
) -> Result<(), Reason> {
    let mut at = range.start();
    while at < range.end() {
        let is_large = at.is_multiple_of(LARGE) && range.end() - at >= LARGE;
        if is_large && change(at, PageSize::SIZE_2M)? == Step::Done {
            at += LARGE;
            continue;
        }
        let end = if is_large { at + LARGE } else { at + SMALL };
        while at < end {
            if change(at, PageSize::SIZE_4K)? != Step::Done {
                return Err(Reason::Accept);
            }
            at += SMALL;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    /// The changes that are made where the host has pages of 2 MiB at the addresses in `large`.
    fn changes(range: [u64; 2], large: &[u64]) -> Result<Vec<(u64, u64)>, Reason> {
        let mut made = Vec::new();
        let range = GpaRange::new(range[0], range[1]).unwrap();
        each_page(range, |at, size| {
            let is_large = size == PageSize::SIZE_2M;
            if is_large != large.contains(&(at & !(LARGE - 1))) {
                return Ok(Step::OtherSize);
            }
            made.push((at, if is_large { LARGE } else { SMALL }));
            Ok(Step::Done)
        })?;
        Ok(made)
    }

    #[test]
    fn every_page_is_changed_once_by_the_largest_size() {
        let small = |from: u64, to: u64| (from..to).step_by(4096).map(|at| (at, SMALL));
        assert_eq!(changes([0, 4 << 20], &[0, LARGE]), Ok([(0, LARGE), (LARGE, LARGE)].into()));
        let mixed: Vec<_> = [(0, LARGE)].into_iter().chain(small(LARGE, 2 * LARGE)).collect();
        assert_eq!(changes([0, 4 << 20], &[0]), Ok(mixed));
        let ends: Vec<_> = small(LARGE - SMALL, LARGE)
            .chain([(LARGE, LARGE)])
            .chain(small(2 * LARGE, 2 * LARGE + SMALL))
            .collect();
        assert_eq!(changes([LARGE - SMALL, 2 * LARGE + SMALL], &[LARGE]), Ok(ends));
        assert_eq!(changes([0, 0], &[]), Ok(Vec::new()));
        // A part of what the host says is one large page can not be accepted.
        assert_eq!(changes([LARGE, LARGE + SMALL], &[LARGE]), Err(Reason::Accept));
    }

    #[test]
    fn a_page_that_was_accepted_before_is_an_attack() {
        for (outcome, changed, expected) in [
            (Outcome::SUCCESS, true, Ok(Step::Done)),
            (Outcome::SUCCESS, false, Err(Reason::Accept)),
            (Outcome::FAIL_SIZEMISMATCH, true, Ok(Step::OtherSize)),
            (Outcome::FAIL_INPUT, true, Err(Reason::Accept)),
            (Outcome::FAIL_PERMISSION, true, Err(Reason::Accept)),
            (Outcome::FAIL_INUSE, true, Err(Reason::Accept)),
            (Outcome::FAIL_OVERLAP, true, Err(Reason::Accept)),
            (Outcome(77), true, Err(Reason::Accept)),
        ] {
            assert_eq!(judge(outcome, changed), expected, "{outcome:?} {changed}");
        }
    }
}
