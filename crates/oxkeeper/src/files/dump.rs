//! `oxkeeper dump`: prints the content of a file, as text like that of `zkSnapShotToolkit.sh` and
//! `zkTxnLogToolkit.sh`, or as lines of JSON.
//!
//! Source of the text: `SnapshotFormatter`, `TxnLogToolkit`, `TxnLogEntry`.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use oxkeeper_durable::offline;
use oxkeeper_proto::OpCode;
use oxkeeper_proto::records::Acl;
use oxkeeper_server::java;
use oxkeeper_state::acl::AclId;
use oxkeeper_state::import::StoredStat;
use oxkeeper_state::znode::{Owner, Slot};
use oxkeeper_state::{Entry, Level};
use oxkeeper_store::{Logged, RealDisk, parent, read_segment};
use oxkeeper_zkfiles::log::End;
use oxkeeper_zkfiles::snapshot::{Item, OPEN_ACL, Trailer};
use oxkeeper_zkfiles::txn::{Body, Create, Kind, Transaction, op};
use oxkeeper_zkfiles::{Problem, dir, export, log, open, snapshot};
use serde_json::{Value, json};

use super::place::seed;

/// Options of `oxkeeper dump`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  oxkeeper dump /var/lib/zookeeper/version-2/snapshot.500000123
  oxkeeper dump --json ./oxkeeper-data/tree.redb")]
pub(crate) struct DumpArgs {
    /// A snapshot.* or log.* of Apache ZooKeeper, or the tree.redb or a *.segment of a stopped oxkeeper server
    file: PathBuf,
    /// Print the data of znodes, too, in base64
    #[arg(short = 'd', long)]
    data: bool,
    /// Print a JSON object for each znode or record, with its data
    #[arg(long)]
    json: bool,
}

/// Prints a file. If it is damaged, prints the intact part and then fails.
pub(crate) fn dump(args: &DumpArgs) -> anyhow::Result<ExitCode> {
    let out = &mut BufWriter::new(io::stdout().lock());
    let shown = show(args, out);
    let flushed = out.flush();
    match shown.and_then(|()| Ok(flushed?)) {
        // The reader has enough, as in `| head`.
        Err(error) if is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
        done => done.map(|()| ExitCode::SUCCESS),
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn show(args: &DumpArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let mut magic = Vec::new();
    open(&args.file, |_| {})?.take(8).read_to_end(&mut magic).with_context(|| args.file.display().to_string())?;
    match magic.as_slice() {
        [b'Z', b'K', b'S', b'N', ..] => show_snapshot(args, out),
        [b'Z', b'K', b'L', b'G', ..] => show_log(args, out),
        b"oxkp.log" => show_segment(args, out),
        [b'r', b'e', b'd', b'b', ..] => show_tree(args, out),
        _ => bail!(
            "{} is neither a snapshot nor a transaction log of Apache ZooKeeper, nor a file of ours",
            args.file.display()
        ),
    }
}

/// Prints znodes, then sessions, then the end, in either form.
struct Printer<'a, W> {
    out: &'a mut W,
    json: bool,
    data: bool,
    zxid: i64,
}

impl<W: Write> Printer<'_, W> {
    fn line(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.out, "{value}")
    }

    fn begin(&mut self, znodes: usize) -> io::Result<()> {
        if self.json { Ok(()) } else { writeln!(self.out, "ZNode Details (count={znodes}):") }
    }

    fn znode(&mut self, path: &str, data: Option<&[u8]>, acl: Option<&[Acl<'_>]>, stat: &StoredStat) -> io::Result<()> {
        self.zxid = self.zxid.max(stat.mzxid).max(stat.pzxid);
        let path = if path.is_empty() { "/" } else { path };
        if self.json {
            return self.line(&json_znode(path, data, acl, stat));
        }
        writeln!(self.out, "----\n{path}")?;
        writeln!(self.out, "  cZxid = {}", hex(stat.czxid))?;
        writeln!(self.out, "  ctime = {}", java::date(stat.ctime))?;
        writeln!(self.out, "  mZxid = {}", hex(stat.mzxid))?;
        writeln!(self.out, "  mtime = {}", java::date(stat.mtime))?;
        writeln!(self.out, "  pZxid = {}", hex(stat.pzxid))?;
        writeln!(self.out, "  cversion = {}", stat.cversion)?;
        writeln!(self.out, "  dataVersion = {}", stat.version)?;
        writeln!(self.out, "  aclVersion = {}", stat.aversion)?;
        writeln!(self.out, "  ephemeralOwner = {}", hex(stat.owner.0))?;
        let data = data.unwrap_or_default();
        if self.data {
            writeln!(self.out, "  data = {}", BASE64.encode(data))
        } else {
            writeln!(self.out, "  dataLength = {}", data.len())
        }
    }

    fn sessions(&mut self, sessions: &BTreeMap<i64, (i32, usize)>) -> io::Result<()> {
        if !self.json {
            writeln!(self.out, "----\nSession Details (sid, timeout, ephemeralCount):")?;
        }
        for (&id, &(timeout_ms, ephemerals)) in sessions {
            if self.json {
                let id = format!("{id:#x}");
                let line = json!({ "kind": "session", "id": id, "timeoutMs": timeout_ms, "ephemerals": ephemerals });
                self.line(&line)?;
            } else {
                writeln!(self.out, "{}, {timeout_ms}, {ephemerals}", hex(id))?;
            }
        }
        Ok(())
    }

    fn end(&mut self, znodes: usize, zxid: Option<i64>, trailer: &Trailer) -> io::Result<()> {
        let last = zxid.unwrap_or(-1).max(self.zxid);
        let digest = trailer.digest;
        if self.json {
            let digest = digest.map(
                |it| json!({ "zxid": format!("{:#x}", it.zxid), "version": it.version, "digest": it.digest as u64 }),
            );
            return self
                .line(&json!({ "kind": "end", "znodes": znodes, "zxid": format!("{last:#x}"), "digest": digest }));
        }
        if let Some(digest) = digest {
            writeln!(self.out, "Target zxid digest is: {:x}, {}", digest.zxid, digest.digest)?;
        }
        writeln!(self.out, "----\nLast zxid: {last:#x}")
    }
}

/// Formats a number like Java's `%#016x`.
fn hex(number: i64) -> String {
    format!("{number:#016x}")
}

/// Returns a znode as JSON. An ACL of `null` is one that only a transaction log may have.
fn json_znode(path: &str, data: Option<&[u8]>, acl: Option<&[Acl<'_>]>, stat: &StoredStat) -> Value {
    let StoredStat { czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid } = *stat;
    let zxid = |zxid: i64| format!("{zxid:#x}");
    let (mut kind, mut ttl, mut session) = ("persistent", None, None);
    if owner == Owner::CONTAINER {
        kind = "container";
    } else if let Some(ttl_ms) = owner.ttl_ms() {
        (kind, ttl) = ("ttl", Some(ttl_ms));
    } else if let Some(id) = owner.session() {
        (kind, session) = ("ephemeral", Some(zxid(id)));
    }
    json!({
        "kind": "znode", "path": path, "type": kind, "ttlMs": ttl, "session": session,
        "data": data.map(|data| BASE64.encode(data)), "acl": acl.map(json_acl),
        "czxid": zxid(czxid), "mzxid": zxid(mzxid), "pzxid": zxid(pzxid), "ctime": ctime, "mtime": mtime,
        "version": version, "storedCversion": cversion, "aversion": aversion,
    })
}

fn json_acl(acl: &[Acl<'_>]) -> Value {
    let entry = |entry: &Acl<'_>| json!({ "perms": entry.perms, "scheme": entry.id.scheme, "id": entry.id.id });
    acl.iter().map(entry).collect()
}

/// Reads the file twice, so that it prints only a file that is intact.
fn show_snapshot(args: &DumpArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let of_file = |problem: Problem| problem.of(&args.file);
    let read = || snapshot::Reader::new(open(&args.file, |_| {})?).map_err(of_file);
    let (mut acls, mut sessions, mut znodes) = (BTreeMap::new(), BTreeMap::new(), 0);
    let mut trailer = Trailer::default();
    let mut reader = read()?;
    while let Some(item) = reader.next().map_err(of_file)? {
        match item {
            Item::Session { id, timeout_ms } => drop(sessions.insert(id, (timeout_ms, 0))),
            Item::Acl { id, list } => drop(acls.insert(id, list)),
            Item::Znode(znode) => {
                znodes += 1;
                let owner = znode.stat.owner.session().and_then(|id| sessions.get_mut(&id));
                owner.into_iter().for_each(|(_, ephemerals)| *ephemerals += 1);
            }
            Item::End(end) => trailer = end,
        }
    }
    acls.insert(OPEN_ACL, oxkeeper_state::acl::world(oxkeeper_proto::op::perms::ALL));
    let mut printer = Printer { out, json: args.json, data: args.data, zxid: 0 };
    printer.begin(znodes)?;
    let mut reader = read()?;
    while let Some(item) = reader.next().map_err(of_file)? {
        if let Item::Znode(snapshot::Record { path, data, acl, stat }) = item {
            printer.znode(&path, data.as_deref(), acls.get(&acl).map(Vec::as_slice), &stat)?;
        }
    }
    printer.sessions(&sessions)?;
    let named = args.file.file_name().and_then(|name| dir::zxid_of(name.to_str()?, "snapshot."));
    Ok(printer.end(znodes, named, &trailer)?)
}

fn show_tree(args: &DumpArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let (state, applied) = offline::read_tree(parent(&args.file), seed()?)?;
    let tree = state.tree();
    if args.json {
        writeln!(
            out,
            "{}",
            json!({ "kind": "tree", "entries": applied, "ensemble": format!("{:016x}", state.ensemble()) })
        )?;
    } else {
        writeln!(out, "oxkeeper's tree: the first {applied} log entries, ensemble {:016x}", state.ensemble())?;
    }
    let mut printer = Printer { out, json: args.json, data: args.data, zxid: 0 };
    printer.begin(tree.len())?;
    for slot in std::iter::once(Slot::ROOT).chain(tree.descendants(Slot::ROOT)) {
        let (znode, path) = (tree.znode(slot), tree.path(slot));
        let acl: AclId = znode.versions.acl;
        printer.znode(&path, znode.data(), Some(state.acl(acl)), &export::stored(&znode.versions))?;
    }
    let sessions = state.sessions().iter();
    let sessions = sessions.map(|(id, session)| (id.0, (session.timeout_ms, session.ephemerals.len()))).collect();
    printer.sessions(&sessions)?;
    Ok(printer.end(tree.len(), Some(state.zxid().0), &Trailer::default())?)
}

fn show_log(args: &DumpArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let of_file = |problem: Problem| problem.of(&args.file);
    let mut reader = log::Reader::new(open(&args.file, |_| {})?).map_err(of_file)?;
    if !args.json {
        let dbid = reader.dbid();
        writeln!(out, "ZooKeeper Transactional Log File with dbid {dbid} txnlog format version 2")?;
    }
    let mut count = 0;
    while let Some(record) = reader.next().map_err(of_file)? {
        count += 1;
        let transaction = &record.transaction;
        match args.json {
            true => writeln!(out, "{}", json_transaction(record.offset, transaction))?,
            false => writeln!(out, "{}", text_transaction(transaction))?,
        }
    }
    let torn = match reader.end() {
        Some(End::Torn { offset }) => Some(offset),
        Some(End::Clean) | None => None,
    };
    match (args.json, torn) {
        (true, torn) => writeln!(out, "{}", json!({ "kind": "end", "transactions": count, "tornAt": torn }))?,
        (false, None) => writeln!(out, "EOF reached after {count} txns.")?,
        (false, Some(offset)) => {
            writeln!(out, "EOF reached after {count} txns: half a record at byte {offset} was never answered.")?;
        }
    }
    Ok(())
}

fn op_name(op: i32) -> &'static str {
    match op {
        op::CREATE => "create",
        op::DELETE => "delete",
        op::SET_DATA => "setData",
        op::SET_ACL => "setACL",
        op::CHECK => "check",
        op::MULTI => "multi",
        op::CREATE2 => "create2",
        op::RECONFIG => "reconfig",
        op::CREATE_CONTAINER => "createContainer",
        op::DELETE_CONTAINER => "deleteContainer",
        op::CREATE_TTL => "createTTL",
        op::ERROR => "error",
        op::CREATE_SESSION => "createSession",
        op::CLOSE_SESSION => "closeSession",
        _ => "unknown",
    }
}

/// Formats a transaction as `TxnLogToolkit` does.
pub(super) fn text_transaction(transaction: &Transaction) -> String {
    let Transaction { session, cxid, zxid, time_ms, op, body, .. } = transaction;
    let (date, name) = (java::date(*time_ms), op_name(*op));
    format!("{date} session {session:#x} cxid {cxid:#x} zxid {zxid:#x} {name} {}", text_body(body))
}

fn text_body(body: &Body) -> String {
    let text = |data: &Option<Vec<u8>>| String::from_utf8_lossy(data.as_deref().unwrap_or_default()).into_owned();
    match body {
        Body::CreateSession { timeout_ms } => timeout_ms.to_string(),
        Body::CloseSession(paths) => paths.clone().unwrap_or_default().join(","),
        Body::Create(Create { path, data, acl, kind, parent_cversion }) => {
            let kind = match kind {
                Kind::Persistent => ",false".to_owned(),
                Kind::Ephemeral => ",true".to_owned(),
                Kind::Container => String::new(),
                Kind::Ttl(ttl_ms) => format!(",ttl {ttl_ms}"),
            };
            format!("{path},{},{}{kind},{}", text(data), text_acl(acl), parent_cversion.unwrap_or(-1))
        }
        Body::Delete { path } => path.clone(),
        Body::SetData { path, data, version } => format!("{path},{},{version}", text(data)),
        Body::SetAcl { path, acl, version } => format!("{path},{},{version}", text_acl(acl)),
        Body::Check { path, version } => format!("{path},{version}"),
        Body::Error { err } => err.to_string(),
        Body::Multi(parts) => {
            let part = |(op, body): &(i32, Body)| format!("{}:{}", op_name(*op), text_body(body));
            parts.iter().map(part).collect::<Vec<_>>().join(";")
        }
    }
}

fn text_acl(acl: &[Acl<'_>]) -> String {
    let entry = |entry: &Acl<'_>| {
        let (scheme, id) = (entry.id.scheme.as_deref(), entry.id.id.as_deref());
        format!("{},s{{'{},'{}}}", entry.perms, scheme.unwrap_or_default(), id.unwrap_or_default())
    };
    format!("[{}]", acl.iter().map(entry).collect::<Vec<_>>().join(", "))
}

fn json_transaction(offset: u64, transaction: &Transaction) -> Value {
    let Transaction { session, cxid, zxid, time_ms, op, body, digest } = transaction;
    json!({
        "kind": "transaction", "offset": offset, "time": time_ms, "session": format!("{session:#x}"), "cxid": cxid,
        "zxid": format!("{zxid:#x}"), "op": op_name(*op), "body": json_body(body),
        "digest": digest.map(|(_, digest)| digest as u64),
    })
}

fn json_body(body: &Body) -> Value {
    let base64 = |data: &Option<Vec<u8>>| data.as_ref().map(|data| BASE64.encode(data));
    match body {
        Body::CreateSession { timeout_ms } => json!({ "timeoutMs": timeout_ms }),
        Body::CloseSession(paths) => json!({ "paths": paths }),
        Body::Create(Create { path, data, acl, kind, parent_cversion }) => {
            let ttl = match kind {
                Kind::Ttl(ttl_ms) => Some(ttl_ms),
                Kind::Persistent | Kind::Ephemeral | Kind::Container => None,
            };
            json!({
                "path": path, "data": base64(data), "acl": json_acl(acl), "ephemeral": *kind == Kind::Ephemeral,
                "ttlMs": ttl, "parentCversion": parent_cversion,
            })
        }
        Body::Delete { path } => json!({ "path": path }),
        Body::SetData { path, data, version } => json!({ "path": path, "data": base64(data), "version": version }),
        Body::SetAcl { path, acl, version } => json!({ "path": path, "acl": json_acl(acl), "version": version }),
        Body::Check { path, version } => json!({ "path": path, "version": version }),
        Body::Error { err } => json!({ "err": err }),
        Body::Multi(parts) => {
            parts.iter().map(|(op, body)| json!({ "op": op_name(*op), "body": json_body(body) })).collect()
        }
    }
}

fn show_segment(args: &DumpArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let mut failed = Ok(());
    let (end, torn) = read_segment(&RealDisk, &args.file, |offset, record| {
        if failed.is_ok() {
            failed = show_record(args, out, offset, record);
        }
    })?;
    failed?;
    match args.json {
        true => writeln!(out, "{}", json!({ "kind": "end", "offset": end, "torn": torn }))?,
        false if torn => writeln!(out, "the last write, at byte {end}, was torn: it was never answered")?,
        false => writeln!(out, "ends at byte {end}")?,
    }
    Ok(())
}

fn show_record(args: &DumpArgs, out: &mut impl Write, offset: u64, record: Logged<'_>) -> anyhow::Result<()> {
    let value = match record {
        Logged::Truncate(from) => json!({ "kind": "truncate", "offset": offset, "from": from }),
        Logged::Scalar { key, value } => {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "kind": "scalar", "offset": offset, "key": key, "value": hex })
        }
        Logged::Entry { index, payload } => {
            let damaged =
                |problem: String| anyhow::anyhow!("entry {index} at byte {offset} cannot be decoded: {problem}");
            match Entry::decode(payload, Level::KNOWN).map_err(|problem| damaged(problem.to_string()))? {
                Entry::Epoch(epoch) => json!({
                    "kind": "epoch", "offset": offset, "index": index, "time": epoch.time_ms,
                    "ensemble": format!("{:016x}", epoch.ensemble), "config": String::from_utf8_lossy(epoch.config),
                }),
                Entry::Raise(raise) => json!({
                    "kind": "raise", "offset": offset, "index": index, "time": raise.time_ms, "level": raise.level.0,
                }),
                Entry::Renewal(renewal) => json!({
                    "kind": "renewal", "offset": offset, "index": index, "time": renewal.time_ms,
                    "servers": renewal.servers.iter().map(|server| server.0).collect::<Vec<_>>(),
                }),
                Entry::Batch(batch) => {
                    let time_ms = batch.time_ms;
                    let mut commands = Vec::new();
                    for command in batch {
                        let command = command.map_err(|problem| damaged(problem.to_string()))?;
                        let body = if args.data || args.json { Some(BASE64.encode(command.body)) } else { None };
                        let from = command.from.map(|from| format!("{}/{}/{}", from.server, from.boot, from.seq));
                        commands.push(json!({
                            "session": command.session.to_string(), "xid": command.xid, "op": op_text(command.op),
                            "from": from, "len": command.body.len(), "body": body,
                        }));
                    }
                    json!({ "kind": "batch", "offset": offset, "index": index, "time": time_ms, "commands": commands })
                }
            }
        }
    };
    if args.json {
        writeln!(out, "{value}")?
    } else {
        write_text(out, &value)?
    }
    Ok(())
}

fn op_text(op: OpCode) -> String {
    format!("{op:?}")
}

/// Prints `kind key value, key value`, with the commands of a batch on separate lines.
fn write_text(out: &mut impl Write, value: &Value) -> io::Result<()> {
    let Some(fields) = value.as_object() else { return Ok(()) };
    let mut words = Vec::new();
    for (name, field) in fields.iter().filter(|(_, field)| !field.is_null() && !field.is_array()) {
        match field.as_str() {
            Some(text) if name == "kind" => words.push(text.to_owned()),
            Some(text) => words.push(format!("{name} {text}")),
            None if name == "time" => words.push(format!("time {}", java::date(field.as_i64().unwrap_or(0)))),
            None => words.push(format!("{name} {field}")),
        }
    }
    writeln!(out, "{}", words.join(" "))?;
    let inner = fields.values().filter_map(Value::as_array).flatten();
    for command in inner {
        write!(out, "    ")?;
        write_text(out, command)?;
    }
    Ok(())
}
