//! How threads hand things to each other, and how none of them sleeps while it has something to do.
//!
//! Each file is one hand-off, over the types of `sync` alone and without a line about what is handed over. So the same
//! files are compiled a second time, over the types of shuttle: `tests/handoffs` runs them in thousands of schedules, and
//! shows for each that a wrong variant is found. `cargo test -p oxkeeper-server --test handoffs`.
//!
//! * [`proposing`]: commands to the engine, its sleep, its end.
//! * [`mailbox`]: deliveries and orders to a thread that owns connections; who waits for room.
//! * [`doze`]: the engine's sleep where it waits for several things.
//! * [`errand`]: the last place asked for is tried last, by one thread at a time.

pub(crate) mod doze;
pub(crate) mod errand;
pub(crate) mod mailbox;
pub(crate) mod proposing;
pub(crate) mod sync;
