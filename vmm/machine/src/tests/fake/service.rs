//! A service whose work a test chooses.

use std::boxed::Box;
use std::sync::Mutex;

/// The service.
#[derive(Debug, Default)]
pub(crate) struct FakeService(pub(crate) Mutex<Work>);

impl platform_api::Service for FakeService {
    fn run(&self) -> bool {
        let work = {
            let mut service = self.0.lock().unwrap();
            if service.held_back > 0 {
                service.held_back -= 1;
                return true;
            }
            if service.lives_for == Some(0) {
                service.work = None;
            }
            service.lives_for = service.lives_for.map(|tasks| tasks.saturating_sub(1));
            service.work.take()
        };
        let Some(work) = work else { return false };
        work();
        self.0.lock().unwrap().work = Some(work);
        true
    }
    fn leave(&self) {}
}

/// The service's work.
#[derive(Default)]
pub(crate) struct Work {
    /// The function that it calls; none when it has failed.
    pub(crate) work: Option<Box<dyn Fn() + Send>>,
    /// How many times it will be put aside before it has done anything.
    pub(crate) held_back: u32,
    /// How many tasks it does before it fails, if it is to fail.
    pub(crate) lives_for: Option<u32>,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Work({})", self.held_back)
    }
}
