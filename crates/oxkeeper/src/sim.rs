//! `oxkeeper sim`: runs the simulator. The same seed produces the same run on every machine.

use std::time::{Duration, Instant};

use clap::Args;
use oxkeeper_sim::ensemble::{self, Scenario, trace};
use oxkeeper_sim::figures::Count;
use oxkeeper_sim::{Options, Report, STEPS, replay_command, run};

/// Time between two progress lines.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
const MINUTE_MS: u64 = 60_000;

/// Options of `oxkeeper sim`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  oxkeeper sim --seed 1 --count 100
  oxkeeper sim --seed 42 --servers 5 --scenario power --minutes 1")]
pub(crate) struct SimArgs {
    /// First seed
    #[arg(long)]
    seed: u64,
    /// Number of seeds
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Servers: an ensemble, or 1 for a standalone server
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=7))]
    servers: u64,
    /// Faults of an ensemble: everything, power, links, changes, lonely, absences, promises, releases, narrow, replaced-disk,
    /// failover
    #[arg(long, default_value = "everything")]
    scenario: Scenario,
    /// Simulated minutes until the faults of an ensemble stop [default: 3 seconds]
    #[arg(long, conflicts_with = "steps", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: Option<u64>,
    /// Steps of each run of a standalone server before its faults stop
    #[arg(long, default_value_t = STEPS)]
    steps: u64,
}

/// Runs the seeds and prints a verdict. A broken promise ends the process after printing the promise, the
/// preceding events, and the command that replays the run.
pub(crate) fn run_seeds(args: &SimArgs) {
    if args.servers > 1 { run_ensembles(args) } else { run_alone(args) }
}

fn run_ensembles(args: &SimArgs) {
    let run_ms = args.minutes.map_or(ensemble::RUN_MS, |minutes| minutes * MINUTE_MS);
    let mut total = ensemble::Report::default();
    each(args, |seed| {
        let options = args.scenario.shape(ensemble::Options::new(seed, args.servers, run_ms));
        if args.count == 1 {
            say!("{options}");
        }
        let text = format!("{options}\nreplay: {}", ensemble::replay_command(&options, args.scenario));
        std::panic::set_hook(Box::new(move |panic| eprintln!("{}\n{panic}\n\n{text}", trace::text())));
        total.add(&ensemble::run(&options));
        if args.count == 1 {
            say!("{}", trace::text());
        }
    });
    say!("{total}\n{}", total.verdict(args.count));
}

fn run_alone(args: &SimArgs) {
    let mut total = Report::default();
    each(args, |seed| {
        let options = Options::new(seed, args.steps);
        if args.count == 1 {
            say!("{options}");
        }
        // A broken promise panics, and a panic ends a release build immediately.
        let text = format!("{options}\nreplay: {}", replay_command(&options));
        std::panic::set_hook(Box::new(move |panic| eprintln!("{panic}\n{text}")));
        total.add(&run(&options));
    });
    say!("{total}\n{}", total.verdict(args.count));
}

/// Runs every seed and regularly prints a progress line.
fn each(args: &SimArgs, mut run: impl FnMut(u64)) {
    let seeds = args.seed..args.seed.saturating_add(args.count);
    let (begin, mut said) = (Instant::now(), Instant::now());
    for seed in seeds.clone() {
        run(seed);
        if said.elapsed() >= PROGRESS_INTERVAL {
            said = Instant::now();
            let done = seed + 1 - seeds.start;
            let rate = done as f64 / begin.elapsed().as_secs_f64();
            say!("{} of {} seeds, {rate:.0} a second", Count(done), Count(args.count));
        }
    }
}
