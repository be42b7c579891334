//! The server as a separate process, whose memory can be measured and whose log can be read.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use super::until;

/// A server process that ends with the test.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    /// Address of its admin HTTP server.
    pub admin: Option<SocketAddr>,
    log: Arc<Mutex<String>>,
    /// Its directory, if nobody else owns it.
    dir: Option<tempfile::TempDir>,
}

/// Returns `$OXKEEPER_BIN`, or the current binary of this workspace.
fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("OXKEEPER_BIN") {
            return path.into();
        }
        // Builds with the profile of this test, so that the binary is in a known place beside it.
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let build = ["build", "--quiet", "--profile", profile, "-p", "oxkeeper"];
        let build = Command::new(env!("CARGO")).args(build).status().unwrap();
        assert!(build.success(), "the server is built");
        // <target>/debug/deps/<this test>
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(2).unwrap().join("oxkeeper")
    })
}

impl Process {
    /// Builds the binary, for a test that cannot wait for it later.
    pub fn prepare() {
        binary();
    }

    /// Starts a server without data on disk, with these lines of zoo.cfg and these JVM flags.
    pub fn start(lines: &str, jvm_flags: &str) -> Process {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::launch(dir.path(), lines, jvm_flags, &["--in-memory", "--io-threads", "2"]);
        process.dir = Some(dir);
        process
    }

    /// Starts a server on a directory.
    pub fn start_on(dir: &Path, lines: &str) -> Process {
        Process::launch(dir, lines, "", &[])
    }

    /// Starts a member of an ensemble, which may have to wait for others.
    pub fn start_member(dir: &Path, lines: &str) -> Process {
        let (child, log, line) = Process::spawn(dir, lines, "", &[]);
        let address = line.split(" on ").nth(1).and_then(|rest| rest.split([' ', ',']).next()?.parse().ok());
        let address = address.unwrap_or_else(|| panic!("{line:?}, log: {}", log.lock().unwrap()));
        Process { child, address, admin: None, log, dir: None }
    }

    fn launch(dir: &Path, lines: &str, jvm_flags: &str, more: &[&str]) -> Process {
        let (child, log, ready) = Process::spawn(dir, lines, jvm_flags, &[&["--ready", "json"], more].concat());
        let port = |name: &str| {
            let (_, rest) = ready.split_once(&format!("\"{name}\":"))?;
            let port = rest.split([',', '}']).next().unwrap().parse().ok()?;
            Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        };
        let address = port("port").unwrap_or_else(|| panic!("{ready:?}, log: {}", log.lock().unwrap()));
        let admin = port("admin_port");
        Process { child, address, admin, log, dir: None }
    }

    /// Returns the process, its log, and its first line on standard output.
    fn spawn(dir: &Path, lines: &str, jvm_flags: &str, more: &[&str]) -> (Child, Arc<Mutex<String>>, String) {
        let file = dir.join("zoo.cfg");
        let data_dir = dir.display();
        std::fs::write(&file, format!("clientPort=0\nclientPortAddress=127.0.0.1\ndataDir={data_dir}\n{lines}\n"))
            .unwrap();
        let mut command = Command::new(binary());
        command.arg("serve").arg("--config").arg(file).args(more);
        command.env("SERVER_JVMFLAGS", jvm_flags).env_remove("JVMFLAGS").env("OXKEEPER_LOG", "info");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::<Mutex<String>>::default();
        let mut errors = child.stderr.take().unwrap();
        let lines = log.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = errors.read(&mut buffer) {
                lines.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (child, log, line)
    }

    /// Kills the process like `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the process has ended by itself. Returns its exit code.
    pub fn until_ended(&mut self) -> Option<i32> {
        let mut status = None;
        until("the server ends by itself", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    /// Waits for a line of the log that has all of these parts.
    pub fn until_logged(&self, parts: &[&str]) {
        until(&format!("{parts:?} in the log"), || self.has_logged(parts));
    }

    /// Whether a line of the log has all of these parts.
    pub fn has_logged(&self, parts: &[&str]) -> bool {
        let has = |line: &str| parts.iter().all(|part| line.contains(part));
        self.log.lock().unwrap().lines().any(has)
    }

    /// Returns the memory in use and its peak, bytes.
    pub fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log.lock().unwrap();
            let lines: Vec<_> = log.lines().rev().take(20).collect();
            eprintln!("the server's last lines, newest first:\n{}", lines.join("\n"));
        }
    }
}
