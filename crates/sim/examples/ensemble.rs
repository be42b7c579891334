//! Scratch runner.
use oxkeeper_sim::Bug;
use oxkeeper_sim::ensemble::{Options, Report, run, trace};

fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|arg| arg.parse().expect("a number")).collect();
    let (from, count) = (args[0], args[1]);
    let servers = args.get(2).copied().unwrap_or(3);
    let run_ms = args.get(3).copied().unwrap_or(10_000);
    let calm = args.get(4).copied().unwrap_or(0);
    let mut total = Report::default();
    let mut failures = 0;
    let start = std::time::Instant::now();
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let wrong = args.get(5).copied().unwrap_or(0);
    for seed in from..from + count {
        let mut options = Options::new(seed, servers, run_ms);
        let bugs = &mut options.bugs;
        match wrong {
            1 => bugs.accepted_before_durable = true,
            2 => bugs.no_durability_gate = true,
            3 => bugs.forget_reconnected = true,
            4 => bugs.naive_install = true,
            5 => bugs.hasty_intake = true,
            6 => bugs.stale_clocks = true,
            7 => bugs.no_duplicate_filter = true,
            8 => options.bug = Bug::EventsAfterReplies,
            9 => options.bug = Bug::ExpiryByWallClock,
            10 => options.bug = Bug::NeverTrim,
            11 => options.bug = Bug::TurnBeforeMailbox,
            12 => options.bug = Bug::RepliesSwapped,
            _ => {}
        }
        if calm > 0 {
            options = Options {
                crash_every_ms: 0,
                wipe_every_ms: 0,
                cut_every_ms: 0,
                partition_every_ms: 0,
                pause_every_ms: 0,
                stall_every_ms: 0,
                full_every_ms: 0,
                wall_jump_every_ms: 0,
                client_cut_every_ms: 0,
                client_pause_every_ms: 0,
                leader_crash_every_ms: if calm > 1 { 4000 } else { 0 },
                ..options
            };
        }
        if args.len() > 6 {
            match wrong {
                1 | 2 => {
                    options = Options {
                        disk_beside: true,
                        disk_ms_max: options.heartbeat_ms / 5,
                        blackout_every_ms: 400,
                        stall_every_ms: 300,
                        crash_every_ms: 0,
                        leader_crash_every_ms: 0,
                        pause_every_ms: 0,
                        full_every_ms: 0,
                        wipe_every_ms: 0,
                        partition_every_ms: 0,
                        clients: 4,
                        think_ms_max: 10,
                        ..options
                    };
                }
                3 => {
                    options = Options {
                        cut_every_ms: 100,
                        partition_every_ms: 0,
                        blackout_every_ms: 0,
                        pause_every_ms: 0,
                        stall_every_ms: 0,
                        crash_every_ms: 0,
                        leader_crash_every_ms: 0,
                        full_every_ms: 0,
                        wipe_every_ms: 0,
                        client_pause_every_ms: 0,
                        window_len: 1 << 20,
                        ..options
                    };
                }
                _ => {}
            }
        }
        match std::panic::catch_unwind(|| run(&options)) {
            Ok(report) => total.add(&report),
            Err(_) => {
                failures += 1;
                println!("FAILED seed {seed}");
                if count == 1 {
                    println!("{}\n{options}", trace::text());
                }
            }
        }
    }
    let secs = start.elapsed().as_secs_f64();
    println!("{total}\n{failures} failures, {:.1} seeds/s", count as f64 / secs);
}
