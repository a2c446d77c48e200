//! What an owner of a store and its disk can see.

mod bits;
mod bounds;
mod crash;
mod fake;
mod faults;
mod formats;
