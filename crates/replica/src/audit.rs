//! The audit log: who changed what, or wanted to. Lines are made here, while commands are applied; somebody else writes them.
//!
//! Every server writes those of its own clients, and, as there, what befalls every server: ephemerals that end with their
//! session. Invariant: a line is one line, whatever clients have put into names. Source: `AuditHelper`, `AuditEvent`,
//! `DataTree.deleteNodes`, `AuthUtil.getUsers`.

use std::borrow::Cow;
use std::fmt::Write;

use oxkeeper_proto::multi::{MultiOp, decode_multi};
use oxkeeper_proto::op::perms;
use oxkeeper_proto::records::{Acl, CreateRequest, MultiHeader};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, Reader, Text};
use oxkeeper_state::{Change, ChangeKind, Command};

use crate::auth;

/// Room for most lines, bytes.
const LINE_LEN: usize = 192;

/// One line, without time and level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// Whether it tells of a failure.
    pub failed: bool,
    /// Fields, each `name=value`, with tabs between them.
    pub text: String,
}

/// What is told of commands.
#[derive(Debug)]
pub struct Audit {
    /// As whom the server acts.
    user: String,
    /// Made and not yet taken away.
    pub lines: Vec<AuditLine>,
    /// Of the command at hand.
    changes: Vec<(ChangeKind, String)>,
}

/// What the fields between a line's ends say.
#[derive(Default)]
struct Deed<'a> {
    operation: &'static str,
    znode: Option<&'a str>,
    znode_type: Option<&'static str>,
    acl: Option<String>,
}

impl Audit {
    /// Of a server that runs as `user`.
    pub fn new(user: &str) -> Audit {
        Audit { user: user.to_owned(), lines: Vec::new(), changes: Vec::new() }
    }

    /// The server itself starts, or stops.
    pub fn server(&mut self, operation: &str, result: &str) {
        let user = &self.user;
        let text = format!("user={user}\toperation={operation}\tresult={result}");
        self.lines.push(AuditLine { failed: result == "failure", text });
    }

    pub(crate) fn changed(&mut self, change: &Change<'_>) {
        self.changes.push((change.kind, change.path.to_owned()));
    }

    /// A command was applied, or refused. `ours`: a client of this server is waiting for the answer, which has this `body`.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the operations that ZooKeeper writes down")]
    pub(crate) fn applied(&mut self, command: &Command<'_>, result: Result<(), ErrorCode>, ours: bool, body: &[u8]) {
        let changes = std::mem::take(&mut self.changes);
        match command.op {
            OpCode::CloseSession => self.servers_own(command, "ephemeralZNodeDeletionOnSessionCloseOrExpire", &changes),
            // ZooKeeper: says nothing of containers and TTL znodes that the server deletes.
            OpCode::DeleteContainer => self.servers_own(command, "delete", &changes),
            OpCode::Multi if ours => self.multi(command, result, &changes, body),
            // ZooKeeper: a session that has moved is told nothing, and nothing is told of it.
            _ if ours && result != Err(ErrorCode::SessionMoved) => self.single(command, result, &changes),
            _ => {}
        }
        self.changes = changes;
        self.changes.clear();
    }

    fn servers_own(&mut self, command: &Command<'_>, operation: &'static str, changes: &[(ChangeKind, String)]) {
        for (_, path) in changes {
            let mut text = String::new();
            field(&mut text, "session", &command.session.to_string());
            field(&mut text, "user", &self.user);
            Deed { operation, znode: Some(path), ..Deed::default() }.write(&mut text);
            field(&mut text, "result", "success");
            self.lines.push(AuditLine { failed: false, text });
        }
    }

    fn single(&mut self, command: &Command<'_>, result: Result<(), ErrorCode>, changes: &[(ChangeKind, String)]) {
        let Some((asked, mut deed)) = deed(command) else { return };
        deed.znode = match (result, command.op) {
            (Ok(()), OpCode::SetAcl) | (Err(_), _) => asked.as_deref(),
            (Ok(()), _) => changes.first().map(|(_, path)| path.as_str()),
        };
        self.client(command, &deed, result.is_ok());
    }

    /// ZooKeeper: one line an operation if all succeeded, one for all if not; none for what only checks.
    fn multi(
        &mut self,
        command: &Command<'_>,
        result: Result<(), ErrorCode>,
        changes: &[(ChangeKind, String)],
        body: &[u8],
    ) {
        if result == Err(ErrorCode::SessionMoved) {
            return;
        }
        let first = MultiHeader::decode(&mut Reader::new(body));
        if result.is_err() || first.is_ok_and(|header| header.op == OpCode::Error.wire() && !header.done) {
            self.client(command, &Deed { operation: "multiOperation", ..Deed::default() }, false);
            return;
        }
        let modes = create_modes(command.body);
        for (kind, path) in changes {
            let znode = Some(path.as_str());
            let deed = match kind {
                ChangeKind::Created => {
                    let named = modes.iter().rfind(|(asked, _)| asked == path);
                    Deed { operation: "create", znode, znode_type: named.map(|(_, mode)| *mode), acl: None }
                }
                ChangeKind::Deleted => Deed { operation: "delete", znode, ..Deed::default() },
                ChangeKind::DataChanged => Deed { operation: "setData", znode, ..Deed::default() },
            };
            self.client(command, &deed, true);
        }
    }

    fn client(&mut self, command: &Command<'_>, deed: &Deed<'_>, succeeded: bool) {
        let mut text = String::with_capacity(LINE_LEN);
        field(&mut text, "session", &command.session.to_string());
        let users = users(command);
        if !users.is_empty() {
            field(&mut text, "user", &users);
        }
        let ip = command.identities.iter().find(|id| id.scheme.as_deref() == Some("ip")).and_then(|id| id.id);
        field(&mut text, "ip", &ip.unwrap_or_default());
        deed.write(&mut text);
        field(&mut text, "result", if succeeded { "success" } else { "failure" });
        self.lines.push(AuditLine { failed: !succeeded, text });
    }
}

impl Deed<'_> {
    fn write(&self, text: &mut String) {
        field(text, "operation", self.operation);
        for (name, value) in [("znode", self.znode), ("znode_type", self.znode_type), ("acl", self.acl.as_deref())] {
            value.into_iter().for_each(|value| field(text, name, value));
        }
    }
}

/// ZooKeeper writes values as they are; here none can forge a field or a line.
fn field(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push('\t');
    }
    text.push_str(name);
    text.push('=');
    // Nearly always.
    if value.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        text.push_str(value);
        return;
    }
    for c in value.chars() {
        match c {
            '\t' | '\n' | '\r' | '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                text.extend(c.escape_default());
            }
            c => text.push(c),
        }
    }
}

/// The names behind the identities, those without one left out.
fn users(command: &Command<'_>) -> String {
    let mut users = String::new();
    for id in command.identities.iter() {
        let name = auth::user_name(command.settings, &id);
        if !name.trim().is_empty() {
            let _ = write!(users, "{}{name}", if users.is_empty() { "" } else { "," });
        }
    }
    users
}

/// What a command wants, and of which znode; `None` if it is nothing to be written down.
///
/// ZooKeeper: of a body that cannot be decoded, what stands in front of its defect is written down.
#[expect(clippy::wildcard_enum_match_arm, reason = "the operations that ZooKeeper writes down")]
fn deed(command: &Command<'_>) -> Option<(Option<String>, Deed<'static>)> {
    let operation = |operation| Deed { operation, ..Deed::default() };
    let mut reader = Reader::new(command.body);
    let path = || Option::<Text<'_>>::decode(&mut Reader::new(command.body)).ok().flatten().map(Cow::into_owned);
    Some(match command.op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            // A TTL's request is this one and more.
            let flags = CreateRequest::decode(&mut reader).map_or(0, |request| request.flags);
            (path(), Deed { znode_type: Some(create_mode(flags)?), ..operation("create") })
        }
        OpCode::Delete => (path(), operation("delete")),
        OpCode::SetData => (path(), operation("setData")),
        OpCode::SetAcl => {
            Option::<Text<'_>>::decode(&mut reader).ok()?;
            let acl = Option::<Vec<Acl<'_>>>::decode(&mut reader).ok()??;
            (path(), Deed { acl: Some(acl_text(&acl)), ..operation("setAcl") })
        }
        OpCode::Reconfig => (None, operation("reconfig")),
        _ => return None,
    })
}

/// ZooKeeper: by the path that was asked for, so that sequential znodes have none; TTL znodes have none either.
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

/// ZooKeeper: nothing stands between two entries.
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
    use super::*;
    use oxkeeper_proto::SessionId;
    use oxkeeper_proto::records::{Id, SetAclRequest};
    use oxkeeper_state::{Identities, Settings};

    /// The lines of one command of a client.
    fn lines(op: OpCode, body: &[u8], result: Result<(), ErrorCode>, changes: &[(ChangeKind, &str)]) -> Vec<String> {
        let mut identities = Vec::new();
        for (scheme, id) in [("ip", "127.0.0.1"), ("digest", "bob:hash"), ("super", "")] {
            auth::add_identity(&mut identities, scheme, id);
        }
        let (session, settings) = (SessionId(0x1f), Settings::default());
        let command = Command { from: None, session, xid: 1, op, settings, identities: Identities(&identities), body };
        let mut audit = Audit::new("zk");
        audit.changes = changes.iter().map(|(kind, path)| (*kind, (*path).to_owned())).collect();
        audit.applied(&command, result, true, &[]);
        assert!(audit.lines.iter().all(|line| line.failed == line.text.ends_with("\tresult=failure")));
        audit.lines.into_iter().map(|line| line.text.replace('\t', " ")).collect()
    }

    fn encoded<'a>(record: &impl Jute<'a>) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }

    fn create(path: &str, flags: i32) -> Vec<u8> {
        encoded(&CreateRequest { path: Some(path.into()), data: None, acl: None, flags })
    }

    const CLIENT: &str = "session=0x1f user=127.0.0.1,bob ip=127.0.0.1";

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
