//! Stores as files, configurations that follow them, and sessions between them.

mod live;
mod sessions;
mod stores;
mod support;
