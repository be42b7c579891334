//! HTTP for administrators: ZooKeeper's commands as JSON, metrics for Prometheus, and three questions about health.
//!
//! One thread with a runtime of its own, so that a slow client or a long answer never holds up a thread that serves
//! ZooKeeper clients; limits on connections, headers, bodies and time, so that a stranger cannot take more than them.
//! Invariant: it starts before recovery and ends after everything else, so that it can tell of both.
//!
//! Reading order: [`server`], [`site`], [`commands`], [`replies`], [`snapshots`], [`health`], [`exposition`], [`authority`],
//! [`json`].
//! Source: `JettyAdminServer`, `Commands`, `JsonOutputter`, `PrometheusMetricsProvider`.

mod authority;
mod commands;
mod exposition;
mod health;
mod json;
mod replies;
mod server;
mod site;
mod snapshots;

pub(crate) use authority::Rules;
pub(crate) use server::{AdminServer, Busy, bind};
pub(crate) use site::{Port, Site};
