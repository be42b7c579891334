//! Maps paths to handlers, with the preconditions of each.
//!
//! This module owns the phase of the server, as seen by administrators. Invariant: nothing here
//! waits longer than [`GATHER_MAX`] for a thread that serves clients. Source:
//! `JettyAdminServer.CommandServlet`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, STRICT_TRANSPORT_SECURITY};
use hyper::{Method, Request, Response, StatusCode};
use parking_lot::Mutex;

use super::authority::{Limiter, Rules};
use super::health::{self, Health, Phase, Verdict};
use super::{commands, exposition};
use crate::engine::restorer::Restorer;
use crate::observe::facts::{Asked, Inspector};
use crate::telemetry::watchdog::Watchdog;
use oxkeeper_config::Config;

/// Maximum time for the threads that serve clients to report their counters.
const GATHER_MAX: Duration = Duration::from_secs(5);

/// Header sent to browsers over HTTPS, as in ZooKeeper.
const HTTPS_FROM_NOW_ON: &str = "max-age=86400; includeSubDomains";

/// Body of a reply. A long one may be sent while it is generated.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Listener of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// Serves everything.
    Admin,
    /// Serves metrics only.
    Metrics,
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Port::Admin => "administrators",
            Port::Metrics => "metrics",
        })
    }
}

/// Origin of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) port: Port,
    pub(super) peer: SocketAddr,
    /// The connection uses TLS.
    pub(super) secure: bool,
}

/// All resources served.
#[derive(Debug)]
pub(crate) struct Site {
    command_url: String,
    pub(super) config: oxkeeper_config::Admin,
    phase: Mutex<Phase>,
    health: Health,
    running: OnceLock<Running>,
    pub(super) snapshots: Limiter,
    pub(super) restores: Limiter,
}

/// Data available after the recovery.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) words: Arc<Inspector>,
    pub(super) rules: Rules,
    /// `None` on a member of an ensemble, or on a server without data on disk.
    pub(super) restorer: Option<Arc<Restorer>>,
}

impl Site {
    /// Returns the site of a server that is about to recover.
    pub(crate) fn new(config: &Config) -> Site {
        let interval = u64::from(config.admin.rate_limiter_interval_ms);
        Site {
            command_url: config.admin.command_url.trim_end_matches('/').to_owned(),
            config: config.admin.clone(),
            phase: Mutex::default(),
            health: Health::default(),
            running: OnceLock::new(),
            // ZooKeeper: reads the interval of snapshots as microseconds.
            snapshots: Limiter::new(interval),
            restores: Limiter::new(interval * 1000),
        }
    }

    /// Notes that the server is running.
    pub(crate) fn run(
        &self,
        words: Arc<Inspector>,
        rules: Rules,
        restorer: Option<Arc<Restorer>>,
        watchdog: Arc<Watchdog>,
        tick_ms: u64,
    ) {
        self.health.watch(watchdog, tick_ms);
        assert!(self.running.set(Running { words, rules, restorer }).is_ok(), "a server starts once");
        *self.phase.lock() = Phase::Running;
    }

    /// Notes that the server is stopping.
    pub(crate) fn stop(&self) {
        *self.phase.lock() = Phase::Stopping;
    }

    /// Checks the threads. Called once a second.
    pub(super) fn look(&self) {
        self.health.look();
    }

    /// Returns the time for which a silent client is kept.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(u64::from(self.config.idle_timeout_ms.max(1)))
    }

    pub(super) fn running(&self) -> Option<&Running> {
        self.running.get()
    }

    /// Answers a request.
    pub(super) async fn answer(&self, origin: Origin, request: Request<Incoming>) -> Response<Body> {
        let mut response = self.find(origin, request).await;
        if origin.secure {
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HTTPS_FROM_NOW_ON));
        }
        response
    }

    async fn find(&self, Origin { port, peer, .. }: Origin, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if port == Port::Metrics && path != "/metrics" {
            return not_found(path);
        }
        if !matches!(path, "/metrics" | "/livez" | "/readyz" | "/startupz") {
            return match self.command_name(path).map(decode) {
                Some(name) => commands::answer(self, &name, peer, request).await,
                None => not_found(path),
            };
        }
        if let Some(refused) = only(&request, &[Method::GET, Method::HEAD]) {
            return refused;
        }
        match path {
            "/metrics" => self.metrics().await,
            "/livez" => verdict("livez", &self.health.live()),
            "/startupz" => verdict("startupz", &health::started(*self.phase.lock())),
            _ => {
                let read_only_is_enough = parameter(&request, "readOnly").as_deref() == Some("true");
                let role = self.running().map(|running| running.words.role_now());
                verdict("readyz", &health::ready(*self.phase.lock(), role, read_only_is_enough))
            }
        }
    }

    /// Returns the part of the path after the command URL, or `None` for other paths.
    fn command_name<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(&self.command_url)?;
        if rest.is_empty() && !self.command_url.is_empty() { Some("") } else { rest.strip_prefix('/') }
    }

    /// Returns the URL of a command.
    pub(super) fn link(&self, name: &str) -> String {
        format!("{}/{name}", self.command_url)
    }

    async fn metrics(&self) -> Response<Body> {
        let Some(running) = self.running() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "the data on disk is being read\n".to_owned());
        };
        match ask(&running.words).await {
            Some(asked) => {
                let page = exposition::page(&asked.families());
                reply(StatusCode::OK, exposition::CONTENT_TYPE, page)
            }
            None => silent(),
        }
    }
}

/// Gathers the server's data. Returns `None` if its threads do not answer in time.
pub(super) async fn ask(words: &Inspector) -> Option<Asked<'_>> {
    tokio::time::timeout(GATHER_MAX, words.ask()).await.ok()
}

/// Returns the reply for threads that do not answer.
pub(super) fn silent() -> Response<Body> {
    text(StatusCode::SERVICE_UNAVAILABLE, "the threads that serve clients do not answer\n".to_owned())
}

/// Returns a refusal unless the method is one of these.
pub(super) fn only(request: &Request<Incoming>, allowed: &[Method]) -> Option<Response<Body>> {
    if allowed.contains(request.method()) {
        return None;
    }
    let names: Vec<&str> = allowed.iter().map(Method::as_str).chain(["OPTIONS"]).collect();
    let status = match *request.method() {
        Method::OPTIONS => StatusCode::OK,
        Method::TRACE => StatusCode::FORBIDDEN,
        _ => StatusCode::METHOD_NOT_ALLOWED,
    };
    let mut response = text(status, String::new());
    let names = HeaderValue::from_str(&names.join(", ")).expect("names of methods are plain");
    response.headers_mut().insert(ALLOW, names);
    Some(response)
}

/// Returns a query parameter.
pub(super) fn parameter(request: &Request<Incoming>, wanted: &str) -> Option<String> {
    let pairs = request.uri().query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut found = pairs.filter(|(name, _)| decode(name) == wanted);
    found.next().map(|(_, value)| decode(&value.replace('+', " ")))
}

/// Decodes percent escapes, such as `%41` for `A`. Replaces invalid UTF-8.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let escaped = others.get(..2).filter(|_| first == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        (rest, _) = match escaped {
            Some(byte) => (&others[2..], bytes.push(byte)),
            None => (others, bytes.push(first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn verdict(question: &str, verdict: &Verdict) -> Response<Body> {
    let status = if verdict.is_good() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(status, verdict.text(question))
}

fn not_found(path: &str) -> Response<Body> {
    let hint = if path == "/" { "see /commands, /metrics, /livez, /readyz, /startupz\n" } else { "not found\n" };
    text(StatusCode::NOT_FOUND, hint.to_owned())
}

/// Returns a plain text reply.
pub(super) fn text(status: StatusCode, text: String) -> Response<Body> {
    reply(status, "text/plain; charset=utf-8", text)
}

/// Returns a reply with a complete body.
pub(super) fn reply(status: StatusCode, content_type: &'static str, content: String) -> Response<Body> {
    let never = |nothing: Infallible| match nothing {};
    let body = Full::new(Bytes::from(content)).map_err(never).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded() {
        let cases = [
            ("ruok", "ruok"),
            ("a%20b", "a b"),
            ("%C3%BC", "ü"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%ff", "\u{fffd}"),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text), expected);
        }
    }

    #[test]
    fn commands_are_where_the_configuration_says() {
        let site = |url: &str| {
            let mut config = Config::default();
            config.admin.command_url = url.to_owned();
            Site::new(&config)
        };
        let cases = [
            ("/commands", "/commands", Some("")),
            ("/commands", "/commands/", Some("")),
            ("/commands", "/commands/ruok", Some("ruok")),
            ("/commands", "/commands/srvr/", Some("srvr/")),
            ("/commands", "/commandsx", None),
            ("/commands", "/", None),
            ("/zk/", "/zk/ruok", Some("ruok")),
            ("/", "/ruok", Some("ruok")),
        ];
        for (url, path, expected) in cases {
            assert_eq!(site(url).command_name(path), expected, "{url} {path}");
        }
    }
}
