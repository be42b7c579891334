//! The engine: the work of a server, in turns, as pure code. The server's thread and the simulator
//! drive the same engine.
//!
//! A driver of a [`MemberEngine`] runs this loop:
//!
//! ```text
//! loop {
//!     // Wait for a link, a client of this server, or the time (`next_turn_ms`).
//!     engine.link_up(..) / link_down(..) / receive(..) / submit(..);
//!     engine.turn(..);
//!     while let Some(work) = engine.begin_disk(..) {
//!         let done = work();              // on any thread; may take long
//!         engine.finish_disk(done, ..)?;  // a full disk: restart from what is there
//!     }
//!     // Fetch a state if `take_want` asks for one.
//! }
//! ```
//!
//! During the work the driver may run further turns: the engine hears its peers, answers heartbeats
//! and takes part in elections, and what it stages meanwhile is the next work. So a slow disk makes
//! writes slow and nothing else.
//!
//! * [`member`]: a server of an ensemble. [`standalone`]: a standalone server.
//! * `housekeeping`: work that is due by time alone: expired sessions and znodes, and a shorter
//!   log.
//! * [`Outside`]: requests of the engine to its driver, and its events.

mod housekeeping;
pub mod member;
pub mod standalone;

pub use crate::outside::{Event, Outside};
pub use housekeeping::Reaping;
pub use member::{MemberEngine, MemberOptions, Moment};
pub use standalone::{StandaloneEngine, StandaloneOptions};
