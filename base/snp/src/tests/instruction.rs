use iced_x86::{Decoder, DecoderOptions, Mnemonic};

use crate::instruction::{Outcome, PageSize, Permissions, opcode};

#[test]
fn opcodes_are_those_that_a_disassembler_knows() {
    let table = [
        (opcode::PVALIDATE, Mnemonic::Pvalidate),
        (opcode::RMPADJUST, Mnemonic::Rmpadjust),
        (opcode::RMPQUERY, Mnemonic::Rmpquery),
        (opcode::RMPUPDATE, Mnemonic::Rmpupdate),
        (opcode::PSMASH, Mnemonic::Psmash),
        (opcode::VMGEXIT, Mnemonic::Vmgexit),
        (opcode::VMGEXIT_REPNE, Mnemonic::Vmgexit),
    ];
    for (bytes, mnemonic) in table {
        let instruction = Decoder::new(64, &bytes, DecoderOptions::NONE).decode();
        assert_eq!(instruction.mnemonic(), mnemonic, "{bytes:02x?}");
        assert_eq!(instruction.len(), 4);
    }
}

#[test]
fn permissions_have_their_bits() {
    assert_eq!(Permissions::new().with_read(true).into_bits(), 1 << 8);
    assert_eq!(Permissions::new().with_write(true).into_bits(), 1 << 9);
    assert_eq!(Permissions::new().with_user_execute(true).into_bits(), 1 << 10);
    assert_eq!(Permissions::new().with_supervisor_execute(true).into_bits(), 1 << 11);
    assert_eq!(Permissions::new().with_supervisor_shadow_stack(true).into_bits(), 1 << 12);
    assert_eq!(Permissions::new().with_vmpl(1).with_vmsa(true).into_bits(), 0x1_0001);
    assert_eq!(Permissions::all(2).into_bits(), 0xf02);
}

#[test]
fn outcomes_have_their_numbers() {
    assert_eq!(Outcome::FAIL_INPUT, Outcome(1));
    assert_eq!(Outcome::FAIL_PERMISSION, Outcome(2));
    assert_eq!(Outcome::FAIL_INUSE, Outcome(3));
    assert_eq!(Outcome::FAIL_OVERLAP, Outcome(4));
    assert_eq!(Outcome::FAIL_SIZEMISMATCH, Outcome(6));
    assert_eq!(PageSize::SIZE_2M, PageSize(1));
}
