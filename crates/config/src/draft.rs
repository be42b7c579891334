//! Interprets the properties: one pass over all of them, then the checks between keys.
//!
//! Owns precedence (the property that wins if a key is written twice) and the order of the checks.
//! Invariant: every property gets exactly one outcome, so that nothing written goes unexplained.
//! Source: `QuorumPeerConfig#parseProperties`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{Ipv4Addr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use oxkeeper_state::membership::{self, HostPort, Misfit, Role, Server, is_wildcard, parse_id};

use super::LOG_VARIABLE;
use super::keys::{self, Default as KeyDefault, Form, Here, Key};
use super::membership::{Member, Membership};
use super::properties::{Properties, Property, Source};
use super::settings::{Config, ENSEMBLE_PROVIDER, SASL_PROVIDER};
use super::word::Whitelist;

/// Class of the metrics provider that has a port of its own.
pub(super) const PROMETHEUS_PROVIDER: &str = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";
/// Default address of that port.
const METRICS_HOST: &str = "0.0.0.0";
const METRICS_PORT: u16 = 7000;

/// Contradictions between keys: the key whose line is at fault, and the reason.
#[derive(Debug, Default)]
struct Errors(Vec<(Cow<'static, str>, String)>);

impl Errors {
    fn add(&mut self, key: impl Into<Cow<'static, str>>, why: impl Into<String>) {
        self.0.push((key.into(), why.into()));
    }
}

/// A configuration under construction, with the values that depend on other keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) client_port: Option<u16>,
    pub(super) client_host: Option<String>,
    pub(super) secure_port: Option<u16>,
    pub(super) secure_host: Option<String>,
    pub(super) session_timeout_min_ms: i32,
    pub(super) session_timeout_max_ms: i32,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) data_log_dir: Option<PathBuf>,
    pub(super) jute_maxbuffer_extra: Option<u32>,
    pub(super) whitelist: Option<String>,
    pub(super) metrics_provider: String,
    pub(super) metrics_host: Option<String>,
    pub(super) metrics_port: Option<u16>,
    pub(super) snap_retain_count: i64,
    pub(super) quorum_server_requires_sasl: bool,
    pub(super) quorum_learner_requires_sasl: bool,
    server_lines: Vec<(i64, String)>,
}

impl Draft {
    /// Returns a draft without any values, not even defaults.
    pub(super) fn empty() -> Self {
        Self::default()
    }

    /// Returns a draft with all defaults of the table.
    fn with_defaults() -> Self {
        let mut draft = Self::empty();
        for key in keys::all() {
            if let KeyDefault::Is(value) = key.default {
                key.apply(&mut draft, "", value, Source::File).expect("every default is legal, as a test shows");
            }
        }
        draft
    }

    /// Adds a `server.<id>` line. Its value is interpreted only when `multiAddress.enabled` is known, but its
    /// syntax is checked at once.
    // ZooKeeper: it refuses white space at the end of the value, and for server lines it reads `multiAddress.enabled`
    // only from `-Dzookeeper.multiAddress.enabled`, contrary to its own guide. Both work here.
    pub(super) fn add_server(&mut self, id: &str, value: &str) -> Result<(), String> {
        let id = parse_id(id)?;
        Server::parse(id, value, true).map_err(|error| error.to_string())?;
        self.server_lines.push((id, value.to_owned()));
        Ok(())
    }

    /// Adds a `group.<id>` line; `rest` is the key without `group`.
    pub(super) fn add_group(&mut self, rest: &str, value: &str) -> Result<(), String> {
        self.config.ensemble.members.add_group(id_after_dot("group", rest)?, value)
    }

    /// Adds a `weight.<id>` line; `rest` is the key without `weight`.
    pub(super) fn add_weight(&mut self, rest: &str, value: &str) -> Result<(), String> {
        self.config.ensemble.members.weights.insert(id_after_dot("weight", rest)?, parse_id(value)?);
        Ok(())
    }

    /// Completes the draft and makes the checks between keys, in ZooKeeper's order. Each error names the key
    /// whose line is at fault.
    fn finish(mut self) -> (Config, Errors) {
        let mut errors = Errors::default();
        self.check_quorum_sasl(&mut errors);
        self.finish_directories(&mut errors);
        self.finish_listeners(&mut errors);
        self.finish_tls();
        self.finish_timeouts(&mut errors);
        self.finish_limits();
        self.finish_metrics_port();
        self.check_enforced_auth(&mut errors);
        self.warn_of_missing_users();
        self.finish_ensemble(&mut errors);
        (self.config, errors)
    }

    fn check_quorum_sasl(&self, errors: &mut Errors) {
        let (enable, server, learner) =
            ("quorum.auth.enableSasl", "quorum.auth.serverRequireSasl", "quorum.auth.learnerRequireSasl");
        let enabled = self.config.ensemble.quorum_sasl_enabled;
        let mut require = |asked: bool, present: bool, key: &'static str, needed: &str| {
            if asked && !present {
                errors.add(key, format!("needs {needed}=true"));
            }
        };
        require(self.quorum_server_requires_sasl, enabled, server, enable);
        require(self.quorum_learner_requires_sasl, enabled, learner, enable);
        require(self.quorum_server_requires_sasl, self.quorum_learner_requires_sasl, server, learner);
    }

    /// Sets the metrics port; only ZooKeeper's provider for Prometheus has one.
    fn finish_metrics_port(&mut self) {
        let host = self.metrics_host.take().unwrap_or_else(|| METRICS_HOST.to_owned());
        let port = self.metrics_port.unwrap_or(METRICS_PORT);
        let wanted = self.metrics_provider == PROMETHEUS_PROVIDER;
        self.config.metrics_port = wanted.then(|| HostPort { host: Some(host_name(host)), port });
    }

    fn finish_directories(&mut self, errors: &mut Errors) {
        let Some(data_dir) = self.data_dir.take().filter(|dir| !dir.as_os_str().is_empty()) else {
            errors.add("dataDir", "is not set: name the directory for the server's data");
            return;
        };
        self.config.data_log_dir = self.data_log_dir.take().unwrap_or_else(|| data_dir.clone());
        self.config.data_dir = data_dir;
        for dir in [&self.config.data_dir, &self.config.data_log_dir] {
            if !dir.is_absolute() && !dir.starts_with(".") {
                let dir = dir.display();
                self.config.warnings.push(format!("the directory {dir} is relative: write ./{dir} if you mean that"));
            }
        }
        self.config.warnings.dedup();
    }

    fn finish_listeners(&mut self, errors: &mut Errors) {
        let mut listener = |port: Option<u16>, host: Option<String>, keys: [&'static str; 2]| match (port, host) {
            (None, Some(_)) => {
                errors.add(keys[1], format!("is set, but {} is not", keys[0]));
                None
            }
            (None, None) => None,
            (Some(port), host) => Some(HostPort { host: host.map(host_name), port }),
        };
        self.config.client = listener(self.client_port, self.client_host.take(), ["clientPort", "clientPortAddress"]);
        let keys = ["secureClientPort", "secureClientPortAddress"];
        self.config.secure_client = listener(self.secure_port, self.secure_host.take(), keys);
        errors.0.extend(clash(&self.config).map(|problem| ("secureClientPort".into(), problem)));
    }

    fn finish_tls(&mut self) {
        let Config { security, ensemble, secure_client, warnings, .. } = &mut self.config;
        security.client_tls.finish("ssl.");
        ensemble.tls.finish("ssl.quorum.");
        // ZooKeeper's default listener does not support TLS.
        if security.client_port_unification
            && secure_client.is_none()
            && security.client_tls.settings.key_store.is_none()
        {
            security.client_port_unification = false;
            let message = "client.portUnification=true has no effect: it needs ssl.keyStore.location";
            warnings.push(message.to_owned());
        }
        let registered = |(_, class): &(String, String)| class.ends_with(".X509AuthenticationProvider");
        security.has_x509 = secure_client.is_some()
            || security.client_port_unification
            || security.auth_providers.iter().any(registered);
    }

    fn finish_timeouts(&mut self, errors: &mut Errors) {
        let tick = self.config.tick_time_ms;
        if tick == 0 {
            errors.add("tickTime", "must be greater than 0");
        } else if tick < 0 {
            // ZooKeeper: it rejects this only because of the timeouts derived from it, and not always.
            errors.add("tickTime", format!("must be greater than 0, not {tick}"));
        }
        let or_ticks = |timeout: i32, ticks: i32| if timeout == -1 { tick.saturating_mul(ticks) } else { timeout };
        let (min, max) = (or_ticks(self.session_timeout_min_ms, 2), or_ticks(self.session_timeout_max_ms, 20));
        if min > max && tick > 0 {
            let key = if self.session_timeout_min_ms == -1 { "maxSessionTimeout" } else { "minSessionTimeout" };
            errors.add(key, "minSessionTimeout must not be larger than maxSessionTimeout");
        }
        self.config.session_timeout_min_ms = min;
        self.config.session_timeout_max_ms = max;
    }

    fn finish_limits(&mut self) {
        let config = &mut self.config;
        let maxbuffer = config.limits.jute_maxbuffer;
        config.limits.jute_maxbuffer_extra = self.jute_maxbuffer_extra.unwrap_or(maxbuffer.max(1024));
        config.words = Whitelist::parse(self.whitelist.as_deref().unwrap_or_default(), config.read_only_mode);
        if self.snap_retain_count < 3 {
            let count = self.snap_retain_count;
            config.warnings.push(format!("autopurge.snapRetainCount={count} is less than 3; 3 counts"));
        }
        if config.security.skip_acl {
            config.warnings.push("skipACL=yes: every client may read and change every znode".into());
        }
    }

    /// Checks the enforced schemes. Source: `AuthenticationHelper#validateConfiguredProperties`. Enforcing no
    /// scheme would admit everyone; enforcing a scheme that is not available would admit no one.
    fn check_enforced_auth(&mut self, errors: &mut Errors) {
        let security = &mut self.config.security;
        if security.require_client_sasl {
            // ZooKeeper: the older key takes precedence.
            security.enforce_auth_enabled = true;
            security.enforce_auth_schemes = vec!["sasl".to_owned()];
        }
        if !security.enforce_auth_enabled {
            return;
        }
        let key = if security.require_client_sasl { "sessionRequireClientSASLAuth" } else { "enforce.auth.schemes" };
        if security.enforce_auth_schemes.is_empty() {
            errors.add("enforce.auth.enabled", "enforce.auth.schemes must name the schemes to enforce");
        }
        if security.enforce_auth_schemes == ["sasl"] && security.jaas_file.is_none() {
            let message = "SASL is required, but -Djava.security.auth.login.config names no JAAS file: the server will \
                           refuse every client";
            self.config.warnings.push(message.into());
        }
        let security = &self.config.security;
        for scheme in &security.enforce_auth_schemes {
            if !security.has_provider(scheme) {
                errors.add(key, scheme_missing(scheme));
            }
        }
    }

    /// Warns if a key asks for SASL but the key with its users is missing.
    fn warn_of_missing_users(&mut self) {
        let security = &self.config.security;
        let wanted = match () {
            // Already reported.
            () if security.enforce_auth_enabled && security.enforce_auth_schemes == ["sasl"] => None,
            () if security.has_provider("sasl") => Some("authProvider.sasl"),
            () if !security.sasl_super_users.is_empty() => Some("superUser"),
            () => None,
        };
        if let (Some(key), None) = (wanted, &security.jaas_file) {
            self.config.warnings.push(format!(
                "{key} is set, but no client can authenticate with SASL: -Djava.security.auth.login.config names no \
                 JAAS file"
            ));
        }
    }

    fn finish_ensemble(&mut self, errors: &mut Errors) {
        let ensemble = &mut self.config.ensemble;
        for (id, line) in std::mem::take(&mut self.server_lines) {
            match Server::parse(id, &line, ensemble.multi_address_enabled) {
                Ok(server) => {
                    if ensemble.members.servers.insert(id, server).is_some() {
                        errors.add(format!("server.{id}"), format!("another line also describes server {id}"));
                    }
                }
                Err(error) => errors.add(format!("server.{id}"), error.to_string()),
            }
        }
        if ensemble.dynamic_config_file.is_some() && ensemble.members.servers.is_empty() {
            return; // the members are in the other file, which a caller that only looks at this one has not read
        }
        match ensemble.members.check(ensemble.standalone_enabled) {
            Ok(warning) => self.config.warnings.extend(warning.map(str::to_owned)),
            Err(error) => {
                errors.add("server.*", error);
                return;
            }
        }
        let ensemble = &self.config.ensemble;
        if ensemble.members.asks_for_ensemble(ensemble.standalone_enabled) {
            let limits = [
                ("initLimit", self.config.ensemble.init_limit_ticks),
                ("syncLimit", self.config.ensemble.sync_limit_ticks),
            ];
            limits
                .iter()
                .filter(|(_, ticks)| *ticks == 0)
                .for_each(|(key, _)| errors.add(*key, "must be greater than 0 in an ensemble, as in ZooKeeper"));
        }
        if self.config.is_distributed() {
            self.check_peers(errors);
        }
    }

    /// Checks the requirements of an ensemble.
    fn check_peers(&self, errors: &mut Errors) {
        let ensemble = &self.config.ensemble;
        if let Err(Misfit { server, why }) = membership::check(&ensemble.members) {
            errors.add(server.map_or("server.*".into(), |id| Cow::from(format!("server.{id}"))), why);
        }
        let least_ms = 2 * ensemble.heartbeat_ms;
        if ensemble.peer_timeout_ms.is_some_and(|timeout_ms| timeout_ms < least_ms) {
            errors.add(
                "oxkeeper.peerTimeoutMs",
                format!(
                    "must be at least two heartbeats: {least_ms} ms (oxkeeper.heartbeatMs={})",
                    ensemble.heartbeat_ms
                ),
            );
        }
    }
}

/// Parses the id. ZooKeeper: the id is the text after the first dot, or the whole key if there is none.
fn id_after_dot(prefix: &str, rest: &str) -> Result<i64, String> {
    match rest.split_once('.') {
        Some((_, id)) => parse_id(id),
        None => parse_id(&format!("{prefix}{rest}")),
    }
}

fn scheme_missing(scheme: &str) -> String {
    let hint = match scheme {
        "sasl" => format!(": set authProvider.sasl={SASL_PROVIDER}"),
        "ensemble" => format!(": set authProvider.ensemble={ENSEMBLE_PROVIDER}"),
        "x509" => ": it needs secureClientPort or client.portUnification=true".to_owned(),
        _ => String::new(),
    };
    format!("authentication scheme {scheme} is not available{hint}")
}

/// Returns an error if two listeners share a port of one address. ZooKeeper: it reports this when it opens
/// the second one.
fn clash(config: &Config) -> Option<String> {
    let (plain, secure) = (config.client.as_ref()?, config.secure_client.as_ref()?);
    let is_any = |place: &HostPort| place.host.as_deref().is_none_or(is_wildcard);
    let same = is_any(plain) || is_any(secure) || plain.host == secure.host;
    let clash = same && plain.port == secure.port && plain.port != 0;
    clash.then(|| {
        let port = plain.port;
        format!(
            "port {port} is the clientPort already; to serve TLS on the client port, set client.portUnification=true \
             instead"
        )
    })
}

/// Returns a host without the brackets of an IPv6 literal (`[::1]`).
// ZooKeeper: an empty host is this machine's loopback address.
pub(super) fn host_name(host: String) -> String {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.to_owned(),
        None if host.is_empty() => Ipv4Addr::LOCALHOST.to_string(),
        None => host,
    }
}

/// The outcome of one property.
#[derive(Clone)]
pub(super) enum Outcome {
    /// It has been applied to the draft.
    Applied(&'static Key),
    /// Another property with the same key takes precedence.
    Overridden(Property),
    /// The key is not read from this source.
    Misplaced(String),
    /// A property of the JVM, which no server reads.
    Foreign,
    /// There is no such key; the user probably meant this one.
    Unknown(Option<&'static str>),
    /// The value is wrong. `fatal`: the server must not start.
    Wrong { message: String, fatal: bool },
}

/// A mistake that must prevent the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key.
    pub key: String,
    /// Source of the property; `None` if the key was not written.
    pub source: Option<Source>,
    /// The file with the line, if the property comes from a file.
    pub file: Option<PathBuf>,
    /// Line of the file, counted from 1, if a line is at fault.
    pub line: Option<usize>,
    /// The mistake: a complete sentence, or one that begins with "is", "must" or "needs" and has the key as
    /// its subject.
    pub message: String,
}

impl Problem {
    fn at(property: &Property, message: String) -> Self {
        let Property { key, source, line, .. } = property.clone();
        Problem { key, source: Some(source), file: None, line, message }
    }

    pub(super) fn without_line(key: &str, message: String) -> Self {
        Problem { key: key.to_owned(), source: None, file: None, line: None, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.source, &self.file, self.line) {
            (Some(Source::Environment), _, _) => return write!(f, "{LOG_VARIABLE}: {}", self.message),
            (Some(Source::CommandLine), _, _) => f.write_str("command line: ")?,
            (_, Some(file), Some(line)) => write!(f, "{}:{line}: ", file.display())?,
            (Some(Source::DynamicFile), None, Some(line)) => write!(f, "dynamic file, line {line}: ")?,
            (_, None, Some(line)) => write!(f, "line {line}: ")?,
            (_, _, None) => {}
        }
        let goes_on = ["is ", "must ", "needs "].iter().any(|verb| self.message.starts_with(verb));
        write!(f, "{}{} {}", self.key, if goes_on { "" } else { ":" }, self.message)
    }
}

/// The result of the pass: a configuration (valid only if there are no problems), and one outcome for each property.
pub(super) struct Interpretation {
    pub(super) config: Config,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) problems: Vec<Problem>,
}

/// Interprets all properties.
pub(super) fn interpret(properties: &Properties) -> Interpretation {
    let entries = properties.entries();
    let winners = winners(entries);
    let has_dynamic_file = entries.iter().any(|p| p.source != Source::JvmFlags && p.key == "dynamicConfigFile");
    let mut draft = Draft::with_defaults();
    let mut problems = Vec::new();
    let mut outcomes = Vec::new();
    for (index, property) in entries.iter().enumerate() {
        let outcome = match resolve(property) {
            Resolution::Key(key, suffix) => {
                let winner = winners[&(key.name, suffix)];
                if has_dynamic_file && property.source == Source::File && is_membership(key) {
                    let message = "must be in the file that dynamicConfigFile names".to_owned();
                    Outcome::Wrong { message, fatal: true }
                } else if let Some(other) = contradiction(key, property, &entries[winner]) {
                    Outcome::Wrong { message: other, fatal: true }
                } else if winner != index {
                    overridden(key, suffix, property, &entries[winner])
                } else {
                    apply(key, suffix, property, &mut draft)
                }
            }
            Resolution::Misplaced(why) => Outcome::Misplaced(why),
            Resolution::Foreign => Outcome::Foreign,
            Resolution::Unknown(_) if property.source == Source::DynamicFile => Outcome::Wrong {
                message: "is not a key of a dynamic file: move the line to the main file".to_owned(),
                fatal: true,
            },
            Resolution::Unknown(suggestion) => Outcome::Unknown(suggestion),
        };
        if let Outcome::Wrong { message, fatal: true } = &outcome {
            problems.push(Problem::at(property, message.clone()));
        }
        outcomes.push(outcome);
    }
    let names_admin = |outcome: &Outcome| matches!(outcome, Outcome::Applied(key) if key.name.starts_with("admin."));
    draft.config.admin.named = outcomes.iter().any(names_admin);
    let (config, errors) = draft.finish();
    for (name, message) in errors.0 {
        // One mistake for each key is enough: a key with a wrong value is not reported as missing, too.
        if !problems.iter().any(|problem| blames(&name, &problem.key)) {
            problems.push(locate(&name, message, entries));
        }
    }
    Interpretation { config, outcomes, problems }
}

/// Returns the contradiction between two server lines with the same number. If the number of a copied line
/// was not changed, a server would be left out.
// ZooKeeper: it silently takes the last such line.
fn contradiction(key: &Key, property: &Property, winner: &Property) -> Option<String> {
    let is_one_file = property.source == winner.source && property.source != Source::CommandLine;
    let differs = key.name == "server.*" && is_one_file && property.value != winner.value;
    differs.then(|| match winner.line {
        Some(line) => format!("line {line} gives {} another value", property.key),
        None => format!("{} has another value elsewhere", property.key),
    })
}

/// Returns whether an error about `name`, a row or the line of a server, concerns the key as `written`.
pub(super) fn blames(name: &str, written: &str) -> bool {
    let id = |key: &str| key.strip_prefix("server.").and_then(|id| parse_id(id).ok());
    name == written
        || name.strip_suffix('*').is_some_and(|prefix| written.starts_with(prefix))
        || id(name).is_some_and(|blamed| id(written) == Some(blamed))
}

/// Attributes an error between keys to the last line that sets its key.
fn locate(name: &str, message: String, entries: &[Property]) -> Problem {
    match entries.iter().rev().find(|p| p.source != Source::JvmFlags && blames(name, &p.key)) {
        Some(property) => Problem::at(property, message),
        None => Problem::without_line(name, message),
    }
}

fn apply(key: &'static Key, suffix: &str, property: &Property, draft: &mut Draft) -> Outcome {
    match key.apply(draft, suffix, &property.value, property.source) {
        Ok(()) => {
            if let (Here::Ignored(why), Some(value)) = (key.here, key.missed)
                && property.value.eq_ignore_ascii_case(value)
            {
                draft.config.warnings.push(format!("{}={} has no effect: {why}", property.key, property.value));
            }
            Outcome::Applied(key)
        }
        // ZooKeeper: a property that cannot be parsed silently counts as absent. Here it causes at least a warning.
        Err(message) if !key.is_strict(property.source) => {
            draft.config.warnings.push(format!("{}={} has no effect: {message}", property.key, property.value));
            Outcome::Wrong { message: format!("no effect: {message}"), fatal: false }
        }
        Err(message) => Outcome::Wrong { message, fatal: true },
    }
}

/// Handles a property that is overridden by another one. A key of our own must be valid even then: in an
/// environment without the other property, it would prevent the start.
fn overridden(key: &Key, suffix: &str, property: &Property, winner: &Property) -> Outcome {
    let checked = key.apply(&mut Draft::empty(), suffix, &property.value, property.source);
    match checked {
        Err(message) if key.name.starts_with("oxkeeper.") && key.is_strict(property.source) => {
            Outcome::Wrong { message, fatal: true }
        }
        Ok(()) | Err(_) => Outcome::Overridden(winner.clone()),
    }
}

fn is_membership(key: &Key) -> bool {
    matches!(key.name, "server.*" | "group*" | "weight*")
}

enum Resolution<'a> {
    Key(&'static Key, &'a str),
    Misplaced(String),
    Foreign,
    Unknown(Option<&'static str>),
}

/// Returns the row that a property belongs to, which depends on the property's source.
fn resolve(property: &Property) -> Resolution<'_> {
    let written = property.key.as_str();
    match property.source {
        Source::DynamicFile => match keys::find(written) {
            Some((key, suffix)) if is_membership(key) => Resolution::Key(key, suffix),
            _ => Resolution::Unknown(None),
        },
        Source::CommandLine | Source::Environment => found(keys::find(written), written),
        Source::File => match keys::find(written) {
            Some((key, _)) if key.form == Form::BareProperty => Resolution::Misplaced(format!(
                "this key counts only as -D{written}=… in SERVER_JVMFLAGS, not in the file"
            )),
            other => found(other, written),
        },
        Source::JvmFlags => resolve_jvm(written),
    }
}

fn found<'a>(row: Option<(&'static Key, &'a str)>, written: &str) -> Resolution<'a> {
    match row {
        Some((key, suffix)) => Resolution::Key(key, suffix),
        None => Resolution::Unknown(keys::suggest(written)),
    }
}

fn resolve_jvm(written: &str) -> Resolution<'_> {
    let file_only = || Resolution::Misplaced("this key counts only in the file".into());
    if let Some(bare) = written.strip_prefix("zookeeper.") {
        return match keys::find(bare) {
            None => Resolution::Unknown(keys::suggest(bare)),
            Some((key, suffix)) => match key.form {
                Form::File => file_only(),
                Form::BareProperty => Resolution::Misplaced(format!("write it without the prefix: -D{bare}=…")),
                Form::Property | Form::FileOrProperty | Form::EitherProperty => Resolution::Key(key, suffix),
            },
        };
    }
    match keys::find(written) {
        None => Resolution::Foreign,
        Some((key, suffix)) => match key.form {
            Form::BareProperty | Form::EitherProperty => Resolution::Key(key, suffix),
            Form::File => file_only(),
            Form::Property | Form::FileOrProperty => {
                Resolution::Misplaced(format!("write it with the prefix: -Dzookeeper.{written}=…"))
            }
        },
    }
}

/// Warns of each property that has no effect in its place: an unknown key, or a key in the wrong source.
/// `file` is the name of the configuration file. An unknown key that is written twice is reported once.
pub(super) fn strays(properties: &Properties, file: &Path) -> Vec<String> {
    let mut told = HashSet::new();
    let mut warnings = Vec::new();
    for property in properties.entries() {
        let key = &property.key;
        let why = match resolve(property) {
            Resolution::Unknown(Some(meant)) => format!("unknown key {key}, did you mean {meant}?"),
            Resolution::Unknown(None) => format!("unknown key {key}"),
            Resolution::Misplaced(why) => format!("{key} has no effect here: {why}"),
            Resolution::Key(..) | Resolution::Foreign => continue,
        };
        // A wrong key in the dynamic file prevents the start.
        if property.source != Source::DynamicFile && told.insert((property.source, key)) {
            let place = match property.line {
                Some(line) => format!("{}:{line}", file.display()),
                None => property.source.to_string(),
            };
            warnings.push(format!("{place}: {why}"));
        }
    }
    warnings
}

/// Returns, for each row (and member of a family), the property that counts: the last one of the source with
/// the highest precedence.
fn winners(entries: &[Property]) -> HashMap<(&'static str, &str), usize> {
    let mut winners = HashMap::new();
    for (index, property) in entries.iter().enumerate() {
        if let Resolution::Key(key, suffix) = resolve(property) {
            let winner = winners.entry((key.name, suffix)).or_insert(index);
            if entries[*winner].source <= property.source {
                *winner = index;
            }
        }
    }
    winners
}

/// Determines this server's place in the ensemble and takes the client address from its own line, once `myid` is known.
///
/// *Errors*: the line and `clientPort` contradict each other; in an ensemble, `myid` is missing or is not a member's.
pub(super) fn adopt_my_id(config: &mut Config, my_id: Option<i64>) -> Result<(), Problem> {
    config.ensemble.my_id = my_id;
    let Some(my_id) = my_id else {
        let wanted = config.ensemble.members.asks_for_ensemble(config.ensemble.standalone_enabled);
        let file = config.data_dir.join("myid");
        let missing = || {
            let message = "is missing; write this server's number into it".to_owned();
            Problem::without_line(&file.display().to_string(), message)
        };
        return if wanted { Err(missing()) } else { Ok(()) };
    };
    if config.is_distributed() {
        let membership = Membership::new(config, my_id).map_err(|error| Problem::without_line("myid", error))?;
        config.warnings.extend(wildcards(config, &membership));
        config.ensemble.membership = Some(membership);
    }
    let Some(server) = config.ensemble.members.servers.get(&my_id) else {
        return Ok(());
    };
    if (config.ensemble.role, server.role) == (Role::Observer, Role::Participant) {
        config
            .warnings
            .push(format!("peerType=observer has no effect: server.{my_id} needs :observer behind its ports"));
    }
    let Some(line) = &server.client else {
        return Ok(());
    };
    if let Some(configured) = &config.client
        && (configured.port != line.port || !covers(configured.host.as_deref(), line.host.as_deref()))
    {
        let message = format!(
            "the line says that clients connect to {line}, but clientPort and clientPortAddress say {configured}: make \
             them the same, or remove clientPort"
        );
        return Err(Problem::without_line(&format!("server.{my_id}"), message));
    }
    config.client = Some(line.clone());
    clash(config).map_or(Ok(()), |problem| Err(Problem::without_line("secureClientPort", problem)))
}

/// Returns whether a listener at `configured` includes `line`: it listens on every address, or both names
/// have an address in common.
// ZooKeeper: it compares the first address of each.
fn covers(configured: Option<&str>, line: Option<&str>) -> bool {
    let (Some(configured), Some(line)) = (configured, line) else { return configured.is_none() };
    if configured == line || is_wildcard(configured) {
        return true;
    }
    let addresses = |host: &str| {
        let resolved = (host, 0).to_socket_addrs().into_iter().flatten();
        resolved.map(|address| address.ip().to_canonical()).collect::<Vec<_>>()
    };
    let (configured, line) = (addresses(configured), addresses(line));
    configured.iter().any(|address| address.is_unspecified() || line.contains(address))
}

/// Returns warnings about members whose host is a wildcard.
fn wildcards(config: &Config, membership: &Membership) -> Vec<String> {
    let found = membership.members.iter().filter(|member| is_wildcard(&membership.host_of(member)));
    let warning = |member: &Member| {
        let line = format!("server.{}={}", member.id, HostPort { host: Some(member.host.clone()), port: member.port });
        match member.id == membership.me {
            true if !config.ensemble.reconfig_enabled => None, // each server believes its own file
            true => {
                Some(format!("{line} is where this server listens; the other servers need its host in their own files"))
            }
            false => Some(format!("{line} is not an address to connect to: write the host of server {}", member.id)),
        }
    };
    found.filter_map(warning).collect()
}

/// Returns the path in `dynamicConfigFile`, which is relative to the working directory, as in ZooKeeper.
pub(super) fn dynamic_file(properties: &Properties) -> Option<&Path> {
    let named = |p: &&Property| p.source != Source::JvmFlags && p.key == "dynamicConfigFile";
    properties.entries().iter().rfind(named).map(|p| Path::new(p.value.as_str()))
}
