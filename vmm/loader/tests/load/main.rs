//! Handmade kernels, loaded.

mod kernels;
mod placing;
mod setup;
