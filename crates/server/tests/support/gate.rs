//! A disk whose syncs a test can block for any time.

use std::io;
use std::path::Path;
use std::sync::Arc;

use oxkeeper_store::{Disk, DiskFile};
use parking_lot::{Condvar, Mutex};

/// Lets syncs pass or blocks them.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    /// Number of blocked syncs.
    waiting: usize,
    /// Number of syncs in progress.
    inside: usize,
}

/// A sync in progress.
struct Passing<'a>(&'a Gate);

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.0.state.lock().inside -= 1;
        self.0.changed.notify_all();
    }
}

impl Gate {
    /// Blocks new syncs until the result is dropped. Syncs in progress have returned by then.
    pub fn close(&self) -> impl Drop + '_ {
        struct Open<'a>(&'a Gate);
        impl Drop for Open<'_> {
            fn drop(&mut self) {
                self.0.state.lock().closed = false;
                self.0.changed.notify_all();
            }
        }
        let mut state = self.state.lock();
        state.closed = true;
        while state.inside > 0 {
            self.changed.wait(&mut state);
        }
        Open(self)
    }

    /// Waits until a sync is blocked.
    pub fn wait_for_victim(&self) {
        let mut state = self.state.lock();
        while state.waiting == 0 {
            let timed_out = self.changed.wait_for(&mut state, super::PATIENCE).timed_out();
            assert!(!timed_out, "nobody syncs");
        }
    }

    fn pass(&self) -> Passing<'_> {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.changed.notify_all();
        while state.closed {
            self.changed.wait(&mut state);
        }
        state.waiting -= 1;
        state.inside += 1;
        Passing(self)
    }
}

/// A disk behind a gate.
#[derive(Clone, Debug)]
pub struct GatedDisk {
    pub inner: Arc<dyn Disk>,
    pub gate: Arc<Gate>,
}

#[derive(Debug)]
struct GatedFile {
    inner: Box<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl GatedDisk {
    fn file(&self, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(GatedFile { inner, gate: self.gate.clone() })
    }
}

impl Disk for GatedDisk {
    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
        Ok(self.inner.open(path)?.map(|file| self.file(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(self.inner.create(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.remove_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let _passing = self.gate.pass();
        self.inner.sync_dir(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.inner.lock(path)
    }
}

impl DiskFile for GatedFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, data)
    }

    fn sync_data(&self) -> io::Result<()> {
        let _passing = self.gate.pass();
        self.inner.sync_data()
    }
}
