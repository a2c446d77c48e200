//! Tests of what the user of a device can observe.

mod crypt;
mod kit;
mod memory;
mod model;
mod partition;
mod ram_disk;
mod read_only;
mod stripe;
