//! Known answers, and the schemes against themselves.
