//! ZooKeeper's admin commands: names, permissions and preconditions.
//!
//! This module owns the table. Invariant: the reply to a command always ends with `command` and
//! `error`. Source: `Commands`, `CommandResponse`.

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, Response, StatusCode};
use tracing::warn;

use super::authority;
use super::json::Json;
use super::replies::{self, Fields};
use super::site::{Body, Running, Site, ask, only, parameter, reply, silent};
use super::snapshots;
use crate::observe::facts::Asked;
use crate::observe::words::Effect;
use crate::telemetry::role::Role;

/// ZooKeeper's text for a server that cannot serve.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// One command.
#[derive(Clone, Copy, Debug)]
struct Command {
    /// Names; lists and replies use the first one.
    names: &'static [&'static str],
    /// Available only while clients are served.
    needs_service: bool,
    what: What,
}

/// Effect of a command.
#[derive(Clone, Copy)]
enum What {
    /// Returns data.
    Tell(fn(&Asked<'_>) -> Fields),
    /// Returns data that must be looked up elsewhere.
    Leader,
    /// Changes the server, and returns nothing.
    Change(Effect),
    /// Has no effect.
    Nothing,
    SetTraceMask,
    Snapshot,
    Restore,
}

impl std::fmt::Debug for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("What")
    }
}

const fn serving(names: &'static [&'static str], what: What) -> Command {
    Command { names, needs_service: true, what }
}

const fn always(names: &'static [&'static str], what: What) -> Command {
    Command { names, needs_service: false, what }
}

/// All commands, in alphabetical order.
const COMMANDS: &[Command] = &[
    serving(&["configuration", "conf", "config"], What::Tell(replies::configuration)),
    serving(&["connection_stat_reset", "crst"], What::Change(Effect::ResetConnections)),
    serving(&["connections", "cons"], What::Tell(replies::connections)),
    serving(&["dirs"], What::Tell(replies::directories)),
    serving(&["dump"], What::Tell(replies::dump)),
    always(&["environment", "env", "envi"], What::Tell(replies::environment)),
    always(&["get_trace_mask", "gtmk"], What::Tell(replies::trace_mask)),
    serving(&["hash"], What::Tell(replies::digests)),
    serving(&["initial_configuration", "icfg"], What::Tell(replies::initial_configuration)),
    serving(&["is_read_only", "isro"], What::Tell(replies::read_only)),
    serving(&["last_snapshot", "lsnp"], What::Tell(replies::last_snapshot)),
    serving(&["leader", "lead"], What::Leader),
    always(&["monitor", "mntr"], What::Tell(replies::monitor)),
    // Observers' connections have no statistics of their own that could be reset.
    serving(&["observer_connection_stat_reset", "orst"], What::Nothing),
    serving(&["observers", "obsr"], What::Tell(replies::observers)),
    serving(&["restore", "rest"], What::Restore),
    serving(&["ruok"], What::Nothing),
    serving(&["server_stats", "srvr"], What::Tell(replies::server_stats)),
    always(&["set_trace_mask", "stmk"], What::SetTraceMask),
    serving(&["snapshot", "snap"], What::Snapshot),
    serving(&["stat_reset", "srst"], What::Change(Effect::ResetServer)),
    serving(&["stats", "stat"], What::Tell(replies::stats)),
    always(&["system_properties", "sysp"], What::Tell(replies::system_properties)),
    serving(&["voting_view"], What::Tell(replies::voting_view)),
    serving(&["watch_summary", "wchs"], What::Tell(replies::watch_summary)),
    serving(&["watches", "wchc"], What::Tell(replies::watches)),
    serving(&["watches_by_path", "wchp"], What::Tell(replies::watches_by_path)),
    always(&["zabstate"], What::Tell(replies::zab_state)),
];

/// Answers a request below the command URL.
pub(super) async fn answer(site: &Site, name: &str, peer: SocketAddr, request: Request<Incoming>) -> Response<Body> {
    if let Some(refused) = only(&request, &[Method::GET, Method::HEAD, Method::POST]) {
        return refused;
    }
    if name.is_empty() {
        return reply(StatusCode::OK, "text/html; charset=utf-8", list(site));
    }
    let Some(command) = COMMANDS.iter().find(|command| command.names.contains(&name)) else {
        return failed(name, StatusCode::OK, &format!("Unknown command: {name}"));
    };
    let running = site.running();
    let is_out = |running: &Running| running.words.role_now() == Role::NotServing;
    let Some(running) = running.filter(|running| !(command.needs_service && is_out(running))) else {
        return failed(name, StatusCode::OK, NOT_SERVING);
    };
    if matches!(command.what, What::Snapshot | What::Restore)
        && let Err((status, reason)) = authorize(running, peer, &request)
    {
        // ZooKeeper: a refusal repeats the name as the client wrote it.
        warn!(%peer, command = name, "refused: {reason}");
        return failed(name, status, reason);
    }
    let name = command.names[0];
    // ZooKeeper: fails with an HTML page and status 500.
    let is_post = request.method() == Method::POST;
    if is_post != matches!(command.what, What::Restore) {
        let wanted = if is_post { "GET" } else { "POST" };
        return failed(name, StatusCode::METHOD_NOT_ALLOWED, &format!("{name} is asked for with {wanted}"));
    }
    carry_out(site, running, command, name, request).await
}

async fn carry_out(
    site: &Site,
    running: &Running,
    command: &Command,
    name: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    match command.what {
        What::Snapshot => return snapshots::snapshot(site, running, name, &request).await,
        What::Restore => return snapshots::restore(site, running, name, request).await,
        What::Change(effect) => running.words.carry_out(effect),
        What::SetTraceMask => return set_trace_mask(running, name, parameter(&request, "traceMask")),
        What::Nothing => {}
        What::Tell(tell) => {
            let Some(asked) = ask(&running.words).await else { return silent() };
            return told(name, tell(&asked));
        }
        What::Leader => {
            let Some(asked) = ask(&running.words).await else { return silent() };
            return told(name, replies::leader(&asked).await);
        }
    }
    told(name, Vec::new())
}

fn authorize(running: &Running, peer: SocketAddr, request: &Request<Incoming>) -> Result<(), authority::Refusal> {
    let header = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    let shared = running.words.state.read();
    let root = shared.state.tree().lookup("/").expect("there is always a root");
    let acl = shared.state.acl(shared.state.tree().znode(root).versions.acl);
    authority::authorize(header, peer.ip(), &running.rules, acl)
}

fn set_trace_mask(running: &Running, name: &str, mask: Option<String>) -> Response<Body> {
    let problem = "setTraceMask requires long traceMask argument";
    match mask.as_deref().map(str::parse) {
        Some(Ok(mask)) => {
            running.words.carry_out(Effect::SetTraceMask(mask));
            told(name, vec![("tracemask".to_owned(), Json::Int(mask))])
        }
        Some(Err(_)) => {
            let mask = mask.unwrap_or_default();
            told(name, vec![("error".to_owned(), Json::Text(format!("{problem}, got {mask}")))])
        }
        None => told(name, vec![("error".to_owned(), Json::text(problem))]),
    }
}

/// Returns a page with links to all commands.
fn list(site: &Site) -> String {
    let line = |command: &Command| {
        let name = command.names[0];
        format!("<a href=\"{}\">{name}</a>\n<br/>\n", site.link(name))
    };
    COMMANDS.iter().map(line).collect()
}

/// Returns a reply that reports an error.
pub(super) fn failed(name: &str, status: StatusCode, problem: &str) -> Response<Body> {
    reply(status, JSON, ended(Vec::new(), name, Json::text(problem)).to_string())
}

/// Returns a reply with data.
pub(super) fn told(name: &str, fields: Fields) -> Response<Body> {
    reply(StatusCode::OK, JSON, ended(fields, name, Json::Null).to_string())
}

const JSON: &str = "application/json";

/// Appends the command's name and the error, as in every reply.
// ZooKeeper: an `error` field from the command itself takes precedence, at its own position.
fn ended(mut fields: Fields, name: &str, error: Json) -> Json {
    let has_error = fields.iter().any(|(field, _)| field == "error");
    fields.push(("command".to_owned(), Json::text(name)));
    if !has_error {
        fields.push(("error".to_owned(), error));
    }
    Json::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_unique() {
        let first: Vec<_> = COMMANDS.iter().map(|command| command.names[0]).collect();
        assert!(first.is_sorted(), "{first:?}");
        let mut all: Vec<_> = COMMANDS.iter().flat_map(|command| command.names).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_reply_ends_in_command_and_error() {
        let shown = |fields: Fields| ended(fields, "leader", Json::Null).to_string();
        assert_eq!(shown(Vec::new()), "{\n  \"command\" : \"leader\",\n  \"error\" : null\n}");
        let fields = vec![("error".to_owned(), Json::text("x"))];
        assert_eq!(shown(fields), "{\n  \"error\" : \"x\",\n  \"command\" : \"leader\"\n}");
    }
}
