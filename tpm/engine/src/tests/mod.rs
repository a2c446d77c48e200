//! Tests by command bytes.

mod authorizations;
mod client;
mod exchange;
mod faults;
mod lifecycle;
mod mutation;
mod nv;
mod objects;
mod policies;
mod refusals;
mod robustness;
