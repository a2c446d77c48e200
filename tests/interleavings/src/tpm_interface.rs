//! Two VPs that use the TPM at the same time.

use shuttle::sync::Arc;
use shuttle::thread;
use tpm_crb::Buffers;
use tpm_crb::registers::{CTRL_REQ, CTRL_START, LOC_CTRL};

use interface::Interface;

#[path = "../../../vmm/machine/src/tpm/exchange.rs"]
mod exchange;
#[path = "../../../vmm/machine/src/tpm/interface.rs"]
mod interface;
#[path = "../../../vmm/machine/src/tpm/locality.rs"]
mod locality;

/// The reason why the service has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TpmError {
    Failed,
}

/// How often a VP checks whether the TPM is free.
const LOOKS: usize = 3;

fn ready() -> Interface {
    let buffers = Buffers { command: 0, command_size: 4096, response: 4096, response_size: 4096 };
    let interface = Interface::new(buffers);
    assert!(!interface.write(LOC_CTRL, &[1], |_| {}) && !interface.write(CTRL_REQ, &[1], |_| {}));
    interface
}

fn is_free(interface: &Interface) -> bool {
    let mut start = [0];
    interface.read(CTRL_START, &mut start);
    start == [0]
}

/// Starts a command; returns whether the VP must let the service run.
fn start(interface: &Interface) -> bool {
    interface.write(CTRL_START, &[1], |bytes| bytes.extend_from_slice(b"command"))
}

/// Lets the service run, and ends the command.
fn serve(interface: &Interface) {
    interface.exchange().serve(|_, bytes| {
        bytes.clear();
        bytes.extend_from_slice(b"response");
        Ok(())
    });
    assert!(interface.finish(true, |bytes| assert_eq!(bytes, b"response")));
}

/// If a VP sees the TPM free and starts a command, the command always runs, even while another VP
/// is ending one. Otherwise the command would stay in execution until a reset.
#[test]
fn a_command_that_is_started_when_another_ends_is_run() {
    crate::try_schedules(|| {
        let interface = Arc::new(ready());
        let shared = Arc::clone(&interface);
        assert!(start(&interface));
        let other = thread::spawn(move || {
            for _ in 0..LOOKS {
                if is_free(&shared) {
                    assert!(start(&shared), "the command is lost");
                    return serve(&shared);
                }
            }
        });
        serve(&interface);
        other.join().unwrap();
        assert!(is_free(&interface));
    });
}

/// If two VPs start a command at once, one command runs and the other VP starts none.
#[test]
fn of_two_starts_at_once_one_counts() {
    crate::try_schedules(|| {
        let interface = Arc::new(ready());
        let shared = Arc::clone(&interface);
        let other = thread::spawn(move || start(&shared));
        let started = [start(&interface), other.join().unwrap()];
        assert_eq!(started.iter().filter(|started| **started).count(), 1);
        serve(&interface);
        assert!(is_free(&interface));
    });
}

/// A service that has failed ends the TPM, whichever VP notices.
#[test]
fn a_failure_is_seen_once_and_nothing_runs_afterwards() {
    crate::try_schedules(|| {
        let interface = Arc::new(ready());
        assert!(start(&interface));
        interface.exchange().serve(|_, _| Err(TpmError::Failed));
        let shared = Arc::clone(&interface);
        let other = thread::spawn(move || start(&shared));
        assert!(interface.finish(true, |_| panic!("there is no response")));
        assert!(!other.join().unwrap() && !start(&interface));
    });
}
