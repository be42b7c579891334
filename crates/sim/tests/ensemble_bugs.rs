//! Runs ensembles with deliberate defects: each must be caught within the number of seeds given
//! here. A checker that cannot fail is a defect.
//!
//! Some of the defects show only if several things go wrong at the right moments; their scenarios
//! have more of just these.

use std::panic::{catch_unwind, set_hook};
use std::sync::{LazyLock, Mutex};

use oxkeeper_replica::LocalSessions::Fixed;
use oxkeeper_replica::ensemble::Bugs;
use oxkeeper_sim::Bug;
use oxkeeper_sim::ensemble::Scenario::{
    self, Absences, Changes, Everything, Links, Lonely, Narrow, Power, Promises, Releases, ReplacedDisk,
};
use oxkeeper_sim::ensemble::{Options, RUN_MS, run};

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

/// Checks that the defect is caught within `seeds` seeds, as a violation of one of the promises in
/// `names`.
fn check(what: &str, scenario: Scenario, seeds: u64, names: &[&str], wrong: impl Fn(Options) -> Options) {
    check_of(3, what, scenario, seeds, names, wrong);
}

fn check_of(
    servers: u64,
    what: &str,
    scenario: Scenario,
    seeds: u64,
    names: &[&str],
    wrong: impl Fn(Options) -> Options,
) {
    LazyLock::force(&SAID);
    let caught = (0..seeds).find(|&seed| {
        let options = wrong(scenario.shape(Options::new(seed, servers, RUN_MS)));
        catch_unwind(|| run(&options)).is_err()
    });
    let seed = caught.unwrap_or_else(|| panic!("{what} is not caught within {seeds} seeds"));
    let said = SAID.lock().expect("nobody panics while holding it").clone();
    println!("{what}: seed {seed}: {}", said.lines().next().unwrap_or_default());
    assert!(names.iter().any(|name| said.contains(name)), "{what} is caught for another reason: {said}");
}

/// Enables bugs that a broken promise must reveal: the replica's invariants are not checked.
fn core(bugs: Bugs) -> impl Fn(Options) -> Options {
    move |options| Options { bugs, check: false, ..options }
}

/// Enables bugs that the replica's invariants must reveal.
fn invariants(bugs: Bugs) -> impl Fn(Options) -> Options {
    move |options| Options { bugs, ..options }
}

fn shell(bug: Bug) -> impl Fn(Options) -> Options {
    move |options| Options { bug, ..options }
}

/// Checks all bugs in one test, because they share the process's panic hook.
#[test]
fn every_bug_is_caught() {
    const NONE: Bugs = Bugs {
        accepted_before_durable: false,
        no_durability_gate: false,
        forget_reconnected: false,
        naive_install: false,
        early_proposals: false,
        no_duplicate_filter: false,
        lonely_clocks: false,
        stale_clocks: false,
        stale_expiry: false,
        uncut_log: false,
        old_promise: false,
        late_end: false,
        foreign_frames: false,
        hasty_raise: false,
        own_level: false,
        unchecked_entries: false,
        lasting_configuration: false,
    };
    const HISTORY: [&str; 2] = ["history:", "frames:"];
    const LIVENESS: [&str; 3] = ["liveness:", "frames:", "history:"];
    check("accepted before durable", Power, 100, &HISTORY, core(Bugs { accepted_before_durable: true, ..NONE }));
    check("no durability gate", Power, 150, &HISTORY, core(Bugs { no_durability_gate: true, ..NONE }));
    check("lost reconnected", Links, 50, &LIVENESS, core(Bugs { forget_reconnected: true, ..NONE }));
    check("naive install", Everything, 50, &HISTORY, core(Bugs { naive_install: true, ..NONE }));
    check("early proposals", Everything, 10, &["liveness:", "once:"], core(Bugs { early_proposals: true, ..NONE }));
    let repeats = core(Bugs { no_duplicate_filter: true, ..NONE });
    check("no duplicate filter", Everything, 40, &["zxids:", "left == right"], repeats);
    check("stale clocks", Everything, 20, &["sessions:"], core(Bugs { stale_clocks: true, ..NONE }));
    check("clocks without a quorum", Lonely, 60, &["sessions:"], core(Bugs { lonely_clocks: true, ..NONE }));
    check("stale expiry", Absences, 100, &["told:"], core(Bugs { stale_expiry: true, ..NONE }));
    let any = [&LIVENESS[..], &["invariant: the log ends"]].concat();
    check("late end", Changes, 20, &any, core(Bugs { late_end: true, ..NONE }));
    check("uncut log", Changes, 100, &LIVENESS, core(Bugs { uncut_log: true, ..NONE }));
    check("old promise", Changes, 20, &LIVENESS, core(Bugs { old_promise: true, ..NONE }));
    check("foreign frames", Changes, 20, &LIVENESS, core(Bugs { foreign_frames: true, ..NONE }));
    check("hasty raise", Releases, 10, &["levels:"], core(Bugs { hasty_raise: true, ..NONE }));
    check("entries of a level of one's own", Releases, 10, &["levels:"], core(Bugs { own_level: true, ..NONE }));
    let unchecked = core(Bugs { unchecked_entries: true, ..NONE });
    check("entries that are not checked", Releases, 60, &["levels:", "cannot be decoded"], unchecked);
    check("a level of one's own", Releases, 10, &["levels:"], shell(Bug::LevelOfItsOwn));
    // A server that has lost its disk must be back before the candidate is; slow restarts would
    // hide the bug.
    let lasting = |options: Options| core(Bugs { lasting_configuration: true, ..NONE })(options.as_it_was());
    check_of(5, "lost promises", Promises, 200, &HISTORY, lasting);
    // Bugs that break an invariant of one server, which its peers may never notice.
    const BROKEN: [&str; 1] = ["invariant:"];
    check("naive install", Everything, 40, &BROKEN, invariants(Bugs { naive_install: true, ..NONE }));
    check("early proposals", Everything, 5, &BROKEN, invariants(Bugs { early_proposals: true, ..NONE }));
    check("late end", Changes, 5, &BROKEN, invariants(Bugs { late_end: true, ..NONE }));
    check("old promise", Changes, 5, &BROKEN, invariants(Bugs { old_promise: true, ..NONE }));
    check("events after replies", Everything, 5, &["watches:"], shell(Bug::EventsAfterReplies));
    check("expiry by the wall's clock", Everything, 20, &["sessions:"], shell(Bug::ExpiryByWallClock));
    let eager = |options| Options { checkpoint_every_ms: 30, ..shell(Bug::EagerCheckpoint)(options) };
    let drifting = |options| Options { drift_ppm_max: 20_000, ..shell(Bug::ForeignClock)(options) };
    check("sessions are heard by another clock", Everything, 20, &["sessions:"], drifting);
    let alone = |options| Options { read_only_after_ms: 100, ..shell(Bug::ReadOnlyWrites)(options) };
    check("reads-only service takes writes", Lonely, 20, &["read-only:"], alone);
    let local = |options| Options { local_sessions: Fixed, ..shell(Bug::LocalEndsWithConnection)(options) };
    check("local sessions end with their connections", Absences, 10, &["local:"], local);
    check("a checkpoint ahead of the log", Power, 100, &["recovery:"], eager);
    check("the log is never trimmed", Everything, 40, &["bounds:"], shell(Bug::NeverTrim));
    check("a turn before its mailbox", Everything, 20, &["watches:"], shell(Bug::TurnBeforeMailbox));
    check("a divergence", Everything, 20, &["agreement:"], shell(Bug::SilentDivergence));
    let overtaken = shell(Bug::ReconfigOvertaken);
    check("a reconfig is overtaken on its connection", Changes, 20, &["order:", "watches:"], overtaken);
    check("one lane", Narrow, 20, &["progress:", "liveness:"], shell(Bug::OneLane));
    check("a pin ends with its transfer", ReplacedDisk, 20, &["progress:"], shell(Bug::PinEndsWithTransfer));
    check("replies swapped", Everything, 10, &["order:", "watches:", "zxids:"], shell(Bug::RepliesSwapped));
}
