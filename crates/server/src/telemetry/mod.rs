//! What threads write down while they work, for those who look: counters, role, heartbeats, logs with a purpose.

pub(crate) mod audit;
pub(crate) mod counters;
pub(crate) mod histogram;
pub(crate) mod report;
pub(crate) mod role;
pub(crate) mod slow;
pub(crate) mod throttle;
pub(crate) mod watchdog;
