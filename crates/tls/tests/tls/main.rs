//! Stores as files, configurations that follow them, and sessions between them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod live;
mod sessions;
mod stores;
mod support;
mod version1;
