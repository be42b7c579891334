//! Promise: a client receives an event for every change that it watches, once, in order, before any
//! reply that shows the change, and no other events.
//!
//! The checker keeps the watches that a connection has registered, as ZooKeeper would, and matches
//! the model's changes against them. A watch takes effect at the state that the reply to its
//! request shows. So at each reply, the events received since the previous reply must be exactly
//! those of the changes in between.

use std::collections::{BTreeMap, BTreeSet};

use oxkeeper_proto::OpCode;
use oxkeeper_proto::op::{EventType, WatcherType};
use oxkeeper_state::ChangeKind;

use crate::model::{Change, Model, split};

/// Event as a client receives it: zxid, type, path.
pub type Event = (i64, i32, String);

const STANDARD: u8 = 1;
const PERSISTENT: u8 = 2;
const RECURSIVE: u8 = 4;

type Table = BTreeMap<String, u8>;

/// Watches that a client restores when it comes back: the paths in each list of setWatches2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Paths in dataWatches.
    pub data: Vec<String>,
    /// Paths in existWatches.
    pub exist: Vec<String>,
    /// Paths in childWatches.
    pub child: Vec<String>,
    /// Paths in persistentWatches.
    pub persistent: Vec<String>,
    /// Paths in persistentRecursiveWatches.
    pub recursive: Vec<String>,
}

/// Watches of a connection.
#[derive(Debug, Default)]
pub struct Watching {
    data: Table,
    child: Table,
    /// Paths of standard watches on znodes that did not exist.
    exist: BTreeSet<String>,
    /// Number of the model's outcomes that are processed.
    through: usize,
    received: Vec<Event>,
}

impl Watching {
    /// Notes that an event arrives.
    pub fn received(&mut self, event: Event) {
        self.received.push(event);
    }

    /// Checks the events before a reply that shows the state at `zxid`; `caught_up` are the
    /// expected events of setWatches.
    pub fn replied(&mut self, model: &Model, zxid: i64, caught_up: Vec<Event>) {
        let mut expected = Vec::new();
        let count = model.count(zxid);
        // Without watches no change can fire an event.
        if self.data.is_empty() && self.child.is_empty() {
            self.through = self.through.max(count);
        }
        while self.through < count {
            self.through += 1;
            expected.extend(self.fire_all(model, self.through));
        }
        expected.extend(caught_up);
        let received = in_comparable_order(model, std::mem::take(&mut self.received));
        assert_eq!(received, expected, "watches: received, and expected before a reply of zxid {zxid}");
    }

    /// Checks the events received since the last reply when the connection is gone: they must be in
    /// order. `setting` says that a setWatches2 was not answered; events for the changes it had
    /// missed may have arrived nevertheless.
    pub fn ended(&mut self, model: &Model, setting: bool) {
        let mut received = in_comparable_order(model, std::mem::take(&mut self.received));
        received.retain(|event| !setting || event.0 >= 0);
        let mut expected = Vec::new();
        while expected.len() < received.len() && self.through < model.outcomes.len() {
            self.through += 1;
            expected.extend(self.fire_all(model, self.through));
        }
        let last = received.last().map_or(0, |event| event.0);
        for event in &received {
            assert!(expected.contains(event), "watches: {event:?} was not watched");
        }
        // Some events of the last change may be lost with the connection, but none of earlier
        // changes.
        let before = |events: &[Event]| events.iter().filter(|event| event.0 < last).cloned().collect::<Vec<_>>();
        assert_eq!(before(&received), before(&expected), "watches: received, and expected before the end");
    }

    /// Registers the watch of exists or getData.
    pub fn watch_data(&mut self, path: &str, there: bool) {
        *self.data.entry(path.to_owned()).or_default() |= STANDARD;
        if there {
            self.exist.remove(path)
        } else {
            self.exist.insert(path.to_owned())
        };
    }

    /// Registers the watch of getChildren.
    pub fn watch_children(&mut self, path: &str) {
        *self.child.entry(path.to_owned()).or_default() |= STANDARD;
    }

    /// Registers the watch of addWatch.
    pub fn watch_always(&mut self, path: &str, recursive: bool) {
        *self.data.entry(path.to_owned()).or_default() |= if recursive { RECURSIVE } else { PERSISTENT };
        if !recursive {
            *self.child.entry(path.to_owned()).or_default() |= PERSISTENT;
        }
    }

    /// Returns whether checkWatches finds a watch of this kind.
    pub fn has(&self, path: &str, kind: WatcherType) -> bool {
        let has = |table: &Table, mode: u8| table.get(path).is_some_and(|modes| modes & mode != 0);
        match kind {
            WatcherType::Children => has(&self.child, STANDARD),
            WatcherType::Data => has(&self.data, STANDARD),
            WatcherType::Persistent => has(&self.data, PERSISTENT),
            WatcherType::PersistentRecursive => has(&self.data, RECURSIVE),
            WatcherType::Any => has(&self.data, u8::MAX) || has(&self.child, u8::MAX),
        }
    }

    /// Removes watches as removeWatches does.
    pub fn remove(&mut self, path: &str, kind: WatcherType) {
        let (data, child) = match kind {
            WatcherType::Children => (0, STANDARD),
            WatcherType::Data => (STANDARD, 0),
            WatcherType::Persistent => (PERSISTENT, PERSISTENT),
            WatcherType::PersistentRecursive => (RECURSIVE, 0),
            WatcherType::Any => (u8::MAX, u8::MAX),
        };
        strike(&mut self.data, path, data);
        strike(&mut self.child, path, child);
    }

    /// Returns the lists that setWatches2 would send.
    pub fn lists(&self) -> Lists {
        let with = |table: &Table, mode: u8| -> Vec<String> {
            table.iter().filter(|(_, modes)| **modes & mode != 0).map(|(path, _)| path.clone()).collect()
        };
        let (exist, data) = with(&self.data, STANDARD).into_iter().partition(|path| self.exist.contains(path));
        let (child, persistent) = (with(&self.child, STANDARD), with(&self.data, PERSISTENT));
        Lists { data, exist, child, persistent, recursive: with(&self.data, RECURSIVE) }
    }

    /// Handles the reply to setWatches2, which shows the state at `zxid`. Returns the events for
    /// changes missed since `since`, and registers the remaining watches. The caller first checks
    /// the events with [`Watching::replied`].
    pub fn set(&mut self, lists: &Lists, model: &Model, since: i64, zxid: i64) -> Vec<Event> {
        let mut missed = Vec::new();
        let mut miss = |kind: EventType, path: &String| missed.push((-1, kind.wire(), path.clone()));
        for path in &lists.data {
            match model.node(path, zxid) {
                None => miss(EventType::NodeDeleted, path),
                Some(node) if node.mzxid > since => miss(EventType::NodeDataChanged, path),
                Some(_) => self.watch_data(path, true),
            }
        }
        for path in &lists.exist {
            match model.node(path, zxid) {
                Some(_) => miss(EventType::NodeCreated, path),
                None => self.watch_data(path, false),
            }
        }
        for path in &lists.child {
            match model.node(path, zxid) {
                None => miss(EventType::NodeDeleted, path),
                Some(node) if node.pzxid > since => miss(EventType::NodeChildrenChanged, path),
                Some(_) => self.watch_children(path),
            }
        }
        lists.persistent.iter().for_each(|path| self.watch_always(path, false));
        lists.recursive.iter().for_each(|path| self.watch_always(path, true));
        missed
    }

    /// Returns the events of transaction number `count`, counted from 1.
    fn fire_all(&mut self, model: &Model, count: usize) -> Vec<Event> {
        let outcome = &model.outcomes[count - 1];
        let zxid = outcome.zxid;
        let events = outcome.changes.iter().flat_map(|change| self.fire(change)).collect::<Vec<_>>();
        let events = events.into_iter().map(|(kind, path)| (zxid, kind.wire(), path)).collect();
        in_comparable_order(model, events)
    }

    fn fire(&mut self, change: &Change) -> Vec<(EventType, String)> {
        let path = &change.path;
        let kind = match change.kind {
            ChangeKind::Created => EventType::NodeCreated,
            ChangeKind::Deleted => EventType::NodeDeleted,
            ChangeKind::DataChanged => EventType::NodeDataChanged,
        };
        let mut events = Vec::new();
        let mut told = self.data.contains_key(path) || self.has_recursive_above(path);
        strike(&mut self.data, path, STANDARD);
        if kind == EventType::NodeDeleted {
            told |= self.child.contains_key(path);
            strike(&mut self.child, path, STANDARD);
        }
        if told {
            events.push((kind, path.clone()));
        }
        let parent = split(path).0;
        if kind != EventType::NodeDataChanged && self.child.contains_key(parent) {
            strike(&mut self.child, parent, STANDARD);
            events.push((EventType::NodeChildrenChanged, parent.to_owned()));
        }
        events
    }

    fn has_recursive_above(&self, path: &str) -> bool {
        let above = |at: &str| at == "/" || path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'));
        self.data.iter().any(|(at, modes)| modes & RECURSIVE != 0 && above(at))
    }
}

/// Removes modes from an entry, and the entry itself when no mode is left.
fn strike(table: &mut Table, path: &str, modes: u8) {
    if let Some(left) = table.get_mut(path) {
        *left &= !modes;
        if *left == 0 {
            table.remove(path);
        }
    }
}

/// Sorts the events of a session's end. Its ephemerals are removed in the order of a hash table,
/// which the model does not have, so their events are compared as a set.
fn in_comparable_order(model: &Model, mut events: Vec<Event>) -> Vec<Event> {
    let ends_session = |event: &Event| model.outcome(event.0).is_some_and(|outcome| outcome.op == OpCode::CloseSession);
    for group in events.chunk_by_mut(|one, other| one.0 == other.0) {
        if ends_session(&group[0]) {
            group.sort();
        }
    }
    events
}
