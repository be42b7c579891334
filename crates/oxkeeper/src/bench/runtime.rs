//! The runtime of everything that is not measured.

use anyhow::{Context, Result};

/// Makes a runtime for the general client, on this thread.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("tokio runtime")
}
