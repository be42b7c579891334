//! Records that threads keep for observers: counters, role, heartbeats and special-purpose logs.

pub(crate) mod audit;
pub(crate) mod counters;
pub(crate) mod histogram;
pub(crate) mod report;
pub(crate) mod role;
pub(crate) mod slow;
pub(crate) mod throttle;
pub(crate) mod watchdog;
