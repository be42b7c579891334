//! Runs ensembles with fixed seeds, seeds that once found a defect, and a few new ones.

use std::panic::catch_unwind;
use std::time::{SystemTime, UNIX_EPOCH};

use oxkeeper_replica::LocalSessions;
use oxkeeper_sim::ensemble::{Options, RUN_MS, Report, Scenario, replay_command, run, trace};
use oxkeeper_state::Level;

/// Seeds whose runs are the same on every machine.
const FIXED: std::ops::Range<u64> = 0..60;
const FIXED_OF_FIVE: std::ops::Range<u64> = 0..15;
/// Seeds that find a defect if its fix is reverted, with the number of servers and the defect.
const REGRESSIONS: [(u64, u64, &str); 8] = [
    (19, 3, "a server was told, again and again, to fetch a state although all it lacked was not decided yet"),
    (
        669,
        3,
        "the decided index was durable before the entries: after a loss of power the server did not start any more",
    ),
    (15_417, 3, "a late write of a session's older connection came behind its newer one's"),
    (20_268, 3, "a leader of a configuration that had ended was told to fetch the state, and did not because it led"),
    (
        202_869,
        5,
        "a voter that installed the state of a server without a vote had no round, and was offered decided entries",
    ),
    (209_898, 3, "the same, after its disk was lost"),
    (1_000_661, 3, "copies of a Promise, each answered with a synchronisation from the same index"),
    (300_600, 3, "a leader without its majority forgave itself a pause, and its session clocks went by that"),
];
/// Number of new seeds.
const FRESH_COUNT: u64 = 20;

fn check(seeds: impl Iterator<Item = u64>, servers: u64) -> Report {
    check_in(Scenario::Everything, seeds, servers)
}

fn check_in(scenario: Scenario, seeds: impl Iterator<Item = u64>, servers: u64) -> Report {
    let options = seeds.map(|seed| scenario.shape(Options::new(seed, servers, RUN_MS)));
    check_all(scenario, options)
}

fn check_all(scenario: Scenario, all: impl Iterator<Item = Options>) -> Report {
    let mut total = Report::default();
    for options in all {
        let report = catch_unwind(|| run(&options));
        let failed = |_| panic!("{}{options}\nreplay: {}", trace::text(), replay_command(&options, scenario));
        total.add(&report.unwrap_or_else(failed));
    }
    total
}

#[test]
fn fixed_seeds_of_three_servers_keep_every_promise() {
    let report = check(FIXED, 3);
    println!("{report}");
    assert!(report.commands > 5_000 && report.events > 2_000 && report.expired > 50, "the runs do something: {report}");
    assert!(report.epochs > 150 && report.crashes > 150 && report.checkpoints > 500, "the runs meet faults: {report}");
    assert!(report.wipes > 5 && report.installed > 50, "servers join again: {report}");
}

#[test]
fn fixed_seeds_of_five_servers_keep_every_promise() {
    let report = check(FIXED_OF_FIVE, 5);
    println!("{report}");
    assert!(report.commands > 1_000 && report.epochs > 30, "the runs do something: {report}");
}

#[test]
fn regressions_keep_every_promise() {
    for (seed, servers, what) in REGRESSIONS {
        println!("{seed}: {what}");
        let options = Options::new(seed, servers, RUN_MS);
        check_all(Scenario::Everything, [options.clone(), options.as_it_was()].into_iter());
    }
}

/// Servers of this release and of the next one come and go in any order.
#[test]
fn upgrades_keep_every_promise() {
    let (mut total, next) = (Report::default(), [Level::KNOWN, Level::NEXT]);
    for (seed, servers) in (0..30).map(|seed| (seed, 3)).chain((0..6).map(|seed| (seed, 5))) {
        let options = Options { releases: next, crash_every_ms: 400, ..Options::new(seed, servers, RUN_MS) };
        let report = catch_unwind(|| run(&options));
        total.add(&report.unwrap_or_else(|_| panic!("{}{options}", trace::text())));
    }
    println!("{total}");
    assert!(total.outdated > 5, "older releases come too late: {total}");
}

#[test]
fn fresh_seeds_keep_every_promise() {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let first = since.as_nanos() as u64 % 1_000_000_000;
    println!("fresh seeds {first}..{}", first + FRESH_COUNT);
    check(first..first + FRESH_COUNT, 3);
}

/// Servers that have lost their quorum serve clients that only read.
#[test]
fn read_only_mode_keeps_every_promise() {
    let options = |seed| Options { read_only_after_ms: 100, read_only_clients: 5, ..Options::new(seed, 3, RUN_MS) };
    let all = (0..40).map(|seed| Scenario::Lonely.shape(options(seed)));
    let total = check_all(Scenario::Lonely, all.chain((0..20).map(options)));
    println!("{total}");
    assert!(total.read_only_replies > 1_000 && total.local > 50, "reads are served: {total}");
}

/// New sessions are known to one server only, either for life or until they create an ephemeral.
#[test]
fn local_sessions_keep_every_promise() {
    for local_sessions in [LocalSessions::Fixed, LocalSessions::Upgrading] {
        let options = |seed| Options { local_sessions, ..Options::new(seed, 3, RUN_MS) };
        let absences = (0..20).map(|seed| Scenario::Absences.shape(options(seed)));
        let total = check_all(Scenario::Everything, (0..20).map(options).chain(absences));
        println!("{local_sessions:?}: {total}");
        assert!(total.local > 100 && total.local_expired > 30, "there are such sessions: {total}");
        assert_eq!(total.upgraded > 30, local_sessions == LocalSessions::Upgrading, "they are upgraded: {total}");
    }
}

/// Members that do not vote receive everything, serve, and never take part in elections.
#[test]
fn observers_keep_every_promise() {
    let options = |seed| Options { observing: true, spares: 2, reconfig_every_ms: 0, ..Options::new(seed, 3, RUN_MS) };
    let total = check_all(Scenario::Everything, (0..20).map(options));
    println!("{total}");
    assert!(total.installed > 10 && total.commands > 1_000, "they join: {total}");
}

/// A second leader right after the first would cost clients a pause.
#[test]
fn an_ensemble_is_founded_with_one_election() {
    for seed in 0..30 {
        let options = Options { initialize: false, ..Options::new(seed, 3, 1_000).calm() };
        assert_eq!(run(&options).unsettled_epochs, 1, "{}{options}", trace::text());
    }
}

/// An ensemble grows from one voter, shrinks to another one, and so on.
#[test]
fn one_voter_keeps_every_promise() {
    let mut total = Report::default();
    for seed in 0..12 {
        let options = Options::new(seed, 3, RUN_MS);
        let options = Options {
            founders: 1,
            one_voter: true,
            reconfig_every_ms: 200,
            wipe_every_ms: 0,
            lost_promise_once_in: 0,
            ..options
        };
        total.add(&run(&options));
    }
    println!("{total}");
    assert!(total.alone > 500 && total.configurations > 25 && total.crashes > 50, "one voter decides: {total}");
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    let options = Options::new(7, 3, RUN_MS);
    assert_eq!(run(&options), run(&options));
}

/// A slow disk makes writes slow, but must not make another server lead.
#[test]
fn a_leader_with_a_slow_disk_goes_on_leading() {
    for disk_ms in [200, 300, 600, 1_000] {
        for seed in 0..5 {
            let options = Options::new(seed, 3, 30_000).by_default();
            let options = Options { disk_ms_min: disk_ms, disk_ms_max: disk_ms, ..options };
            let report = run(&options);
            // Two servers may stand for the first election.
            let epochs = report.unsettled_epochs;
            assert!(epochs <= 2, "{disk_ms} ms, seed {seed}: {}{options}", trace::text());
            // On average at least one command for every other disk write.
            let writes = 30_000 / disk_ms;
            assert!(report.commands > writes / 2, "{disk_ms} ms, seed {seed}: {} commands", report.commands);
        }
    }
}

/// The links are so narrow that sending what a follower missed takes longer than a link may be
/// silent.
#[test]
fn a_narrow_network_keeps_its_leader() {
    let total = check_in(Scenario::Narrow, 0..40, 3);
    println!("{total}");
    assert!(total.commands > 5_000, "there is load: {total}");
}

#[test]
fn a_blank_server_joins_while_the_load_goes_on() {
    let total = check_in(Scenario::ReplacedDisk, 0..40, 3);
    println!("{total}");
    assert!(total.wipes > 40 && total.installed <= 2 * total.wipes, "a state is fetched once: {total}");
}

/// A crashed leader is replaced by a single election.
#[test]
fn a_leader_that_crashes_is_replaced_by_one_election() {
    let (mut crashes, mut epochs) = (0, 0);
    for seed in 0..20 {
        let options = Scenario::Failover.shape(Options::new(seed, 3, 30_000)).as_it_was();
        let report = run(&options);
        // At the end all three servers lose power.
        crashes += report.crashes - 3;
        epochs += report.unsettled_epochs - 1;
    }
    println!("{crashes} crashes, {epochs} epochs");
    // In seeds 0 to 39, at one minute each, 16 of 465 crashes took two elections.
    assert!(crashes > 80 && epochs <= crashes + crashes / 10, "{crashes} crashes, {epochs} epochs");
}
