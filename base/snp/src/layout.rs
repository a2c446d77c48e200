//! Compile-time checks of layouts.

/// Asserts where fields stand.
macro_rules! assert_offsets {
    ($type:ty: $($field:ident = $offset:expr),+ $(,)?) => {
        const _: () = { $(assert!(core::mem::offset_of!($type, $field) == $offset);)+ };
    };
}
pub(crate) use assert_offsets;
