//! Tests of what the owner of a store can observe.

mod bits;
mod bounds;
mod crash;
mod fake;
mod faults;
mod formats;
