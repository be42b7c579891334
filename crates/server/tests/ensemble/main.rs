//! Several servers in one process: an ensemble at work, restarted, on bad disks, with bad input at its peers' port.
//!
//! No test waits for luck: what must happen is waited for, and stalls last until the test ends them. A time is asserted
//! only where the promise is one of time, and then with a margin.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod bad_disks;
mod bad_input;
mod behind;
mod divergence;
mod frames;
mod group;
mod groups;
mod health;
mod levels;
mod members;
mod numbers;
mod one_voter;
mod pure;
mod read_only;
mod refused;
mod restarts;
mod resumed;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod visible;
mod wildcards;
mod work;
