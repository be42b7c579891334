//! Interfaces for administrators: four-letter words, HTTP, metrics.

pub(crate) mod admin;
pub(crate) mod facts;
pub(crate) mod metrics;
pub(crate) mod words;
