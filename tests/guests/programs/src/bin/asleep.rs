//! Sleeps forever with interrupts enabled, so that any later event hits the paravisor.
#![no_std]
#![no_main]

use guest::{Report, cpu, println};

guest::main!(asleep);

fn asleep(_: &mut Report) {
    println!("asleep");
    cpu::enable_interrupts();
    loop {
        cpu::wait_for_interrupt();
    }
}
