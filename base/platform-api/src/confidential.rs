//! What a confidential platform adds.
//!
//! On such a platform the host is hostile: it sees and writes nothing of the VM but pages that the
//! VM shares with it. A page is private until it is accepted and after; one that is shared has a
//! type of its own ([`SharedPage`]), which no address of a private page turns into.

use guest_memory::RamRange;

/// A privilege level of a VP: 0 is the paravisor's, higher numbers are less privileged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(pub u8);

/// What a level may do with a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Read.
    pub read: bool,
    /// Write.
    pub write: bool,
    /// Execute at supervisor level.
    pub execute_supervisor: bool,
    /// Execute at user level.
    pub execute_user: bool,
}

impl Permissions {
    /// All of them: what a guest has with its own memory.
    pub const ALL: Self =
        Self { read: true, write: true, execute_supervisor: true, execute_user: true };
}

/// Why a page's state did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageStateError {
    /// The page had that state already. For an acceptance this is the host's attack: it has put
    /// another page in the place of the one that was accepted.
    NoChange,
    /// The host did not do its part.
    Refused,
}

/// A page that the host reads and writes, too. Its bytes are copied, never borrowed: the host may
/// change them at any time.
pub trait SharedPage {
    /// Copies from the page; bytes behind its end are not touched.
    fn read(&self, offset: usize, to: &mut [u8]);
    /// Copies to the page; bytes behind its end are dropped.
    fn write(&mut self, offset: usize, from: &[u8]);
    /// The address by which the host knows it.
    fn host_address(&self) -> u64;
}

/// Why a request to the firmware failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestRequestError {
    /// The host lost the request or its answer. The channel to the firmware may be unusable.
    Host,
    /// The firmware refused the request.
    Refused,
    /// The answer is not of the firmware, or has been changed.
    Forged,
}

/// What a confidential platform adds.
pub trait Confidential {
    /// A page that is shared with the host.
    type SharedPage: SharedPage;

    /// Accepts pages of the guest's RAM: from then on they are private, and the host can not change
    /// them. Each page is accepted once.
    ///
    /// # Errors
    /// [`PageStateError::NoChange`] ends the VM.
    fn accept(&self, range: RamRange) -> Result<(), PageStateError>;
    /// Takes a page out of the pool of those that are shared with the host.
    fn shared_page(&self) -> Option<Self::SharedPage>;
    /// Sets what `level` may do with pages of the guest's RAM.
    ///
    /// # Errors
    /// [`PageStateError`].
    fn set_permissions(
        &self,
        level: Level,
        range: RamRange,
        permissions: Permissions,
    ) -> Result<(), PageStateError>;
    /// Writes the firmware's attestation report about this VM to `report`, with `data` in it.
    /// Answers the report's length.
    ///
    /// # Errors
    /// [`GuestRequestError`].
    fn report(&self, data: &[u8; 64], report: &mut [u8]) -> Result<usize, GuestRequestError>;
    /// A key that the firmware derives from this VM's measurement and `context`.
    ///
    /// # Errors
    /// [`GuestRequestError`].
    fn derived_key(&self, context: u64) -> Result<[u8; 32], GuestRequestError>;
}

/// The addition of a platform that is not confidential: there is none.
#[derive(Clone, Copy, Debug)]
pub enum NotConfidential {}

impl SharedPage for NotConfidential {
    fn read(&self, _: usize, _: &mut [u8]) {
        match *self {}
    }
    fn write(&mut self, _: usize, _: &[u8]) {
        match *self {}
    }
    fn host_address(&self) -> u64 {
        match *self {}
    }
}

impl Confidential for NotConfidential {
    type SharedPage = Self;

    fn accept(&self, _: RamRange) -> Result<(), PageStateError> {
        match *self {}
    }
    fn shared_page(&self) -> Option<Self> {
        match *self {}
    }
    fn set_permissions(&self, _: Level, _: RamRange, _: Permissions) -> Result<(), PageStateError> {
        match *self {}
    }
    fn report(&self, _: &[u8; 64], _: &mut [u8]) -> Result<usize, GuestRequestError> {
        match *self {}
    }
    fn derived_key(&self, _: u64) -> Result<[u8; 32], GuestRequestError> {
        match *self {}
    }
}
