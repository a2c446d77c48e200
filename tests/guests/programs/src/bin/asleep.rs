//! Sleeps for good, ready for interrupts that never come: whatever happens then meets the paravisor.
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
