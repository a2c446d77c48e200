//! Properties of the delivery of events.

use emulator::Event;
use proptest::prelude::*;
use x86::rflags::{IF, NT, RF, TF, VM};

use super::VC;
use super::world::{CS, GDTR, IDTR, LDTR, RSP, SS, TR, TSS, World, gate_64};

/// The registers that IRETQ takes off the stack, as an independent reference of the frame.
fn iretq(world: &World) -> [u64; 5] {
    let pop = |index: u64| world.memory.u64_at(world.vp.gprs[RSP] + 8 * index);
    [pop(0), pop(1), pop(2), pop(3), pop(4)]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// IRETQ undoes a delivery in long mode.
    #[test]
    fn iretq_returns_to_the_interrupted_code(
        rip in any::<u64>(),
        low in 0x5200_u64..0x5e00,
        flags in any::<u64>(),
        cpl in prop_oneof![Just(0_u8), Just(3)],
        ist in 0_u8..8,
        is_trap in any::<bool>(),
        is_fault in any::<bool>(),
    ) {
        let mut world = World::long(cpl);
        let flags = flags & (0x3f_7fd5 & !VM) | 2;
        (world.vp.rip, world.vp.gprs[RSP], world.vp.rflags) = (rip, low, flags);
        world.set_gate(gate_64(0xe | u64::from(is_trap), ist, 8, 0x1000));
        let (code, stack) = (world.vp.segments[CS].selector, world.vp.segments[SS].selector);
        let event = Event { vector: 29, error_code: None, is_fault };
        prop_assert_eq!(world.deliver(event), Ok(()));
        let resume = if is_fault { RF } else { 0 };
        let expected = [rip, code.into(), flags | resume, low, stack.into()];
        prop_assert_eq!(iretq(&world), expected);
        prop_assert_eq!(world.vp.gprs[RSP] & 15, 8, "five values below a multiple of 16");
        let interrupts = if is_trap { 0 } else { IF };
        prop_assert_eq!(world.vp.rflags, flags & !(TF | NT | RF | interrupts));
    }

    /// Whatever the tables hold, there is an answer, and one that is no success changes no
    /// register.
    #[test]
    fn any_tables_and_registers_have_an_answer(
        is_long in any::<bool>(),
        cpl in 0_u8..4,
        gate in any::<u128>(),
        code in any::<u64>(),
        stack in any::<u64>(),
        task in any::<[u8; 32]>(),
        selector in 0_u16..0x60,
        rsp in any::<u64>(),
        flags in any::<u64>(),
        limits in any::<[u16; 4]>(),
    ) {
        let mut world = if is_long { World::long(cpl) } else { World::legacy(cpl) };
        let gate = gate & !(0xffff << 16) | u128::from(selector) << 16;
        world.set_gate(gate);
        world.set_descriptor(0x08, code);
        world.set_descriptor(0x10, stack);
        world.memory.put(TSS, &task);
        (world.vp.gprs[RSP], world.vp.rflags) = (rsp, flags);
        for (register, limit) in [LDTR, TR, GDTR, IDTR].into_iter().zip(limits) {
            world.vp.tables[register].limit = limit.into();
        }
        let before = world.vp.clone();
        if world.deliver(VC).is_err() {
            prop_assert_eq!(world.vp, before);
        } else {
            prop_assert!(world.vp.cpl <= before.cpl);
            prop_assert_eq!(world.vp.segments[CS].selector & 3, u16::from(world.vp.cpl));
            prop_assert_eq!(world.vp.rflags & (TF | NT | RF | VM), 0);
        }
    }
}
