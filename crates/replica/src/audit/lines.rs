//! Formats audit records as lines. Invariant: a record's line is one line, whatever clients have
//! put into names.
//!
//! Time matters here: this runs on another thread than the applier, but on the same processors.

use std::borrow::Cow;
use std::fmt::Write;

use oxkeeper_proto::multi::{MultiOp, decode_multi};
use oxkeeper_proto::op::perms;
use oxkeeper_proto::records::{Acl, CreateRequest};
use oxkeeper_proto::{Jute, OpCode, Reader, SessionId, Text, java};
use oxkeeper_state::{ChangeKind, Identities, Settings};

use super::{Doer, Record};
use crate::auth;

/// Formats lines, and remembers the last client: mostly it is the same one.
#[derive(Debug)]
pub struct Lines {
    /// The user as which the server acts.
    user: String,
    /// The client of the last client line.
    asker: Option<(SessionId, Settings, Vec<u8>)>,
    /// The opening of that line.
    opening: String,
}

/// Fields in the middle of a line.
#[derive(Default)]
struct Deed<'a> {
    operation: &'static str,
    znode: Option<&'a str>,
    znode_type: Option<&'static str>,
    acl: Option<String>,
}

impl Lines {
    /// Creates a formatter for a server that runs as `user`.
    pub fn new(user: String) -> Lines {
        Lines { user, asker: None, opening: String::new() }
    }

    /// Appends the lines of the first of the `records` of an [`Audit`](super::Audit), which were
    /// recorded at this `time`. There must be one.
    pub fn write(&mut self, records: &mut Reader<'_>, time: &str, out: &mut String) {
        let record = Record::decode(records).expect("it was made by this very process");
        match (record.doer, record.op) {
            (Doer::Process, _) => {
                start(out, time, record.succeeded);
                field(out, "user", &self.user);
                let _ = writeln!(out, "\t{}", std::str::from_utf8(record.body).unwrap_or_default());
            }
            (Doer::Server, OpCode::CloseSession) => {
                self.servers_own(&record, "ephemeralZNodeDeletionOnSessionCloseOrExpire", time, out);
            }
            (Doer::Server, _) => self.servers_own(&record, "delete", time, out),
            (Doer::Client, OpCode::Multi) => self.multi(&record, time, out),
            (Doer::Client, _) => self.single(&record, time, out),
        }
    }

    fn servers_own(&self, record: &Record<'_>, operation: &'static str, time: &str, out: &mut String) {
        for (_, path) in record.changes() {
            start(out, time, true);
            let _ = write!(out, "session={}", record.session);
            field(out, "user", &self.user);
            Deed { operation, znode: Some(path), ..Deed::default() }.write(out);
            finish(out, true);
        }
    }

    fn single(&mut self, record: &Record<'_>, time: &str, out: &mut String) {
        let changed = record.changes().next().map(|(_, path)| Cow::Borrowed(path));
        let Some((operation, znode_type, acl)) = deed(record) else { return };
        let znode = if record.succeeded && record.op != OpCode::SetAcl { changed } else { asked_path(record) };
        let deed = Deed { operation, znode: znode.as_deref(), znode_type, acl };
        self.client(record, &deed, time, out);
    }

    /// Appends the lines of a transaction. ZooKeeper: one line for each operation if all succeeded,
    /// one for all if not; none for checks.
    fn multi(&mut self, record: &Record<'_>, time: &str, out: &mut String) {
        if !record.succeeded {
            return self.client(record, &Deed { operation: "multiOperation", ..Deed::default() }, time, out);
        }
        let modes = create_modes(record.body);
        for (kind, path) in record.changes() {
            let znode = Some(path);
            let deed = match kind {
                ChangeKind::Created => {
                    let named = modes.iter().rfind(|(asked, _)| asked == path);
                    Deed { operation: "create", znode, znode_type: named.map(|(_, mode)| *mode), acl: None }
                }
                ChangeKind::Deleted => Deed { operation: "delete", znode, ..Deed::default() },
                ChangeKind::DataChanged => Deed { operation: "setData", znode, ..Deed::default() },
            };
            self.client(record, &deed, time, out);
        }
    }

    fn client(&mut self, record: &Record<'_>, deed: &Deed<'_>, time: &str, out: &mut String) {
        start(out, time, record.succeeded);
        self.remember(record);
        out.push_str(&self.opening);
        deed.write(out);
        finish(out, record.succeeded);
    }

    fn remember(&mut self, record: &Record<'_>) {
        let known = self.asker.as_ref().is_some_and(|(session, settings, identities)| {
            *session == record.session && *settings == record.settings && identities == record.identities.0
        });
        if known {
            return;
        }
        self.asker = Some((record.session, record.settings, record.identities.0.to_vec()));
        self.opening.clear();
        let _ = write!(self.opening, "session={}", record.session);
        let users = users(record.settings, record.identities);
        if !users.is_empty() {
            field(&mut self.opening, "user", &users);
        }
        let ip = record.identities.iter().find(|id| id.scheme.as_deref() == Some("ip")).and_then(|id| id.id);
        field(&mut self.opening, "ip", &ip.unwrap_or_default());
    }
}

/// Appends the start of a line in the format of ZooKeeper's `logback.xml`.
fn start(out: &mut String, time: &str, succeeded: bool) {
    out.push_str(time);
    out.push_str(if succeeded { " INFO audit.Slf4jAuditLogger: " } else { " ERROR audit.Slf4jAuditLogger: " });
}

fn finish(out: &mut String, succeeded: bool) {
    out.push_str(if succeeded { "\tresult=success\n" } else { "\tresult=failure\n" });
}

impl Deed<'_> {
    fn write(&self, out: &mut String) {
        out.push_str("\toperation=");
        out.push_str(self.operation);
        for (name, value) in [("znode", self.znode), ("znode_type", self.znode_type), ("acl", self.acl.as_deref())] {
            value.into_iter().for_each(|value| field(out, name, value));
        }
    }
}

/// Appends a field. ZooKeeper writes values as they are; here none can forge a field or a line. A
/// line's first field follows a space.
fn field(out: &mut String, name: &str, value: &str) {
    if !out.ends_with(' ') {
        out.push('\t');
    }
    out.push_str(name);
    out.push('=');
    // The usual case. The loop does not stop early, so that it compiles to wide instructions.
    if value.bytes().fold(true, |plain, byte| plain & (b' '..0x7f).contains(&byte)) {
        out.push_str(value);
        return;
    }
    for c in value.chars() {
        match c {
            '\t' | '\n' | '\r' | '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                out.extend(c.escape_default());
            }
            c => out.push(c),
        }
    }
}

/// Returns the names of the identities, without those that have none.
fn users(settings: Settings, identities: Identities<'_>) -> String {
    let mut users = String::new();
    for id in identities.iter() {
        let name = auth::user_name(settings, &id);
        if !java::trim(&name).is_empty() {
            let _ = write!(users, "{}{name}", if users.is_empty() { "" } else { "," });
        }
    }
    users
}

/// Returns the path of a request, as the client gave it.
///
/// ZooKeeper: if a body cannot be decoded, the part in front of the defect is logged.
fn asked_path<'a>(record: &Record<'a>) -> Option<Text<'a>> {
    let has_path = record.op != OpCode::Reconfig;
    has_path.then(|| Option::<Text<'_>>::decode(&mut Reader::new(record.body)).ok().flatten()).flatten()
}

/// Returns the operation, znode type and ACL of a request; `None` if it is not logged.
#[expect(clippy::wildcard_enum_match_arm, reason = "the operations that ZooKeeper writes down")]
fn deed(record: &Record<'_>) -> Option<(&'static str, Option<&'static str>, Option<String>)> {
    let mut reader = Reader::new(record.body);
    Some(match record.op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            // A TTL request begins with these fields.
            let flags = CreateRequest::decode(&mut reader).map_or(0, |request| request.flags);
            ("create", Some(create_mode(flags)?), None)
        }
        OpCode::Delete => ("delete", None, None),
        OpCode::SetData => ("setData", None, None),
        OpCode::SetAcl => {
            Option::<Text<'_>>::decode(&mut reader).ok()?;
            let acl = Option::<Vec<Acl<'_>>>::decode(&mut reader).ok()??;
            ("setAcl", None, Some(acl_text(&acl)))
        }
        OpCode::Reconfig => ("reconfig", None, None),
        _ => return None,
    })
}

/// Returns the types of created znodes by path. ZooKeeper: by the requested path, so sequential
/// znodes have none; TTL znodes have none either.
fn create_modes(body: &[u8]) -> Vec<(String, &'static str)> {
    let mode = |op: MultiOp<'_>| match op {
        MultiOp::Create(_, request) => Some((request.path?.into_owned(), create_mode(request.flags)?)),
        MultiOp::CreateTtl(_)
        | MultiOp::Delete(_)
        | MultiOp::SetData(_)
        | MultiOp::Check(_)
        | MultiOp::GetData(_)
        | MultiOp::GetChildren(_) => None,
    };
    decode_multi(body).into_iter().flatten().filter_map(mode).collect()
}

fn create_mode(flags: i32) -> Option<&'static str> {
    const MODES: [&str; 7] = [
        "persistent",
        "ephemeral",
        "persistent_sequential",
        "ephemeral_sequential",
        "container",
        "persistent_with_ttl",
        "persistent_sequential_with_ttl",
    ];
    MODES.get(usize::try_from(flags).ok()?).copied()
}

/// Formats an ACL. ZooKeeper: no separator between two entries.
fn acl_text(acl: &[Acl<'_>]) -> String {
    let mut text = String::new();
    for entry in acl {
        let shown = |part: &Option<Cow<'_, str>>| part.as_deref().unwrap_or("null").to_owned();
        let _ = write!(text, "{}:{}:", shown(&entry.id.scheme), shown(&entry.id.id));
        let letters =
            [(perms::CREATE, 'c'), (perms::DELETE, 'd'), (perms::READ, 'r'), (perms::WRITE, 'w'), (perms::ADMIN, 'a')];
        text.extend(letters.iter().filter(|(bit, _)| entry.perms & bit != 0).map(|(_, letter)| letter));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Audit;
    use super::*;
    use oxkeeper_proto::records::{Id, SetAclRequest};
    use oxkeeper_proto::{ErrorCode, Zxid};
    use oxkeeper_state::{Change, Command};

    /// Returns the lines of one command of a client, without their beginning.
    fn lines(op: OpCode, body: &[u8], result: Result<(), ErrorCode>, changes: &[(ChangeKind, &str)]) -> Vec<String> {
        let mut identities = Vec::new();
        for (scheme, id) in [("ip", "127.0.0.1"), ("digest", "bob:hash"), ("super", "")] {
            auth::add_identity(&mut identities, scheme, id);
        }
        let (session, settings) = (SessionId(0x1f), Settings::default());
        let command = Command { from: None, session, xid: 1, op, settings, identities: Identities(&identities), body };
        let mut audit = Audit::default();
        for &(kind, path) in changes {
            audit.changed(&Change { kind, path, zxid: Zxid(1), acl: None, parent_acl: None });
        }
        audit.applied(&command, result, true, &[]);
        let (mut records, mut text) = (Reader::new(&audit.records), String::new());
        let mut lines = Lines::new("zk".to_owned());
        while !records.rest().is_empty() {
            lines.write(&mut records, "2026-11-23 03:00:11,042", &mut text);
        }
        let shown = |line: &str| {
            let level = if line.ends_with("\tresult=failure") { "ERROR" } else { "INFO" };
            let start = format!("2026-11-23 03:00:11,042 {level} audit.Slf4jAuditLogger: ");
            line.strip_prefix(&start).expect(line).replace('\t', " ")
        };
        text.lines().map(shown).collect()
    }

    fn encoded<'a>(record: &impl Jute<'a>) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }

    fn create(path: &str, flags: i32) -> Vec<u8> {
        encoded(&CreateRequest { path: Some(path.into()), data: None, acl: None, flags })
    }

    // ZooKeeper: the identities are in the order of a hash table.
    const CLIENT: &str = "session=0x1f user=bob,127.0.0.1 ip=127.0.0.1";

    #[test]
    fn operations() {
        let check = |op, body: &[u8], result, changes: &[(ChangeKind, &str)], expected: &str| {
            assert_eq!(lines(op, body, result, changes), [format!("{CLIENT} {expected}")], "{op:?}");
        };
        let created = [(ChangeKind::Created, "/a0000000001")];
        let done = "operation=create znode=/a0000000001 znode_type=ephemeral_sequential result=success";
        check(OpCode::Create2, &create("/a", 3), Ok(()), &created, done);
        let failed = "operation=create znode=/a znode_type=persistent result=failure";
        check(OpCode::Create, &create("/a", 0), Err(ErrorCode::NodeExists), &[], failed);
        let path = || Some("/a".into());
        let acl = |perms, scheme: &'static str, id: Option<&'static str>| Acl {
            perms,
            id: Id { scheme: Some(scheme.into()), id: id.map(Into::into) },
        };
        let acl = Some(vec![acl(31, "world", Some("anyone")), acl(1, "auth", None)]);
        let body = encoded(&SetAclRequest { path: path(), acl, version: -1 });
        let set = "operation=setAcl znode=/a acl=world:anyone:cdrwaauth:null:r result=success";
        check(OpCode::SetAcl, &body, Ok(()), &[], set);
        check(OpCode::Reconfig, b"", Err(ErrorCode::ReconfigDisabled), &[], "operation=reconfig result=failure");
        let nothing = "operation=create znode_type=persistent result=failure";
        check(OpCode::Create, b"", Err(ErrorCode::Marshalling), &[], nothing);
        check(OpCode::Multi, b"", Err(ErrorCode::Marshalling), &[], "operation=multiOperation result=failure");
    }

    #[test]
    fn what_is_not_written() {
        let none: [String; 0] = [];
        assert_eq!(lines(OpCode::SetAcl, b"", Err(ErrorCode::Marshalling), &[]), none);
        assert_eq!(lines(OpCode::Create, &create("/a", 9), Err(ErrorCode::BadArguments), &[]), none);
        assert_eq!(lines(OpCode::Create, &create("/a", 0), Err(ErrorCode::SessionMoved), &[]), none);
        assert_eq!(lines(OpCode::CreateSession, &[0; 4], Ok(()), &[]), none);
        assert_eq!(lines(OpCode::Sync, b"", Ok(()), &[]), none);
    }

    #[test]
    fn ends_of_sessions_are_the_servers() {
        let found =
            lines(OpCode::CloseSession, b"", Ok(()), &[(ChangeKind::Deleted, "/e"), (ChangeKind::Deleted, "/f")]);
        let line = |path| {
            format!(
                "session=0x1f user=zk operation=ephemeralZNodeDeletionOnSessionCloseOrExpire znode={path} result=success"
            )
        };
        assert_eq!(found, [line("/e"), line("/f")]);
        let reaped = lines(OpCode::DeleteContainer, b"", Ok(()), &[(ChangeKind::Deleted, "/c")]);
        assert_eq!(reaped, ["session=0x1f user=zk operation=delete znode=/c result=success"]);
        assert_eq!(lines(OpCode::DeleteContainer, b"", Ok(()), &[]), [""; 0]);
    }

    #[test]
    fn nothing_is_forged() {
        let found = lines(OpCode::Create, &create("/a\tresult=success\nx", 0), Err(ErrorCode::BadArguments), &[]);
        let path = "/a\\tresult=success\\nx";
        assert_eq!(found, [format!("{CLIENT} operation=create znode={path} znode_type=persistent result=failure")]);
    }
}
