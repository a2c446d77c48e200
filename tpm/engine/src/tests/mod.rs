//! Tests by command bytes.

mod authorizations;
mod client;
mod lifecycle;
mod nv;
mod objects;
mod robustness;
