//! The log filter: `oxkeeper.log`, and the variable OXKEEPER_LOG.
//!
//! `EnvFilter` takes a bare word for the name of a target, so that `warning` would log nothing at all. Here a
//! bare word is a level, or a mistake.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// The environment variable that overrides `oxkeeper.log`.
pub const LOG_VARIABLE: &str = "OXKEEPER_LOG";

/// Level names of other log systems, and the corresponding levels.
const MISNOMERS: [(&str, &str); 10] = [
    ("warning", "warn"),
    ("warnings", "warn"),
    ("err", "error"),
    ("errors", "error"),
    ("fatal", "error"),
    ("critical", "error"),
    ("notice", "info"),
    ("verbose", "debug"),
    ("all", "trace"),
    ("none", "off"),
];

/// Parses a filter: levels (`info`) and levels of targets (`oxkeeper_server=debug`), separated by commas.
/// Targets without a level log errors, unless there is a level without a target.
///
/// *Errors*: a word is not a level, or a target cannot exist.
pub fn parse_log_filter(text: &str) -> Result<EnvFilter, String> {
    let directives: Vec<_> = text.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    if directives.is_empty() {
        return Err("a log level is missing: use off, error, warn, info, debug or trace".to_owned());
    }
    let mut has_default = false;
    for directive in &directives {
        has_default |= check(directive)?;
    }
    let default = if has_default { None } else { Some("error") };
    let directives: Vec<_> = default.into_iter().chain(directives).collect();
    EnvFilter::try_new(directives.join(",")).map_err(|problem| format!("{text:?} is not a log filter: {problem}"))
}

/// Checks one directive. Returns whether it is a level for all targets. Filters of spans are left to `EnvFilter`.
fn check(directive: &str) -> Result<bool, String> {
    if directive.contains('[') {
        return Ok(false);
    }
    let Some((part, level)) = directive.split_once('=') else {
        return check_level(directive).map(|()| true);
    };
    let is_path = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    if part.is_empty() || !is_path(part) {
        return Err(format!(
            "{part:?} in {directive:?} cannot be a part of the server: parts are written like oxkeeper_server"
        ));
    }
    check_level(level).map(|()| false)
}

fn check_level(word: &str) -> Result<(), String> {
    if !word.is_empty() && word.parse::<LevelFilter>().is_ok() {
        return Ok(());
    }
    let meant = MISNOMERS.iter().find(|(wrong, _)| wrong.eq_ignore_ascii_case(word));
    let hint = meant.map(|(_, level)| format!(" (did you mean {level}?)")).unwrap_or_default();
    Err(format!(
        "{word:?} is not a log level{hint}: use off, error, warn, info, debug or trace, or set one part as in \
         oxkeeper_server=debug"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_levels_of_parts() {
        for (text, shown) in [
            ("warn", "warn"),
            ("INFO", "info"),
            ("off", "off"),
            ("3", "info"),
            (" warn , oxkeeper_server::admin=debug", "oxkeeper_server::admin=debug,warn"),
            ("oxkeeper_server=debug", "oxkeeper_server=debug,error"),
            ("oxkeeper_server=off", "oxkeeper_server=off,error"),
        ] {
            assert_eq!(parse_log_filter(text).map(|filter| filter.to_string()), Ok(shown.to_owned()), "{text:?}");
        }
        parse_log_filter("oxkeeper_server[span]=debug").expect("a filter of spans");
    }

    /// Each of these would silence the log, errors included.
    #[test]
    fn what_is_no_level_is_refused() {
        for (text, part) in [
            ("warning", "\"warning\" is not a log level (did you mean warn?): use off, error, warn"),
            ("FATAL", "did you mean error?"),
            ("loud", "\"loud\" is not a log level: use off"),
            ("oxkeeper_server", "\"oxkeeper_server\" is not a log level"),
            ("oxkeeper_server=", "\"\" is not a log level"),
            ("blah=foo", "\"foo\" is not a log level"),
            ("info,oxkeeper_server=warning", "did you mean warn?"),
            ("oxkeeper-server=debug", "parts are written like oxkeeper_server"),
            ("=debug", "cannot be a part"),
            ("", "a log level is missing"),
            (" , ", "a log level is missing"),
        ] {
            let error = parse_log_filter(text).expect_err(text);
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
