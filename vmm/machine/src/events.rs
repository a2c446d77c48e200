//! The exceptions that the machine raises.

use platform_api::Event;
use x86::vector;

/// #DB.
pub(crate) const DEBUG: Event = Event::Exception { vector: vector::DB, error_code: None };
/// #UD.
pub(crate) const INVALID_OPCODE: Event = Event::Exception { vector: vector::UD, error_code: None };
/// #GP(0).
pub(crate) const GENERAL_PROTECTION: Event =
    Event::Exception { vector: vector::GP, error_code: Some(0) };
