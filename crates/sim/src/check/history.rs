//! Promise: there is one history. The entry that one server has applied at an index is applied at
//! that index by every server, byte for byte, for ever, whatever was lost in between. A command has
//! the same zxid on every server, and servers that have applied the same number of entries have
//! equal states. A client that was told that its session goes on does not lose it because of an
//! expiry found before.
//!
//! The first server that applies an entry defines it, and the model then applies it. The checker
//! works out independently which of an entry's commands count: a batch counts in the epoch of its
//! ballot, and the commands of a server count once, in the order of their numbers.

use std::collections::{BTreeMap, HashMap};

use oxkeeper_proto::{Jute, OpCode, ServerId};
use oxkeeper_state::command::{BallotId, Entry, Number};
use oxkeeper_state::{Command, Level, State};

use crate::check::Oracle;
use crate::check::zxids::listing;
use crate::model::Model;

/// Effect of an entry on sessions.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Session and timeout of each CreateSession and ResumeSession that counts.
    pub begun: Vec<(i64, u64)>,
    /// Sessions that were closed.
    pub ended: Vec<i64>,
}

/// All entries that were ever applied.
#[derive(Debug, Default)]
pub struct History {
    entries: Vec<Vec<u8>>,
    /// Zxid of the model after each entry.
    zxids: Vec<i64>,
    told: Vec<Told>,
    /// Digest of the tree at each zxid.
    digests: HashMap<i64, u64>,
    /// Order in which the znodes are listed, at each zxid.
    listings: HashMap<i64, u64>,
    ballot: Option<BallotId>,
    admitted: BTreeMap<ServerId, (u64, u64)>,
    /// By session: number of entries that a leader had applied when it last found the session
    /// expired.
    expiries: BTreeMap<i64, u64>,
    /// By session: index of the entry that last resumed it.
    resumed: BTreeMap<i64, u64>,
    /// By number of applied entries: the feature level, and the result of its rules.
    levels: HashMap<u64, (Level, u64)>,
}

impl History {
    /// Returns the number of entries.
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Returns whether no entry was ever applied.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the size of a range of entries, bytes.
    pub fn len_of(&self, range: std::ops::Range<u64>) -> u64 {
        self.entries[range.start as usize..range.end as usize].iter().map(|entry| entry.len() as u64).sum()
    }

    /// Returns the effect of an entry on sessions.
    pub fn told(&self, index: u64) -> &Told {
        &self.told[index as usize]
    }

    /// Checks an entry that `server` has applied.
    pub fn applied(&mut self, server: usize, index: u64, entry: &[u8], oracle: &mut Oracle) {
        let server = server + 1;
        if let Some(known) = self.entries.get(index as usize) {
            let same = known == entry;
            assert!(same, "history: server {server} has another entry {index} than was applied before");
            return;
        }
        assert_eq!(index, self.len(), "history: server {server} has applied an entry whose predecessor nobody has");
        let told = self.advance(entry, oracle);
        self.told.push(told);
        self.zxids.push(oracle.model.zxid());
        self.entries.push(entry.to_vec());
    }

    fn advance(&mut self, entry: &[u8], oracle: &mut Oracle) -> Told {
        let mut told = Told::default();
        let batch = match Entry::decode(entry, Level(u32::MAX)).expect("history: an entry is one") {
            Entry::Epoch(epoch) => {
                self.ballot = Some(epoch.ballot);
                oracle.model.begin_epoch(epoch.time_ms);
                return told;
            }
            Entry::Raise(_) | Entry::Renewal(_) => return told,
            Entry::Batch(batch) => batch,
        };
        if batch.ballot != self.ballot {
            return told;
        }
        let time_ms = batch.time_ms;
        for command in batch {
            let command = command.expect("history: a command is one");
            if command.from.is_none_or(|number| self.admit(number)) {
                let count = oracle.model.ended.len();
                told.note(&command, &oracle.model);
                if is_resumed(&command, &oracle.model) {
                    self.resumed.insert(command.session.0, self.entries.len() as u64);
                }
                oracle.applied(&command, time_ms);
                if oracle.model.ended.len() > count {
                    self.check_end(&command);
                    told.ended.push(command.session.0);
                }
            }
        }
        told
    }

    /// Notes that a leader which has applied `applied` entries finds a session expired.
    pub fn expires(&mut self, session: i64, applied: u64) {
        self.expiries.insert(session, applied);
    }

    /// Checks that a session which the current entry ends was not resumed after its expiry was
    /// found.
    fn check_end(&self, command: &Command<'_>) {
        let (session, known) = (command.session.0, self.expiries.get(&command.session.0));
        let resumed = self.resumed.get(&session);
        if command.from.is_none()
            && let (Some(resumed), Some(known)) = (resumed, known)
        {
            assert!(
                resumed < known,
                "told: the client of session {session:x} is back since entry {resumed}, and it ends because it had \
                 expired when {known} entries were applied"
            );
        }
    }

    fn admit(&mut self, number: Number) -> bool {
        let last = self.admitted.entry(number.server).or_default();
        let next = (last.0, last.1 + 1) == (number.boot, number.seq) || number.boot > last.0 && number.seq == 1;
        if next {
            *last = (number.boot, number.seq);
        }
        next
    }

    /// Checks the digest of a server's tree at `zxid`.
    pub fn digest(&mut self, server: usize, zxid: i64, digest: u64) {
        let before = *self.digests.entry(zxid).or_insert(digest);
        assert_eq!(digest, before, "digest: server {} has another tree at zxid {zxid:x}", server + 1);
    }

    /// Checks the state of a server that has applied `applied` entries.
    pub fn stands(&mut self, server: usize, applied: u64, state: &State) {
        let zxid = state.zxid().0;
        let expected = applied.checked_sub(1).map_or(0, |last| self.zxids[last as usize]);
        assert_eq!(zxid, expected, "zxids: of server {} behind entry {applied}", server + 1);
        self.digest(server, zxid, state.tree().digest());
        let level = (state.level(), state.next_sum());
        let before = *self.levels.entry(applied).or_insert(level);
        assert_eq!(level, before, "levels: server {} is at another one behind entry {applied}", server + 1);
        let listing = listing(state.tree());
        let before = *self.listings.entry(zxid).or_insert(listing);
        assert_eq!(listing, before, "order: server {} lists children in another one at zxid {zxid:x}", server + 1);
    }
}

impl Told {
    fn note(&mut self, command: &Command<'_>, model: &Model) {
        if is_resumed(command, model) || command.op == OpCode::CreateSession {
            let timeout_ms = i32::from_bytes(command.body).expect("a timeout");
            self.begun.push((command.session.0, timeout_ms as u64));
        }
    }
}

fn is_resumed(command: &Command<'_>, model: &Model) -> bool {
    command.op == OpCode::ResumeSession && model.sessions.contains(&command.session.0)
}
