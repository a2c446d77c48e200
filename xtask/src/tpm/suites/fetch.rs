//! Folders of suites that are complete or not there.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::place;

/// Says, in a suite's folder, that it is complete.
const COMPLETE: &str = "complete";

/// Fills `folder` by `fill`, unless an earlier run did.
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
