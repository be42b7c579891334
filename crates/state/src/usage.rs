//! Enforcement of quotas: counted subtrees, their usage, and the check of their limits.
//!
//! Usage is updated while operations are applied, also inside a multi, and undone with it. A later
//! operation of the same multi is still checked against the usage from before it. Source:
//! `DataTree.createNode`, `deleteNode`, `updateQuotaStat`, `updateQuotaForPath`;
//! `ZooKeeperServer.checkQuota`.

use oxkeeper_proto::ErrorCode;

use crate::apply::{ChangeKind, Effect};
use crate::quota::{self, Track};
use crate::write::{Undo, Write};

impl Write<'_> {
    /// Checks a change against the hard limits of its subtree; soft limits only show in the usage.
    pub(crate) fn check_quota(&self, path: &str, bytes: i64, count: i64) -> Result<(), ErrorCode> {
        if !self.caller.settings.enforce_quota() {
            return Ok(());
        }
        let Some(prefix) = self.state.quotas.prefix_of(path) else { return Ok(()) };
        // ZooKeeper: unreadable text is an exception there.
        let strict = |data: Option<&[u8]>| Track::strict(data).ok_or(ErrorCode::Marshalling);
        let Some(limits) = self.state.data_at(&quota::limits_path(prefix)) else { return Ok(()) };
        let limits = strict(limits)?;
        let matters = |change: i64, soft: i64, hard: i64| change != 0 && (soft > -1 || hard > -1);
        if !matters(count, limits.count(), limits.count_hard()) && !matters(bytes, limits.bytes(), limits.bytes_hard())
        {
            return Ok(());
        }
        let Some(usage) = self.state.data_at(&quota::stats_path(prefix)) else { return Ok(()) };
        // ZooKeeper: checks against the usage of applied transactions; a multi is applied only after all of
        // it was checked.
        let usage = self.usage_before(prefix).map_or_else(|| strict(usage), Ok)?;
        let exceeds =
            |change: i64, used: i64, limit: i64| change != 0 && limit > -1 && used.wrapping_add(change) > limit;
        if exceeds(count, usage.count(), limits.count_hard()) || exceeds(bytes, usage.bytes(), limits.bytes_hard()) {
            return Err(ErrorCode::QuotaExceeded);
        }
        Ok(())
    }

    fn usage_before(&self, prefix: &str) -> Option<Track> {
        self.transaction.as_ref()?.usage_before.get(prefix).cloned()
    }

    /// Updates the counted subtrees after a change.
    pub(crate) fn keep_quotas(&mut self, effect: &Effect<'_>) {
        self.keep_quota_registry(effect);
        self.count_usage(effect);
    }

    /// Starts or stops counting a subtree when its limits are created or deleted.
    fn keep_quota_registry(&mut self, effect: &Effect<'_>) {
        let Some((parent, name)) = effect.path.rsplit_once('/') else { return };
        let Some(prefix) = parent.strip_prefix(quota::QUOTA_ROOT) else { return };
        match (effect.kind, name) {
            (ChangeKind::Created, quota::LIMITS) => self.register(prefix, true),
            (ChangeKind::Deleted, quota::LIMITS) => self.register(prefix, false),
            (ChangeKind::Created, quota::STATS) => self.recount(prefix),
            (ChangeKind::Created | ChangeKind::Deleted | ChangeKind::DataChanged, _) => {}
        }
    }

    fn register(&mut self, prefix: &str, counted: bool) {
        self.state.quotas.set(prefix, counted);
        if let Some(transaction) = &mut self.transaction {
            transaction.undo.push(Undo::Registered { prefix: prefix.to_owned(), counted: !counted });
        }
    }

    /// Recounts a subtree: its top, all descendants, their data.
    fn recount(&mut self, prefix: &str) {
        let tree = &self.state.tree;
        let top = tree.lookup(prefix);
        let slots = top.into_iter().chain(top.into_iter().flat_map(|top| tree.descendants(top)));
        let (count, bytes) =
            slots.fold((0, 0), |(count, bytes), slot| (count + 1, bytes + tree.znode(slot).data_len() as i64));
        let mut usage = Track::default();
        usage.set_usage(count, bytes);
        self.write_usage(prefix, &usage);
    }

    fn count_usage(&mut self, effect: &Effect<'_>) {
        let Some(prefix) = self.state.quotas.prefix_of(&effect.path) else { return };
        let Some(usage) = self.state.data_at(&quota::stats_path(prefix)) else { return };
        let mut usage = Track::parse(usage);
        if let Some(transaction) = &mut self.transaction {
            transaction.usage_before.entry(prefix.to_owned()).or_insert_with(|| usage.clone());
        }
        let count = match effect.kind {
            ChangeKind::Created => 1,
            ChangeKind::Deleted => -1,
            ChangeKind::DataChanged => 0,
        };
        usage.set_usage(usage.count().wrapping_add(count), usage.bytes().wrapping_add(effect.bytes));
        self.write_usage(prefix, &usage);
    }

    /// ZooKeeper: writes usage in place, without a new version, zxid or event.
    fn write_usage(&mut self, prefix: &str, usage: &Track) {
        let path = quota::stats_path(prefix);
        if let Some(slot) = self.state.tree.lookup(&path) {
            self.set_bytes(slot, &path, Some(usage.text().as_bytes()), |_| {});
        }
    }
}
