//! The part of the state that describes the agreement itself: the current ballot, the ensemble's
//! id, the last command of each server (the filter for duplicates), and the members.
//!
//! A leader's first entry is an epoch. A batch of a former leader that comes after it has only its
//! place in the log: it has no effect, and the servers whose commands it holds send them again.
//! Invariant: the commands applied from each server are from its boots in ascending order, and
//! within each boot they are numbered 1, 2, 3 and so on up to the last one admitted. The members
//! are kept separately from their znode, because a super user can overwrite what clients see there,
//! and that must not count.
//! Source: `Zxid` epochs of `Leader.lead`; numbered commands are our own.

use std::collections::BTreeMap;

use bytes::BufMut;
use oxkeeper_proto::{DecodeError, Jute, Reader, ServerId, Zxid};

use crate::apply::{Change, ChangeKind, ChangeSink};
use crate::command::{BallotId, Batch, Epoch, Number, Raise, Renewal, VERSION_WANTED, decode_ballot, decode_u64};
use crate::digest;
use crate::membership::Membership;
use crate::state::State;

/// Path of the znode where clients read the membership.
pub(crate) const CONFIG: &str = "/zookeeper/config";

/// The agreement. Empty for a standalone server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Agreement {
    ballot: Option<BallotId>,
    ensemble: u64,
    /// The last boot of each server, and the last command of that boot.
    admitted: BTreeMap<ServerId, (u64, u64)>,
    pub(crate) membership: Membership,
    pub(crate) voter_changes: u64,
    /// Digest of the membership.
    members: u64,
    renewals: u64,
}

/// Byte in place of a server id. The u64 after it says what follows: [`SERVER_ZERO`], [`RENEWALS`],
/// or else the number of voter changes with the membership.
const MARK: u8 = 0;
/// Value in place of the number of voter changes, which never gets this high: the record of server
/// 0 follows.
const SERVER_ZERO: u64 = u64::MAX;
/// Value in place of the number of voter changes: the number of renewals follows.
const RENEWALS: u64 = u64::MAX - 1;

impl Agreement {
    /// Returns a digest that covers the whole agreement.
    pub(crate) fn digest(&self) -> u64 {
        let ballot = self.ballot.map_or(0, |ballot| digest::of_bytes(&ballot.0));
        let admitted = self.admitted.iter().flat_map(|(&server, &(boot, seq))| [u64::from(server.0), boot, seq]);
        digest::of_numbers(
            [self.ensemble, ballot, self.voter_changes, self.renewals, self.members].into_iter().chain(admitted),
        )
    }

    /// Updates the digest of the members after the membership has changed.
    fn note_members(&mut self) {
        self.members = match self.membership.is_empty() {
            true => 0,
            false => digest::of_bytes(self.membership.to_string().as_bytes()),
        };
    }

    /// Panics if the digest of the members is not up to date.
    pub(crate) fn check(&self) {
        let mut noted = self.clone();
        noted.note_members();
        assert_eq!(noted.members, self.members, "digest of the members");
    }

    /// Encodes the agreement. Layout: ensemble (u64), whether there is a ballot (bool), the ballot
    /// (20 bytes); then for each server its id (u8), boot (u64) and last command (u64); then, if
    /// there were any renewals, a 0, [`RENEWALS`] and their number (u64); then, if there is a
    /// membership, a 0, the number of voter changes (u64) and the membership's text. Server 0 has a
    /// 0 and [`SERVER_ZERO`] in place of its id. Without an ensemble the encoding is empty.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if *self == Agreement::default() {
            return out;
        }
        out.put_u64(self.ensemble);
        self.ballot.is_some().encode(&mut out);
        self.ballot.iter().for_each(|ballot| out.put_slice(&ballot.0));
        for (&server, &(boot, seq)) in &self.admitted {
            out.put_u8(server.0);
            if server.0 == MARK {
                out.put_u64(SERVER_ZERO);
            }
            out.put_u64(boot);
            out.put_u64(seq);
        }
        if self.renewals > 0 {
            out.put_u8(MARK);
            out.put_u64(RENEWALS);
            out.put_u64(self.renewals);
        }
        if !self.membership.is_empty() {
            out.put_u8(MARK);
            out.put_u64(self.voter_changes);
            out.put_slice(self.membership.to_string().as_bytes());
        }
        out
    }

    /// Decodes what [`Agreement::encode`] wrote. *Errors*: see [`DecodeError`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<Agreement, DecodeError> {
        let mut agreement = Agreement::default();
        if bytes.is_empty() {
            return Ok(agreement);
        }
        let reader = &mut Reader::new(bytes);
        agreement.ensemble = decode_u64(reader)?;
        if bool::decode(reader)? {
            agreement.ballot = Some(decode_ballot(reader)?);
        }
        while !reader.rest().is_empty() {
            let server = reader.take(1)?[0];
            if server == MARK {
                match decode_u64(reader)? {
                    SERVER_ZERO => {}
                    RENEWALS => {
                        agreement.renewals = decode_u64(reader)?;
                        continue;
                    }
                    changes => {
                        agreement.voter_changes = changes;
                        agreement.membership = read_membership(reader.rest())?;
                        break;
                    }
                }
            }
            let last = (decode_u64(reader)?, decode_u64(reader)?);
            agreement.admitted.insert(ServerId(server), last);
        }
        agreement.note_members();
        Ok(agreement)
    }
}

impl State {
    /// Begins the epoch of a new leader: moves to the next epoch of zxids, and from now on accepts
    /// only batches of the leader's ballot.
    pub fn begin_epoch(&mut self, epoch: &Epoch<'_>, watcher: &mut dyn ChangeSink) {
        let zxid = Zxid::new(self.zxid.epoch() + 1, 0);
        assert!(zxid > self.zxid, "after {} comes {zxid}", self.zxid);
        self.zxid = zxid;
        self.tell_time(epoch.time_ms);
        self.agreement.ballot = Some(epoch.ballot);
        self.sessions.forget_resumes();
        if self.agreement.ensemble == 0 {
            self.agreement.ensemble = epoch.ensemble;
        }
        self.adopt_membership(epoch);
        self.agreement.note_members();
        self.show_membership(watcher);
    }

    /// Adopts the membership of the leader's configuration if it is newer and has the same voters,
    /// or if the state has no membership yet. Otherwise the state's own membership stays. A version
    /// names exactly one membership, except for version 0 and for wildcards: each server may have a
    /// wildcard in its own line, which is replaced by the host that another server has there.
    fn adopt_membership(&mut self, epoch: &Epoch<'_>) {
        let Ok(mut told) = read_membership(epoch.config) else { return };
        if told.is_empty() {
            return;
        }
        told.locate_by(&self.agreement.membership);
        self.agreement.membership.locate_by(&told);
        let current = &self.agreement.membership;
        let (version, known) = (epoch.config_version.max(0), current.version());
        let is_newer = version > known || (version, known) == (0, 0);
        if current.is_empty() || is_newer && told.voters() == current.voters() {
            self.agreement.membership = Membership::new(told.members().clone(), version);
        }
        // ZooKeeper: gives the membership a version that overrides the files of servers that want to join.
        // Source: `Leader.lead`.
        let membership = &mut self.agreement.membership;
        if epoch.config_version == VERSION_WANTED && membership.version() == 0 {
            *membership = Membership::new(membership.members().clone(), self.zxid.0);
        }
    }

    /// Starts a new configuration with the same voters after this entry, unless the entry is from a
    /// former leader. The membership that clients see does not change.
    pub fn renew(&mut self, renewal: &Renewal) {
        let counts = self.agreement.ballot == Some(renewal.ballot) && !self.agreement.membership.is_empty();
        self.agreement.renewals += u64::from(counts);
    }

    /// Returns the number of configurations that have ended, by a change of voters or by a renewal.
    pub fn configurations_ended(&self) -> u64 {
        self.agreement.voter_changes.saturating_add(self.agreement.renewals)
    }

    /// Replaces the members.
    pub(crate) fn set_membership(&mut self, membership: Membership) {
        self.agreement.voter_changes += u64::from(membership.voters() != self.agreement.membership.voters());
        self.agreement.membership = membership;
        self.agreement.note_members();
    }

    /// Writes the membership to its znode, unless the znode already holds it.
    ///
    /// ZooKeeper: every server writes the membership by itself when it starts, with the
    /// configuration's version as mzxid and its own time. Here the znode is the same on every
    /// server.
    pub(crate) fn show_membership(&mut self, watcher: &mut dyn ChangeSink) {
        let membership = &self.agreement.membership;
        let text = membership.to_string();
        let Some(slot) = self.tree.lookup(CONFIG).filter(|_| !membership.is_empty()) else { return };
        let znode = self.tree.znode(slot);
        if znode.data() == Some(text.as_bytes()) {
            return;
        }
        let (version, time_ms) = (membership.version(), self.time_ms);
        let acl = self.acl(znode.versions.acl).clone();
        self.tree.update(slot, CONFIG, |znode| {
            znode.set_data(Some(text.as_bytes()));
            (znode.versions.mzxid, znode.versions.mtime) = (version, time_ms);
            // ZooKeeper: writes the data with version -1.
            znode.versions.version = -1;
        });
        let (kind, zxid) = (ChangeKind::DataChanged, self.zxid);
        watcher.changed(Change { kind, path: CONFIG, zxid, acl: Some(&acl), parent_acl: None });
    }

    /// Returns whether the commands of `batch` count: the batch is from the current leader, or
    /// older than any ensemble.
    pub fn accepts(&self, batch: &Batch<'_>) -> bool {
        batch.ballot.is_none() || batch.ballot == self.agreement.ballot
    }

    /// Raises the feature level from here on. A raise of a former leader has no effect, just as a
    /// batch of a former leader has none.
    pub fn raise(&mut self, raise: &Raise) {
        if raise.ballot == self.agreement.ballot {
            self.level = self.level.max(raise.level);
        }
    }

    /// Returns the ballot of the last epoch; `None` for a standalone server.
    pub fn epoch_ballot(&self) -> Option<BallotId> {
        self.agreement.ballot
    }

    /// Assigns the state to an ensemble that is yet to be founded.
    pub(crate) fn set_ensemble(&mut self, ensemble: u64) {
        assert_eq!((self.agreement.ensemble, ensemble != 0), (0, true), "an ensemble gets its id once");
        self.agreement.ensemble = ensemble;
    }

    /// Returns the id of the ensemble; 0 for none.
    pub fn ensemble(&self) -> u64 {
        self.agreement.ensemble
    }

    /// Returns whether the command with this number is the next one of its server; the caller must
    /// then apply it. Other commands were applied already, or came too early and will come again.
    pub fn admit(&mut self, number: Number) -> bool {
        let last = self.agreement.admitted.get(&number.server).copied();
        let seq = match last {
            Some((boot, _)) if number.boot < boot => return false,
            Some((boot, seq)) if number.boot == boot => seq,
            _ => 0,
        };
        let is_next = Some(number.seq) == seq.checked_add(1);
        if is_next {
            self.agreement.admitted.insert(number.server, (number.boot, number.seq));
        }
        is_next
    }

    /// Returns [`State::last_admitted`] for every server that ever had a command applied.
    pub fn admitted(&self) -> impl Iterator<Item = (ServerId, (u64, u64))> {
        self.agreement.admitted.iter().map(|(&server, &last)| (server, last))
    }

    /// Returns the last boot of `server` from which a command was applied, and the number of the
    /// last such command.
    pub fn last_admitted(&self, server: ServerId) -> Option<(u64, u64)> {
        self.agreement.admitted.get(&server).copied()
    }
}

/// Reads a membership as stored in the log and the durable tree. *Errors*: the text is not a
/// membership.
fn read_membership(text: &[u8]) -> Result<Membership, DecodeError> {
    let wrong = DecodeError::NotAllowed("a membership");
    let text = std::str::from_utf8(text).map_err(|_| wrong)?;
    Membership::parse(text, true).map_err(|_| DecodeError::NotAllowed("a membership"))
}
