use oxkeeper_replica::ensemble::Bugs;
use oxkeeper_sim::ensemble::{Options, RUN_MS, run};
#[test]
fn promises() {
    let from: u64 = std::env::var("FROM").map_or(0, |v| v.parse().unwrap());
    let count: u64 = std::env::var("COUNT").map_or(300, |v| v.parse().unwrap());
    for seed in from..from + count {
        let options = Options::new(seed, 5, RUN_MS);
        let options = Options {
            bugs: Bugs { lasting_configuration: true, ..Bugs::default() },
            lost_promise_once_in: 1,
            hand_over_every_ms: 150,
            founders: options.servers,
            spares: 0,
            sync_len_max: 1 << 20,
            clients: 4,
            think_ms_max: 10,
            ..options.calm()
        };
        if std::panic::catch_unwind(|| run(&options)).is_err() {
            println!("CAUGHT {seed}");
        }
    }
}
