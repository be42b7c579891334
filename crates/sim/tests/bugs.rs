//! Runs servers with deliberate defects: each must be caught within the number of seeds given here.
//! A checker that cannot fail is a defect.

use std::panic::{catch_unwind, set_hook};
use std::sync::{LazyLock, Mutex};

use oxkeeper_sim::{Bug, Options, STEPS, run};

/// Message of the last panic.
static SAID: LazyLock<Mutex<String>> = LazyLock::new(|| {
    set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let fixed = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = fixed.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        *SAID.lock().expect("nobody panics while holding it") = text;
    }));
    Mutex::default()
});

/// Returns the first seed, from 0 on, that catches the bug, and the checker's message.
fn first_catch(bug: Bug, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| {
        let options = Options { bug, ..Options::new(seed, STEPS) };
        catch_unwind(|| run(&options)).err()?;
        Some((seed, SAID.lock().expect("nobody panics while holding it").clone()))
    })
}

/// Checks that the bug is caught within `seeds` seeds, as a violation of one of the promises in
/// `names`.
fn check(bug: Bug, seeds: u64, names: &[&str]) {
    LazyLock::force(&SAID);
    let caught = first_catch(bug, seeds);
    let (seed, said) = caught.unwrap_or_else(|| panic!("{bug:?} is not caught within {seeds} seeds"));
    println!("{bug:?}: seed {seed}: {}", said.lines().next().unwrap_or_default());
    assert!(names.iter().any(|name| said.contains(name)), "{bug:?} is caught for another reason: {said}");
}

/// Checks all bugs in one test, because they share the process's panic hook.
#[test]
fn every_bug_is_caught() {
    check(Bug::EarlyDurability, 10, &["durable:"]);
    check(Bug::LoseLastEntry, 5, &["durable:"]);
    check(Bug::EventsAfterReplies, 5, &["watches:"]);
    check(Bug::TurnBeforeMailbox, 10, &["watches:"]);
    check(Bug::NoPauseGuard, 10, &["sessions:"]);
    check(Bug::NeverExpire, 5, &["sessions:"]);
    check(Bug::CloseWithConnection, 5, &["sessions:"]);
    check(Bug::FailedCheckpointCounts, 20, &["digest, size", "name their znodes", "contents:", "recovery:"]);
    check(Bug::CheckpointWithinEntry, 40, &["zxids:", "digest:"]);
    check(Bug::RefusedIsLogged, 10, &["refused:", "durable:"]);
    check(Bug::ApplyTwice, 5, &["zxids:"]);
    check(Bug::TrimTooFar, 10, &["recovery:"]);
    check(Bug::NeverTrim, 10, &["bounds:"]);
    check(Bug::WatchesStay, 5, &["bounds:"]);
    check(Bug::RepliesSwapped, 10, &["order:"]);
    check(Bug::FlippedBit, 5, &["zxids:", "contents:", "watches:", "order:"]);
}
