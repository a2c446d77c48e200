//! Keys that stay, paddings, and searches in slices.
