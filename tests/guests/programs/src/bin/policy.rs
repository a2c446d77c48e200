//! Tests the CPU features that the guest sees, as well as absent devices. `hyperv=off` on the
//! command line means that the Hyper-V interface is not offered.
#![no_std]
#![no_main]

use guest::{
    Failure, Registers, Report, attempt_bytes, cpu, ensure, ensure_eq, machine, smp, time,
};

const PROTECTION: u8 = 13;
const GUEST_OS_ID: u32 = 0x4000_0000;
const HYPERCALL: u32 = 0x4000_0001;
const VP_INDEX: u32 = 0x4000_0002;
const TIME_REF_COUNT: u32 = 0x4000_0020;
const REFERENCE_TSC: u32 = 0x4000_0021;
const TSC_FREQUENCY: u32 = 0x4000_0022;
const APIC_FREQUENCY: u32 = 0x4000_0023;
const TSC_INVARIANT_CONTROL: u32 = 0x4000_0118;
const KVM_WALL_CLOCK: u32 = 0x4b56_4d00;
const KVM_SYSTEM_TIME: u32 = 0x4b56_4d01;
const TSC: u32 = 0x10;
/// A free page.
const PAGE: u64 = 0x100_0000;

guest::main!(policy);

fn policy(report: &mut Report) {
    let hyperv = machine::option("hyperv") != Some("off");
    report.case("cpuid-basic", cpuid_basic);
    report.case("cpuid-unknown", || cpuid_unknown(hyperv));
    report.case("cpuid-topology", cpuid_topology);
    report.case("cpuid-invariant-tsc", || {
        ensure_eq!(cpu::cpuid(0x8000_0007, 0)[3] & 1 << 8, 1 << 8, "8000_0007 EDX");
        Ok(())
    });
    report.case("unknown-msrs", unknown_msrs);
    report.case("no-performance-counters", performance_counters);
    report.case("cpuid-tells-whether-the-apic-is-on", apic_bit);
    report.case("unknown-ports", unknown_ports);
    if hyperv {
        report.case("hyperv-cpuid", hyperv_cpuid);
        report.case("hyperv-msrs", hyperv_msrs);
        report.case("hyperv-hypercall", hypercall);
        report.case("kvm-clock-without-its-signature", kvm_clock);
        report.case("hyperv-reference-time", reference_time);
        report.case("hyperv-reference-page", reference_page);
    } else {
        report.case("plain-hardware", plain);
    }
}

fn read_msr(number: u32) -> Result<u64, u8> {
    let mut registers = Registers { rcx: number.into(), ..Registers::default() };
    match attempt_bytes(&[0x0f, 0x32], &mut registers) {
        Ok(()) => Ok(registers.rdx << 32 | registers.rax),
        Err(fault) => Err(fault.vector),
    }
}

fn write_msr(number: u32, value: u64) -> Result<(), u8> {
    let mut registers = Registers {
        rcx: number.into(),
        rax: value & 0xffff_ffff,
        rdx: value >> 32,
        ..Registers::default()
    };
    attempt_bytes(&[0x0f, 0x30], &mut registers).map_err(|fault| fault.vector)
}

/// Bits that no guest here may see, whatever the CPU below offers.
fn cpuid_basic() -> Result<(), Failure> {
    let [highest, ..] = cpu::cpuid(0, 0);
    ensure!((0xb..=0xd).contains(&highest), "highest leaf {highest:#x}");
    let [_, _, ecx, edx] = cpu::cpuid(1, 0);
    // DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, PDCM, PCID.
    let hidden = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 15 | 1 << 17;
    ensure_eq!(ecx & hidden, 0, "leaf 1 ECX");
    // x2APIC, TSC deadline.
    ensure_eq!(ecx & (1 << 21 | 1 << 24), 1 << 21 | 1 << 24, "leaf 1 ECX");
    // DS, ACPI, SS, TM, PBE.
    ensure_eq!(edx & (1 << 21 | 1 << 22 | 1 << 27 | 1 << 29 | 1 << 31), 0, "leaf 1 EDX");
    // FPU, TSC, MSR, PAE, APIC, MTRR, PAT, FXSR, SSE, SSE2.
    for bit in [0, 4, 5, 6, 9, 12, 16, 24, 25, 26] {
        ensure!(edx >> bit & 1 == 1, "leaf 1 EDX bit {bit}");
    }
    let [_, ebx, ecx, edx] = cpu::cpuid(7, 0);
    // TSC_ADJUST, SGX, HLE, INVPCID, RTM, resource monitoring, AVX-512F, processor trace.
    let hidden =
        1 << 1 | 1 << 2 | 1 << 4 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 15 | 1 << 16 | 1 << 25;
    ensure_eq!(ebx & hidden, 0, "leaf 7 EBX");
    // PKU, WAITPKG, LA57, ENQCMD.
    ensure_eq!(ecx & (1 << 3 | 1 << 5 | 1 << 16 | 1 << 29), 0, "leaf 7 ECX");
    // Speculation controls, whose MSRs do not exist.
    ensure_eq!(edx & (0b11_1111 << 26), 0, "leaf 7 EDX");
    ensure_eq!(cpu::cr4() & (1 << 12 | 1 << 17 | 1 << 22), 0, "CR4");
    Ok(())
}

fn cpuid_unknown(hyperv: bool) -> Result<(), Failure> {
    let first_unknown = if hyperv { 0x4000_0007 } else { 0x4000_0000 };
    for leaf in [
        0xa,
        0xe,
        0xf,
        0x10,
        0x12,
        0x14,
        0x1f,
        0x20,
        0x7fff_ffff,
        first_unknown,
        0x4000_0100,
        0x8000_0009,
        0x8000_000a,
        0x8000_001b,
        0x8000_001e,
        0x8000_001f,
        0x8000_0021,
        0x8fff_ffff,
        0xc000_0000,
        u32::MAX,
    ] {
        for subleaf in [0, 1, u32::MAX] {
            ensure_eq!(cpu::cpuid(leaf, subleaf), [0; 4], "leaf {leaf:#x}.{subleaf:x}");
        }
    }
    Ok(())
}

fn cpuid_topology() -> Result<(), Failure> {
    let vps = smp::count() as u32;
    let [_, ebx, _, _] = cpu::cpuid(1, 0);
    ensure_eq!(ebx >> 24, 0, "own APIC ID");
    let [_, threads, kind, id] = cpu::cpuid(0xb, 0);
    ensure_eq!((threads, kind, id), (1, 1 << 8, 0), "leaf Bh.0");
    let [bits, count, kind, _] = cpu::cpuid(0xb, 1);
    ensure_eq!((count, kind), (vps, 2 << 8 | 1), "leaf Bh.1");
    ensure!(1 << bits >= vps, "leaf Bh.1: {bits} bits for {vps} VPs");
    ensure_eq!(cpu::cpuid(0x8000_0008, 0)[2] & 0xff, vps - 1, "8000_0008 ECX");
    Ok(())
}

/// The legacy counters read zero and forget writes, as under KVM without a PMU; RDPMC is refused.
fn performance_counters() -> Result<(), Failure> {
    for number in 0xc001_0000..=0xc001_0007 {
        ensure_eq!(write_msr(number, 0x43_0076), Ok(()), "WRMSR {number:#x}");
        ensure_eq!(read_msr(number), Ok(0), "RDMSR {number:#x}");
    }
    for counter in [0, 1, 0x4000_0000] {
        let mut registers = Registers { rcx: counter, ..Registers::default() };
        let fault = attempt_bytes(&[0x0f, 0x33], &mut registers).map_err(|fault| fault.vector);
        ensure_eq!(fault, Err(PROTECTION), "RDPMC of {counter:#x}");
    }
    Ok(())
}

fn apic_bit() -> Result<(), Failure> {
    const APIC_BASE: u32 = 0x1b;
    let base = read_msr(APIC_BASE).unwrap_or_default();
    ensure_eq!(cpu::cpuid(1, 0)[3] >> 9 & 1, 1, "the bit of an APIC that is on");
    ensure_eq!(write_msr(APIC_BASE, base & !(0b11 << 10)), Ok(()), "off");
    let off = cpu::cpuid(1, 0)[3] >> 9 & 1;
    ensure_eq!(write_msr(APIC_BASE, base), Ok(()), "on again");
    ensure_eq!(off, 0, "the bit of an APIC that is off");
    Ok(())
}

/// Machine checks, performance counters, speculation, microcode, debugging, SVM, VMX, KVM, far ones.
fn unknown_msrs() -> Result<(), Failure> {
    for number in [
        0,
        1,
        0x3a,
        0x3b,
        0x48,
        0x4a,
        0x79,
        0xc1,
        0x10a,
        0x122,
        0x186,
        0x1a0,
        0x345,
        0x38d,
        0x400,
        0x480,
        0x560,
        0x570,
        0xda0,
        0x1fff,
        0x2000,
        0x4000_0200,
        0x4b56_4d02,
        0xbfff_ffff,
        0xc000_0084 + 0x20,
        0xc000_2000,
        0xc001_0008,
        0xc001_0058,
        0xc001_0061,
        0xc001_0111,
        0xc001_0112,
        0xc001_0140,
        0xc001_0200,
        0xc001_1004,
        0xc001_1030,
        0xc001_2000,
        u32::MAX,
    ] {
        ensure_eq!(read_msr(number), Err(PROTECTION), "RDMSR {number:#x}");
        ensure_eq!(write_msr(number, 0), Err(PROTECTION), "WRMSR {number:#x}");
    }
    Ok(())
}

fn unknown_ports() -> Result<(), Failure> {
    // DMA, 8042 data, parallel port, IDE, VGA, floppy, PCI hot plug, GPE, CPU hot plug, QEMU's own.
    for port in [
        0x00, 0x0f, 0x60, 0x81, 0xc0, 0x170, 0x1f0, 0x1ce, 0x278, 0x2e8, 0x378, 0x3b0, 0x3d4,
        0x3e8, 0x3f0, 0x505, 0x620, 0x660, 0xae00, 0xaf00, 0x0cd8, 0x1000, 0xc000, 0xcfff, 0xfffc,
    ] {
        cpu::out8(port, 0xa5);
        cpu::out32((port + 4) & !3, 0xa5a5_a5a5);
        ensure_eq!(cpu::in8(port), 0xff, "port {port:#x}");
    }
    ensure_eq!(cpu::in32(0xfffc), u32::MAX, "the last ports");
    ensure_eq!(cpu::in16(0x1000), u16::MAX, "port 1000h");
    Ok(())
}

fn hyperv_cpuid() -> Result<(), Failure> {
    ensure_eq!(cpu::cpuid(1, 0)[2] >> 31, 1, "hypervisor bit");
    let [highest, ebx, ecx, edx] = cpu::cpuid(0x4000_0000, 0);
    ensure_eq!(highest, 0x4000_0006, "highest leaf");
    ensure_eq!([ebx, ecx, edx], [0x7263_694d, 0x666f_736f, 0x7648_2074], "Microsoft Hv");
    ensure_eq!(cpu::cpuid(0x4000_0001, 0)[0], 0x3123_7648, "Hv#1");
    let [privileges, _, _, features] = cpu::cpuid(0x4000_0003, 0);
    // Counter, hypercall MSRs, VP index, reference TSC, frequencies, invariant control; no SynIC,
    // no synthetic timers, no crash registers.
    let wanted = 1 << 1 | 1 << 5 | 1 << 6 | 1 << 9 | 1 << 11 | 1 << 15;
    ensure_eq!(privileges, wanted, "privileges");
    ensure_eq!(features, 1 << 8, "features");
    ensure_eq!(cpu::cpuid(0x4000_0005, 0)[0], smp::count() as u32, "most VPs");
    Ok(())
}

fn hyperv_msrs() -> Result<(), Failure> {
    ensure_eq!(read_msr(VP_INDEX), Ok(0), "VP_INDEX");
    let tsc = read_msr(TSC_FREQUENCY).unwrap_or(0);
    let measured = time::tsc_hz();
    ensure!(tsc.abs_diff(measured) < measured / 50, "TSC at {tsc} Hz, measured {measured}");
    ensure!(read_msr(APIC_FREQUENCY).is_ok_and(|hz| hz > 1_000_000), "APIC_FREQUENCY");
    for number in [VP_INDEX, TIME_REF_COUNT, TSC_FREQUENCY, APIC_FREQUENCY] {
        ensure_eq!(write_msr(number, 1), Err(PROTECTION), "WRMSR {number:#x}");
    }
    // Reset, SynIC, synthetic timers, crash, EOI.
    for number in [0x4000_0003, 0x4000_0070, 0x4000_0080, 0x4000_0090, 0x4000_00b0, 0x4000_0100] {
        ensure_eq!(read_msr(number), Err(PROTECTION), "RDMSR {number:#x}");
    }
    ensure_eq!(write_msr(TSC_INVARIANT_CONTROL, 1), Ok(()), "TSC_INVARIANT_CONTROL");
    ensure_eq!(read_msr(TSC_INVARIANT_CONTROL), Ok(1), "TSC_INVARIANT_CONTROL");
    ensure_eq!(write_msr(TSC_INVARIANT_CONTROL, 2), Err(PROTECTION), "its reserved bits");
    Ok(())
}

fn hypercall() -> Result<(), Failure> {
    const VMMCALL: &[u8] = &[0x0f, 0x01, 0xd9];
    let call = |code: &[u8]| {
        let mut registers = Registers { rcx: 1, ..Registers::default() };
        attempt_bytes(code, &mut registers).map(|()| registers.rax).map_err(|fault| fault.vector)
    };
    ensure_eq!(call(VMMCALL), Err(6), "VMMCALL before it is enabled");
    ensure_eq!(write_msr(HYPERCALL, PAGE | 1), Ok(()), "enabling without an OS ID");
    ensure_eq!(read_msr(HYPERCALL).map(|value| value & 1), Ok(0), "the page without an OS ID");
    ensure_eq!(write_msr(GUEST_OS_ID, 0x8100_0000_0000_0000), Ok(()), "GUEST_OS_ID");
    ensure_eq!(write_msr(HYPERCALL, PAGE | 1), Ok(()), "enabling");
    // MOV EAX, PAGE; CALL RAX.
    let code = [0xb8, 0, 0, 0, (PAGE >> 24) as u8, 0xff, 0xd0];
    ensure_eq!(call(&code), Ok(2), "status of an unknown hypercall");
    // A page in the paravisor's memory, or nowhere.
    let own = machine::paravisor().map_or(PAGE, |own| own.start);
    for page in [own, 0x000f_ffff_ffff_f000] {
        ensure_eq!(write_msr(HYPERCALL, page | 1), Ok(()), "a page at {page:#x}");
        ensure_eq!(write_msr(REFERENCE_TSC, page | 1), Ok(()), "a page at {page:#x}");
        ensure_eq!(
            cpu::read32(own),
            if own == PAGE { cpu::read32(PAGE) } else { u32::MAX },
            "{own:#x}"
        );
    }
    ensure_eq!(write_msr(REFERENCE_TSC, 0), Ok(()), "REFERENCE_TSC off");
    ensure_eq!(write_msr(GUEST_OS_ID, 0), Ok(()), "GUEST_OS_ID");
    ensure_eq!(call(VMMCALL), Err(6), "VMMCALL afterwards");
    Ok(())
}

/// The counter runs at 10 MHz, by the PM timer.
fn reference_time() -> Result<(), Failure> {
    agrees(|| cpu::rdmsr(TIME_REF_COUNT))
}

fn agrees(now: impl Fn() -> u64) -> Result<(), Failure> {
    let (by_timer, elapsed) = time::progress(100, now);
    let wanted = by_timer * 10_000_000 / time::PM_HZ;
    ensure!(elapsed.abs_diff(wanted) < wanted / 100, "{elapsed} units, by the PM timer {wanted}");
    Ok(())
}

fn reference_page() -> Result<(), Failure> {
    ensure_eq!(write_msr(REFERENCE_TSC, (PAGE + 0x1000) | 1), Ok(()), "REFERENCE_TSC");
    let page = PAGE + 0x1000;
    ensure!(cpu::read32(page) != 0, "the sequence says that the page is not valid");
    let now = || {
        let scaled = (u128::from(cpu::rdtsc()) * u128::from(cpu::read64(page + 8))) >> 64;
        (scaled as u64).wrapping_add(cpu::read64(page + 16))
    };
    agrees(now)?;
    is_reference_time(now)
}

/// `now` is the reference time, within half a millisecond.
fn is_reference_time(now: impl Fn() -> u64) -> Result<(), Failure> {
    const TOLERANCE: u64 = 10_000;
    let (before, counter, after) = (now(), cpu::rdmsr(TIME_REF_COUNT), now());
    ensure!(
        (before..=after + TOLERANCE).contains(&(counter + TOLERANCE / 2)),
        "{before}, then {after}; the reference time between them was {counter}"
    );
    Ok(())
}

/// A guest that asks leaf 4000_0001h alone finds "clock source 2" there, as Solo5's do: then it must
/// have that clock.
fn kvm_clock() -> Result<(), Failure> {
    const CLOCK: u64 = PAGE + 0x2ffc;
    const WALL: u64 = PAGE + 0x4004;
    ensure_eq!(cpu::cpuid(0x4000_0001, 0)[0] >> 3 & 1, 1, "clock source 2");
    ensure_eq!(write_msr(KVM_SYSTEM_TIME, CLOCK | 1), Ok(()), "system time");
    ensure_eq!(read_msr(KVM_SYSTEM_TIME), Ok(CLOCK | 1), "system time");
    let now = || {
        let ticks = cpu::rdtsc().wrapping_sub(cpu::read64(CLOCK + 8));
        let word = cpu::read64(CLOCK + 24);
        let shift = (word >> 32) as i8;
        let shifted = if shift < 0 { ticks >> -shift } else { ticks << shift };
        let since = (u128::from(shifted) * u128::from(word as u32)) >> 32;
        (cpu::read64(CLOCK + 16) + since as u64) / 100
    };
    agrees(now)?;
    is_reference_time(now)?;
    // The guest changes its TSC: its clock continues.
    let version = cpu::read32(CLOCK);
    let before = now();
    cpu::wrmsr(TSC, cpu::rdtsc() + (1 << 40));
    let after = now();
    // In a confidential VM the TSC can not be changed, so the clock needs no new version.
    let change = if machine::is_confidential() { 0 } else { 2 };
    ensure_eq!(cpu::read32(CLOCK), version + change, "version");
    cpu::wrmsr(TSC, cpu::rdtsc() - (1 << 40));
    ensure!(before <= after, "from {before} to {after}");
    agrees(now)?;
    ensure_eq!(write_msr(KVM_WALL_CLOCK, WALL), Ok(()), "wall clock");
    let seconds = cpu::read32(WALL + 4);
    ensure!(seconds > 1_700_000_000, "the machine started at {seconds}");
    // Off: no longer written. In the paravisor's memory, or nowhere: nothing is written.
    let own = machine::paravisor().map_or(u64::MAX << 12, |own| own.start);
    for place in [CLOCK, own | 1, 0x000f_ffff_ffff_f001, u64::MAX] {
        ensure_eq!(write_msr(KVM_SYSTEM_TIME, place), Ok(()), "system time at {place:#x}");
    }
    ensure_eq!(cpu::read32(CLOCK), version + 2 * change, "version");
    ensure_eq!(write_msr(KVM_SYSTEM_TIME, 0), Ok(()), "off");
    Ok(())
}

fn plain() -> Result<(), Failure> {
    ensure_eq!(cpu::cpuid(1, 0)[2] >> 31, 0, "hypervisor bit");
    for number in [GUEST_OS_ID, HYPERCALL, VP_INDEX, TIME_REF_COUNT, TSC_FREQUENCY]
        .into_iter()
        .chain([KVM_WALL_CLOCK, KVM_SYSTEM_TIME])
    {
        ensure_eq!(read_msr(number), Err(PROTECTION), "RDMSR {number:#x}");
        ensure_eq!(write_msr(number, 0), Err(PROTECTION), "WRMSR {number:#x}");
    }
    let mut registers = Registers::default();
    let fault = attempt_bytes(&[0x0f, 0x01, 0xd9], &mut registers);
    ensure_eq!(fault.map_err(|fault| fault.vector), Err(6), "VMMCALL");
    Ok(())
}
