//! Missing parts of a directory whose bytes are intact: the directory was complete once, and files or
//! transactions have been lost.
//!
//! ZooKeeper: it refuses some of these ("Committed proposal cached out of order"), logs some ("which might
//! lead to inconsistent state"), and starts with a part of the znodes after the rest. Source:
//! `ZKDatabase.addCommittedProposal`, `FileTxnSnapLog.restore`, `FileTxnLog.FileTxnIterator.goToNextLog`.

use std::path::PathBuf;

use oxkeeper_proto::Zxid;
use thiserror::Error;

/// A missing part.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Loss {
    /// Transactions are missing between two others.
    #[error(
        "{}: transactions are missing: {} is the first one there behind {}. A transaction log was removed, cut short, or is in another directory", path.display(), next, last
    )]
    Hole {
        /// The log that follows the hole.
        path: PathBuf,
        /// The last transaction before the hole.
        last: Zxid,
        /// The first transaction after the hole.
        next: Zxid,
    },
    /// A log has been emptied.
    #[error("{} is empty, but it is not the last transaction log: what it had is missing", path.display())]
    EmptyLog {
        /// The log.
        path: PathBuf,
    },
    /// The snapshot has effects of transactions that no log has.
    #[error(
        "{} was taken while writes went on and has some of what happened up to {has}, but the transaction logs end at {last}: the one that covers it is missing or was cut short", snapshot.display()
    )]
    Uncovered {
        /// The snapshot.
        snapshot: PathBuf,
        /// The last transaction of which the snapshot has an effect.
        has: Zxid,
        /// The last transaction that is present.
        last: Zxid,
    },
    /// There is no log at all, and the operator did not say that this is the directory of the logs.
    #[error(
        "{} holds snapshots (the newest of {snapshot}), but not one transaction log: what was written behind the snapshot is in another directory. Name Apache ZooKeeper's dataLogDir with --data-log-dir; if it has none, name this directory", path.display()
    )]
    NoLogs {
        /// The directory.
        path: PathBuf,
        /// Zxid of the newest snapshot.
        snapshot: Zxid,
    },
    /// The logs of a standalone server end before its snapshot.
    #[error("{} is of {zxid}, but the transaction logs end before it, at {last}: newer ones are missing", snapshot.display())]
    LogsEnd {
        /// The snapshot.
        snapshot: PathBuf,
        /// Zxid of the snapshot.
        zxid: Zxid,
        /// The last transaction in a log.
        last: Zxid,
    },
    /// Transactions are missing between an older snapshot and the logs.
    #[error("{} is used because newer snapshots are damaged ({}), but the transactions behind it are missing: no transaction log begins at or before {}", snapshot.display(), problems.join("; "), Zxid(zxid.0 + 1))]
    OlderSnapshot {
        /// The snapshot.
        snapshot: PathBuf,
        /// Zxid of the snapshot.
        zxid: Zxid,
        /// Defects of the newer snapshots.
        problems: Vec<String>,
    },
    /// The tree differs from the one that Apache ZooKeeper had.
    #[error(
        "the tree is not the one that Apache ZooKeeper had: the digests that it wrote down with transactions {since} to {until} differ from those of the tree that its files amount to. Apache ZooKeeper would count the same digest_mismatches_count when it starts from them"
    )]
    OtherTree {
        /// The first transaction whose digest differs.
        since: Zxid,
        /// The last transaction whose digest differs.
        until: Zxid,
    },
    /// Both directories contain files that belong in the other one.
    #[error(
        "{} holds transaction logs and {} snapshots: which of them count cannot be told, and Apache ZooKeeper does not start. Is dataDir right, and --data-log-dir?", snapshot_dir.display(), log_dir.display()
    )]
    Mixed {
        /// The directory for snapshots.
        snapshot_dir: PathBuf,
        /// The directory for logs.
        log_dir: PathBuf,
    },
}

/// Returns whether transactions are missing between two consecutive ones of the logs. Failed transactions are
/// logged, too. An epoch begins with counter 1, wherever the previous one ended. ZooKeeper: it checks only
/// within an epoch.
pub(crate) fn is_hole(last: Zxid, next: Zxid) -> bool {
    if next.epoch() == last.epoch() {
        next.counter() > last.counter().saturating_add(1)
    } else {
        next.epoch() > last.epoch() && next.counter() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_within_an_epoch_or_at_its_begin() {
        let is_hole =
            |last: (u32, u32), next: (u32, u32)| super::is_hole(Zxid::new(last.0, last.1), Zxid::new(next.0, next.1));
        for (last, next) in [
            ((0, 0), (0, 1)),
            ((1, 7), (1, 8)),
            ((1, 7), (4, 1)),
            ((1, u32::MAX), (2, 1)),
            ((1, 7), (1, 3)),
            ((2, 0), (1, 9)),
        ] {
            assert!(!is_hole(last, next), "{last:?} {next:?}");
        }
        for (last, next) in [((0, 0), (0, 2)), ((1, 7), (1, 9)), ((1, 7), (2, 2))] {
            assert!(is_hole(last, next), "{last:?} {next:?}");
        }
    }
}
