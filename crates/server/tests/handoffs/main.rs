//! Hand-offs between threads, in thousands of schedules.
//!
//! `src/handoff/*.rs` are compiled here over shuttle's types (`sync.rs` beside this file), so that these are the lines that
//! the server runs. shuttle plays one schedule after the other, and tells when nobody can go on: a wake was lost. Each
//! hand-off comes with a variant that is wrong in one place, and must be found.
//!
//! shuttle rather than loom: what makes relief work is that all see stores and loads marked `SeqCst` in one order, which
//! loom does not model; shuttle has no weaker orders to show. `SHUTTLE_RANDOM_SEED` plays another thousand schedules.

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

/// Schedules that a sound hand-off survives.
const SCHEDULES: usize = 2_000;
/// Switches at the worst moments: two are enough for every wrong variant here.
const SWITCHES: usize = 3;

/// No schedule has it wait for ever.
fn assert_sound(model: fn()) {
    shuttle::check_random(model, SCHEDULES);
    shuttle::check_pct(model, SCHEDULES, SWITCHES);
}

/// Some schedule has the wrong variant wait for ever, or break a promise.
fn assert_found(model: fn()) {
    let random = catch_unwind(|| shuttle::check_random(model, SCHEDULES));
    let worst = || catch_unwind(|| shuttle::check_pct(model, SCHEDULES, SWITCHES));
    assert!(random.is_err() || worst().is_err(), "the wrong variant is not found");
}

/// Items handed over, each of one byte.
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
