//! Scratch runner.
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
    for seed in from..from + count {
        let mut options = Options::new(seed, servers, run_ms);
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
