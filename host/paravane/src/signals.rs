//! Signals that end this program, and those that whoever started it wants ignored.
//!
//! A signal that was ignored when a Unix program started stays ignored: so `nohup` keeps a program
//! through the end of its terminal, and a shell's background job is not for the keyboard to end.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::Signals;

/// Those of `wanted` that were not ignored, to be waited for.
///
/// # Errors
/// When the kernel refuses.
pub fn watch(wanted: &[i32]) -> Result<Signals> {
    let ignored = ignored();
    Ok(Signals::new(wanted.iter().filter(|signal| !is_in(ignored, **signal)))?)
}

/// Has the kernel keep the status of a child that ends, also where whoever started this program
/// ignores the ends of children.
///
/// # Errors
/// When the kernel refuses.
pub fn keep_children() -> Result<()> {
    // Any handler will do.
    let handler = signal_hook::flag::register(SIGCHLD, Arc::new(AtomicBool::new(false)));
    handler.map(drop).context("the ends of children")
}

/// Blocks the signals that were ignored, for a program that this process becomes: QEMU takes
/// several of them whatever it inherits.
///
/// # Errors
/// When the kernel refuses.
pub fn block_ignored() -> Result<()> {
    let ignored = ignored();
    let set = SigSet::from_iter(
        [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM]
            .into_iter()
            .filter(|signal| is_in(ignored, *signal as i32)),
    );
    set.thread_block().context("the signals that are ignored")
}

/// The signals that this process ignores, a bit for each from the lowest. Only a handler of ours
/// changes that.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

const fn is_in(mask: u64, signal: i32) -> bool {
    mask >> (signal - 1) & 1 != 0
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::{SIGPIPE, SIGTERM};

    use super::*;

    #[test]
    fn what_is_ignored_is_known() {
        // Rust's own start ignores this one.
        assert!(is_in(ignored(), SIGPIPE) && !is_in(ignored(), SIGTERM));
        assert!(is_in(1, 1) && is_in(1 << 63, 64) && !is_in(1, 2));
    }
}
