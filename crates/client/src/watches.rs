//! The watches that a handle has set, so that they can be set again on the next connection.
//!
//! Invariant: an event is reported only if there is a watch for it here, and it removes the one-shot watches
//! for it. Source: `ZKWatchManager`, with one watcher.

use std::collections::BTreeSet;

use oxkeeper_proto::op::{EventType, WatcherType};

/// Kinds of watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    /// Set by `exists` on a znode that did not exist.
    Exist,
    Child,
    Persistent,
    Recursive,
}

/// Kinds of removed watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    Child,
    Data,
    Persistent,
}

/// Paths of the watches of each kind, in the caller's form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches {
    pub(crate) data: BTreeSet<String>,
    pub(crate) exist: BTreeSet<String>,
    pub(crate) child: BTreeSet<String>,
    pub(crate) persistent: BTreeSet<String>,
    pub(crate) recursive: BTreeSet<String>,
}

impl Watches {
    fn set(&mut self, kind: Kind) -> &mut BTreeSet<String> {
        match kind {
            Kind::Data => &mut self.data,
            Kind::Exist => &mut self.exist,
            Kind::Child => &mut self.child,
            Kind::Persistent => &mut self.persistent,
            Kind::Recursive => &mut self.recursive,
        }
    }

    /// Adds a watch. Returns whether it is new.
    pub(crate) fn add(&mut self, kind: Kind, path: &str) -> bool {
        self.set(kind).insert(path.to_owned())
    }

    /// Removes a watch. Returns whether there was one.
    pub(crate) fn forget(&mut self, kind: Kind, path: &str) -> bool {
        self.set(kind).remove(path)
    }

    /// Removes the one-shot watches that the event fires. Returns whether any watch covers the event.
    pub(crate) fn fire(&mut self, event: EventType, path: &str) -> bool {
        let persistent = self.persistent.contains(path);
        match event {
            EventType::NodeCreated | EventType::NodeDataChanged => {
                let (data, exist) = (self.data.remove(path), self.exist.remove(path));
                data || exist || persistent || self.covered(path)
            }
            // ZooKeeper: a recursive watch gets no children events, even if an ordinary child watch causes one.
            EventType::NodeChildrenChanged => self.child.remove(path) || persistent,
            EventType::NodeDeleted => {
                let (data, exist, child) = (self.data.remove(path), self.exist.remove(path), self.child.remove(path));
                data || exist || child || persistent || self.covered(path)
            }
        }
    }

    /// Returns whether there is a recursive watch at `path` or above it.
    fn covered(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at.max(1)).chain([path.len()]);
        ends.into_iter().any(|end| self.recursive.contains(&path[..end]))
    }

    /// Removes the watches that `kind` covers at `path`. Returns their kinds, in ZooKeeper's order.
    pub(crate) fn remove(&mut self, kind: WatcherType, path: &str) -> Vec<Removed> {
        let any = kind == WatcherType::Any;
        let mut removed = Vec::new();
        if (any || kind == WatcherType::Children) && self.child.remove(path) {
            removed.push(Removed::Child);
        }
        if any || kind == WatcherType::Data {
            let (data, exist) = (self.data.remove(path), self.exist.remove(path));
            removed.extend((data || exist).then_some(Removed::Data));
        }
        let mut persistent = false;
        if any || kind == WatcherType::Persistent {
            persistent |= self.persistent.remove(path);
        }
        if any || kind == WatcherType::PersistentRecursive {
            persistent |= self.recursive.remove(path);
        }
        removed.extend(persistent.then_some(Removed::Persistent));
        removed
    }

    /// Returns whether `kind` covers any watch at `path`.
    pub(crate) fn has(&self, kind: WatcherType, path: &str) -> bool {
        let data = self.data.contains(path) || self.exist.contains(path);
        match kind {
            WatcherType::Children => self.child.contains(path),
            WatcherType::Data => data,
            WatcherType::Persistent => self.persistent.contains(path),
            WatcherType::PersistentRecursive => self.recursive.contains(path),
            WatcherType::Any => {
                data || [&self.child, &self.persistent, &self.recursive].iter().any(|set| set.contains(path))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shot_watches_fire_once() {
        let mut watches = Watches::default();
        assert!(watches.add(Kind::Data, "/a") && watches.add(Kind::Child, "/a"));
        assert!(!watches.fire(EventType::NodeDataChanged, "/b"));
        assert!(watches.fire(EventType::NodeDataChanged, "/a"));
        assert!(!watches.fire(EventType::NodeDataChanged, "/a"));
        assert!(watches.fire(EventType::NodeDeleted, "/a"), "the child watch");
        assert!(!watches.has(WatcherType::Any, "/a"));
    }

    #[test]
    fn a_recursive_watch_covers_descendants_but_tells_of_no_children() {
        for (root, below, beside) in [("/a", "/a/b/c", Some("/ab")), ("/", "/a", None)] {
            let mut watches = Watches::default();
            watches.add(Kind::Recursive, root);
            assert!(watches.fire(EventType::NodeCreated, below) && watches.fire(EventType::NodeDeleted, root));
            assert!(!watches.fire(EventType::NodeChildrenChanged, root));
            assert!(beside.is_none_or(|path| !watches.fire(EventType::NodeCreated, path)));
        }
    }

    #[test]
    fn removal_tells_what_was_there() {
        let mut watches = Watches::default();
        for kind in [Kind::Exist, Kind::Child, Kind::Persistent, Kind::Recursive] {
            watches.add(kind, "/a");
        }
        assert!(!watches.has(WatcherType::Any, "/b") && watches.has(WatcherType::Data, "/a"));
        assert_eq!(watches.remove(WatcherType::Children, "/a"), [Removed::Child]);
        assert_eq!(watches.remove(WatcherType::Any, "/a"), [Removed::Data, Removed::Persistent]);
        assert_eq!(watches.remove(WatcherType::Any, "/a"), []);
    }
}
