//! Tests of the events of a VM, its end included.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::mpsc::sync_channel;

use host_wire::exec::{self, Channel};
use signal_hook::consts::SIGTERM;

use super::*;

/// The settings of a run below the paravisor with these options.
fn terms(more: &[&str]) -> Terms {
    Terms {
        below: if more.contains(&"--direct") { Below::Nothing } else { Below::Paravisor },
        has_command: more.contains(&"-e"),
        timeout: None,
        log: LogLevel::Warn,
        accel: Accel::Tcg,
    }
}

/// Calls `then` with the VM of a run with these options, of which QEMU has ended.
fn with_vm<T>(more: &[&str], then: impl FnOnce(&mut Vm) -> T) -> T {
    then(&mut Vm::new(terms(more), PathBuf::new(), tempfile::tempdir().ok()))
}

/// The same for a run in Drydock.
fn in_drydock<T>(more: &[&str], then: impl FnOnce(&mut Vm) -> T) -> T {
    with_vm(more, |vm| {
        vm.terms.below = Below::Drydock;
        then(vm)
    })
}

fn ended(code: i32) -> Option<ExitStatus> {
    Some(ExitStatus::from_raw(code << 8))
}

fn said(status: Status) -> Option<ExitStatus> {
    ended(i32::from(status as u8) * 2 + 1)
}

fn failed(failure: Failure) -> End {
    End::Failed(failure)
}

/// How a run without a command ends, and one whose command has not ended.
fn ends(status: Option<ExitStatus>) -> [End; 2] {
    [&[][..], &["-e", "true"]].map(|more| with_vm(more, |vm| vm.judge(None, status)))
}

#[test]
fn the_paravisors_status_decides_the_end() {
    let died = || failed(Failure::GuestDied);
    for (status, plain, command) in [
        (Status::PowerOff, End::PoweredOff, died()),
        (Status::Reset, died(), died()),
        (Status::Crashed, failed(Failure::Crashed), failed(Failure::Crashed)),
        (Status::UnusableVm, failed(Failure::UnusableVm), failed(Failure::UnusableVm)),
        (Status::NoLongMode, failed(Failure::UnusableVm), failed(Failure::UnusableVm)),
        (Status::BadConfig, failed(Failure::BadConfig), failed(Failure::BadConfig)),
        (Status::BadGuest, failed(Failure::BadGuest), failed(Failure::BadGuest)),
        (Status::BadState, failed(Failure::BadState), failed(Failure::BadState)),
        (Status::GuestFailed, failed(Failure::GuestFailed), died()),
        (Status::GuestHalted, failed(Failure::GuestHalted), died()),
    ] {
        assert_eq!(ends(said(status)), [plain, command], "{status:?}");
    }
}

#[test]
fn an_end_of_qemu_by_itself_is_the_users_choice_or_a_failure() {
    assert_eq!(ends(ended(0)), [End::Left, failed(Failure::GuestDied)]);
    assert_eq!(ends(ended(1)), [Failure::Qemu; 2].map(failed));
    assert_eq!(ends(Some(ExitStatus::from_raw(9))), [Failure::Qemu; 2].map(failed));
    assert_eq!(ends(None), [Failure::Qemu; 2].map(failed));
}

#[test]
fn the_commands_status_takes_precedence_over_the_guests_end() {
    for status in [said(Status::PowerOff), said(Status::GuestFailed), ended(0), None] {
        let end = with_vm(&["-e", "true"], |vm| {
            vm.outcome = Some(End::Exited(7));
            vm.judge(None, status)
        });
        assert_eq!(end, End::Exited(7), "{status:?}");
    }
    let end = with_vm(&["-e", "true"], |vm| {
        vm.outcome = Some(End::Exited(7));
        vm.judge(None, said(Status::Crashed))
    });
    assert_eq!(end, failed(Failure::Crashed), "a crash of ours is never hidden");
    let end = with_vm(&["-e", "true"], |vm| {
        vm.outcome = Some(End::Exited(7));
        vm.judge(Some((Failure::Timeout, String::new())), ended(0))
    });
    assert_eq!(end, failed(Failure::Timeout), "a forced end takes precedence");
}

#[test]
fn a_reset_seen_by_qemu_means_that_the_paravisor_crashed() {
    let line = r#"{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;
    for (line, end) in [
        (line, failed(Failure::Crashed)),
        (r#"{"event": "SHUTDOWN", "data": {"reason": "host-qmp-quit"}}"#, End::Left),
    ] {
        let found = with_vm(&[], |vm| {
            vm.take(Event::Monitor(line.to_owned()));
            vm.judge(None, ended(0))
        });
        assert_eq!(found, end);
    }
}

#[test]
fn without_the_paravisor_exit_codes_are_those_of_qemu() {
    for (code, end) in [(0, End::PoweredOff), (3, failed(Failure::Qemu))] {
        assert_eq!(with_vm(&["--direct"], |vm| vm.judge(None, ended(code))), end);
    }
}

fn frame(channel: Channel, payload: &[u8]) -> Vec<u8> {
    [&exec::header(channel, payload.len() as u16)[..], payload].concat()
}

#[test]
fn the_commands_status_arrives_by_its_channel() {
    for (frame, end) in [
        (frame(Channel::Exited, &[3]), End::Exited(3)),
        (frame(Channel::Signalled, &[15]), End::Signalled(15)),
        (frame(Channel::Failed, b"no shell"), failed(Failure::NoCommand)),
    ] {
        with_vm(&["-e", "true"], |vm| {
            vm.take(Event::Exec(exec::START.to_vec()));
            assert!(vm.agent.is_some() && vm.outcome.is_none() && vm.files.is_none());
            vm.take(Event::Exec(frame));
            assert!(vm.wish.is_none());
            assert_eq!(vm.judge(None, said(Status::PowerOff)), end);
        });
    }
}

#[test]
fn a_malformed_frame_ends_the_run() {
    with_vm(&["-e", "true"], |vm| {
        vm.take(Event::Exec([&exec::START[..], &[0xff; 3]].concat()));
        assert!(matches!(&vm.wish, Some((Failure::GuestDied, _))), "{:?}", vm.wish);
    });
}

#[test]
fn the_tail_of_the_console_is_kept_and_every_byte_counted() {
    with_vm(&["-e", "true"], |vm| {
        for number in 0..300_u32 {
            vm.take(Event::Console(format!("{number:099}\n").into_bytes()));
        }
        assert_eq!((vm.console.len(), vm.console_bytes), (TAIL, 30_000));
        let tail: Vec<u8> = vm.console.iter().copied().collect();
        assert!(tail.ends_with(format!("{:099}\n", 299).as_bytes()));
    });
}

#[test]
fn a_signal_or_the_end_of_qemu_ends_the_wait() {
    let (sender, events) = sync_channel(2);
    sender.send(Event::Signal(SIGTERM)).unwrap();
    let forced = with_vm(&[], |vm| vm.follow(&events)).unwrap();
    assert_eq!(forced, (Failure::Interrupted, "ended by signal 15".to_owned()));
    sender.send(Event::Ended).unwrap();
    assert!(with_vm(&[], |vm| vm.follow(&events)).is_none());
    drop(sender);
    assert!(with_vm(&[], |vm| vm.follow(&events)).is_none());
}

#[test]
fn a_reset_in_drydock_is_an_end_of_its_own() {
    let end = |more: &[&str], status| in_drydock(more, |vm| vm.judge(None, said(status)));
    assert_eq!(end(&[], Status::Reset), End::Reset);
    assert_eq!(end(&["-e", "true"], Status::Reset), failed(Failure::GuestDied));
    assert_eq!(end(&[], Status::Crashed), failed(Failure::DrydockCrashed));
    assert_eq!(end(&["-e", "true"], Status::Crashed), failed(Failure::DrydockCrashed));
    assert_eq!(end(&[], Status::GuestFailed), failed(Failure::GuestFailed));
    assert_eq!(end(&[], Status::PowerOff), End::PoweredOff);
    let is_reset = |forced, status| Ended { forced, status }.is_reset();
    assert!(is_reset(None, said(Status::Reset)) && !is_reset(None, said(Status::PowerOff)));
    assert!(!is_reset(Some((Failure::Timeout, String::new())), said(Status::Reset)));
}
