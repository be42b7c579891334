//! Client connections and the threads that own them.

mod accept;
pub(crate) mod admission;
mod client;
pub(crate) mod listening;
pub(crate) mod thread;
