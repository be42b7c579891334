//! Tests of the command line: help, tips, and the options of `oxkeeper serve`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_oxkeeper");
/// Time for a server to start or stop on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn oxkeeper(words: &[&str], dir: &Path) -> Output {
    Command::new(BINARY).args(words).current_dir(dir).output().unwrap()
}

/// A server started by `oxkeeper serve`, killed at the end of the test.
struct Served {
    child: Child,
    ready: Value,
}

impl Served {
    fn start(words: &[&str]) -> Served {
        let mut command = Command::new(BINARY);
        command.args(["serve", "--in-memory", "--ready", "json"]).args(words).env("OXKEEPER_LOG", "info");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Served { child, ready: serde_json::from_str(&line).unwrap() }
    }

    /// Stops the server. Returns its log.
    fn log(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(self.child.wait().unwrap().success(), "{log}");
        log
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the names of a command's subcommands, from its help.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
}

fn check_help(words: &[String], dir: &Path, seen: &mut usize) {
    let words: Vec<_> = words.iter().map(String::as_str).chain(["--help"]).collect();
    let output = oxkeeper(&words, dir);
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{words:?}: {help}");
    *seen += 1;
    for line in help.lines() {
        assert!(line.chars().count() <= 80, "{words:?}: {line}");
    }
    let examples = help.split("Examples:\n").nth(1).unwrap_or_else(|| panic!("{words:?} has no examples: {help}"));
    let examples: Vec<_> = examples.lines().filter(|line| line.contains("oxkeeper ")).collect();
    assert!(examples.len() >= 2, "{words:?}: {help}");
    for name in commands(&help) {
        let below: Vec<_> = words[..words.len() - 1].iter().map(|word| (*word).to_owned()).chain([name]).collect();
        check_help(&below, dir, seen);
    }
}

#[test]
fn help_fits_a_terminal_and_has_examples() {
    let mut seen = 0;
    check_help(&[], &std::env::temp_dir(), &mut seen);
    assert!(seen > 18, "{seen}");
}

#[test]
fn who_leaves_out_serve_gets_a_tip() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keeper.conf"), "").unwrap();
    for (words, tip) in [
        (&["zoo.cfg"][..], "oxkeeper serve --config zoo.cfg"),
        (&["keeper.conf"], "oxkeeper serve --config keeper.conf"),
        (&["--port", "2181"], "oxkeeper serve --port 2181"),
        (&["--config=zoo.cfg"], "oxkeeper serve --config=zoo.cfg"),
    ] {
        let output = oxkeeper(words, dir.path());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("tip: to run a server: {tip}\n")), "{said}");
    }
    let other = String::from_utf8(oxkeeper(&["--prot"], dir.path()).stderr).unwrap();
    assert!(!other.contains("to run a server"), "{other}");
}

#[test]
fn a_wrong_port_of_a_server_says_so() {
    let output = oxkeeper(&["word", "srvr", "--server", "localhost:99999"], &std::env::temp_dir());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("\"99999\" is not a port: port must be 1–65535"), "{said}");
}

#[test]
fn serve_warns_of_unknown_keys() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("zoo.cfg");
    let text = "dataDir=./data\ntickTme=2000\nclientPort=0\nclientPortAddress=127.0.0.1\nsomethingElse=1\nsomethingElse=2\n\
                jute.maxbuffer=1\n";
    std::fs::write(&file, text).unwrap();
    let log = Served::start(&["--config", file.to_str().unwrap(), "--admin-port", "0"]).log();
    for (warning, count) in [
        ("zoo.cfg:2: unknown key tickTme, did you mean tickTime?", 1),
        ("zoo.cfg:5: unknown key somethingElse", 1),
        ("zoo.cfg:6: ", 0),
        ("zoo.cfg:7: jute.maxbuffer has no effect here: ", 1),
    ] {
        assert_eq!(log.matches(warning).count(), count, "{warning}: {log}");
    }
}

#[test]
fn the_admin_server_has_a_port_of_its_own_or_none() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let off = Served::start(&["--port", "0", "--admin-port", "0"]);
    assert_eq!(off.ready["admin_port"], Value::Null);
    let on = Served::start(&["--port", "0", "--admin-port", &free.to_string()]);
    assert_eq!(on.ready["admin_port"], Value::from(free));
}

/// The default port of the admin server is taken, and nothing configures the admin server.
#[test]
fn a_port_that_no_one_chose_is_no_warning() {
    let _taken = TcpListener::bind("127.0.0.1:8080"); // or by another process
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = Served::start(&["--port", &free.to_string()]).log();
    let line = log.lines().find(|line| line.contains("the admin server is off")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("INFO") && line.contains("--admin-port"), "{line}");
}

#[test]
fn connections_of_one_address_are_limited() {
    let served = Served::start(&["--port", "0", "--admin-port", "0", "--max-client-connections", "1"]);
    let address = served.ready["address"].as_str().unwrap().to_owned();
    let word = || oxkeeper(&["word", "srvr", "--server", &address], &std::env::temp_dir()).status.success();
    assert!(word());
    let held = std::net::TcpStream::connect(&address).unwrap();
    let refused = std::iter::repeat_with(word).take(100).any(|answered| !answered);
    assert!(refused, "a second connection is served");
    drop(held);
}

/// A shell starts the server and is killed, so that it cannot pass the signal on.
#[test]
fn a_server_ends_with_its_parent() {
    let script = format!("'{BINARY}' serve --port 0 --in-memory --ready json --admin-port 0 --end-with-parent & wait");
    let mut shell = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(shell.stdout.take().unwrap());
    let mut ready = String::new();
    output.read_line(&mut ready).unwrap();
    let pid = serde_json::from_str::<Value>(&ready).unwrap()["pid"].as_i64().unwrap();
    shell.kill().unwrap();
    shell.wait().unwrap();
    // The server's standard output ends when the server does.
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || ended.send(output.read_to_string(&mut String::new()).is_ok()));
    let in_time = end.recv_timeout(PATIENCE);
    if in_time.is_err() {
        let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
    }
    assert_eq!(in_time, Ok(true), "the server outlives its parent");
}

/// The kernel sends the signal when the thread that started the server ends, although the process lives on.
#[test]
fn a_server_does_not_end_with_a_thread_of_its_parent() {
    let start = || Served::start(&["--port", "0", "--admin-port", "0", "--end-with-parent"]);
    let served = std::thread::spawn(start).join().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let log = served.log();
    assert!(log.contains("SIGTERM: stopping") && !log.contains("parent"), "{log}");
}
