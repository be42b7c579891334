//! The engine: what a server does in turns, as pure code. The server's thread and the simulator drive the same one.
//!
//! The loop of a driver of a [`MemberEngine`]:
//!
//! ```text
//! loop {
//!     // Wait until a link, own clients or the time (`next_turn_ms`) have something.
//!     engine.link_up(..) / link_down(..) / receive(..) / submit(..);
//!     engine.turn(..);
//!     while let Some(work) = engine.begin_disk(..) {
//!         let done = work();              // on any thread, as long as it takes
//!         engine.finish_disk(done, ..)?;  // a full disk: start anew from what is there
//!     }
//!     // A state to fetch, if `take_want` says so.
//! }
//! ```
//!
//! While the work goes on, the driver may have the engine take further turns: it hears its peers, answers heartbeats and elects,
//! and what it stages meanwhile is the next work. So a slow disk makes writes slow and nothing else.
//!
//! * [`member`]: an ensemble's server. [`standalone`]: a standalone server.
//! * `housekeeping`: what time alone brings about: sessions and znodes that are over, a shorter log.
//! * [`outside`]: what the engine needs done, and what it tells.

mod housekeeping;
pub mod member;
pub mod outside;
pub mod standalone;

pub use housekeeping::Reaping;
pub use member::{MemberEngine, MemberOptions, Moment};
pub use outside::{Event, Outside};
pub use standalone::{StandaloneEngine, StandaloneOptions};
