//! The host's devices are out of reach.

use guest::machine::Range;
use guest::{Failure, Report, cpu, ensure_eq, machine};

const FW_CFG_SELECTOR: u16 = 0x510;
const FW_CFG_DATA: u16 = 0x511;
const FW_CFG_DMA: u16 = 0x514;
const DMA_READ: u32 = 2;
const DMA_SELECT: u32 = 8;
const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
const ECAM: u64 = 0xe000_0000;

pub fn cases(report: &mut Report) {
    if machine::paravisor().is_none() {
        return;
    }
    report.case("fw-cfg", fw_cfg);
    report.case("host-ports", host_ports);
    report.case("pci-ports", pci_ports);
    report.case("pci-ecam", pci_ecam);
    report.case("host-mmio", host_mmio);
    report.case("msi-writes", msi_writes);
}

fn fw_cfg() -> Result<(), Failure> {
    cpu::out16(FW_CFG_SELECTOR, 0);
    for _ in 0..4 {
        ensure_eq!(cpu::in8(FW_CFG_DATA), 0xff, "data port");
    }
    ensure_eq!(cpu::in32(FW_CFG_DMA), u32::MAX, "DMA signature");
    let target = [0x5555_5555u32; 4];
    let request: [u32; 4] =
        [(DMA_READ | DMA_SELECT).to_be(), 16u32.to_be(), 0, (target.as_ptr() as u32).to_be()];
    let address = &raw const request as u64;
    cpu::out32(FW_CFG_DMA, ((address >> 32) as u32).to_be());
    cpu::out32(FW_CFG_DMA + 4, (address as u32).to_be());
    for index in 0..4 {
        let found = cpu::read32(target.as_ptr() as u64 + index * 4);
        ensure_eq!(found, 0x5555_5555, "memory after a DMA request");
    }
    ensure_eq!(cpu::read32(address), (DMA_READ | DMA_SELECT).to_be(), "the request");
    Ok(())
}

fn host_ports() -> Result<(), Failure> {
    for port in [0xf4, 0xe9, 0x402, 0x510, 0x512, 0x514, 0x518, 0x5658, 0xae00, 0xb2, 0xb3, 0x80] {
        ensure_eq!(cpu::in8(port), 0xff, "port {port:#x}");
        ensure_eq!(cpu::in16(port), 0xffff, "port {port:#x}, 16 bits");
        ensure_eq!(cpu::in32(port), u32::MAX, "port {port:#x}, 32 bits");
    }
    for port in [0xf4, 0xb2, 0xb3, 0x402] {
        cpu::out8(port, 0x10);
        cpu::out16(port, 0x10);
        cpu::out32(port, 0x10);
    }
    // The runner searches the output of the host's port for it.
    for byte in b"\nBROKEN OUT\n" {
        cpu::out8(0xe9, *byte);
        cpu::out8(0x402, *byte);
    }
    Ok(())
}

fn pci_ports() -> Result<(), Failure> {
    for function in 0..0x100u32 {
        let found = config(0, function);
        if function == 0 {
            assert_ne!(found, u32::MAX);
        } else {
            ensure_eq!(found, u32::MAX, "00:{:02x}.{}", function >> 3, function & 7);
        }
    }
    for bus in 1..0x100 {
        for function in [0, 8, 0xf8, 0xff] {
            ensure_eq!(config(bus, function), u32::MAX, "bus {bus}");
        }
    }
    Ok(())
}

fn config(bus: u32, function: u32) -> u32 {
    cpu::out32(CONFIG_ADDRESS, 1 << 31 | bus << 16 | function << 8);
    cpu::in32(CONFIG_DATA)
}

fn pci_ecam() -> Result<(), Failure> {
    for function in 1..0x100 {
        let at = ECAM + (function << 12);
        ensure_eq!(cpu::read32(at), u32::MAX, "function {function:#x}");
        cpu::write32(at + 4, 7);
        cpu::write32(at + 0x10, 0);
    }
    ensure_eq!(cpu::read32(ECAM), config(0, 0), "the host bridge by both ways");
    ensure_eq!(cpu::read32(ECAM + (1 << 20)), u32::MAX, "bus 1");
    Ok(())
}

/// Device memory that QEMU has and the guest must not: its own ECAM, HPET, TPM, flash, other
/// local APICs' and IOAPICs' pages, BARs.
fn host_mmio() -> Result<(), Failure> {
    let ranges = [
        (0xb000_0000, 0xb000_0000 + (32 << 15), 1 << 15),
        (0xfe00_0000, 0xfec0_0000, 0x1000),
        (0xfec0_1000, 0xfec1_0000, 0x1000),
        // Between them is the guest's own TPM.
        (0xfed0_0000, 0xfed4_0000, 0x400),
        (0xfed4_5000, 0xfed5_0000, 0x400),
        (0xfee0_1000, 0xfef0_0000, 0x4000),
        (0xffc0_0000, 0xffff_f000, 0x1_0000),
        (0xc000_0000, 0xe000_0000, 1 << 22),
    ];
    for (start, end, step) in ranges {
        let range = Range { start, end, kind: 0 };
        for at in (range.start..range.end).step_by(step) {
            ensure_eq!(cpu::read32(at), u32::MAX, "{at:#x}");
            cpu::write32(at, 0);
            ensure_eq!(cpu::read32(at), u32::MAX, "{at:#x} after a write");
        }
    }
    ensure_eq!(cpu::read32(0xffff_fff0), u32::MAX, "the reset vector");
    Ok(())
}

/// Message-signalled interrupts that a device would send: from a processor they are plain writes.
fn msi_writes() -> Result<(), Failure> {
    for destination in [0, 1, 2, 0xff] {
        let at = 0xfee0_0000 + (destination << 12) + if destination == 0 { 0x1000 } else { 0 };
        for data in [0x31, 0x431, 0x531, 0x600, 0xffff_ffff] {
            cpu::write32(at + 0xc, data);
            cpu::write32(at + 0x300, data);
        }
    }
    Ok(())
}
