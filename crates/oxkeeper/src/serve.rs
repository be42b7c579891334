//! `oxkeeper serve`: runs one server, configured by a file, the environment and flags, until a signal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use oxkeeper_config::{Config, EXIT_CODE_INVALID, LOG_VARIABLE, Properties, Source, parse_log_filter};
use oxkeeper_durable::RecoveryError;
use oxkeeper_server::{ListenError, Reason, Server, StartError, StartOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{error, info, warn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::signals::{Parent, Signals};
use crate::supervisor;

/// ZooKeeper's exit code for a data directory that cannot be used.
const EXIT_CODE_DATA: u8 = 3;
/// Our own exit code if the ensemble has agreed on a feature that this release does not support.
const EXIT_CODE_OUTDATED: u8 = 5;
/// ZooKeeper's exit code if a transaction differs from the one that was agreed on.
const EXIT_CODE_DIVERGED: u8 = 12;
/// ZooKeeper's exit code if the admin server cannot start.
const EXIT_CODE_ADMIN: u8 = 4;

/// Options of `oxkeeper serve`.
#[derive(Args, Debug, Default)]
#[command(after_help = "\
Environment:
  OXKEEPER_LOG      log level: off, error, warn, info, debug or trace, or levels
                    of parts: warn,oxkeeper_server=debug
  SERVER_JVMFLAGS   ZooKeeper's properties: -Dzookeeper.KEY=VALUE; also JVMFLAGS

Exit codes:
  0   stopped by a signal        3   the data directory cannot be used
  1   the port is taken          4   the port of the admin server is taken
  2   wrong configuration        5, 12   see docs/operations.md

Examples:
  oxkeeper serve --config /etc/oxkeeper/zoo.cfg
  oxkeeper serve --port 0 --in-memory --ready json --end-with-parent")]
pub(crate) struct ServeArgs {
    /// A zoo.cfg [default: standalone on 127.0.0.1:2181 with data in ./oxkeeper-data]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Client port; 0 picks a free one. Overrides clientPort
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Port of the admin server; 0 turns it off. Overrides admin.serverPort and admin.enableServer
    #[arg(long, value_name = "PORT")]
    admin_port: Option<u16>,
    /// Address to listen on. Overrides clientPortAddress
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// Directory for the server's data. Overrides dataDir
    #[arg(long, value_name = "DIR", conflicts_with = "in_memory")]
    data_dir: Option<PathBuf>,
    /// Keep all data in memory, for tests; it is lost when the server stops
    #[arg(long)]
    in_memory: bool,
    /// Length of a tick; session timeouts are 2 to 20 ticks. Overrides tickTime
    #[arg(long, value_name = "MS")]
    tick_time: Option<u32>,
    /// Most connections from one IP address; 0 sets no limit. Overrides maxClientCnxns
    #[arg(long, value_name = "COUNT")]
    max_client_connections: Option<u32>,
    /// Stop when the process that started this one ends
    #[arg(long)]
    end_with_parent: bool,
    /// Threads that own client connections [default: one for each core]
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    io_threads: usize,
    /// Form of the line on standard output that tells that clients can connect
    #[arg(long, value_enum, default_value_t)]
    ready: Ready,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Ready {
    /// A sentence
    #[default]
    Text,
    /// A JSON object: address, port, pid, admin_port, metrics_port; null for a port that is not open
    Json,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LogFormat {
    /// A line of text for each event
    #[default]
    Text,
    /// A JSON object for each event
    Json,
}

/// Serves until SIGTERM or SIGINT. The exit codes are ZooKeeper's, except for one.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let parent = args.end_with_parent.then(Parent::find);
    let log = start_log(args.log_format);
    raise_file_limit();
    let config = match configuration(args) {
        Ok(config) => config,
        Err(problem) => return Ok(complain(&problem, EXIT_CODE_INVALID)),
    };
    log.set(config.log.as_deref());
    config.warnings.iter().for_each(|warning| warn!("{warning}"));
    let data_dir = config.data_dir.display().to_string();
    let options = StartOptions { in_memory: args.in_memory, io_threads: args.io_threads };
    let server = match Server::start(config, options) {
        Ok(server) => server,
        Err(problem) => return Ok(complain(&problem.to_string(), exit_code(&problem))),
    };
    let signals = Signals::listen(parent)?;
    if let Some(what) = server.waits_for() {
        supervisor::waiting(&what);
        if matches!(args.ready, Ready::Text) {
            tell(format_args!("oxkeeper listens on {} and waits for {what}", server.address()));
        }
    }
    let serving = || {
        announce(&server, args, &data_dir);
        supervisor::serving(&server);
    };
    signals.wait(&server, serving, || reload_log(args, &log))?;
    supervisor::stopping();
    let ended = server.ended();
    server.stop();
    Ok(ended.map_or(ExitCode::SUCCESS, |reason| {
        let code = match reason {
            Reason::Data(_) => EXIT_CODE_DATA,
            Reason::Diverged { .. } => EXIT_CODE_DIVERGED,
            Reason::Entry(_) | Reason::State { .. } => EXIT_CODE_OUTDATED,
        };
        complain(&reason.to_string(), code)
    }))
}

pub(crate) fn complain(problem: &str, code: u8) -> ExitCode {
    eprintln!("oxkeeper: {problem}");
    ExitCode::from(code)
}

fn exit_code(problem: &StartError) -> u8 {
    match problem {
        StartError::Listen(ListenError::NoPort)
        | StartError::Unserved(_)
        | StartError::Sasl(_)
        | StartError::Audit(_)
        | StartError::Tls(_) => EXIT_CODE_INVALID,
        StartError::Recovery(
            RecoveryError::Store(_)
            | RecoveryError::Record { .. }
            | RecoveryError::Entry { .. }
            | RecoveryError::Newer { .. }
            | RecoveryError::Gap { .. }
            | RecoveryError::Decided { .. }
            | RecoveryError::Foreign(_)
            | RecoveryError::Unfinished(_)
            | RecoveryError::Nothing(_),
        )
        | StartError::OtherData { .. } => EXIT_CODE_DATA,
        StartError::Admin { key: "admin.serverPort", .. } => EXIT_CODE_ADMIN,
        StartError::Admin { .. }
        | StartError::Listen(ListenError::Bind { .. })
        | StartError::Ensemble(_)
        | StartError::System(_) => 1,
    }
}

/// Returns the properties in `-Dkey=value` words, which start scripts and test harnesses pass.
pub(crate) fn jvm_flags() -> Properties {
    let variable = |name| std::env::var(name).unwrap_or_default();
    Properties::from_jvm_flags(&format!("{} {}", variable("SERVER_JVMFLAGS"), variable("JVMFLAGS")))
}

/// Returns the properties in environment variables: the JVM flags and the log filter.
pub(crate) fn environment() -> Properties {
    let mut properties = jvm_flags();
    if let Some(filter) = log_variable() {
        properties.push(Source::Environment, "oxkeeper.log", &filter);
    }
    properties
}

/// Returns the log filter in the environment, unless it is empty.
fn log_variable() -> Option<String> {
    let filter = std::env::var_os(LOG_VARIABLE)?.to_string_lossy().into_owned();
    (!filter.is_empty()).then_some(filter)
}

/// Reads the configuration: JVM flags, then the file, then our own flags and variables.
fn configuration(args: &ServeArgs) -> Result<Config, String> {
    let mut others = environment();
    let mut push = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            others.push(Source::CommandLine, key, &value);
        }
    };
    push("clientPort", args.port.map(|port| port.to_string()));
    push("clientPortAddress", args.host.clone());
    push("dataDir", args.data_dir.as_ref().map(|dir| dir.display().to_string()));
    push("tickTime", args.tick_time.map(|tick| tick.to_string()));
    push("maxClientCnxns", args.max_client_connections.map(|count| count.to_string()));
    push("admin.enableServer", args.admin_port.map(|port| (port > 0).to_string()));
    push("admin.serverPort", args.admin_port.filter(|&port| port > 0).map(|port| port.to_string()));
    let config = match &args.config {
        Some(file) => Config::load(file, others),
        None => Config::standalone(others),
    };
    let config = config.map_err(|problem| problem.to_string())?;
    if args.in_memory && config.is_distributed() {
        let message = "--in-memory cannot be used by a member of an ensemble, which must keep its votes and its log";
        return Err(message.to_owned());
    }
    Ok(config)
}

/// The log filter, which can be changed while the server runs.
struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// Parses the filter, which the configuration has checked. By default a terminal gets warnings, and a
    /// file gets the information that is worth keeping, too.
    fn chosen(configured: Option<&str>) -> EnvFilter {
        let default = if std::io::stderr().is_terminal() { "warn" } else { "info" };
        let parsed = configured.and_then(|configured| parse_log_filter(configured).ok());
        parsed.unwrap_or_else(|| EnvFilter::new(default))
    }

    fn set(&self, configured: Option<&str>) {
        self.0.reload(LogFilter::chosen(configured)).expect("the log lasts as long as the process");
    }
}

fn start_log(format: LogFormat) -> LogFilter {
    let (filter, handle) = reload::Layer::new(LogFilter::chosen(log_variable().as_deref()));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry.with(log.with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(log.json()).init(),
    }
    LogFilter(handle)
}

/// Handles SIGHUP: reads `oxkeeper.log` again. Certificates are reloaded automatically; all other settings
/// need a restart.
fn reload_log(args: &ServeArgs, log: &LogFilter) {
    match configuration(args) {
        Ok(config) => {
            log.set(config.log.as_deref());
            info!(filter = config.log.as_deref().unwrap_or("the default"), "SIGHUP: read oxkeeper.log again");
        }
        Err(problem) => error!("SIGHUP: the log filter stays as it is, since the configuration is wrong: {problem}"),
    }
}

/// Raises the soft limit on open files to the hard limit, as a JVM does: each client needs a file, and the
/// soft limit is usually 1024.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%error, "cannot raise the limit of open files");
    }
}

fn announce(server: &Server, args: &ServeArgs, data_dir: &str) {
    let address = server.address();
    match args.ready {
        Ready::Json => {
            let pid = std::process::id();
            let port = |address: Option<SocketAddr>| address.map(|address| address.port());
            let ready = serde_json::json!({
                "address": address.to_string(),
                "port": address.port(),
                "pid": pid,
                "admin_port": port(server.admin_address()),
                "metrics_port": port(server.metrics_address()),
            });
            tell(ready);
        }
        Ready::Text => {
            let data = if args.in_memory { "nothing on disk".to_owned() } else { format!("data in {data_dir}") };
            let host = if address.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { address.ip() };
            let client = SocketAddr::new(host, address.port());
            tell(format_args!(
                "oxkeeper serves ZooKeeper clients on {address}, {data}. Connect: zkCli.sh -server {client}"
            ));
        }
    }
}

/// Writes a line to standard output. Ignores errors, because a server may outlive its reader.
fn tell(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_keeps_its_data_on_disk() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("zoo.cfg");
        let alone =
            format!("dataDir={}\nclientPort=0\ninitLimit=5\nsyncLimit=2\nserver.1=a:1:2\n", dir.path().display());
        std::fs::write(dir.path().join("myid"), "1")?;
        let args = ServeArgs { config: Some(file.clone()), in_memory: true, ..ServeArgs::default() };
        std::fs::write(&file, &alone)?;
        assert_eq!(configuration(&args).map(|config| config.is_distributed()), Ok(false));
        std::fs::write(&file, format!("{alone}server.2=b:1:2\n"))?;
        let problem = configuration(&args).expect_err("its data would be in memory");
        assert!(problem.starts_with("--in-memory cannot"), "{problem}");
        let args = ServeArgs { in_memory: false, ..args };
        assert_eq!(configuration(&args).map(|config| config.is_distributed()), Ok(true));
        Ok(())
    }
}
