//! The TPM, used as no driver would use it.
#![no_std]
#![no_main]

mod commands;
mod locality;
mod timer;

use guest::{Report, println, tpm};

guest::main!(the_tpm);

fn the_tpm(report: &mut Report) {
    if guest::machine::option("endless").is_some() {
        return commands::make_keys_for_ever(report);
    }
    if guest::machine::option("absent").is_some() {
        return report.case("absent", locality::absent);
    }
    println!("registers at {:#x}", tpm::BASE);
    locality::cases(report);
    tpm::claim();
    commands::cases(report);
    timer::cases(report);
}
