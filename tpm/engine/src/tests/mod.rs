//! Tests by command bytes.
