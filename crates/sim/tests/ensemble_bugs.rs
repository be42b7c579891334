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
use oxkeeper_state::Level;

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
    check_of(3, what, seeds, names, wrong);
}

fn check_of(servers: u64, what: &str, seeds: u64, names: &[&str], wrong: impl Fn(Options) -> Options) {
    LazyLock::force(&SAID);
    let caught = (0..seeds).find(|&seed| {
        let options = wrong(Options::new(seed, servers, RUN_MS));
        catch_unwind(|| run(&options)).is_err()
    });
    let seed = caught.unwrap_or_else(|| panic!("{what} is not caught within {seeds} seeds"));
    let said = SAID.lock().expect("nobody panics while holding it").clone();
    println!("{what}: seed {seed}: {}", said.lines().next().unwrap_or_default());
    assert!(names.iter().any(|name| said.contains(name)), "{what} is caught for another reason: {said}");
}

/// Slow disks, stalls, and power that fails everywhere; nothing else.
fn disks(options: Options) -> Options {
    Options {
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

/// The leader is alone again and again; nothing else.
fn lonely(options: Options) -> Options {
    Options { lost_quorum_every_ms: 700, clients: 4, think_ms_max: 200, ..options.calm() }
}

/// Clients that are away for about as long as their sessions last, and followers that take their time; nothing else.
fn absences(options: Options) -> Options {
    Options {
        disk_ms_max: options.heartbeat_ms / 2,
        stall_every_ms: 300,
        client_pause_every_ms: 300,
        client_cut_every_ms: 200,
        clients: 5,
        think_ms_max: 10,
        ..options.calm()
    }
}

/// Candidates are cut off while those that have promised them something lose their disks; leaders hand over, so that there
/// are candidates.
fn promises(options: Options) -> Options {
    Options {
        lost_promise_once_in: 1,
        disk_ms_max: 20,
        peer_delay_ms_max: 5,
        hand_over_every_ms: 150,
        founders: options.servers,
        spares: 0,
        sync_len_max: 1 << 20,
        clients: 4,
        think_ms_max: 10,
        ..options.calm()
    }
}

/// Servers of two releases that come and go.
fn releases(options: Options) -> Options {
    Options { releases: [Level::KNOWN, Level::NEXT], crash_every_ms: 300, leader_crash_every_ms: 500, ..options.calm() }
}

/// Promises to others must notice it, without a look at the replica's invariants.
fn core(bugs: Bugs) -> impl Fn(Options) -> Options {
    move |options| Options { bugs, check: false, ..options }
}

/// The invariants must notice it.
fn invariants(bugs: Bugs) -> impl Fn(Options) -> Options {
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
    let lonely_clocks = Bugs { lonely_clocks: true, ..NONE };
    check("clocks without a quorum", 60, &["sessions:"], |options| lonely(core(lonely_clocks)(options)));
    let names = ["frames:", "liveness:", "history:"];
    check("stale expiry", 100, &["told:"], |options| absences(core(Bugs { stale_expiry: true, ..NONE })(options)));
    check("late end", 20, &names, |options| changes(core(Bugs { late_end: true, ..NONE })(options)));
    check("uncut log", 100, &names, |options| changes(core(Bugs { uncut_log: true, ..NONE })(options)));
    check("old promise", 20, &names, |options| changes(core(Bugs { old_promise: true, ..NONE })(options)));
    check("foreign frames", 20, &names, |options| changes(core(Bugs { foreign_frames: true, ..NONE })(options)));
    let levels = |bugs| move |options| releases(core(bugs)(options));
    check("hasty raise", 10, &["levels:"], levels(Bugs { hasty_raise: true, ..NONE }));
    check("entries of a level of one's own", 10, &["levels:"], levels(Bugs { own_level: true, ..NONE }));
    let unchecked = levels(Bugs { unchecked_entries: true, ..NONE });
    check("entries that are not checked", 60, &["levels:", "cannot be decoded"], unchecked);
    check("a level of one's own", 10, &["levels:"], |options| releases(shell(Bug::LevelOfItsOwn)(options)));
    let lasting = Bugs { lasting_configuration: true, ..NONE };
    check_of(5, "lost promises", 60, &["history:", "frames:"], |options| promises(core(lasting)(options)));
    // Those that break an invariant of one server, which its peers may never notice.
    const BROKEN: [&str; 1] = ["invariant:"];
    check("naive install", 20, &BROKEN, invariants(Bugs { naive_install: true, ..NONE }));
    check("hasty intake", 5, &BROKEN, invariants(Bugs { hasty_intake: true, ..NONE }));
    check("late end", 5, &BROKEN, |options| changes(invariants(Bugs { late_end: true, ..NONE })(options)));
    check("old promise", 5, &BROKEN, |options| changes(invariants(Bugs { old_promise: true, ..NONE })(options)));
    check("events after replies", 5, &["watches:"], shell(Bug::EventsAfterReplies));
    check("expiry by the wall's clock", 20, &["sessions:"], shell(Bug::ExpiryByWallClock));
    let eager = |options| Options { checkpoint_every_ms: 30, ..disks(shell(Bug::EagerCheckpoint)(options)) };
    check("a checkpoint ahead of the log", 100, &["recovery:"], eager);
    check("the log is never trimmed", 40, &["bounds:"], shell(Bug::NeverTrim));
    check("a turn before its mailbox", 20, &["watches:"], shell(Bug::TurnBeforeMailbox));
    check("a divergence", 20, &["agreement:"], shell(Bug::SilentDivergence));
    let overtaken = |options| changes(shell(Bug::ReconfigOvertaken)(options));
    check("a reconfig is overtaken on its connection", 20, &["order:", "watches:"], overtaken);
    check("replies swapped", 10, &["order:", "watches:", "zxids:"], shell(Bug::RepliesSwapped));
}
