//! Commands about permissions and identities. Source: `GetAclCommand`, `SetAclCommand`, `AddAuthCommand`.

use oxkeeper_client::{Client, Error};
use oxkeeper_proto::ErrorCode;
use oxkeeper_proto::records::Acl;

use super::super::failure::{At, Failure, keeper_message};
use super::super::options::Spec;
use super::super::task::{PLAIN, Task, parse, version_of};
use super::super::walk::{Walk, gather};
use super::super::{acl, path, stat};

const GET_ACL: Spec = Spec { options: &[("s", false)], exclusive: false };
const SET_ACL: Spec = Spec { options: &[("s", false), ("v", true), ("R", false)], exclusive: false };

pub(super) async fn get_acl(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse(words, &GET_ACL, 2)?;
    let path = &parsed.args[1];
    path::check(path)?;
    let (entries, found) = task.handle.client().await.at(path)?.get_acl(path).await.at(path)?;
    acl::print(task.report, &entries);
    task.report.field("path", path.as_str());
    task.report.field("acl", acl::json(&entries));
    task.report.field("stat", stat::json(&found));
    if parsed.has("s") {
        stat::print(task.report, &found);
    }
    Ok(())
}

pub(super) async fn set_acl(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse(words, &SET_ACL, 3)?;
    let path = &parsed.args[1];
    let entries = acl::parse(&parsed.args[2], task.report);
    let version = version_of(&parsed)?;
    path::check(path)?;
    task.report.field("path", path.as_str());
    if parsed.has("R") {
        return set_below(path, &entries, version, task).await;
    }
    if entries.is_empty() {
        return Err(Failure::refused(&Error::Server(ErrorCode::InvalidAcl), None));
    }
    let changed = task.handle.client().await.at(path)?.set_acl(path, &entries, version).await.at(path)?;
    task.report.field("stat", stat::json(&changed));
    if parsed.has("s") {
        stat::print(task.report, &changed);
    }
    Ok(())
}

/// Sets the ACL of a whole subtree, from the top. Goes on after a refusal, and reports the number of refusals at the end.
async fn set_below(path: &str, entries: &[Acl<'_>], version: i32, task: &mut Task<'_>) -> Result<(), Failure> {
    let entries: Vec<Acl<'static>> = entries.iter().cloned().map(Acl::into_owned).collect();
    task.report.progress().count("ACLs set");
    let (mut walk, mut batch) = Walk::begin(task.handle, path, false).await?;
    let (mut set, mut refused) = (0_u64, Vec::new());
    loop {
        let client = task.handle.client().await.at(path)?;
        let results = gather(&batch, |path| set_one(client.clone(), path, entries.clone(), version)).await;
        task.report.progress().advance(results.len());
        for (path, result) in batch.iter().zip(results) {
            match result {
                Ok(()) => set += 1,
                Err(error) => {
                    // ZooKeeper: no line end.
                    let path = if entries.is_empty() { None } else { Some(path.as_str()) };
                    let message = keeper_message(&error, path);
                    task.report.text(&message);
                    refused.push(message);
                }
            }
        }
        match walk.next().await? {
            Some(next) => batch = next,
            None => break,
        }
    }
    task.report.field("set", set);
    if refused.is_empty() {
        return Ok(());
    }
    let count = refused.len();
    task.report.field("refused", refused);
    Err(Failure::new("Partial", format!("{count} of {} ACLs were not set", set + count as u64)))
}

async fn set_one(client: Client, path: String, acl: Vec<Acl<'static>>, version: i32) -> Result<(), Error> {
    if acl.is_empty() {
        return Err(Error::Server(ErrorCode::InvalidAcl));
    }
    client.set_acl(&path, &acl, version).await.map(drop)
}

pub(super) async fn add_auth(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse(words, &PLAIN, 2)?;
    let scheme = &parsed.args[1];
    let auth = parsed.args.get(2).map(String::as_bytes);
    task.report.field("scheme", scheme.as_str());
    match task.handle.add_auth(scheme, auth).await {
        // ZooKeeper: the event AuthFailed tells; the command itself prints nothing.
        Err(Error::Server(ErrorCode::AuthFailed)) if !task.report.is_json() => {
            Err(Failure { message: String::new(), ..Failure::new("AuthFailed", "") })
        }
        shown => shown.nowhere(),
    }
}
