//! Ballots, entries, frames and answers as text, stable and short enough to read.

use oxkeeper_proto::records::CreateRequest;
use oxkeeper_proto::{ErrorCode, Jute, OpCode, Reader, ServerId, SessionId};
use oxkeeper_replica::ensemble::frame::{Frame, Roster, Status};
use oxkeeper_replica::ensemble::journal::scalar;
use oxkeeper_replica::ensemble::{Configuration, LogEntry};
use oxkeeper_state::{BallotId, Batch, Command, Entry, Level};

use omnipaxos::messages::ballot_leader_election::HeartbeatMsg;
use omnipaxos::messages::sequence_paxos::PaxosMsg;

/// Largest number of entries of one frame that are all shown; if there are more, only the first and
/// the last one are.
const ENTRIES_SHOWN: usize = 4;

/// Formats a ballot as `configuration.number@process`; `-` for none. A nonzero priority is shown,
/// too.
pub(crate) fn ballot(bytes: &[u8]) -> String {
    let word = |at: usize| bytes.get(at..at + 4).map_or(0, |word| u32::from_be_bytes(word.try_into().expect("four")));
    match (word(0), word(4), word(8), word(16)) {
        (0, ..) => "-".to_owned(),
        (configuration, number, 0, process) => format!("{configuration}.{number}@{process}"),
        (configuration, number, priority, process) => format!("{configuration}.{number}+{priority}@{process}"),
    }
}

fn ballot_of(ballot: omnipaxos::ballot_leader_election::Ballot) -> String {
    let priority = if ballot.priority > 0 { format!("+{}", ballot.priority) } else { String::new() };
    if ballot.config_id == 0 {
        return "-".to_owned();
    }
    format!("{}.{}{priority}@{}", ballot.config_id, ballot.n, ballot.pid)
}

/// Formats an entry: `epoch BALLOT`, `batch BALLOT: commands`, `renewal BALLOT of servers`, or
/// `level N`.
pub(crate) fn entry(bytes: &[u8]) -> String {
    match Entry::decode(bytes, Level::KNOWN) {
        Ok(Entry::Epoch(epoch)) => format!("epoch {}", ballot(&epoch.ballot.0)),
        Ok(Entry::Batch(batch)) => batch_text(batch),
        Ok(Entry::Raise(raise)) => format!("level {}", raise.level),
        Ok(Entry::Renewal(renewal)) => format!("renewal {} of {:?}", ballot(&renewal.ballot.0), renewal.servers),
        Err(problem) => format!("no entry: {problem}"),
    }
}

fn batch_text(batch: Batch<'_>) -> String {
    let mut text = format!("batch {}:", ballot(&batch.ballot.unwrap_or(BallotId([0; 20])).0));
    let mut commands = 0;
    for command in batch {
        let command = command.expect("the scripts' commands are encoded here");
        let number = command.from.map_or_else(|| "leader's".to_owned(), |from| format!("{}#{}", from.server, from.seq));
        text += &format!(" {number} {}", command_text(&command));
        commands += 1;
    }
    if commands == 0 { text + " nothing" } else { text }
}

/// Formats the operation and its path.
pub(crate) fn command_text(command: &Command<'_>) -> String {
    let path = CreateRequest::decode(&mut Reader::new(command.body)).ok().and_then(|request| request.path);
    match path.filter(|_| command.op == OpCode::Create) {
        Some(path) => format!("create {path}"),
        None if command.op == OpCode::CloseSession => format!("CloseSession {}", session(command.session)),
        None => format!("{:?}", command.op),
    }
}

fn entries(entries: &[LogEntry]) -> String {
    match entries {
        [] => "no entries".to_owned(),
        [first, .., last] if entries.len() > ENTRIES_SHOWN => {
            format!("[{}] .. [{}], {} entries", entry(&first.0), entry(&last.0), entries.len())
        }
        _ => entries.iter().map(|LogEntry(bytes)| format!("[{}]", entry(bytes))).collect::<Vec<_>>().join(" "),
    }
}

/// Formats the error code of an answer.
pub(crate) fn outcome(err: i32) -> String {
    match ErrorCode::from_wire(err) {
        Some(code) => format!("{code:?}"),
        None => "ok".to_owned(),
    }
}

/// Formats the server that assigned the id.
pub(crate) fn session(id: SessionId) -> String {
    format!("of {}", id.0 >> 56)
}

/// Formats epoch and counter.
pub(crate) fn zxid(zxid: i64) -> String {
    format!("{}:{}", zxid >> 32, zxid & 0xffff_ffff)
}

/// Formats a configuration with the ids of its voters.
pub(crate) fn configuration(configuration: &Configuration) -> String {
    let voters: Vec<String> = configuration.voters.iter().map(ServerId::to_string).collect();
    format!("configuration {} from {}: {}", configuration.id, configuration.base, voters.join(" "))
}

/// Formats a scalar of a journal that is a ballot.
pub(crate) fn scalar_ballot(value: Option<Vec<u8>>) -> String {
    ballot(&value.unwrap_or_default())
}

/// Keys of the scalars that are ballots.
pub(crate) const PROMISE: u8 = scalar::PROMISE;
pub(crate) const ROUND: u8 = scalar::ROUND;

/// Kind of a frame, by how regularly it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Pings and the frames that go with them, pongs and heartbeats.
    Chatter,
    /// All other frames.
    News,
}

/// Formats a frame by its name, as one of `configuration` from `from` to `to`.
pub(crate) fn frame(bytes: &[u8], configuration: &Configuration, from: u8, to: u8) -> (Talk, String) {
    let process = |id: u8| configuration.voters.iter().position(|&voter| voter.0 == id).map_or(0, |at| at as u64 + 1);
    let processes = configuration.voters.len() as u64;
    let roster = Roster {
        configuration: configuration.id,
        from: process(from),
        to: process(to),
        processes,
        knows: Level::KNOWN,
    };
    match Frame::decode(bytes, roster) {
        Ok(frame) => frame_text(&frame),
        Err(problem) => (Talk::News, format!("(not of this configuration: {problem})")),
    }
}

fn frame_text(frame: &Frame) -> (Talk, String) {
    let news = |text: String| (Talk::News, text);
    match frame {
        Frame::Heartbeat { message, .. } => (Talk::Chatter, heartbeat(&message.msg)),
        Frame::Consensus(message) => news(paxos(&message.msg)),
        Frame::Ping { status, .. } => (Talk::Chatter, format!("Ping: {}", status_text(status))),
        Frame::Digest { applied, .. } => (Talk::Chatter, format!("Digest of {applied} entries")),
        Frame::Pong(_) => (Talk::Chatter, "Pong".to_owned()),
        Frame::Ready(id) => news(format!("Ready {}", ballot(&id.0))),
        Frame::Forward { boot: _, first, commands } => {
            let mut batch = Vec::new();
            oxkeeper_state::command::begin_batch(0, &mut batch);
            batch.extend_from_slice(commands);
            let count = Batch::decode(&batch).map_or(0, Iterator::count) as u64;
            news(format!("Forward #{first}..#{}", first + count))
        }
        Frame::Touches(sessions) => news(format!("Touches of {} sessions", sessions.len())),
        Frame::NeedState => news("NeedState".to_owned()),
        Frame::Join => news("Join".to_owned()),
        Frame::JoinFor { blank, link } => news(format!("JoinFor {blank}, its link {link}")),
        Frame::JoinAt(index) => news(format!("JoinAt {index}")),
        Frame::JoinAtFor { blank, link, at } => news(format!("JoinAtFor {blank}, its link {link}, at {at}")),
        Frame::Follow(index) => news(format!("Follow from {index}")),
        Frame::Lacks(index) => news(format!("Lacks from {index}")),
        Frame::Decided { first, entries: told } => news(format!("Decided from {first}: {}", entries(told))),
        Frame::Learned(index) => news(format!("Learned to {index}")),
        Frame::TakeOver => news("TakeOver".to_owned()),
        Frame::Twin => news("Twin".to_owned()),
        Frame::Behind(decided) => news(format!("Behind {decided}")),
    }
}

fn heartbeat(message: &HeartbeatMsg) -> String {
    match message {
        HeartbeatMsg::Request(request) => format!("Heartbeat {}", request.round),
        HeartbeatMsg::Reply(reply) => {
            let happy = if reply.happy { "happy" } else { "unhappy" };
            format!(
                "HeartbeatReply {}: {}, leader {}, {happy}",
                reply.round,
                ballot_of(reply.ballot),
                ballot_of(reply.leader)
            )
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's messages that no server sends")]
fn paxos(message: &PaxosMsg<LogEntry>) -> String {
    match message {
        PaxosMsg::PrepareReq(request) => format!("PrepareReq {}", ballot_of(request.n)),
        PaxosMsg::Prepare(prepare) => format!(
            "Prepare {}: accepted {} in {}, decided {}",
            ballot_of(prepare.n),
            prepare.accepted_idx,
            ballot_of(prepare.n_accepted),
            prepare.decided_idx
        ),
        PaxosMsg::Promise(promise) => {
            let log = promise
                .log_sync
                .as_ref()
                .map_or_else(String::new, |sync| format!(", from {}: {}", sync.sync_idx, entries(&sync.suffix)));
            format!(
                "Promise {}: accepted {} in {}, decided {}{log}",
                ballot_of(promise.n),
                promise.accepted_idx,
                ballot_of(promise.n_accepted),
                promise.decided_idx
            )
        }
        PaxosMsg::AcceptSync(accept) => format!(
            "AcceptSync {}: decided {}, from {}: {}",
            ballot_of(accept.n),
            accept.decided_idx,
            accept.log_sync.sync_idx,
            entries(&accept.log_sync.suffix)
        ),
        PaxosMsg::AcceptDecide(accept) => format!(
            "AcceptDecide {}: decided {}, {}",
            ballot_of(accept.n),
            accept.decided_idx,
            entries(&accept.entries)
        ),
        PaxosMsg::Accepted(accepted) => format!("Accepted {}: {}", ballot_of(accepted.n), accepted.accepted_idx),
        PaxosMsg::NotAccepted(refused) => format!("NotAccepted {}", ballot_of(refused.n)),
        PaxosMsg::Decide(decide) => format!("Decide {}: {}", ballot_of(decide.n), decide.decided_idx),
        _ => "a message that no server sends".to_owned(),
    }
}

fn status_text(status: &Status) -> String {
    if status.is_blank() {
        return "blank".to_owned();
    }
    let role = match (status.votes, status.leading, status.accepting) {
        (false, ..) => "learns",
        (true, true, _) => "leads",
        (true, false, true) => "accepts",
        (true, false, false) => "votes",
    };
    let Status { configuration, promise, decided, end, .. } = status;
    format!("configuration {configuration}, {role}, promise {}, decided {decided}, end {end}", ballot_of(*promise))
}
