//! Fetching a peer's state, and what of the own log survives it.
//!
//! Source of the rule: `shared/omnipaxos.md` §3, where the naive ones lost data.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxkeeper_replica::ensemble::Configuration;
use oxkeeper_replica::ensemble::journal::scalar;
use oxkeeper_replica::ensemble::replica::{OwnLog, compare_rounds, greater_ballot};
use oxkeeper_store::Log;
use tracing::info;

use crate::peers::PeerStream;
use crate::transfer::{InstalledScalars, Receiver, Tail, TransferError};

/// Bytes read at once.
const READ_LEN: usize = 256 << 10;
/// How often it is looked whether this server is to stop.
const STOP_POLL: Duration = Duration::from_millis(50);
/// A peer that sends nothing for so long has lost its power.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How often progress is logged, bytes.
const PROGRESS_LEN: u64 = 64 << 20;

/// What a server keeps of its own log and scalars when it installs a peer's state.
///
/// The peer's entries behind what is decided, with the round they were accepted in, replace the own ones, unless the
/// own ones were accepted in a later round (or there are more of them in the same): then those stay, with their round.
/// Either way everything below the peer's decided index is the peer's. The promise never falls. What was promised and
/// accepted in a configuration that the peer has left is void.
pub fn kept(own: &OwnLog, peer: &Tail, naive: bool) -> InstalledScalars {
    let void = OwnLog { boot: own.boot.clone(), members: own.members.clone(), ..OwnLog::default() };
    let own = if own.configuration_id() == id_of(peer) { own } else { &void };
    let promise = greater_ballot(&own.promise, &peer.promise);
    let peers_suffix = compare_rounds((&peer.round, peer.end), (&own.round, own.end)).is_ge();
    let (keep_until, suffix, round) = if naive {
        (peer.decided, Vec::new(), own.round.clone())
    } else if peers_suffix {
        (peer.end, Vec::new(), peer.round.clone())
    } else {
        (peer.decided, own.suffix(peer.decided), own.round.clone())
    };
    let scalars = vec![
        (scalar::PROMISE, promise),
        (scalar::ROUND, round),
        (scalar::DECIDED, peer.decided.to_be_bytes().to_vec()),
        (scalar::BOOT, own.boot.clone()),
        (scalar::MEMBERS, own.members.clone()),
        (scalar::CONFIGURATION, peer.configuration.clone()),
    ];
    let scalars = scalars.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    InstalledScalars { keep_until, own: suffix, scalars }
}

/// Whether a peer's state counts here: it has not missed the end of a configuration that this server's log knows of.
pub fn is_current(log: &Log, peer: &Tail) -> bool {
    let own = OwnLog { configuration: configuration_of(log), ..OwnLog::default() };
    own.configuration_id() <= id_of(peer)
}

fn id_of(peer: &Tail) -> u32 {
    Configuration::decode(&peer.configuration).map_or(0, |configuration| configuration.id)
}

fn configuration_of(log: &Log) -> Vec<u8> {
    let Some(members) = log.scalar(scalar::MEMBERS) else { return Vec::new() };
    let first = || Configuration::first(members.to_vec()).encode();
    log.scalar(scalar::CONFIGURATION).unwrap_or_else(first)
}

/// What of a log such a decision needs: its end, from index `from` on.
pub fn own_log(log: &Log, members: &[u8], from: u64) -> OwnLog {
    let scalar = |key| log.scalar(key).unwrap_or_default();
    let first = from.clamp(log.first_index(), log.durable_end());
    let mut entries = Vec::new();
    let read = log.read(first..log.durable_end(), |_, entry| entries.push(Arc::<[u8]>::from(entry)));
    read.unwrap_or_else(|problem| panic!("the log cannot be read: {problem}"));
    OwnLog {
        promise: scalar(scalar::PROMISE),
        round: scalar(scalar::ROUND),
        end: log.durable_end(),
        boot: scalar(scalar::BOOT),
        members: members.to_vec(),
        configuration: configuration_of(log),
        first,
        entries,
    }
}

/// Reads the whole state from `stream`, unless `is_to_stop` says that nobody waits for it any more.
pub(crate) fn fetch(
    stream: &mut PeerStream,
    receiver: &mut Receiver,
    is_to_stop: &dyn Fn() -> bool,
) -> Result<(), TransferError> {
    stream.socket().set_read_timeout(Some(STOP_POLL)).map_err(|_| TransferError::Incomplete)?;
    let mut buffer = vec![0; READ_LEN];
    let (mut logged, mut heard) = (0, Instant::now());
    loop {
        if is_to_stop() {
            return Err(TransferError::Stopped);
        }
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Err(TransferError::Incomplete),
            Ok(count) => count,
            Err(error) if is_silence(&error) && heard.elapsed() < SILENCE_MAX => continue,
            Err(_) => return Err(TransferError::Incomplete),
        };
        heard = Instant::now();
        let progress = receiver.take(&buffer[..count])?;
        if progress.received >= logged + PROGRESS_LEN {
            logged = progress.received;
            info!(received = logged, records = progress.records, of = progress.records_total, "receiving the state");
        }
        if progress.complete {
            return Ok(());
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
