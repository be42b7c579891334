//! Commands about quotas, which are znodes that clients write. Source: `SetQuotaCommand`, `ListQuotaCommand`, `DelQuotaCommand`, `Quotas`.

use oxkeeper_client::Error;
use oxkeeper_client::calls::{New, open_acl};
use oxkeeper_proto::ErrorCode;
use oxkeeper_proto::op::CreateMode;
use serde_json::Value;

use super::super::failure::{At, Failure};
use super::super::options::{Parsed, Spec, parse_failure};
use super::super::path;
use super::super::task::{PLAIN, Task, parse};
use super::super::walk::Walk;
use super::stats_track::{BYTES, BYTES_HARD, COUNT, COUNT_HARD, StatsTrack};

const SET: Spec = Spec { options: &[("n", true), ("b", true), ("N", true), ("B", true)], exclusive: true };
const DELETE: Spec = Spec { options: &[("n", false), ("b", false), ("N", false), ("B", false)], exclusive: true };
/// Options and their limits.
const LIMITS: [(&str, &str); 4] = [("n", COUNT), ("b", BYTES), ("N", COUNT_HARD), ("B", BYTES_HARD)];
const ROOT: &str = "/zookeeper/quota";
const LIMITS_NAME: &str = "zookeeper_limits";
const STATS_NAME: &str = "zookeeper_stats";

pub(super) async fn set(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = SET.parse(words)?;
    if !LIMITS.iter().any(|(option, _)| parsed.has(option)) {
        let message =
            "Missing required option: [-n num soft quota, -b bytes soft quota, -N num hard quota, -B bytes hard quota]";
        return Err(parse_failure("MissingOptionException", message.to_owned()));
    }
    let parsed = parse(words, &SET, 2)?;
    let path = &parsed.args[1];
    if path.starts_with(ROOT) {
        return Err(Failure::value(format!("cannot set a quota under the path: {ROOT}")));
    }
    let wanted = wanted(&parsed)?;
    path::check(path)?;
    if task.handle.exists(path, false).await.at(path)?.is_none() {
        let failure = Failure::new("NoNode", format!("{path} does not exist."));
        return Err(Failure { path: Some(path.clone()), ..failure });
    }
    check_below(path, task).await?;
    check_above(path, task).await?;
    make_parents(path, task).await?;
    let quota = store(path, &wanted, task).await?;
    task.report.field("path", path.as_str());
    task.report.field("quota", json(&quota));
    Ok(())
}

/// Returns the limit that the options ask for, all others -1.
fn wanted(parsed: &Parsed) -> Result<StatsTrack, Failure> {
    let mut wanted = StatsTrack::default();
    for (option, key) in LIMITS {
        let value = match parsed.value(option) {
            None => -1,
            Some(text) => limit(text, [COUNT, COUNT_HARD].contains(&key))?,
        };
        wanted.set(key, value);
    }
    Ok(wanted)
}

fn limit(text: &str, is_count: bool) -> Result<i64, Failure> {
    let number = if is_count { text.parse::<i32>().map(i64::from) } else { text.parse::<i64>() };
    match number {
        Ok(value) if is_count && value <= 0 => Err(Failure::value("the num quota must be greater than zero")),
        Ok(value) if value < 0 => Err(Failure::value("the bytes quota must be greater than or equal to zero")),
        Ok(value) => Ok(value),
        Err(_) => Err(Failure::value("NumberFormatException happens when parsing the option value")),
    }
}

/// Checks that no znode below has a quota.
async fn check_below(path: &str, task: &mut Task<'_>) -> Result<(), Failure> {
    let own = format!("{ROOT}{path}");
    let (mut walk, mut batch) = match Walk::begin(task.handle, &own, false).await {
        Ok(begun) => begun,
        Err(failure) if failure.is_no_node() => return Ok(()),
        Err(failure) => return Err(failure),
    };
    loop {
        for found in &batch {
            let parent = found.strip_suffix(LIMITS_NAME).and_then(|parent| parent.strip_suffix('/'));
            if let Some(parent) = parent.filter(|parent| *parent != own) {
                let below = &parent[ROOT.len()..];
                return Err(Failure::new("BadPath", format!("{path} has a child {below} which has a quota")));
            }
        }
        match walk.next().await? {
            Some(next) => batch = next,
            None => return Ok(()),
        }
    }
}

/// Checks that no znode above has a quota.
async fn check_above(path: &str, task: &mut Task<'_>) -> Result<(), Failure> {
    for (end, _) in path.match_indices('/').skip(1) {
        let above = &path[..end];
        let quota_path = format!("{ROOT}{above}");
        let children = task.handle.client().await.at(&quota_path)?.get_children(&quota_path, false).await;
        let children = match children {
            Err(Error::Server(ErrorCode::NoNode)) => return Ok(()),
            children => children.at(&quota_path)?,
        };
        if children.is_empty() {
            return Ok(());
        }
        if children.iter().any(|child| child == LIMITS_NAME) {
            return Err(Failure::new("BadPath", format!("{path} has a parent {above} which has a quota")));
        }
    }
    Ok(())
}

async fn make_parents(path: &str, task: &mut Task<'_>) -> Result<(), Failure> {
    if task.handle.exists(ROOT, false).await.at(ROOT)?.is_none() {
        make("/zookeeper", None, task).await?;
        make(ROOT, None, task).await?;
    }
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    for end in ends.filter(|end| *end > 1) {
        let parent = format!("{ROOT}{}", &path[..end]);
        if task.handle.exists(&parent, false).await.at(&parent)?.is_none() {
            make(&parent, None, task).await?;
        }
    }
    Ok(())
}

/// Creates a znode, or finds that another client just did.
async fn make(path: &str, data: Option<&[u8]>, task: &mut Task<'_>) -> Result<(), Failure> {
    let new = New { path, data, acl: &open_acl(), mode: CreateMode::Persistent, ttl_ms: 0 };
    match task.handle.client().await.at(path)?.create_new(&new).await {
        Err(Error::Server(ErrorCode::NodeExists)) => Ok(()),
        created => created.map(drop).at(path),
    }
}

/// Writes the limit beside the existing ones. Returns all of them.
async fn store(path: &str, wanted: &StatsTrack, task: &mut Task<'_>) -> Result<StatsTrack, Failure> {
    let (limits_path, stats_path) = (format!("{ROOT}{path}/{LIMITS_NAME}"), format!("{ROOT}{path}/{STATS_NAME}"));
    let exists = task.handle.exists(&limits_path, false).await.at(&limits_path)?.is_some();
    if !exists {
        make(&limits_path, Some(wanted.to_string().as_bytes()), task).await?;
        let mut nothing = StatsTrack::default();
        nothing.set(COUNT, 0);
        nothing.set(BYTES, 0);
        make(&stats_path, Some(nothing.to_string().as_bytes()), task).await?;
    }
    let mut quota = read(&limits_path, task).await?;
    if exists {
        for (key, value) in wanted.0.iter().filter(|(_, value)| **value > -1) {
            quota.set(key, *value);
        }
    }
    let used = read(&stats_path, task).await?;
    warn_exceeded(&quota, &used, task);
    if exists {
        let data = quota.to_string();
        let client = task.handle.client().await.at(&limits_path)?;
        client.set_data(&limits_path, data.as_bytes(), -1).await.at(&limits_path)?;
    }
    Ok(quota)
}

fn warn_exceeded(quota: &StatsTrack, used: &StatsTrack, task: &mut Task<'_>) {
    for (what, soft, hard) in [(COUNT, COUNT, COUNT_HARD), (BYTES, BYTES, BYTES_HARD)] {
        let there = used.get(what);
        if [soft, hard].into_iter().any(|limit| quota.get(limit) > -1 && quota.get(limit) < there) {
            let warning = format!("[Warning]: the {what} quota you create is less than the existing {what}:{there}");
            task.report.line(&warning);
            task.report.field("exceeded", warning);
        }
    }
}

async fn read(path: &str, task: &mut Task<'_>) -> Result<StatsTrack, Failure> {
    let (data, _) = task.handle.get_data(path, false).await.at(path)?;
    Ok(StatsTrack::parse(&data.unwrap_or_default()))
}

pub(super) async fn list(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse(words, &PLAIN, 2)?;
    let path = &parsed.args[1];
    let limits_path = format!("{ROOT}{path}/{LIMITS_NAME}");
    task.report.aside(format_args!("absolute path is {limits_path}"));
    path::check(&limits_path)?;
    let found = async {
        let limits = read(&limits_path, task).await?;
        let used = read(&format!("{ROOT}{path}/{STATS_NAME}"), task).await?;
        Ok((limits, used))
    };
    let (limits, used) = found.await.map_err(|failure: Failure| match failure.is_no_node() {
        // ZooKeeper: its exit code is 0.
        true => Failure { message: format!("quota for {path} does not exist."), path: Some(path.clone()), ..failure },
        false => failure,
    })?;
    task.report.line(format_args!("Output quota for {path} {limits}"));
    task.report.line(format_args!("Output stat for {path} {used}"));
    task.report.field("path", path.as_str());
    task.report.field("quota", json(&limits));
    task.report.field("used", json(&used));
    Ok(())
}

pub(super) async fn delete(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse(words, &DELETE, 2)?;
    let path = &parsed.args[1];
    let parent = format!("{ROOT}{path}");
    let limits_path = format!("{parent}/{LIMITS_NAME}");
    path::check(&limits_path)?;
    task.report.field("path", path.as_str());
    if task.handle.exists(&limits_path, false).await.at(&limits_path)?.is_none() {
        task.report.line(format_args!("Quota does not exist for {path}"));
        task.report.field("existed", false);
        return Ok(());
    }
    let mut quota = read(&limits_path, task).await?;
    task.report.field("existed", true);
    if LIMITS.iter().any(|(option, _)| parsed.has(option)) {
        for (_, key) in LIMITS.into_iter().filter(|(option, _)| parsed.has(option)) {
            quota.set(key, -1);
        }
        let client = task.handle.client().await.at(&limits_path)?;
        client.set_data(&limits_path, quota.to_string().as_bytes(), -1).await.at(&limits_path)?;
        return Ok(());
    }
    let client = task.handle.client().await.at(&parent)?;
    for child in client.get_children(&parent, false).await.at(&parent)? {
        let child = format!("{parent}/{child}");
        client.delete(&child, -1).await.at(&child)?;
    }
    // Parents that only the quota needed are removed, too.
    let mut emptied = parent.as_str();
    while emptied != ROOT && client.get_children(emptied, false).await.at(emptied)?.is_empty() {
        client.delete(emptied, -1).await.at(emptied)?;
        emptied = emptied.rsplit_once('/').map_or(ROOT, |(above, _)| above);
    }
    Ok(())
}

/// Returns the limits under the names that the znode uses.
fn json(track: &StatsTrack) -> Value {
    track.0.iter().map(|(key, value)| (key.clone(), Value::from(*value))).collect::<serde_json::Map<_, _>>().into()
}
