//! Commands about the ensemble's configuration, and `whoami`. Source: `GetConfigCommand`, `ReconfigCommand`,
//! `WhoAmICommand`, `ConfigUtils`.

use serde_json::json;

use super::super::failure::{At, Failure};
use super::super::options::Spec;
use super::super::task::{Task, parse};
use super::super::{stat, usage};

const CONFIG: Spec = Spec { options: &[("s", false), ("w", false), ("c", false)], exclusive: false };
const RECONFIG: Spec = Spec {
    options: &[("s", false), ("v", true), ("file", true), ("members", true), ("add", true), ("remove", true)],
    exclusive: false,
};

pub(super) async fn config(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse(words, &CONFIG, 1)?;
    let (data, found) = task.handle.get_config(parsed.has("w")).await.at("/zookeeper/config")?;
    let text = data.map_or("null".to_owned(), |data| String::from_utf8_lossy(&data).into_owned());
    if parsed.has("c") {
        task.report.line(connect_string(&text));
    } else {
        task.report.line(&text);
    }
    if task.report.is_json() {
        let servers: serde_json::Map<_, _> = properties(&text)
            .filter(|(key, _)| key.starts_with("server."))
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        task.report.field("config", text.as_str());
        task.report.field("version", properties(&text).find(|(key, _)| *key == "version").map(|(_, value)| value));
        task.report.field("servers", servers);
        task.report.field("stat", stat::json(&found));
    }
    if parsed.has("s") {
        stat::print(task.report, &found);
    }
    Ok(())
}

fn properties(config: &str) -> impl Iterator<Item = (&str, &str)> {
    config.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.trim(), value.trim()))
}

/// Returns the version and the addresses for clients.
fn connect_string(config: &str) -> String {
    let mut entries: Vec<_> = properties(config).collect();
    // ZooKeeper: the order is that of a Java hash table.
    entries.sort_by_key(|(key, _)| bucket(key, entries_of_table(config)));
    let version = entries.iter().find(|(key, _)| *key == "version").map_or("", |(_, value)| value);
    let servers = entries.iter().filter(|(key, _)| key.starts_with("server."));
    let clients: Vec<_> = servers.map(|(_, value)| value.split_once(';').map_or("", |(_, client)| client)).collect();
    format!("{version} {}", clients.join(","))
}

fn entries_of_table(config: &str) -> u32 {
    // `Properties` begins with 16 buckets and doubles them whenever three quarters are taken.
    let (mut buckets, count) = (16, properties(config).count());
    while count as u64 >= u64::from(buckets) * 3 / 4 {
        buckets *= 2;
    }
    buckets
}

/// Returns the bucket of a key in Java's ConcurrentHashMap.
fn bucket(key: &str, buckets: u32) -> u32 {
    let hash = key.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    (hash ^ hash >> 16) & (buckets - 1)
}

pub(super) async fn reconfig(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse(words, &RECONFIG, 1)?;
    let (file, members) = (parsed.value("file"), parsed.value("members"));
    let (joining, leaving) = (parsed.value("add"), parsed.value("remove"));
    let whole = file.is_some() || members.is_some();
    if !whole && joining.is_none() && leaving.is_none() {
        return Err(Failure::usage(usage::of("reconfig")));
    }
    let version = match parsed.value("v") {
        Some(text) => i64::from_str_radix(text, 16)
            .map_err(|_| Failure::usage("-v must be followed by a long (configuration version)"))?,
        None => -1,
    };
    if whole && (joining.is_some() || leaving.is_some()) {
        return Err(Failure::usage(
            "Can't use -file or -members together with -add or -remove (mixing incremental and non-incremental modes is not allowed)",
        ));
    }
    if file.is_some() && members.is_some() {
        return Err(Failure::usage("Can't use -file and -members together (conflicting non-incremental modes)"));
    }
    let members = match file {
        Some(file) => Some(members_of(file)?),
        None => members.map(str::to_lowercase),
    };
    let (joining, leaving) = (joining.map(str::to_lowercase), leaving.map(str::to_lowercase));
    let client = task.handle.client().await.nowhere()?;
    let (config, found) =
        client.reconfig(joining.as_deref(), leaving.as_deref(), members.as_deref(), version).await.nowhere()?;
    let config = String::from_utf8_lossy(&config);
    task.report.line(format_args!("Committed new configuration:\n{config}"));
    task.report.field("config", config.as_ref());
    task.report.field("stat", stat::json(&found));
    if parsed.has("s") {
        stat::print(task.report, &found);
    }
    Ok(())
}

/// Reads the servers of a configuration file, as the `members` of a request.
fn members_of(file: &str) -> Result<String, Failure> {
    let failed = |reason: &dyn std::fmt::Display| Failure::usage(format!("Error processing {file}{reason}"));
    let text = std::fs::read_to_string(file).map_err(|error| failed(&format_args!(": {error}")))?;
    let mut members = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let (key, value) = (key.trim(), value.trim());
        if key.starts_with("server.") {
            members.push(format!("{key}={value}"));
        } else if key != "version" && !key.starts_with("group") && !key.starts_with("weight") {
            return Err(failed(&format_args!(": Unrecognised parameter: {key}")));
        }
    }
    Ok(members.join(","))
}

pub(super) async fn who_am_i(task: &mut Task<'_>) -> Result<(), Failure> {
    let identities = task.handle.client().await.nowhere()?.who_am_i().await.nowhere()?;
    task.report.line("Auth scheme: User");
    for (scheme, user) in &identities {
        task.report.line(format_args!("{scheme}: {user}"));
    }
    let identities = identities.iter().map(|(scheme, user)| json!({"scheme": scheme, "user": user}));
    task.report.field("identities", identities.collect::<Vec<_>>());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from ZooKeeper's shell.
    #[test]
    fn servers_in_the_order_of_a_hash_table() {
        let line = |id: u32| format!("server.{id}=h:1:2:participant;0.0.0.0:{id}\n");
        let config = format!("{}{}{}version=0", line(1), line(2), line(3));
        assert_eq!(connect_string(&config), "0 0.0.0.0:2,0.0.0.0:1,0.0.0.0:3");
        assert_eq!(connect_string(""), " ");
    }
}
