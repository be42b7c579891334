//! What the state knows of the agreement that made it: the ballot under which entries count, the ensemble's id, the
//! last command of each server, which is the filter for duplicates, and the members.
//!
//! A leader's first entry is an epoch. A batch of a former leader that comes behind it was agreed on for its place in the
//! log only: it does nothing, and the servers whose commands it has send them again. Invariant: the commands applied of
//! each server are its boots in ascending order, and of each boot 1, 2, 3 and so on up to the last admitted. The members are
//! kept beside their znode: what clients see there can be overwritten by a super user, and counts for nobody.
//! Source: `Zxid` epochs of `Leader.lead`; numbered commands are our own.

use std::collections::BTreeMap;

use bytes::BufMut;
use oxkeeper_proto::{DecodeError, Jute, Reader, ServerId, Zxid};

use crate::apply::{Change, ChangeKind, Watcher};
use crate::command::{BallotId, Batch, Epoch, Number, Raise, Renewal, VERSION_WANTED, decode_ballot, decode_u64};
use crate::digest;
use crate::membership::Membership;
use crate::state::State;

/// Where clients read who the members are.
pub(crate) const CONFIG: &str = "/zookeeper/config";

/// Empty for a standalone server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Agreement {
    ballot: Option<BallotId>,
    ensemble: u64,
    /// The last boot of each server, and the last command of that.
    admitted: BTreeMap<ServerId, (u64, u64)>,
    pub(crate) membership: Membership,
    pub(crate) voter_changes: u64,
    /// Digest of the membership.
    members: u64,
    renewals: u64,
}

/// Not the id of the server that what follows is about: that is the membership, or what there is of server 0.
const MARK: u8 = 0;
/// In place of the number of voter changes, which never gets there: what follows is about server 0.
const SERVER_ZERO: u64 = u64::MAX;
/// As above: what follows is the number of renewals.
const RENEWALS: u64 = u64::MAX - 1;

impl Agreement {
    /// Equal where all of it is.
    pub(crate) fn digest(&self) -> u64 {
        let ballot = self.ballot.map_or(0, |ballot| digest::of_bytes(&ballot.0));
        let admitted = self.admitted.iter().flat_map(|(&server, &(boot, seq))| [u64::from(server.0), boot, seq]);
        digest::of_numbers(
            [self.ensemble, ballot, self.voter_changes, self.renewals, self.members].into_iter().chain(admitted),
        )
    }

    /// The membership has changed.
    fn note_members(&mut self) {
        self.members = match self.membership.is_empty() {
            true => 0,
            false => digest::of_bytes(self.membership.to_string().as_bytes()),
        };
    }

    /// Panics if the digest of the members is not theirs.
    pub(crate) fn check(&self) {
        let mut noted = self.clone();
        noted.note_members();
        assert_eq!(noted.members, self.members, "digest of the members");
    }

    /// Layout: ensemble (u64), whether there is a ballot (bool), the ballot (20 bytes), then of each server its id (u8),
    /// boot (u64) and last command (u64); then a 0, [`RENEWALS`], and how often the voters began anew (u64), if they ever
    /// did; then a 0, how often the voters were changed (u64), and the membership's text, if there is any. Server 0 has a
    /// 0 and [`SERVER_ZERO`] in place of its id. Without an ensemble nothing.
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

    /// *Errors*: see [`DecodeError`].
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
    /// A leader begins: the next epoch of zxids, and from now on only batches of its ballot count.
    pub fn begin_epoch(&mut self, epoch: &Epoch<'_>, watcher: &mut dyn Watcher) {
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

    /// The members are those whom the state has. What the leader's configuration says of them counts where it is newer and
    /// leaves the votes as they are, or where nobody said anything before. A version names one membership, but for 0, and
    /// but for wildcards: each server may have one in its own line, which gives way to the host that another one has there.
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
        // ZooKeeper: so that it counts for more than the files of servers that want to join. Source: `Leader.lead`.
        let membership = &mut self.agreement.membership;
        if epoch.config_version == VERSION_WANTED && membership.version() == 0 {
            *membership = Membership::new(membership.members().clone(), self.zxid.0);
        }
    }

    /// The same voters begin anew behind this entry, unless it is a former leader's. What clients see of the members stays.
    pub fn renew(&mut self, renewal: &Renewal) {
        let counts = self.agreement.ballot == Some(renewal.ballot) && !self.agreement.membership.is_empty();
        self.agreement.renewals += u64::from(counts);
    }

    /// How many configurations have ended: by other voters, or by a renewal.
    pub fn configurations_ended(&self) -> u64 {
        self.agreement.voter_changes.saturating_add(self.agreement.renewals)
    }

    /// From now on these are the members.
    pub(crate) fn set_membership(&mut self, membership: Membership) {
        self.agreement.voter_changes += u64::from(membership.voters() != self.agreement.membership.voters());
        self.agreement.membership = membership;
        self.agreement.note_members();
    }

    /// ZooKeeper: every server writes the membership by itself when it starts, with the configuration's version as mzxid
    /// and its own time. Here it is the same everywhere, and what is there already stays as it is.
    pub(crate) fn show_membership(&mut self, watcher: &mut dyn Watcher) {
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
            // ZooKeeper: written as version -1.
            znode.versions.version = -1;
        });
        let (kind, zxid) = (ChangeKind::DataChanged, self.zxid);
        watcher.changed(Change { kind, path: CONFIG, zxid, acl: Some(&acl), parent_acl: None });
    }

    /// Whether the commands of `batch` count: it is the current leader's, or older than any ensemble.
    pub fn accepts(&self, batch: &Batch<'_>) -> bool {
        batch.ballot.is_none() || batch.ballot == self.agreement.ballot
    }

    /// A higher feature level counts from here on. That of a former leader does nothing, as a batch of it would.
    pub fn raise(&mut self, raise: &Raise) {
        if raise.ballot == self.agreement.ballot {
            self.level = self.level.max(raise.level);
        }
    }

    /// The ballot of the last epoch; `None` of a standalone server.
    pub fn epoch_ballot(&self) -> Option<BallotId> {
        self.agreement.ballot
    }

    /// The state is that of an ensemble which is yet to be founded.
    pub(crate) fn set_ensemble(&mut self, ensemble: u64) {
        assert_eq!((self.agreement.ensemble, ensemble != 0), (0, true), "an ensemble gets its id once");
        self.agreement.ensemble = ensemble;
    }

    /// The id of the ensemble; 0 for none.
    pub fn ensemble(&self) -> u64 {
        self.agreement.ensemble
    }

    /// Whether the command with this number is to be applied, which must follow then: it is the next of its server.
    /// Others were applied already, or come too early and will come again.
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

    /// Of every server that ever had a command applied, the same as [`State::last_admitted`].
    pub fn admitted(&self) -> impl Iterator<Item = (ServerId, (u64, u64))> {
        self.agreement.admitted.iter().map(|(&server, &last)| (server, last))
    }

    /// The last boot of `server` of which a command was applied, and the last of that boot's commands.
    pub fn last_admitted(&self, server: ServerId) -> Option<(u64, u64)> {
        self.agreement.admitted.get(&server).copied()
    }
}

/// A membership as the log and the durable tree have it. *Errors*: it is none.
fn read_membership(text: &[u8]) -> Result<Membership, DecodeError> {
    let wrong = DecodeError::NotAllowed("a membership");
    let text = std::str::from_utf8(text).map_err(|_| wrong)?;
    Membership::parse(text, true).map_err(|_| DecodeError::NotAllowed("a membership"))
}
