//! libFuzzer's way into the target that the variable `TARGET` names.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<fuzz_targets::Target> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let target = CHOSEN.get_or_init(|| {
        let name = std::env::var("TARGET").expect("TARGET names the target");
        let found = fuzz_targets::TARGETS.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("no target {name}")).1
    });
    target(bytes);
});
