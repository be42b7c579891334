//! Several servers in one process: an ensemble at work, restarts, bad disks, and bad input at the
//! peer port.
//!
//! No test depends on luck: tests wait for events that must happen, and stalls last until the test
//! ends them. A test asserts a duration only if the duration is what is promised, and then with a
//! margin.

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
