//! Folders of suites that are either complete or absent.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::place;

/// Marker file in a suite's folder: the suite is complete.
const COMPLETE: &str = "complete";

/// Fills `folder` with `fill`, unless an earlier run has done so.
pub fn once(folder: &Path, fill: impl FnOnce() -> Result<()>) -> Result<()> {
    if folder.join(COMPLETE).exists() {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    fill()?;
    place::write_whole(&folder.join(COMPLETE), b"")
}
