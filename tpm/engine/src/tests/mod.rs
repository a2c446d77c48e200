//! Tests of the engine through the bytes of its commands.

mod assertions;
mod attestation;
mod authorizations;
mod capabilities;
mod ciphers;
mod client;
mod codes;
mod duplication;
mod exchange;
mod faults;
mod hierarchies;
mod lifecycle;
mod mutation;
mod nv;
mod nv_access;
mod objects;
mod pcrs;
mod policies;
mod public_areas;
mod refusals;
mod robustness;
mod sessions;
mod structures;
mod survival;
mod templates;
