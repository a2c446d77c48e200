//! Every command that is built, in ascending order of its code (Part 2, section 6.5.2).

use crate::table::Kind::*;
use crate::table::Role::{Admin, Duplicate, User};
use crate::table::flag::*;
use crate::table::{Command, Handler, Kind, Role};
use crate::{capability, da, pcr_commands, random, self_test, session, startup};

const fn command(
    code: u32,
    run: Handler,
    handles: &'static [Kind],
    auths: &'static [Role],
    flags: u16,
) -> Command {
    Command { code, run, handles, auths, flags }
}

/// The table.
pub(crate) const COMMANDS: &[Command] = &[
    command(0x12b, pcr_commands::allocate, &[Platform], &[User], NV | PP),
    command(0x12c, pcr_commands::set_policy, &[Platform], &[User], DECRYPT | NV | PP),
    command(0x139, da::lock_reset, &[Lockout], &[User], NV),
    command(0x13a, da::parameters, &[Lockout], &[User], NV),
    command(0x13c, pcr_commands::event, &[PcrOrNull], &[User], DECRYPT | NV),
    command(0x13d, pcr_commands::reset, &[Pcr], &[User], NV),
    command(0x142, self_test::incremental, &[], &[], PASSIVE),
    command(0x143, self_test::self_test, &[], &[], PASSIVE),
    command(0x144, startup::startup, &[], &[], NV | NO_SESSIONS),
    command(0x145, startup::shutdown, &[], &[], NV | PASSIVE),
    command(0x146, random::stir_random, &[], &[], DECRYPT),
    command(0x176, session::start, &[ObjectOrNull, EntityOrNull], &[], DECRYPT | ENCRYPT | HANDLE),
    command(0x17a, capability::get, &[], &[], PASSIVE | ALWAYS),
    command(0x17b, random::get_random, &[], &[], ENCRYPT | PASSIVE),
    command(0x17c, self_test::get_test_result, &[], &[], ENCRYPT | PASSIVE | ALWAYS),
    command(0x17e, pcr_commands::read, &[], &[], PASSIVE),
    command(0x180, session::policy_restart, &[Policy], &[], 0),
    command(0x182, pcr_commands::extend, &[PcrOrNull], &[User], NV),
    command(0x183, pcr_commands::set_auth, &[Pcr], &[User], DECRYPT | NV),
    command(0x18a, self_test::test_parms, &[], &[], PASSIVE),
];
