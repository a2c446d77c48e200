use super::*;

fn exit(code: ExitCode) -> GuestExit {
    let (info_1, info_2, int_info) = (0, 0, EventInj::new());
    GuestExit { code, info_1, info_2, int_info, nrip: 0x1002, rip: 0x1000 }
}

#[test]
fn instructions_and_interrupts_are_told_by_their_codes() {
    let cases = [
        (0x72, Exit::Cpuid),
        (0x78, Exit::Halt),
        (0x60, Exit::HostInterrupt),
        (0x61, Exit::HostInterrupt),
        (0x62, Exit::HostInterrupt),
        (0x63, Exit::HostInterrupt),
        (0x64, Exit::HostInterrupt),
        (0x6f, Exit::Refused),
        (0x18, Exit::TaskPriority { is_done: false }),
        (0x81, Exit::Hypercall),
        (0x8d, Exit::Xsetbv),
        (0x76, Exit::CacheFlush),
        (0x89, Exit::CacheFlush),
        (0x88, Exit::Int1),
        (0x7f, Exit::Shutdown),
        (u64::MAX, Exit::InvalidState),
    ];
    for (code, expected) in cases {
        assert_eq!(exit(ExitCode(code)).decode(), expected, "{code:#x}");
    }
    for code in [0x7a, 0x80, 0x82, 0x83, 0x84, 0x85, 0x86, 0x8a, 0x8b, 0x8c, 0x8e, 0x403] {
        assert_eq!(exit(ExitCode(code)).decode(), Exit::Undefined, "{code:#x}");
    }
    let msr = |info_1| GuestExit { info_1, ..exit(ExitCode::MSR) }.decode();
    assert_eq!((msr(0), msr(1), msr(u64::MAX)), (Exit::ReadMsr, Exit::WriteMsr, Exit::WriteMsr));
}

#[test]
fn an_exception_has_an_error_code_where_the_cpu_pushes_one() {
    let with = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30];
    for vector in 0..32 {
        let info_1 = 0xffff_ffff_0000_0123;
        let exit = GuestExit { info_1, info_2: 0x4567, ..exit(ExitCode(0x40 + vector)) };
        let vector = vector as u8;
        let error_code = with.contains(&vector).then_some(0x123);
        assert_eq!(exit.decode(), Exit::Exception { vector, error_code });
        let address = (vector == 14).then_some(0x4567);
        assert_eq!(exit.fault_address(), address, "CR2 for vector {vector}");
        let rip = [3, 4].contains(&vector).then_some(0x1002);
        assert_eq!(exit.rip_of_trap(), rip, "RIP for vector {vector}");
        assert_eq!(GuestExit { nrip: 0, ..exit }.rip_of_trap(), None, "a RIP that is not told");
    }
}

#[test]
fn ports_and_widths_come_from_the_information() {
    let access = |info_1| {
        let exit = GuestExit { info_1, info_2: 0xffff_8000_0000_1234, ..exit(ExitCode::IOIO) };
        let Exit::Port(access) = exit.decode() else { panic!("no port") };
        assert_eq!(access.next_rip, 0xffff_8000_0000_1234);
        access
    };
    for (bits, width) in [
        (1 << 4, Width::Byte),
        (1 << 5, Width::Word),
        (1 << 6, Width::Dword),
        // Information that no CPU stores: the access is one of a width all the same.
        (0, Width::Dword),
        (0b111 << 4, Width::Byte),
        (0b110 << 4, Width::Word),
    ] {
        for port in [0, 0x60, 0xffff] {
            let found = access(u64::from(port) << 16 | bits);
            assert_eq!((found.port, found.width), (port, width), "{bits:#x}");
            assert!(!found.is_input && !found.is_string);
        }
    }
    assert!(access(1 << 0).is_input && access(1 << 2).is_string);
    let all = access(u64::MAX);
    assert_eq!((all.port, all.width, all.is_input), (0xffff, Width::Byte, true));
}

#[test]
fn a_refused_page_is_told_with_how_it_was_used() {
    for code in [ExitCode::NPF, ExitCode::PAGE_NOT_VALIDATED] {
        let fault = |info_1, valid| {
            let int_info = EventInj::new().with_valid(valid);
            let exit = GuestExit { info_1, info_2: u64::MAX, int_info, ..exit(code) };
            assert_eq!(exit.refused_page(), Some(u64::MAX));
            let Exit::Memory(fault) = exit.decode() else { panic!("no memory") };
            assert_eq!(fault.gpa, u64::MAX);
            (fault.is_write, fault.is_fetch, fault.is_walk, fault.in_delivery)
        };
        assert_eq!(fault(0, false), (false, false, false, false));
        assert_eq!(fault(1 << 1, false), (true, false, false, false));
        assert_eq!(fault(1 << 4, false), (false, true, false, false));
        assert_eq!(fault(1 << 33, false), (false, false, true, false));
        assert_eq!(fault(0, true), (false, false, false, true));
    }
    assert_eq!(exit(ExitCode::CPUID).refused_page(), None);
}

/// The host may intercept more than was asked for, and a code may be none of the CPU's.
#[test]
fn a_code_that_nothing_asked_for_is_told_as_it_is() {
    let known = [0x403, 0x404, 0x400, u64::MAX];
    let none =
        [0, 0x17, 0x19, 0x3f, 0x65, 0x6e, 0x70, 0x74, 0x77, 0x79, 0x7d, 0x7e, 0x87, 0x8f, 0x90];
    let high = [0x401, 0x402, 0x405, 0x8000_0001, 0x1_0000_0072, u64::from(u32::MAX)];
    let last = [NO_EXIT.0, ExitCode::BUSY.0, ExitCode::IDLE_REQUIRED.0, ExitCode::INVALID_PMC.0];
    for code in none.into_iter().chain(high).chain(last) {
        assert_eq!(exit(ExitCode(code)).decode(), Exit::Failed(code), "{code:#x}");
    }
    assert!(known.into_iter().all(|code| exit(ExitCode(code)).decode() != Exit::Failed(code)));
}

#[test]
fn a_length_that_no_instruction_has_is_not_believed() {
    let length = |rip: u64, nrip| GuestExit { rip, nrip, ..exit(ExitCode::CPUID) }.length();
    assert_eq!(length(0x1000, 0x1001), Some(1));
    assert_eq!(length(0x1000, 0x100f), Some(15));
    assert_eq!(length(u64::MAX, 1), Some(2), "across the end of the address space");
    for nrip in [0, 0xfff, 0x1000, 0x1010, u64::MAX, 0x1_0000_1002] {
        assert_eq!(length(0x1000, nrip), None, "{nrip:#x}");
    }
    let halt = GuestExit { nrip: 0x1001, ..exit(ExitCode::HLT) };
    assert_eq!(halt.length(), Some(0), "it has completed");
}
