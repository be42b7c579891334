//! HTTP for administrators: ZooKeeper's commands as JSON, metrics for Prometheus, and three health
//! checks.
//!
//! One thread has its own runtime, so that a slow client or a long answer never delays a thread
//! that serves ZooKeeper clients. Limits on connections, headers, bodies and time bound the
//! resources that a stranger can take. Invariant: it starts before recovery and ends after
//! everything else, so that it can report both.
//!
//! Reading order: [`server`], [`site`], [`commands`], [`replies`], [`snapshots`], [`health`],
//! [`exposition`], [`authority`], [`json`].
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
