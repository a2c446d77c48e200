//! libFuzzer's way into the target that the variable `TARGET` names.
//!
//! Without that variable it lists all targets.
#![no_main]

use std::env;
use std::process::exit;
use std::sync::OnceLock;

use fuzz_targets::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<Target> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| CHOSEN.get_or_init(choose)(bytes));

fn choose() -> Target {
    let Ok(name) = env::var("TARGET") else {
        TARGETS.iter().for_each(|(name, _)| println!("{name}"));
        exit(0);
    };
    let Some((_, target)) = TARGETS.iter().find(|(known, _)| *known == name) else {
        eprintln!("no target {name}");
        exit(1);
    };
    *target
}
