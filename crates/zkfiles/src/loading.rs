//! Builds a state from a snapshot and then the logs after it, and takes notes for the operator.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

use oxkeeper_proto::Zxid;
use oxkeeper_proto::records::Acl;
use oxkeeper_state::import::{Importing, Misplaced};

use crate::compress::open;
use crate::dir::{Checked, Found, Loaded, Named, Options, Progress, SNAPSHOT_PREFIX, zxid_of};
use crate::error::{FileError, Problem};
use crate::log::{self, End};
use crate::loss::{Loss, is_hole};
use crate::replay::replay;
use crate::snapshot::{self, Digest, Item, Trailer};

/// Version of the digest that we compute.
const DIGEST_VERSION: i32 = 2;
/// Maximal number of paths in one note.
const PATHS_MAX: usize = 10;

pub(crate) type Told = Rc<RefCell<dyn FnMut(Progress)>>;

/// Counts the bytes read and reports them.
#[derive(Clone)]
pub(crate) struct Counting {
    told: Told,
    progress: Rc<RefCell<Progress>>,
}

impl Counting {
    pub(crate) fn new(told: &Told, total: u64) -> Counting {
        Counting { told: told.clone(), progress: Rc::new(RefCell::new(Progress { read: 0, total })) }
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Read>, FileError> {
        let counting = self.clone();
        open(path, move |count| {
            let mut progress = counting.progress.borrow_mut();
            progress.read += count;
            progress.total = progress.total.max(progress.read);
            (counting.told.borrow_mut())(*progress);
        })
    }
}

/// Policy for a znode whose ACL is not in the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingAcl {
    /// The log may have it. ZooKeeper: ACLs added while a snapshot is taken are not in the snapshot.
    Await,
    /// There is no log.
    Refuse,
}

/// Reads all items of a snapshot, and its trailer.
pub(crate) fn read_snapshot(
    input: impl Read,
    seed: u64,
    missing_acl: MissingAcl,
) -> Result<(Importing, Trailer), Problem> {
    let mut reader = snapshot::Reader::new(input)?;
    let mut importing = Importing::new(seed);
    let mut acls: BTreeMap<i64, Vec<Acl<'static>>> = BTreeMap::new();
    let mut trailer = Trailer::default();
    while let Some(item) = reader.next()? {
        match item {
            Item::Session { id, timeout_ms } => importing.open_session(id, timeout_ms),
            Item::Acl { id, list } => drop(acls.insert(id, list)),
            Item::Znode(record) => place(&mut importing, &record, &acls, missing_acl)?,
            Item::End(end) => trailer = end,
        }
    }
    if importing.is_empty() {
        return Err(nonsense("it has no root".to_owned()));
    }
    Ok((importing, trailer))
}

/// Returns the tree digest of a snapshot if it can be compared. ZooKeeper: a server that never applied a
/// transaction writes an empty digest at zxid 0; the zxid of a new leader's digest is in an epoch before the
/// snapshot's, so that the digest tells nothing.
pub(crate) fn comparable(trailer: Trailer) -> Option<Digest> {
    trailer.digest.filter(|digest| digest.version == DIGEST_VERSION && digest.zxid > 0)
}

fn place(
    importing: &mut Importing,
    record: &snapshot::Record,
    acls: &BTreeMap<i64, Vec<Acl<'static>>>,
    missing_acl: MissingAcl,
) -> Result<(), Problem> {
    let snapshot::Record { path, data, acl, stat } = record;
    let list = if *acl == snapshot::OPEN_ACL { Some(&[][..]) } else { acls.get(acl).map(Vec::as_slice) };
    let placed = match (list, missing_acl) {
        (Some(list), _) => importing.znode(path, data.as_deref(), list, stat),
        (None, MissingAcl::Await) => importing.znode_without_acl(path, data.as_deref(), *acl, stat),
        (None, MissingAcl::Refuse) => {
            return Err(nonsense(format!(
                "{path} refers to ACL {acl}, which is not there: the snapshot was taken while writes went on, and is nothing without the log of that time"
            )));
        }
    };
    placed.map_err(|misplaced| {
        nonsense(match misplaced {
            Misplaced::Path => format!("{path:?} is not the path of a znode"),
            Misplaced::Orphan => format!("{path} comes before its parent, or has none"),
            Misplaced::Twice => format!("{path:?} is there twice"),
            Misplaced::BelowEphemeral => format!("{path:?} is below an ephemeral znode"),
            Misplaced::System => format!("{path:?} is ephemeral, a container or has a ttl: it is always there"),
        })
    })
}

pub(crate) fn nonsense(what: String) -> Problem {
    Problem::Nonsense { offset: 0, what }
}

/// A state under construction.
pub(crate) struct Loading {
    importing: Importing,
    /// The last transaction applied, or the snapshot's.
    pub(crate) zxid: Zxid,
    counting: Counting,
    pub(crate) found: Found,
    /// The last transaction of which the snapshot contains an effect.
    reaches: Zxid,
    /// Digest of the snapshot until its transaction is reached. Before that, the snapshot may already contain
    /// effects of the next transactions.
    snapshot_digest: Option<Digest>,
    /// The last transaction in the logs, including skipped ones.
    logged: Option<Zxid>,
    /// The first and the last mismatched digest since the last match.
    differing: Option<(Zxid, Zxid)>,
}

impl Loading {
    /// Starts with an empty tree: the logs have everything.
    pub(crate) fn fresh(seed: u64, counting: Counting) -> Loading {
        Loading::begin(Importing::fresh(seed), Trailer::default(), counting, Found::default())
    }

    /// Starts with a snapshot. Without a `zxid`, uses the one in the snapshot.
    pub(crate) fn read(
        path: &Path,
        zxid: Option<i64>,
        seed: u64,
        missing_acl: MissingAcl,
        counting: Counting,
    ) -> Result<Loading, FileError> {
        let read = read_snapshot(counting.open(path)?, seed, missing_acl);
        let (importing, trailer) = read.map_err(|problem| problem.of(path))?;
        let named = path.file_name().and_then(|name| zxid_of(name.to_str()?, SNAPSHOT_PREFIX));
        let zxid = zxid.or(named).or(trailer.zxid()).unwrap_or(-1);
        let found = Found { snapshot: Some(path.to_path_buf()), snapshot_zxid: zxid, ..Found::default() };
        Ok(Loading::begin(importing, trailer, counting, found))
    }

    fn begin(importing: Importing, trailer: Trailer, counting: Counting, found: Found) -> Loading {
        let zxid = Zxid(found.snapshot_zxid);
        // ZooKeeper: a new leader's last zxid is that of its epoch, which is not a transaction.
        let told = [trailer.last_zxid, trailer.digest.map(|digest| digest.zxid)].into_iter().flatten().map(Zxid);
        let reaches = told.filter(|told| told.counter() > 0).fold(zxid, Ord::max);
        let snapshot_digest = comparable(trailer);
        Loading { importing, zxid, counting, found, reaches, snapshot_digest, logged: None, differing: None }
    }

    /// Compares the digest of the snapshot once the digest's transaction is applied. ZooKeeper: that
    /// transaction may be later than the one in the snapshot's name, because writes continue while the
    /// snapshot is taken.
    pub(crate) fn compare_snapshot_digest(&mut self) {
        if let Some(digest) = self.snapshot_digest.take_if(|digest| digest.zxid <= self.zxid.0)
            && digest.zxid == self.zxid.0
        {
            self.compare(digest.digest, Checked::Snapshot);
        }
    }

    fn compare(&mut self, digest: i64, checked: Checked) {
        if digest as u64 == self.importing.digest() {
            (self.found.checked, self.differing) = (checked, None);
        } else {
            let since = self.differing.map_or(self.zxid, |(since, _)| since);
            self.differing = Some((since, self.zxid));
        }
    }

    /// Applies the transactions in the logs after the snapshot.
    pub(crate) fn replay(&mut self, logs: &[Named], options: Options) -> Result<(), FileError> {
        self.compare_snapshot_digest();
        for (position, log) in logs.iter().enumerate() {
            let is_last = position + 1 == logs.len();
            match self.replay_log(log, is_last) {
                Err(FileError::Content { path, problem }) if is_last && options.stop_at_damage => {
                    let note = format!("{} {problem}; what follows is left out, as you asked", path.display());
                    self.found.notes.push(note);
                    self.found.stopped_at_damage = true;
                }
                replayed => replayed?,
            }
        }
        Ok(())
    }

    fn replay_log(&mut self, (name, path): &Named, is_last: bool) -> Result<(), FileError> {
        let of_file = |problem: Problem| problem.of(path);
        let mut reader = log::Reader::new(self.counting.open(path)?).map_err(of_file)?;
        self.found.logs += 1;
        if reader.end().is_some() && !is_last {
            self.found.losses.push(Loss::EmptyLog { path: path.clone() });
        }
        let mut is_empty = true;
        while let Some(record) = reader.next().map_err(of_file)? {
            is_empty = false;
            self.logged = self.logged.max(Some(Zxid(record.transaction.zxid)));
            self.carry_out(path, record.transaction);
        }
        if is_empty && is_last {
            // The log's name is the zxid of a transaction that was never answered; the transactions before it were.
            self.logged = self.logged.max(Some(Zxid(name.saturating_sub(1))));
            self.note_hole(path, Zxid(*name));
        }
        if let Some(End::Torn { offset }) = reader.end() {
            let path = path.display();
            let what =
                if is_last { "what a crash leaves of a write that was never answered" } else { "as a crash leaves it" };
            self.found.notes.push(format!("{path} ends with half a record, at byte {offset}: {what}"));
        }
        Ok(())
    }

    fn carry_out(&mut self, path: &Path, transaction: crate::txn::Transaction) {
        let (zxid, digest) = (Zxid(transaction.zxid), transaction.digest);
        if zxid.0 <= self.found.snapshot_zxid {
            return;
        }
        if zxid <= self.zxid {
            let (path, last) = (path.display(), self.zxid);
            self.found.notes.push(format!(
                "{path} has transaction {zxid} behind {last}: it was carried out all the same, as ZooKeeper does"
            ));
        }
        self.note_hole(path, zxid);
        replay(&mut self.importing, transaction);
        self.zxid = self.zxid.max(zxid);
        self.found.transactions += 1;
        self.compare_snapshot_digest();
        if let Some((DIGEST_VERSION, digest)) = digest.filter(|_| self.snapshot_digest.is_none()) {
            self.compare(digest, Checked::Transaction(zxid));
        }
    }

    fn note_hole(&mut self, path: &Path, next: Zxid) {
        if is_hole(self.zxid, next) {
            self.found.losses.push(Loss::Hole { path: path.to_path_buf(), last: self.zxid, next });
        }
    }

    /// Completes the report after everything is read. `is_member`: the files are those of an ensemble's
    /// member, whose snapshot may come from the leader, so that its logs may end before the snapshot.
    pub(crate) fn finish(mut self, is_member: bool) -> Loaded {
        let (last, snapshot_zxid) = (self.zxid, Zxid(self.found.snapshot_zxid));
        if let Some(snapshot) = self.found.snapshot.clone() {
            if self.reaches > last {
                let has = self.reaches;
                self.found.losses.push(Loss::Uncovered { snapshot: snapshot.clone(), has, last });
            }
            match self.logged.filter(|logged| *logged < snapshot_zxid) {
                Some(last) if !is_member => {
                    self.found.losses.push(Loss::LogsEnd { snapshot, zxid: snapshot_zxid, last });
                }
                Some(last) => self.found.notes.push(format!(
                    "the transaction logs end at {last}, before the snapshot: as in a member of an ensemble that took a whole state from its leader"
                )),
                None => {}
            }
        }
        if let Some((since, until)) = self.differing {
            self.found.losses.push(Loss::OtherTree { since, until });
        }
        self.note_missing_acls();
        Loaded { importing: self.importing, zxid: self.zxid.0, found: self.found }
    }

    /// Notes the znodes whose ACLs are missing. ZooKeeper: it starts, and answers MarshallingError to
    /// requests that need the ACL.
    fn note_missing_acls(&mut self) {
        let missing = self.importing.without_acl();
        let count = missing.len();
        if count == 0 {
            return;
        }
        let paths: Vec<_> = missing.take(PATHS_MAX).map(|(path, number)| format!("{path} (ACL {number})")).collect();
        let more = if count > PATHS_MAX { ", …" } else { "" };
        self.found.notes.push(format!(
            "{count} znodes have ACLs that are neither in the snapshot nor in a log: {}{more}. They are there, but only the super user may use them, until it sets an ACL",
            paths.join(", ")
        ));
    }
}
