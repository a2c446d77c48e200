//! What becomes of a request whose parts end one by one.

use block::Failure;

/// The failure of a request, if some part of it has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict(Option<Failure>);

impl Verdict {
    /// No part has failed yet.
    pub(crate) const GOOD: Self = Self(None);

    /// No part has failed yet.
    pub(crate) const fn is_good(&self) -> bool {
        self.0.is_none()
    }

    /// The result of the request, if there are no more parts.
    pub(crate) fn result(&self) -> Result<(), Failure> {
        self.0.map_or(Ok(()), Err)
    }

    /// Another part has failed. The first failure is the request's, but for the offset of the first
    /// byte that differs: it is only known if every failure tells one.
    pub(crate) fn fail(&mut self, later: Failure) {
        use Failure::Miscompare;
        self.0 = Some(match (self.0, later) {
            (None, later) => later,
            (Some(Miscompare { offset }), Miscompare { offset: other }) => {
                let offset = offset.zip(other).map(|(offset, other)| offset.min(other));
                Miscompare { offset }
            }
            (Some(Miscompare { .. }), _) => Miscompare { offset: None },
            (Some(first), _) => first,
        });
    }
}
