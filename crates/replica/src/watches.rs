//! Watches: they belong to connections, vanish with them, and are never replicated.
//!
//! Two tables, as in the reference: data (also for exists) and child. An entry is a path and a
//! connection, with a set of modes. Recursive watches live in the data table only and are found by
//! walking the ancestors of a changed znode, so that their number costs nothing. Invariant: a
//! connection's list of paths names exactly the entries it is in.
//!
//! Source: `WatchManager`, `WatchStats`, `DataTree.setWatches`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;
use oxkeeper_proto::op::{EventType, STATE_SYNC_CONNECTED, WatcherType, XID_NOTIFICATION};
use oxkeeper_proto::records::{ReplyHeader, WatcherEvent};
use oxkeeper_proto::{Jute, SessionId, Zxid, frame};
use oxkeeper_state::{AclList, Caller, Change, ChangeKind, Identities, Settings, State};

use crate::delivery::{ConnectionId, IdentityBytes};
use crate::stats::Distribution;

/// Mode of a watch. A connection may watch a path in several modes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The watch fires once.
    Standard,
    /// The watch stays.
    Persistent,
    /// The watch stays, and covers every descendant.
    PersistentRecursive,
}

impl Mode {
    fn bit(self) -> u8 {
        match self {
            Mode::Standard => 1,
            Mode::Persistent => 2,
            Mode::PersistentRecursive => 4,
        }
    }
}

/// Table of watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Watches of getData, exists, and both kinds of addWatch.
    Data,
    /// Watches of getChildren, and addWatch mode 0.
    Child,
}

type Modes = HashMap<ConnectionId, u8, FixedState>;

/// Watchers of one path.
#[derive(Debug)]
struct Entry {
    data: Modes,
    child: Modes,
}

impl Entry {
    fn new() -> Entry {
        let hasher = FixedState::with_seed(0);
        Entry { data: Modes::with_hasher(hasher.clone()), child: Modes::with_hasher(hasher) }
    }

    fn table(&self, table: Table) -> &Modes {
        match table {
            Table::Data => &self.data,
            Table::Child => &self.child,
        }
    }

    fn table_mut(&mut self, table: Table) -> &mut Modes {
        match table {
            Table::Data => &mut self.data,
            Table::Child => &mut self.child,
        }
    }
}

/// A connection with watches.
#[derive(Debug)]
struct Watching {
    session: SessionId,
    identities: IdentityBytes,
    paths: HashSet<Arc<str>, FixedState>,
    /// Number of the paths for which the data table has an entry of this connection.
    data_count: usize,
}

/// All watches of this server.
#[derive(Debug)]
pub struct Watches {
    settings: Settings,
    entries: HashMap<Arc<str>, Entry, FixedState>,
    connections: HashMap<ConnectionId, Watching, FixedState>,
    /// Recursive entries of the data table: while there are none, no ancestor is looked at.
    recursive_count: usize,
    counts: WatchCounts,
    /// Number of watchers fired so far.
    pub fired: Fired,
}

/// Number of watchers that each change notified, if any, by event. Includes those that may not know
/// of the change. Source: `WatchManager.triggerWatch`.
#[derive(Clone, Debug, Default)]
pub struct Fired {
    /// NodeCreated.
    pub created: Distribution,
    /// NodeDeleted; a change counts for each table it fires.
    pub deleted: Distribution,
    /// NodeDataChanged.
    pub data_changed: Distribution,
    /// NodeChildrenChanged.
    pub children_changed: Distribution,
}

/// Counts for `wchs` and the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCounts {
    /// Entries of both tables.
    pub total: usize,
    /// Entries of the data table.
    pub data: usize,
    /// Paths with an entry in the data table.
    pub data_paths: usize,
    /// Connections with an entry in the data table.
    pub data_connections: usize,
}

impl WatchCounts {
    /// Counts one more entry. `data_count` is how many its connection has in the data table.
    fn entered(&mut self, table: Table, is_first_of_path: bool, data_count: &mut usize) {
        self.total += 1;
        if table == Table::Data {
            self.data += 1;
            self.data_paths += usize::from(is_first_of_path);
            self.data_connections += usize::from(*data_count == 0);
            *data_count += 1;
        }
    }

    /// Counts one entry less. If a connection ends, it has been removed already, and there is no
    /// `data_count`.
    fn left(&mut self, table: Table, was_last_of_path: bool, data_count: Option<&mut usize>) {
        self.total -= 1;
        if table == Table::Data {
            self.data -= 1;
            self.data_paths -= usize::from(was_last_of_path);
            if let Some(data_count) = data_count {
                *data_count -= 1;
                self.data_connections -= usize::from(*data_count == 0);
            }
        }
    }
}

impl Watches {
    /// Creates an empty set of watches. `seed` keeps clients from crafting paths that collide.
    pub fn new(settings: Settings, seed: u64) -> Watches {
        let hasher = FixedState::with_seed(seed);
        Watches {
            settings,
            entries: HashMap::with_hasher(hasher.clone()),
            connections: HashMap::with_hasher(hasher),
            recursive_count: 0,
            counts: WatchCounts::default(),
            fired: Fired::default(),
        }
    }

    /// Registers a watch; registering the same one again is a no-op.
    pub fn add(&mut self, who: &Watcher<'_>, path: &str, table: Table, mode: Mode) {
        let path = match self.entries.get_key_value(path) {
            Some((path, _)) => path.clone(),
            None => Arc::from(path),
        };
        let watching = self.connections.entry(who.connection).or_insert_with(|| Watching {
            session: who.session,
            identities: Arc::from(who.identities),
            paths: HashSet::with_hasher(self.entries.hasher().clone()),
            data_count: 0,
        });
        watching.paths.insert(path.clone());
        let watchers = self.entries.entry(path).or_insert_with(Entry::new).table_mut(table);
        let is_first = watchers.is_empty();
        let modes = watchers.entry(who.connection).or_default();
        if *modes == 0 {
            self.counts.entered(table, is_first, &mut watching.data_count);
        }
        if mode == Mode::PersistentRecursive && *modes & mode.bit() == 0 {
            self.recursive_count += 1;
        }
        *modes |= mode.bit();
    }

    /// Registers a watch for addWatch.
    pub fn add_persistent(&mut self, who: &Watcher<'_>, path: &str, recursive: bool) {
        if recursive {
            self.add(who, path, Table::Data, Mode::PersistentRecursive);
        } else {
            self.add(who, path, Table::Data, Mode::Persistent);
            self.add(who, path, Table::Child, Mode::Persistent);
        }
    }

    /// Returns whether the connection has a watch of this type at exactly this path.
    pub fn contains(&self, connection: ConnectionId, path: &str, watcher_type: WatcherType) -> bool {
        let Some(entry) = self.entries.get(path) else { return false };
        let has = |table, mode: Mode| entry.table(table).get(&connection).is_some_and(|modes| modes & mode.bit() != 0);
        match watcher_type {
            WatcherType::Children => has(Table::Child, Mode::Standard),
            WatcherType::Data => has(Table::Data, Mode::Standard),
            WatcherType::Persistent => has(Table::Data, Mode::Persistent),
            WatcherType::PersistentRecursive => has(Table::Data, Mode::PersistentRecursive),
            WatcherType::Any => entry.data.contains_key(&connection) || entry.child.contains_key(&connection),
        }
    }

    /// Removes the connection's watches of this type at exactly this path. Returns whether there
    /// were any.
    pub fn remove(&mut self, connection: ConnectionId, path: &str, watcher_type: WatcherType) -> bool {
        let there = self.contains(connection, path, watcher_type);
        let (data, child) = match watcher_type {
            WatcherType::Children => (0, Mode::Standard.bit()),
            WatcherType::Data => (Mode::Standard.bit(), 0),
            WatcherType::Persistent => (Mode::Persistent.bit(), Mode::Persistent.bit()),
            WatcherType::PersistentRecursive => (Mode::PersistentRecursive.bit(), 0),
            WatcherType::Any => (u8::MAX, u8::MAX),
        };
        self.strike(connection, path, Table::Data, data);
        self.strike(connection, path, Table::Child, child);
        there
    }

    /// Removes modes from one entry, and the entry itself if none is left.
    fn strike(&mut self, connection: ConnectionId, path: &str, table: Table, struck: u8) {
        let Some(entry) = self.entries.get_mut(path) else { return };
        let Some(modes) = entry.table_mut(table).get_mut(&connection) else { return };
        if *modes & struck & Mode::PersistentRecursive.bit() != 0 {
            self.recursive_count -= 1;
        }
        *modes &= !struck;
        if *modes == 0 {
            let watchers = entry.table_mut(table);
            watchers.remove(&connection);
            let was_last = watchers.is_empty();
            let data_count = self.connections.get_mut(&connection).map(|watching| &mut watching.data_count);
            self.counts.left(table, was_last, data_count);
            self.forget_if_unused(connection, path);
        }
    }

    fn forget_if_unused(&mut self, connection: ConnectionId, path: &str) {
        let Some(entry) = self.entries.get(path) else { return };
        if !entry.data.contains_key(&connection) && !entry.child.contains_key(&connection) {
            if let Some(watching) = self.connections.get_mut(&connection) {
                watching.paths.remove(path);
                if watching.paths.is_empty() {
                    self.connections.remove(&connection);
                }
            }
            if entry.data.is_empty() && entry.child.is_empty() {
                self.entries.remove(path);
            }
        }
    }

    /// Removes all watches of a connection that has ended.
    pub fn drop_connection(&mut self, connection: ConnectionId) {
        let Some(watching) = self.connections.remove(&connection) else { return };
        self.counts.data_connections -= usize::from(watching.data_count > 0);
        for path in watching.paths {
            self.strike(connection, &path, Table::Data, u8::MAX);
            self.strike(connection, &path, Table::Child, u8::MAX);
        }
    }

    /// Updates the identities of a connection, which has proved one more.
    pub fn identified(&mut self, connection: ConnectionId, identities: &[u8]) {
        if let Some(watching) = self.connections.get_mut(&connection) {
            watching.identities = Arc::from(identities);
        }
    }

    /// Fires the watches of a change, in the reference's order, and hands each frame to `deliver`.
    ///
    /// One-shot watches are consumed, even if their connection may not know of the change.
    pub fn fire(&mut self, change: &Change<'_>, deliver: &mut dyn FnMut(ConnectionId, &[u8])) {
        if self.entries.is_empty() {
            return;
        }
        let event_type = match change.kind {
            ChangeKind::Created => EventType::NodeCreated,
            ChangeKind::Deleted => EventType::NodeDeleted,
            ChangeKind::DataChanged => EventType::NodeDataChanged,
        };
        let mut told = self.take_watchers(change.path, Table::Data, change.acl);
        self.add_recursive_watchers(change.path, change.acl, &mut told);
        match change.kind {
            ChangeKind::Created => fired(&mut self.fired.created, &told),
            ChangeKind::Deleted => fired(&mut self.fired.deleted, &told),
            ChangeKind::DataChanged => fired(&mut self.fired.data_changed, &told),
        }
        if change.kind == ChangeKind::Deleted {
            // ZooKeeper: a watcher notified from the data table is not notified again from the
            // child table, but its watch there is consumed.
            let more = self.take_watchers(change.path, Table::Child, change.acl);
            fired(&mut self.fired.deleted, &more);
            merge(&mut told, more);
        }
        announce(&told, event_type, change.path, change.zxid, deliver);
        if change.kind != ChangeKind::DataChanged {
            let parent = parent(change.path);
            let told = self.take_watchers(parent, Table::Child, change.parent_acl);
            fired(&mut self.fired.children_changed, &told);
            announce(&told, EventType::NodeChildrenChanged, parent, change.zxid, deliver);
        }
    }

    /// Returns the connections with an entry at exactly `path` that may know of the change;
    /// one-shot entries are consumed in any case.
    fn take_watchers(&mut self, path: &str, table: Table, acl: Option<&AclList>) -> Vec<ConnectionId> {
        let Some(entry) = self.entries.get(path) else { return Vec::new() };
        let mut told: Vec<ConnectionId> = entry.table(table).keys().copied().collect();
        told.sort_unstable();
        let consumed = told.clone();
        told.retain(|&connection| self.may_know(connection, acl));
        for connection in consumed {
            self.strike(connection, path, table, Mode::Standard.bit());
        }
        told
    }

    fn add_recursive_watchers(&self, path: &str, acl: Option<&AclList>, told: &mut Vec<ConnectionId>) {
        if self.recursive_count == 0 {
            return;
        }
        let mut at = path;
        while at != "/" {
            at = parent(at);
            let Some(entry) = self.entries.get(at) else { continue };
            let recursive = entry.data.iter().filter(|(_, modes)| **modes & Mode::PersistentRecursive.bit() != 0);
            let mut more: Vec<ConnectionId> = recursive.map(|(&connection, _)| connection).collect();
            more.sort_unstable();
            more.retain(|&connection| self.may_know(connection, acl));
            merge(told, more);
        }
    }

    fn may_know(&self, connection: ConnectionId, acl: Option<&AclList>) -> bool {
        let identities = || Identities(&self.connections[&connection].identities);
        acl.is_none() || State::may_know(acl, &Caller { identities: identities(), settings: self.settings })
    }

    /// Returns the counts of watches.
    pub fn counts(&self) -> WatchCounts {
        self.counts
    }

    /// Counts the watches one by one.
    fn recount(&self) -> WatchCounts {
        let mut counts = WatchCounts::default();
        for entry in self.entries.values() {
            counts.total += entry.data.len() + entry.child.len();
            counts.data += entry.data.len();
            counts.data_paths += usize::from(!entry.data.is_empty());
        }
        let watches_data = |(id, watching): (&ConnectionId, &Watching)| {
            watching.paths.iter().any(|path| self.entries[path].data.contains_key(id))
        };
        counts.data_connections = self.connections.iter().filter(|&entry| watches_data(entry)).count();
        counts
    }

    /// Returns each path of the data table with the sessions that watch it.
    pub fn data_watches(&self) -> impl Iterator<Item = (&str, Vec<SessionId>)> {
        self.entries.iter().filter(|(_, entry)| !entry.data.is_empty()).map(|(path, entry)| {
            let sessions = entry.data.keys().filter_map(|connection| self.connections.get(connection));
            (&**path, sessions.map(|watching| watching.session).collect())
        })
    }

    /// Checks every invariant. Panics with the one that is broken.
    pub fn check(&self) {
        let mut recursive_count = 0;
        for (path, entry) in &self.entries {
            assert!(!entry.data.is_empty() || !entry.child.is_empty(), "{path} is watched");
            for (connection, modes) in entry.data.iter().chain(&entry.child) {
                assert!(self.connections[connection].paths.contains(path), "{path} is in its connection's list");
                recursive_count += usize::from(modes & Mode::PersistentRecursive.bit() != 0);
            }
        }
        for (connection, watching) in &self.connections {
            assert!(watching.paths.iter().all(|path| {
                self.entries[path].data.contains_key(connection) || self.entries[path].child.contains_key(connection)
            }));
            let in_data = |path: &&Arc<str>| self.entries[&**path].data.contains_key(connection);
            assert_eq!(watching.paths.iter().filter(in_data).count(), watching.data_count, "data watches");
        }
        assert_eq!(recursive_count, self.recursive_count, "recursive watches");
        assert_eq!(self.recount(), self.counts, "counts");
    }
}

/// A client that registers a watch.
#[derive(Clone, Copy, Debug)]
pub struct Watcher<'a> {
    /// The connection that receives events.
    pub connection: ConnectionId,
    /// The session, for `wchc` and `wchp`.
    pub session: SessionId,
    /// The identities, for the permission check when an event is delivered.
    pub identities: &'a [u8],
}

/// Records the number of notified connections, unless it is 0.
fn fired(values: &mut Distribution, told: &[ConnectionId]) {
    if !told.is_empty() {
        values.record(told.len() as u64);
    }
}

/// Delivers one event's frame to every connection in `told`.
fn announce(
    told: &[ConnectionId],
    event_type: EventType,
    path: &str,
    zxid: Zxid,
    deliver: &mut dyn FnMut(ConnectionId, &[u8]),
) {
    if told.is_empty() {
        return;
    }
    let mut frame = Vec::new();
    put_event(&mut frame, event_type, path, zxid.0);
    told.iter().for_each(|&connection| deliver(connection, &frame));
}

/// Adds the connections of `more` that are not in `told`. Each connection is notified of an event
/// once.
fn merge(told: &mut Vec<ConnectionId>, more: Vec<ConnectionId>) {
    if told.is_empty() {
        *told = more;
    } else if !more.is_empty() {
        let known: HashSet<ConnectionId, FixedState> = told.iter().copied().collect();
        told.extend(more.into_iter().filter(|connection| !known.contains(connection)));
    }
}

/// Appends a notification frame.
pub fn put_event(out: &mut Vec<u8>, event_type: EventType, path: &str, zxid: i64) {
    frame::put_frame(out, |out| {
        ReplyHeader { xid: XID_NOTIFICATION, zxid, err: 0 }.encode(out);
        WatcherEvent { event_type: event_type.wire(), state: STATE_SYNC_CONNECTED, path: Some(path.into()) }
            .encode(out);
    });
}

/// Returns the parent of `path`; the root is its own parent.
fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(end) => &path[..end],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watcher(place: u32) -> Watcher<'static> {
        let connection = ConnectionId { thread: 0, generation: 0, place };
        Watcher { connection, session: SessionId(i64::from(place) + 1), identities: &[] }
    }

    fn change(kind: ChangeKind, path: &str) -> Change<'_> {
        Change { kind, path, zxid: Zxid(1), acl: None, parent_acl: None }
    }

    #[test]
    fn counts_are_those_of_entries_paths_and_connections() {
        let mut watches = Watches::new(Settings::default(), 0);
        let check = |watches: &Watches, [total, data, data_paths, data_connections]: [usize; 4]| {
            watches.check();
            assert_eq!(watches.counts(), WatchCounts { total, data, data_paths, data_connections });
        };
        let (one, two) = (watcher(0), watcher(1));
        watches.add(&one, "/a", Table::Data, Mode::Standard);
        watches.add(&one, "/a", Table::Data, Mode::Standard);
        check(&watches, [1, 1, 1, 1]);
        watches.add_persistent(&one, "/a", false);
        check(&watches, [2, 1, 1, 1]);
        watches.add(&two, "/a", Table::Data, Mode::Standard);
        watches.add(&two, "/b", Table::Child, Mode::Standard);
        check(&watches, [4, 2, 1, 2]);
        watches.fire(&change(ChangeKind::DataChanged, "/a"), &mut |_, _| {});
        check(&watches, [3, 1, 1, 1]);
        assert!(watches.remove(one.connection, "/a", WatcherType::Any));
        check(&watches, [1, 0, 0, 0]);
        watches.drop_connection(two.connection);
        check(&watches, [0; 4]);
    }

    #[test]
    fn each_change_that_tells_somebody_counts() {
        let mut watches = Watches::new(Settings::default(), 0);
        for place in 0..3 {
            watches.add(&watcher(place), "/", Table::Child, Mode::Standard);
            watches.add(&watcher(place), "/a", Table::Data, Mode::Standard);
        }
        let mut told = 0;
        for kind in [ChangeKind::Created, ChangeKind::DataChanged, ChangeKind::Deleted] {
            watches.fire(&change(kind, "/a"), &mut |_, _| told += 1);
        }
        let counted = |values: &Distribution| (values.tally.count, values.tally.sum);
        let Fired { created, deleted, data_changed, children_changed } = &watches.fired;
        assert_eq!([created, children_changed].map(counted), [(1, 3); 2]);
        assert_eq!([data_changed, deleted].map(counted), [(0, 0); 2]);
        assert_eq!(told, 6);
    }

    #[test]
    fn every_invariant_holds_whatever_happens() {
        let mut watches = Watches::new(Settings::default(), 0);
        let mut random = 1u32;
        let mut next = |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 16) % below
        };
        let mut seen = WatchCounts::default();
        for _ in 0..5000 {
            let who = watcher(next(4));
            let path = ["/", "/a", "/a/b", "/c"][next(4) as usize];
            let kinds = [WatcherType::Children, WatcherType::Data, WatcherType::Persistent, WatcherType::Any];
            match next(8) {
                0 => watches.add(&who, path, Table::Data, Mode::Standard),
                1 => watches.add(&who, path, Table::Child, Mode::Standard),
                2 => watches.add_persistent(&who, path, true),
                3 => watches.add_persistent(&who, path, false),
                4 => drop(watches.remove(who.connection, path, kinds[next(4) as usize])),
                5 => drop(watches.remove(who.connection, path, WatcherType::PersistentRecursive)),
                6 if next(4) == 0 => watches.drop_connection(who.connection),
                _ => {
                    let kinds = [ChangeKind::Created, ChangeKind::Deleted, ChangeKind::DataChanged];
                    watches.fire(&change(kinds[next(3) as usize], path), &mut |_, _| {});
                }
            }
            watches.check();
            seen.total = seen.total.max(watches.counts().total);
            seen.data_connections = seen.data_connections.max(watches.counts().data_connections);
        }
        assert!(seen.total > 10 && seen.data_connections == 4, "much was watched at times: {seen:?}");
    }
}
