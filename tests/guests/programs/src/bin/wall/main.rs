//! Every way to break out: SVM, the paravisor's memory, the host's devices, registers with illegal
//! values, exceptions without end, and the restarts after the guest shut itself down.
//!
//! Cases that end in a restart are separate steps; the current step is stored in RAM, which a
//! restart preserves.
#![no_std]
#![no_main]

mod confidential;
mod devices;
mod memory;
mod registers;
mod restart;
mod storms;
mod svm;

use guest::{Report, machine};

guest::main!(wall);

fn wall(report: &mut Report) {
    if restart::steps_left(report) {
        return restart::next(report);
    }
    svm::cases(report);
    confidential::cases(report);
    registers::cases(report);
    devices::cases(report);
    if let Some(own) = machine::paravisor() {
        memory::cases(report, own);
        storms::cases(report);
        restart::begin(report);
    }
}
