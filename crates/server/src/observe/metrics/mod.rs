//! Metrics by name, and grouped into families for exporters.

pub(crate) mod family;
mod figures;
mod own;
mod process;
mod quota;
pub(crate) mod windows;
mod zookeeper;

pub(crate) use figures::{Figures, summary};
pub(crate) use quota::quotas;
