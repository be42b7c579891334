//! Ensembles that are wrong on purpose: each must be caught within the seeds named here. A checker that cannot fail is a
//! defect.
//!
//! Some of the variants need several things to go wrong at the right moments. The runs that look for them have more of
//! just these; how many seeds it takes without such help is in docs/architecture.md.

use std::panic::{catch_unwind, set_hook};
use std::sync::{LazyLock, Mutex};

use oxkeeper_replica::ensemble::Bugs;
use oxkeeper_sim::Bug;
use oxkeeper_sim::ensemble::{Options, RUN_MS, run};

/// What the last panic said.
static SAID: LazyLock<Mutex<String>> = LazyLock::new(|| {
    set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let fixed = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = fixed.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        *SAID.lock().expect("nobody panics while holding it") = text;
    }));
    Mutex::default()
});

/// Caught within so many seeds. `names` are those of the promises one of which must be found broken.
fn check(what: &str, seeds: u64, names: &[&str], wrong: impl Fn(Options) -> Options) {
    LazyLock::force(&SAID);
    let caught = (0..seeds).find(|&seed| {
        let options = wrong(Options::new(seed, 3, RUN_MS));
        catch_unwind(|| run(&options)).is_err()
    });
    let seed = caught.unwrap_or_else(|| panic!("{what} is not caught within {seeds} seeds"));
    let said = SAID.lock().expect("nobody panics while holding it").clone();
    println!("{what}: seed {seed}: {}", said.lines().next().unwrap_or_default());
    assert!(names.iter().any(|name| said.contains(name)), "{what} is caught for another reason: {said}");
}

/// Slow disks beside which frames are handled, stalls, and power that fails everywhere; nothing else.
fn disks(options: Options) -> Options {
    Options {
        disk_beside: true,
        disk_ms_max: options.heartbeat_ms / 5,
        blackout_every_ms: 400,
        stall_every_ms: 300,
        clients: 4,
        think_ms_max: 10,
        ..options.calm()
    }
}

/// Links that break while little is said; nothing else.
fn links(options: Options) -> Options {
    Options {
        cut_every_ms: 100,
        peer_delay_ms_max: options.heartbeat_ms / 6,
        clients: 1,
        think_ms_max: 200,
        depth: 1,
        window_len: 1 << 20,
        ..options.calm()
    }
}

/// Others vote, and others again; servers crash in between.
fn changes(options: Options) -> Options {
    Options {
        reconfig_every_ms: 150,
        spares: 2,
        leader_crash_every_ms: 500,
        crash_every_ms: 700,
        cut_every_ms: 300,
        hand_over_every_ms: 700,
        clients: 4,
        think_ms_max: 10,
        ..options.calm()
    }
}

fn core(bugs: Bugs) -> impl Fn(Options) -> Options {
    move |options| Options { bugs, ..options }
}

fn shell(bug: Bug) -> impl Fn(Options) -> Options {
    move |options| Options { bug, ..options }
}

/// One test, because the bugs share the process's panic hook.
#[test]
fn every_bug_is_caught() {
    const NONE: Bugs = Bugs {
        accepted_before_durable: false,
        no_durability_gate: false,
        forget_reconnected: false,
        naive_install: false,
        hasty_intake: false,
        no_duplicate_filter: false,
        stale_clocks: false,
        uncut_log: false,
        old_promise: false,
        late_end: false,
        foreign_frames: false,
    };
    let early = Bugs { accepted_before_durable: true, ..NONE };
    check("accepted before durable", 100, &["history:"], |options| disks(core(early)(options)));
    let ungated = Bugs { no_durability_gate: true, ..NONE };
    check("no durability gate", 100, &["history:", "frames:"], |options| disks(core(ungated)(options)));
    let forgetful = Bugs { forget_reconnected: true, ..NONE };
    check("lost reconnected", 50, &["liveness:", "frames:", "history:"], |options| links(core(forgetful)(options)));
    check("naive install", 50, &["frames:", "history:"], core(Bugs { naive_install: true, ..NONE }));
    check("hasty intake", 10, &["liveness:", "once:"], core(Bugs { hasty_intake: true, ..NONE }));
    check("no duplicate filter", 40, &["zxids:", "left == right"], core(Bugs { no_duplicate_filter: true, ..NONE }));
    check("stale clocks", 20, &["sessions:"], core(Bugs { stale_clocks: true, ..NONE }));
    let names = ["frames:", "liveness:", "history:"];
    check("late end", 20, &names, |options| changes(core(Bugs { late_end: true, ..NONE })(options)));
    check("uncut log", 100, &names, |options| changes(core(Bugs { uncut_log: true, ..NONE })(options)));
    check("old promise", 20, &names, |options| changes(core(Bugs { old_promise: true, ..NONE })(options)));
    check("foreign frames", 20, &names, |options| changes(core(Bugs { foreign_frames: true, ..NONE })(options)));
    check("events after replies", 5, &["watches:"], shell(Bug::EventsAfterReplies));
    check("expiry by the wall's clock", 20, &["sessions:"], shell(Bug::ExpiryByWallClock));
    let eager = |options| Options { checkpoint_every_ms: 30, ..disks(shell(Bug::EagerCheckpoint)(options)) };
    check("a checkpoint ahead of the log", 100, &["recovery:"], eager);
    check("the log is never trimmed", 40, &["bounds:"], shell(Bug::NeverTrim));
    check("a turn before its mailbox", 20, &["watches:"], shell(Bug::TurnBeforeMailbox));
    let narrow = |bug| move |options: Options| Options { bug, ..options.narrow() };
    check("one lane", 20, &["progress:", "liveness:"], narrow(Bug::OneLane));
    let replaced = |options: Options| Options { bug: Bug::PinEndsWithTransfer, ..options.replaced_disk() };
    check("a pin ends with its transfer", 20, &["progress:"], replaced);
    check("replies swapped", 10, &["order:", "watches:", "zxids:"], shell(Bug::RepliesSwapped));
}
