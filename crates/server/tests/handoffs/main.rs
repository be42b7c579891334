//! Hand-offs between threads, in thousands of schedules.
//!
//! `src/handoff/*.rs` is compiled here with shuttle's types (`sync.rs` in this directory), so the
//! tests run the same code as the server. shuttle runs one schedule after another, and reports a
//! deadlock, which means that a wake was lost. Each hand-off has a variant with one deliberate bug,
//! which must be found.
//!
//! We use shuttle rather than loom because relief works only if all threads see the stores and
//! loads marked `SeqCst` in one order, which loom does not model. shuttle does not model weaker
//! orders. `SHUTTLE_RANDOM_SEED` selects another thousand schedules.

#[path = "../../src/handoff/doze.rs"]
mod doze;
#[path = "../../src/handoff/errand.rs"]
mod errand;
#[path = "../../src/handoff/mailbox.rs"]
mod mailbox;
#[path = "../../src/handoff/proposing.rs"]
mod proposing;
mod sync;

mod bells;
mod boxes;
mod errands;
mod proposals;

use std::panic::catch_unwind;

use sync::Batch;

/// Number of schedules for a correct hand-off.
const SCHEDULES: usize = 2_000;
/// Number of switches at the worst moments: two suffice for every wrong variant here.
const SWITCHES: usize = 3;

/// Checks that no schedule deadlocks.
fn assert_sound(model: fn()) {
    shuttle::check_random(model, SCHEDULES);
    shuttle::check_pct(model, SCHEDULES, SWITCHES);
}

/// Checks that in some schedule the wrong variant deadlocks or breaks a promise.
fn assert_found(model: fn()) {
    let random = catch_unwind(|| shuttle::check_random(model, SCHEDULES));
    let worst = || catch_unwind(|| shuttle::check_pct(model, SCHEDULES, SWITCHES));
    assert!(random.is_err() || worst().is_err(), "the wrong variant is not found");
}

/// Items handed over, one byte each.
#[derive(Debug, Default)]
struct Things(Vec<u32>);

impl Batch for Things {
    const LEN_MAX: usize = 1;

    fn append_to(&mut self, other: &mut Things) {
        other.0.append(&mut self.0);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
