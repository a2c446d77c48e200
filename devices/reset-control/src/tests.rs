//! Tests of what a guest can see of the reset registers.

use crate::*;
use proptest::prelude::*;

/// RESET_VALUE in the FADT, which the guest writes to RESET_REG.
const RESET_VALUE: u8 = 0x06;

#[test]
fn reset_control_acts_on_the_rise_of_bit_2() {
    let table = [
        (0x00, 0x02, None),
        (0x00, 0x04, Some(Reset::Init)),
        (0x00, 0x06, Some(Reset::Hard)),
        (0x02, 0x06, Some(Reset::Hard)),
        (0x00, 0x0E, Some(Reset::PowerCycle)),
        (0x00, 0x0C, Some(Reset::Init)),
        (0x04, 0x06, None),
        (0x00, 0xF1, None),
    ];
    for (before, value, reset) in table {
        let mut model = ResetControl::new();
        let _ = model.write(RESET_CONTROL, before);
        assert_eq!(model.write(RESET_CONTROL, value), reset, "{before:#x} {value:#x}");
        assert_eq!(model.read(RESET_CONTROL), value & 0x0E);
    }
    assert_eq!(ResetControl::new().write(RESET_CONTROL, RESET_VALUE), Some(Reset::Hard));
}

#[test]
fn port_92_acts_on_the_rise_of_bit_0() {
    let mut model = ResetControl::new();
    assert_eq!(model.read(PORT_92), 2);
    assert_eq!(model.write(PORT_92, 0xFE), None);
    assert_eq!(model.write(PORT_92, 0xFF), Some(Reset::Init));
    assert_eq!((model.read(PORT_92), model.write(PORT_92, 1)), (3, None));
    model.reset(Instant::START);
    assert_eq!(model, ResetControl::new());
}

#[test]
fn the_keyboard_controller_pulses_reset() {
    let mut model = ResetControl::new();
    for command in 0..=0xFF {
        let reset = (command >= 0xF0 && command % 2 == 0).then_some(Reset::Init);
        assert_eq!(model.write(KEYBOARD_COMMAND, command), reset);
        assert_eq!(model.read(KEYBOARD_COMMAND), 0);
    }
    assert_eq!((model.read(0x60), model.write(0x60, 0xFE)), (0xFF, None));
}

struct Ignore;

impl Inspect for Ignore {
    fn field(&mut self, _: &str, _: device_model::Value<'_>) {}
    fn begin(&mut self, _: &str) {}
    fn end(&mut self) {}
}

proptest! {
    #[test]
    fn random_traffic_keeps_the_promises(
        steps in proptest::collection::vec((0usize..4, any::<u8>()), 0..50)
    ) {
        let mut model = ResetControl::new();
        for (port, value) in steps {
            let port = [KEYBOARD_COMMAND, PORT_92, RESET_CONTROL, 0x60][port];
            let _ = (model.write(port, value), model.read(port));
            let mut other = ResetControl::new();
            prop_assert_eq!(other.restore(&model.save()), Ok(()));
            other.inspect(&mut Ignore);
            prop_assert_eq!(&other, &model);
        }
    }
}

#[test]
fn impossible_states_are_refused() {
    let mut model = ResetControl::new();
    let good = model.save();
    let bad = Saved { port_92: 4, ..good };
    assert_eq!(model.restore(&bad), Err(RestoreError::Field("port_92")));
    let bad = Saved { reset_control: 1, ..good };
    assert_eq!(model.restore(&bad), Err(RestoreError::Field("reset_control")));
    let bad = Saved { version: 2, ..good };
    assert_eq!(model.restore(&bad), Err(RestoreError::Version { found: 2, supported: 1 }));
    assert_eq!(model, ResetControl::new());
}
