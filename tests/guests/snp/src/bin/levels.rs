//! Cases.
#![no_std]
#![no_main]

use snp_guest::Report;

snp_guest::main!(cases);

fn cases(_: &mut Report) {}
