//! Tests of the server as a service: its messages to the supervisor, and the effects of signals.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Time limit for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
const UNTIL_ACCEPTED: Duration = Duration::from_millis(300);
/// More than the time after the first signal in which further ones ask for the same stop.
const ONE_STOP: Duration = Duration::from_millis(250);
/// Less than the time that a stop waits for a client in the middle of a request.
const AT_ONCE: Duration = Duration::from_millis(800);

/// A server process on a free port, with a listening supervisor.
struct Service {
    child: Child,
    supervisor: UnixDatagram,
    port: u16,
    dir: tempfile::TempDir,
}

impl Service {
    /// Starts a standalone server and waits until it serves.
    fn start() -> Service {
        let mut service = Service::launch("oxkeeper.log=warn");
        let ready: serde_json::Value = serde_json::from_str(&service.first_line()).unwrap();
        service.port = u16::try_from(ready["port"].as_u64().unwrap()).unwrap();
        service
    }

    /// Starts a server with these lines in its configuration, as number 1.
    fn launch(lines: &str) -> Service {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("notify");
        let supervisor = UnixDatagram::bind(&socket).unwrap();
        supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
        configure(dir.path(), lines);
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("data/myid"), "1").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_oxkeeper"));
        command.args(["serve", "--ready", "json", "--config"]).arg(dir.path().join("zoo.cfg"));
        command.env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", "200000").env_remove("OXKEEPER_LOG");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Service { child, supervisor, port: 0, dir }
    }

    /// Waits for the first line on standard output; it is empty if the process ends without one.
    fn first_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        line
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the next message to the supervisor.
    fn told(&self) -> String {
        let mut buffer = [0; 1024];
        let count = self.supervisor.recv(&mut buffer).unwrap();
        std::str::from_utf8(&buffer[..count]).unwrap().to_owned()
    }

    /// Waits for the next message to the supervisor that has this line.
    fn until_told(&self, line: &str) {
        while self.told().lines().all(|told| told != line) {}
    }

    /// Waits for the end of the process. Returns its exit status and its log.
    fn ended(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status, log)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn configure(dir: &Path, line: &str) {
    let data = dir.join("data");
    let text = format!("clientPort=0\nclientPortAddress=127.0.0.1\ndataDir={}\n{line}\n", data.display());
    std::fs::write(dir.join("zoo.cfg"), text).unwrap();
}

#[test]
fn a_supervisor_hears_of_its_life() {
    let service = Service::start();
    service.until_told("READY=1");
    service.until_told("WATCHDOG=1");
    service.until_told("WATCHDOG=1");
    configure(service.dir.path(), "oxkeeper.log=info");
    service.signal(Signal::HUP);
    service.until_told("WATCHDOG=1");
    service.signal(Signal::TERM);
    service.until_told("STOPPING=1");
    let (status, log) = service.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("listening for clients"), "warnings only, at first: {log}");
    assert!(log.contains("SIGHUP: read oxkeeper.log again"), "{log}");
    assert!(log.contains("SIGTERM: stopping"), "{log}");
}

/// A member of an ensemble is ready when it serves clients; until then it says what it waits for.
#[test]
fn a_member_that_waits_for_others_is_not_ready() {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let others = "server.2=127.0.0.1:1:9\nserver.3=127.0.0.1:2:9\ninitLimit=5\nsyncLimit=5\nadmin.enableServer=false";
    let mut service = Service::launch(&format!("server.1=127.0.0.1:{port}:1\n{others}"));
    service.until_told("STATUS=waiting for a majority of the servers 1, 2, 3");
    for _ in 0..3 {
        let told = service.told();
        assert_eq!(told.trim(), "WATCHDOG=1", "it is alive, and not ready");
    }
    service.signal(Signal::TERM);
    assert_eq!(service.first_line(), "", "nobody is told that clients can connect");
    let (status, log) = service.ended();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// `warning` is not a log level: as a filter it would silence the log, including errors.
#[test]
fn a_wrong_log_level_at_sighup_changes_nothing() {
    let service = Service::start();
    service.until_told("READY=1");
    configure(service.dir.path(), "oxkeeper.log=warning");
    service.signal(Signal::HUP);
    service.until_told("WATCHDOG=1");
    service.until_told("WATCHDOG=1");
    service.signal(Signal::TERM);
    let (status, log) = service.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    let refused = "SIGHUP: the log filter stays as it is, since the configuration is wrong: ";
    assert!(log.contains(refused) && log.contains("zoo.cfg:4: oxkeeper.log: \"warning\" is not a log level"), "{log}");
    assert!(!log.contains("SIGTERM: stopping"), "still warnings only: {log}");
}

/// Stops a server and cuts the stop short with a second signal. Returns the time from that signal, the exit status and
/// the log, or `None` if the stop was over before.
fn stop_twice() -> Option<(Duration, ExitStatus, String)> {
    let mut service = Service::start();
    // The first signal waits for a client that is in the middle of a request.
    let mut client = TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    client.write_all(&[0, 0]).unwrap();
    // The server does not wait for a connection that it has not accepted yet.
    std::thread::sleep(UNTIL_ACCEPTED);
    service.signal(Signal::TERM);
    service.until_told("STOPPING=1");
    // As if sent together with the first one, to the whole process group.
    service.signal(Signal::TERM);
    std::thread::sleep(ONE_STOP);
    if service.child.try_wait().unwrap().is_some() {
        return None;
    }
    let asked = Instant::now();
    service.signal(Signal::INT);
    let (status, log) = service.ended();
    Some((asked.elapsed(), status, log))
}

/// On a busy machine the stop may be over before the test sends its second signal; such an attempt proves nothing.
#[test]
fn a_second_signal_ends_it_at_once() {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match stop_twice() {
            Some((took, status, log)) if took < AT_ONCE => {
                assert_eq!(status.code(), Some(0), "{log}");
                assert!(log.contains("SIGINT again: ending at once") && !log.contains("SIGTERM again"), "{log}");
                return;
            }
            slow => assert!(Instant::now() < deadline, "both ask for the same stop, each time: {slow:?}"),
        }
    }
}

#[test]
fn every_command_has_a_man_page_and_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_oxkeeper")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["man", dir.path().to_str().unwrap()]);
    let page = std::fs::read_to_string(dir.path().join("oxkeeper-serve.1")).unwrap();
    assert!(page.contains("io\\-threads"), "{page}");
    assert!(dir.path().join("oxkeeper.1").exists() && dir.path().join("oxkeeper-config-check.1").exists());
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert!(script.contains("io-threads"), "{shell}");
    }
}
