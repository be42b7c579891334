//! The command line: help, tips, and the options of `oxkeeper serve`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_oxkeeper");

fn oxkeeper(words: &[&str], dir: &Path) -> Output {
    Command::new(BINARY).args(words).current_dir(dir).output().unwrap()
}

/// A server of `oxkeeper serve`, killed with the test.
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

    /// Stops it; its log.
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
                jute.maxbuffer=1\nadmin.enableServer=false\n";
    std::fs::write(&file, text).unwrap();
    let served = Served::start(&["--config", file.to_str().unwrap()]);
    assert!(served.ready["port"].is_u64());
    let log = served.log();
    for (warning, count) in [
        ("zoo.cfg:2: unknown key tickTme, did you mean tickTime?", 1),
        ("zoo.cfg:5: unknown key somethingElse", 1),
        ("zoo.cfg:6: ", 0),
        ("zoo.cfg:7: jute.maxbuffer has no effect here: ", 1),
    ] {
        assert_eq!(log.matches(warning).count(), count, "{warning}: {log}");
    }
}
