//! Tests of store files, of configurations that follow them, and of sessions that use them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod live;
mod sessions;
mod stores;
mod support;
mod version1;
