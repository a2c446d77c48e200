//! The signals that end this program, except those it inherited as ignored.
//!
//! A Unix program leaves a signal ignored that was ignored when it started. This way `nohup` keeps
//! a program alive when its terminal closes, and the keyboard does not end a background job.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::Signals;

/// Watches those signals of `wanted` that are not ignored.
///
/// # Errors
/// When the kernel refuses.
pub fn watch(wanted: &[i32]) -> Result<Signals> {
    let ignored = ignored();
    Ok(Signals::new(wanted.iter().filter(|signal| !is_in(ignored, **signal)))?)
}

/// Makes the kernel keep the exit status of children, even if this program was started with SIGCHLD
/// ignored.
///
/// # Errors
/// When the kernel refuses.
pub fn keep_children() -> Result<()> {
    // Any handler will do.
    let handler = signal_hook::flag::register(SIGCHLD, Arc::new(AtomicBool::new(false)));
    handler.map(drop).context("the exit status of children can not be kept")
}

/// Blocks the ignored signals, for a program that this process executes: QEMU installs handlers for
/// several of them even if they are ignored.
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
    set.thread_block().context("the ignored signals can not be blocked")
}

/// The signals that this process ignores, one bit each from the lowest. A handler of ours removes
/// its signal from the set.
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
