//! End-to-end tests of `oxkeeper bench` against its own bound server: it reports figures, detects wrong replies, and
//! charges a server's stall to every request that it delayed.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_oxkeeper");

/// A bound server with a directory of its own, killed at the end of the test.
struct Bound {
    process: Child,
    address: String,
    data: tempfile::TempDir,
}

impl Bound {
    fn start(kind: &str) -> Bound {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(BINARY);
        command.args(["bench", "--serve-bound", kind, "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path());
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_string();
        Bound { process, address, data }
    }

    fn bench(&self, arguments: &str) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["bench", "-o", "json", "--server", &self.address, "--pid", &self.process.id().to_string()]);
        command.args(arguments.split(' '));
        command
    }

    /// Returns whether the server's log has a setData of the bench's data.
    fn log_has_sets(&self) -> bool {
        let log = std::fs::read(self.data.path().join("oxkeeper-bound.log")).unwrap();
        log.windows(100).any(|window| window.iter().all(|byte| *byte == b'x'))
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn closed_loop_reports_what_it_did() {
    for kind in ["get", "set"] {
        let bound = Bound::start(kind);
        let arguments = format!("--workload {kind} --sessions 3 --in-flight 5 --duration 0.2 --warmup 0.05");
        let report = report(&bound.bench(&arguments).output().unwrap());
        assert!(report["ops"].as_u64().unwrap() > 100, "{report}");
        assert!(report["p50_us"].as_f64().unwrap() <= report["p99_us"].as_f64().unwrap(), "{report}");
        assert!(report["server_rss_bytes"].as_u64().unwrap() > 0, "{report}");
    }
}

#[test]
fn a_wrong_reply_fails_the_run() {
    let bound = Bound::start("get");
    for (arguments, complaint) in [("--size 99", "100 bytes of data"), ("--workload set", "wrong reply to setData")] {
        let output = bound.bench(&format!("{arguments} --duration 0.2 --warmup 0")).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(complaint), "{stderr}");
    }
}

#[test]
fn open_loop_charges_a_stall_to_all_it_delayed() {
    let bound = Bound::start("get");
    let arguments = "--sessions 1 --in-flight 1 --rate 500 --duration 2 --warmup 0";
    let run = bound.bench(arguments).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(600));
    bound.signal("-STOP");
    std::thread::sleep(Duration::from_millis(800));
    bound.signal("-CONT");
    let report = report(&run.wait_with_output().unwrap());
    // One request was in flight and 400 became due meanwhile: 40 % of the run waited, a quarter of these over 600 ms.
    assert!(report["p90_us"].as_f64().unwrap() > 300_000.0, "{report}");
    assert!(report["ops"].as_u64().unwrap() > 900, "{report}");
}

#[test]
fn sessions_are_spread_over_the_servers_in_turn() {
    let (one, other) = (Bound::start("set"), Bound::start("set"));
    let servers = format!("{},{}", one.address, other.address);
    let mut command = Command::new(BINARY);
    command.args(["bench", "-o", "json", "--server", &servers, "--workload", "set", "--sessions", "5"]);
    for bound in [&one, &other] {
        command.args(["--pid", &bound.process.id().to_string()]);
    }
    let report = report(&command.args(["--duration", "0.2", "--warmup", "0"]).output().unwrap());
    let counts = (report["servers"][&one.address].as_u64(), report["servers"][&other.address].as_u64());
    assert_eq!(counts, (Some(3), Some(2)), "{report}");
    assert!(report["ops"].as_u64().unwrap() > 100, "{report}");
    for bound in [&one, &other] {
        assert!(bound.log_has_sets(), "{} was not written to", bound.address);
    }
}

/// An in-memory server, killed at the end of the test.
struct Served {
    process: Child,
    address: String,
}

impl Served {
    fn start() -> Served {
        let mut command = Command::new(BINARY);
        command.args(["serve", "--port", "0", "--in-memory", "--ready", "json"]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = format!("127.0.0.1:{}", serde_json::from_str::<Value>(&line).unwrap()["port"]);
        Served { process, address }
    }

    fn bench(&self, arguments: &str) -> Output {
        let mut run = Command::new(BINARY);
        run.arg("bench").args(arguments.split(' ')).args(["--server", &self.address]).output().unwrap()
    }

    /// Returns the number of znodes below `/bench`, or `None` if it does not exist.
    fn below_bench(&self) -> Option<u64> {
        let mut shell = Command::new(BINARY);
        let counted =
            shell.args(["shell", "--server", &self.address, "getAllChildrenNumber", "/bench"]).output().unwrap();
        counted.status.success().then(|| String::from_utf8_lossy(&counted.stdout).trim().parse().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_load_removes_the_znodes_that_it_made() {
    let server = Served::start();
    for workload in ["set", "create-delete", "watch-fanout"] {
        let arguments = format!("--workload {workload} --sessions 3 --duration 0.1 --warmup 0 --znodes 50");
        let output = server.bench(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(server.below_bench(), None, "{workload}");
    }
    assert!(server.bench("--duration 0.1 --warmup 0 --znodes 50 --keep").status.success());
    assert_eq!(server.below_bench(), Some(50));
    // Znodes that existed before the run stay.
    assert!(server.bench("--workload create-delete --duration 0.1 --warmup 0 --znodes 50").status.success());
    assert_eq!(server.below_bench(), Some(50));
    // With an odd window, the run ends between a create and its delete.
    for _ in 0..2 {
        let arguments = "--workload create-delete --in-flight 5 --duration 0.1 --warmup 0 --znodes 50 --keep";
        let output = server.bench(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(server.below_bench(), Some(50));
    }
    let cleaned = server.bench("clean");
    assert_eq!(String::from_utf8_lossy(&cleaned.stdout), "removed 51 znodes\n");
    assert_eq!(server.below_bench(), None);
}

#[test]
fn an_interrupted_load_removes_its_znodes_too() {
    let server = Served::start();
    let mut command = Command::new(BINARY);
    command.args(["bench", "--workload", "create-delete", "--duration", "3600", "--warmup", "0"]);
    let mut run =
        command.args(["--server", &server.address]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(run.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("measuring"), "{line}");
    assert!(server.below_bench().is_some());
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap().success());
    assert!(run.wait().unwrap().success());
    assert_eq!(server.below_bench(), None);
}

#[test]
fn a_lost_server_does_not_discard_the_result() {
    let bound = Bound::start("get");
    let mut run =
        bound.bench("--duration 3600 --warmup 0").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(run.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    bound.signal("-KILL");
    let mut complaint = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut complaint).unwrap();
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["ops"].as_u64().unwrap() > 100 && report["unanswered"].as_u64().unwrap() > 0, "{report}");
    let lost = format!("lost the server {}: ", bound.address);
    assert!(report["lost"].as_str().unwrap().starts_with(&lost) && complaint.contains(&lost), "{complaint}");
}

#[test]
fn a_check_ends_with_a_verdict() {
    let bound = Bound::start("get");
    let check = |rate: &str| {
        let arguments = format!("--check --workload get --rate {rate} --duration 0.5 --warmup 0.1");
        let output = bound.bench(&arguments).output().unwrap();
        let (code, report) = (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap());
        let stderr = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        (code, report["check"].as_str().unwrap().to_owned(), stderr.lines().last().unwrap().to_owned())
    };
    let (code, verdict, sentence) = check("200");
    assert_eq!((code, verdict.as_str()), (Some(0), "PASS"), "{sentence}");
    assert!(sentence.starts_with("PASS: get at 200 requests a second: "), "{sentence}");
    let (code, verdict, sentence) = check("100000000");
    assert_eq!((code, verdict.as_str()), (Some(1), "FAIL"), "{sentence}");
}

/// Lists one server twice. A server always shows the writes that it acknowledged.
#[test]
fn a_server_sees_its_own_writes_at_once() {
    let server = Served::start();
    let address = &server.address;
    let measure = |servers: &str| {
        let arguments = ["bench", "-o", "json", "--workload", "visibility", "--duration", "0.2", "--warmup", "0"];
        Command::new(BINARY).args(arguments).args(["--server", servers]).output().unwrap()
    };
    let (twice, once) = (measure(&format!("{address},{address}")), measure(address));
    let report = report(&twice);
    assert!(report["ops"].as_u64().unwrap() > 10 && report["stale_percent"] == 0.0, "{report}");
    assert!(report["p50_us"].as_f64().unwrap() > 0.0, "{report}");
    let complaint = String::from_utf8_lossy(&once.stderr).into_owned();
    assert!(once.status.code() == Some(2) && complaint.contains("two servers or more"), "{complaint}");
}

#[test]
fn an_interrupt_ends_the_measurement_with_a_report() {
    let bound = Bound::start("get");
    let mut command = bound.bench("--duration 3600 --warmup 0.1");
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(run.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("measuring"), "{line}");
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap().success());
    let report = report(&run.wait_with_output().unwrap());
    assert!(report["seconds"].as_f64().unwrap() < 60.0, "{report}");
}
