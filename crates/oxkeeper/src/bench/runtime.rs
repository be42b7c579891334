//! The runtime of whatever is not measured.

use anyhow::{Context, Result};

/// A runtime for the general client, on this thread.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("tokio runtime")
}
