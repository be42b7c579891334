//! `oxkeeper sim`: runs the simulator. The same seed is the same run, on every machine.

use clap::Args;
use oxkeeper_sim::{Options, Report, STEPS, replay_command, run};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// First seed
    #[arg(long)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Steps of each run before its faults stop
    #[arg(long, default_value_t = STEPS)]
    steps: u64,
}

/// Runs the seeds. A broken promise ends the process with its name and the command that replays it.
pub(crate) fn run_seeds(args: &SimArgs) {
    let mut total = Report::default();
    for seed in args.seed..args.seed.saturating_add(args.count) {
        let options = Options::new(seed, args.steps);
        if args.count == 1 {
            println!("{options}");
        }
        print_command_on_failure(&options);
        total.add(&run(&options));
    }
    println!("{total}");
}

/// A broken promise is a panic, which ends a release build at once.
fn print_command_on_failure(options: &Options) {
    let text = format!("{options}\nreplay: {}", replay_command(options));
    std::panic::set_hook(Box::new(move |panic| eprintln!("{panic}\n{text}")));
}
