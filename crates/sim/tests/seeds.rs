//! Runs fixed seeds, seeds that once found a defect, and a few new ones.

use std::panic::catch_unwind;
use std::time::{SystemTime, UNIX_EPOCH};

use oxkeeper_sim::{Options, Report, STEPS, replay_command, run};

/// Seeds whose runs are the same on every machine.
const FIXED: std::ops::Range<u64> = 0..40;
/// Seeds that once found a defect, and the defect.
const REGRESSIONS: [(u64, &str); 5] = [
    (73, "connections: a write on an older connection happened behind one on the newer connection of its session"),
    (239, "the same, at the first request of a session"),
    (2200, "the simulator: a run did not settle while any client had a ping outstanding"),
    (10100, "the simulator: a session that was called invalid is revived by a crash before its end is durable"),
    (4229, "clocks: a pause was added to what was heard after it"),
];
/// Number of new seeds.
const FRESH_COUNT: u64 = 8;

fn check(seeds: impl Iterator<Item = u64>) -> Report {
    let mut total = Report::default();
    for seed in seeds {
        let options = Options::new(seed, STEPS);
        let report = catch_unwind(|| run(&options));
        total.add(&report.unwrap_or_else(|_| panic!("{options}\nreplay: {}", replay_command(&options))));
    }
    total
}

#[test]
fn fixed_seeds_keep_every_promise() {
    let report = check(FIXED);
    println!("{report}");
    assert!(report.commands > 2_000 && report.events > 1_000, "the runs do something: {report}");
    assert!(report.starts > 50 && report.checkpoints > 50, "the runs meet faults: {report}");
}

#[test]
fn regressions_keep_every_promise() {
    for (seed, what) in REGRESSIONS {
        println!("{seed}: {what}");
        check([seed].into_iter());
    }
}

#[test]
fn fresh_seeds_keep_every_promise() {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let first = since.as_nanos() as u64 % 1_000_000_000;
    println!("fresh seeds {first}..{}", first + FRESH_COUNT);
    check(first..first + FRESH_COUNT);
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    let options = Options::new(7, STEPS);
    assert_eq!(run(&options), run(&options));
}
