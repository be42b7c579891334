//! reconfig: the change of an ensemble's members.
//!
//! The leader writes what only it can know into the command before it packs it. This [`Ruling`]
//! follows the client's request, in the room that the server which took the request left for it: 4
//! bytes, or 1 byte in older logs. Everything else is decided here, from the state, identically on
//! every server. A leader calls [`judge`] for the commands it is about to pack, and [`preview`] for
//! each reconfig among them. A missing ruling means "there is no majority", and then nothing
//! changes.
//!
//! Invariant: whichever caller may change the members, the members in the state afterwards have
//! passed `membership::check`. Source: `PrepRequestProcessor` case `reconfig`, in its order of
//! checks.

use std::collections::BTreeMap;

use bytes::BufMut;
use oxkeeper_proto::records::ReconfigRequest;
use oxkeeper_proto::{DecodeError, ErrorCode, Jute, OpCode, Reader, Zxid, java};

use crate::command::Command;
use crate::membership::{self, Members, Membership, PeerAddress, Refusal, Server, parse_id};
use crate::state::{State, next_zxid};

/// A leader's ruling on one reconfig: a set of switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ruling(pub u32);

/// Length of a ruling, bytes.
pub const RULING_LEN: usize = 4;

impl Ruling {
    /// A majority of the new voters is connected and has everything that is decided.
    pub const SYNCED: Ruling = Ruling(1);
    /// An earlier change of the members is not finished.
    pub const IN_PROGRESS: Ruling = Ruling(2);
    /// The leader has `standaloneEnabled=false`: one voter is enough.
    pub const ONE_VOTER: Ruling = Ruling(4);
    /// The leader has `multiAddress.enabled`.
    pub const SEVERAL_ADDRESSES: Ruling = Ruling(8);

    /// Returns the union of both sets.
    pub fn with(self, other: Ruling) -> Ruling {
        Ruling(self.0 | other.0)
    }

    fn has(self, other: Ruling) -> bool {
        self.0 & other.0 != 0
    }
}

/// Appends the body of a command: the client's request and room for the ruling. A malformed request
/// is appended as it is.
pub fn put_body(request: &[u8], out: &mut Vec<u8>) {
    let reader = &mut Reader::new(request);
    match ReconfigRequest::decode(reader) {
        Ok(_) => {
            out.put_slice(&request[..request.len() - reader.rest().len()]);
            out.put_bytes(0, RULING_LEN);
        }
        Err(_) => out.put_slice(request),
    }
}

fn parts(body: &[u8]) -> Result<(ReconfigRequest<'_>, Ruling), DecodeError> {
    let reader = &mut Reader::new(body);
    let request = ReconfigRequest::decode(reader)?;
    let ruling = reader.rest();
    let ruling = &ruling[ruling.len().saturating_sub(RULING_LEN)..];
    Ok((request, Ruling(ruling.iter().fold(0, |ruling, &byte| ruling << 8 | u32::from(byte)))))
}

/// Returns the number of bytes left for the ruling.
fn room_of(body: &[u8]) -> Result<usize, DecodeError> {
    let reader = &mut Reader::new(body);
    ReconfigRequest::decode(reader)?;
    Ok(reader.rest().len().min(RULING_LEN))
}

/// Writes the leader's ruling into each reconfig among `commands`, which are encoded one after the
/// other.
pub fn judge(commands: &mut [u8], mut rule: impl FnMut(&Command<'_>) -> Ruling) {
    let mut start = 0;
    while let Some(prefix) = commands[start..].first_chunk::<4>() {
        let end = start + 4 + u32::from_be_bytes(*prefix) as usize;
        let Some(encoded) = commands.get(start + 4..end) else { return };
        let Ok(command) = Command::decode(encoded) else { return };
        if command.op == OpCode::Reconfig
            && let Ok(room) = room_of(command.body)
        {
            let ruling = rule(&command).0.to_be_bytes();
            commands[end - room..end].copy_from_slice(&ruling[RULING_LEN - room..]);
        }
        start = end;
    }
}

/// Returns the members that `command`, a reconfig, would establish if nothing else is decided
/// before it. Does not check what comes after the leader's ruling: the caller's permission, and
/// whether the members can form an ensemble of ours.
///
/// # Errors
/// The error that the client will get whatever the leader's ruling is.
pub fn preview(state: &State, command: &Command<'_>, ruling: Ruling) -> Result<Membership, Refusal> {
    if !command.settings.reconfig_enabled() {
        return Err(Refusal::new(ErrorCode::ReconfigDisabled, "reconfigEnabled is not set"));
    }
    let (request, _) = parts(command.body).map_err(|error| Refusal::marshalling(error.to_string()))?;
    changed(state, &request, ruling, next_zxid(state.zxid))
}

/// Decodes a command's request and ruling, and returns the members it asks for. *Errors*: see
/// [`preview`]; a negative ruling.
pub(crate) fn decide(state: &State, body: &[u8], zxid: Zxid) -> Result<Membership, ErrorCode> {
    let (request, ruling) = parts(body).map_err(|_| ErrorCode::Marshalling)?;
    if ruling.has(Ruling::IN_PROGRESS) {
        return Err(ErrorCode::ReconfigInProgress);
    }
    let membership = changed(state, &request, ruling, zxid)?;
    if !ruling.has(Ruling::SYNCED) {
        return Err(ErrorCode::NewConfigNoQuorum);
    }
    Ok(membership)
}

fn changed(state: &State, request: &ReconfigRequest<'_>, ruling: Ruling, zxid: Zxid) -> Result<Membership, Refusal> {
    let current = state.membership();
    let (from, version) = (request.cur_config_id, current.version());
    if from != -1 && from != version {
        let why = format!("reconfiguration from version {from:x}, which is {version:x}");
        return Err(Refusal::new(ErrorCode::BadVersion, why));
    }
    let several = ruling.has(Ruling::SEVERAL_ADDRESSES);
    let mut members = match &request.new_members {
        Some(text) => whole(text, ruling, several)?,
        None => {
            let list = |text: &Option<oxkeeper_proto::Text<'_>>| text.as_deref().unwrap_or_default().to_owned();
            incremental(current, &list(&request.leaving_servers), &list(&request.joining_servers), several)?
        }
    };
    // ZooKeeper: takes the wildcard, and the other servers then dial themselves.
    members.locate_by(current.members());
    let least = if ruling.has(Ruling::ONE_VOTER) { 1 } else { 2 };
    if members.participants() < least {
        return Err(Refusal::arguments(format!("the new members must include at least {least} who vote")));
    }
    Ok(Membership::new(members, zxid.0))
}

/// Checks the restrictions of our own ensembles, after everything that ZooKeeper checks. *Errors*:
/// see `membership::check`; groups and weights.
pub(crate) fn check_ours(membership: &Membership) -> Result<(), Refusal> {
    let members = membership.members();
    // ZooKeeper: supports groups and weights. Here each voter has one vote.
    if !members.groups.is_empty() || !members.weights.is_empty() {
        return Err(Refusal::arguments("groups and weights are not in this build"));
    }
    membership::check(members).map_err(|misfit| Refusal::arguments(misfit.why))
}

/// Parses the members that a request lists, separated by commas or line ends.
fn whole(text: &str, ruling: Ruling, several: bool) -> Result<Members, Refusal> {
    let membership = Membership::parse(&text.replace(',', "\n"), several)?;
    let members = membership.members();
    // ZooKeeper: throws exceptions that it has no error code for.
    if let Err(why) = members.check(!ruling.has(Ruling::ONE_VOTER)) {
        let ungrouped = !members.groups.is_empty() || !members.weights.is_empty();
        return Err(if ungrouped { Refusal::arguments(why) } else { Refusal::marshalling(why) });
    }
    Ok(members.clone())
}

/// Returns the current members without `leaving`, then with `joining`.
fn incremental(current: &Membership, leaving: &str, joining: &str, several: bool) -> Result<Members, Refusal> {
    let id = |text: &str| parse_id(text).map_err(Refusal::marshalling);
    let mut members = current.members().clone();
    for leaving in pieces(leaving, ',') {
        members.servers.remove(&id(leaving)?);
    }
    for joining in pieces(joining, ',') {
        let [name, line] = pieces(joining, '=').collect::<Vec<_>>()[..] else {
            return Err(Refusal::arguments("Wrong format of server string"));
        };
        let joiner = id(name.rsplit('.').next().unwrap_or_default())?;
        let server = Server::parse(joiner, line, several)?;
        if server.client.is_none() {
            let why = "Wrong format of server string - each server should have 3 ports specified";
            return Err(Refusal::arguments(why));
        }
        check_addresses(joiner, &server, &members.servers)?;
        members.servers.insert(joiner, server);
    }
    Ok(members)
}

/// Splits like ZooKeeper's `StringUtils.split`: pieces are trimmed, and empty ones dropped.
fn pieces(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).map(java::trim).filter(|piece| !piece.is_empty())
}

/// Checks that no two servers listen on the same address. Source:
/// `QuorumServer.checkAddressDuplicate`.
// ZooKeeper: compares the addresses that names resolve to, on which servers might not agree. Here the names
// are compared.
fn check_addresses(joiner: i64, server: &Server, others: &BTreeMap<i64, Server>) -> Result<(), Refusal> {
    for (id, other) in others.iter().filter(|(id, _)| **id != joiner) {
        if let Some((host, port)) = addresses(server).find(|mine| addresses(other).any(|theirs| theirs == *mine)) {
            let why = format!("{host}:{port} of server.{joiner} conflicts {host}:{port} of server.{id}");
            return Err(Refusal::arguments(why));
        }
    }
    Ok(())
}

/// Returns the addresses on which a server listens, except wildcards and addresses of the machine
/// itself.
fn addresses(server: &Server) -> impl Iterator<Item = (&str, u16)> {
    let peers = |address: &'_ PeerAddress| [address.quorum_port, address.election_port];
    let peers = server.addresses.iter().flat_map(move |address| peers(address).map(|port| (&*address.host, port)));
    let client = server.client.iter().filter_map(|client| Some((client.host.as_deref()?, client.port)));
    peers.chain(client).filter(|(host, _)| !is_anywhere(host))
}

fn is_anywhere(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}
