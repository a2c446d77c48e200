//! The inspection of the interface.

use crate::{Buffers, Phase, TpmCrb};
use device_model::{Inspect, Value};

pub(crate) fn inspect(crb: &TpmCrb, to: &mut dyn Inspect) {
    let TpmCrb { buffers, phase, active, requested, seized, cancel, failed, established } = crb;
    let Buffers { command, command_size, response, response_size } = buffers;
    to.field("command", Value::Hex(*command));
    to.field("command_size", Value::Number(u64::from(*command_size)));
    to.field("response", Value::Hex(*response));
    to.field("response_size", Value::Number(u64::from(*response_size)));
    let phase = match phase {
        Phase::Idle => "idle",
        Phase::Ready => "ready",
        Phase::Execution { wanted: true } => "execution",
        Phase::Execution { wanted: false } => "execution, unwanted",
        Phase::Completion => "completion",
    };
    to.field("phase", Value::Text(phase));
    if let Some(active) = active {
        to.field("locality", Value::Number(u64::from(*active)));
    }
    to.field("requested", Value::Hex(u64::from(*requested)));
    to.field("seized", Value::Hex(u64::from(*seized)));
    to.field("cancel", Value::Flag(*cancel));
    to.field("failed", Value::Flag(*failed));
    to.field("established", Value::Flag(*established));
}
