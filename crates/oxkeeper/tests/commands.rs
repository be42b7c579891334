//! Tests of exit codes and last lines of commands that need no server.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::{Command, Output, Stdio};

fn run(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxkeeper"));
    command.args(arguments.split(' ')).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn wrong_use_exits_with_2() {
    let wrong = [
        "--bogus",
        "shell --bogus",
        "shell --bogus ls /",
        "shell --server host:port ls /",
        "shell -e ls ls",
        "word sixsix",
        "word ruok --server a:1,b:2",
        "bench --bogus",
        "bench --workload nonsense",
        "bench --workload connect --rate 5",
        "bench --workload watch-fanout --check",
        "bench --workload visibility --server 127.0.0.1:1",
        "bench pause",
        "sim --bogus",
    ];
    for arguments in wrong {
        let output = run(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {complaint}");
        assert!(!complaint.is_empty(), "{arguments}");
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_named_with_the_reason() {
    let output = run("shell -s 127.0.0.1:1 ls /");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(complaint, "KeeperErrorCode = ConnectionLoss for / (127.0.0.1:1: connection refused)\n");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[test]
fn a_simulation_ends_with_a_verdict() {
    for (arguments, verdict) in [
        ("sim --servers 1 --seed 1 --count 2 --steps 100", "2 seeds, no promise broken; "),
        ("sim --seed 1", "1 seed, no promise broken; "),
    ] {
        let output = run(arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.lines().last().unwrap().starts_with(verdict), "{text}");
        assert!(!text.contains("Report {"), "{text}");
    }
}
