//! Hand-offs between threads. No thread sleeps while it has work.
//!
//! Each file is one hand-off. It uses only the types of `sync` and is generic over the items handed
//! over. This allows the same files to be compiled a second time with the types of shuttle:
//! `tests/handoffs` runs them in thousands of schedules, and shows for each that a wrong variant is
//! detected. `cargo test -p oxkeeper-server --test handoffs`.
//!
//! * [`proposing`]: commands to the engine, its sleep and its end.
//! * [`mailbox`]: deliveries and orders to a thread that owns connections; waiting for room.
//! * [`doze`]: the engine's sleep while it waits for several sources.
//! * [`errand`]: tries the last requested place last, one thread at a time.

pub(crate) mod doze;
pub(crate) mod errand;
pub(crate) mod mailbox;
pub(crate) mod proposing;
pub(crate) mod sync;
