//! Promise: there is one history. Whatever one server has applied at an index, every server applies there, byte for
//! byte, for ever, whatever was lost in between; the same command has the same zxid everywhere; and servers that have
//! applied equally much are equal. A client that was told that its session goes on does not lose it by an expiry that was
//! found before.
//!
//! The first server that applies an entry says what it is; the model then does what it must do. Which of an entry's
//! commands count is worked out here again, from the rules: a batch counts in the epoch of its ballot, and the commands
//! of a server count once, in the order of their numbers.

use std::collections::{BTreeMap, HashMap};

use oxkeeper_proto::{Jute, OpCode, ServerId};
use oxkeeper_state::command::{BallotId, Entry, Number};
use oxkeeper_state::{Command, Level, State};

use crate::check::Oracle;
use crate::check::zxids::listing;
use crate::model::Model;

/// What one entry came to.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Session and timeout of each CreateSession and ResumeSession that counts.
    pub begun: Vec<(i64, u64)>,
    /// Sessions that were closed.
    pub ended: Vec<i64>,
}

/// The entries that were ever applied.
#[derive(Debug, Default)]
pub struct History {
    entries: Vec<Vec<u8>>,
    /// The model's zxid behind each of them.
    zxids: Vec<i64>,
    told: Vec<Told>,
    /// What the tree's digest was at a zxid.
    digests: HashMap<i64, u64>,
    /// In which order its znodes were listed.
    listings: HashMap<i64, u64>,
    ballot: Option<BallotId>,
    admitted: BTreeMap<ServerId, (u64, u64)>,
    /// How many entries a leader had applied when it last took a session for expired.
    expiries: BTreeMap<i64, u64>,
    /// The entry in which a session was last resumed.
    resumed: BTreeMap<i64, u64>,
    /// The feature level behind so many entries, and what its rules have come to.
    levels: HashMap<u64, (Level, u64)>,
}

impl History {
    /// How many there are.
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether nothing was ever applied.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of the entries of a range.
    pub fn len_of(&self, range: std::ops::Range<u64>) -> u64 {
        self.entries[range.start as usize..range.end as usize].iter().map(|entry| entry.len() as u64).sum()
    }

    /// What the entry came to.
    pub fn told(&self, index: u64) -> &Told {
        &self.told[index as usize]
    }

    /// `server` has applied this entry.
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

    /// A leader that has applied so many entries takes a session for expired.
    pub fn expires(&mut self, session: i64, applied: u64) {
        self.expiries.insert(session, applied);
    }

    /// The entry at work ends a session.
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

    /// A server's tree while it is at `zxid`.
    pub fn digest(&mut self, server: usize, zxid: i64, digest: u64) {
        let before = *self.digests.entry(zxid).or_insert(digest);
        assert_eq!(digest, before, "digest: server {} has another tree at zxid {zxid:x}", server + 1);
    }

    /// A server has applied `applied` entries, giving `state`.
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
