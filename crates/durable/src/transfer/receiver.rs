//! The receiving side: builds `incoming/` and `incoming-log/`, and makes them the server's state.
//!
//! Checks everything that can be checked: each chunk, the order of chunks, keys and entries, and at
//! the end of the tree that its counts and sums are those with which the sender's tree was written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oxkeeper_state::{BadEntry, Entry, Level};
use oxkeeper_store::{AppendError, Contents, Disk, Filling, Kind, Log, LogOptions, StoreError, SyncError};

use super::chunk::Chunks;
use super::install::{self, INCOMING, INCOMING_LOG};
use super::item::Item;
use super::{Tail, TransferError};
use crate::checkpoint::LEVEL;
use crate::layout::StoreOptions;

/// Bytes of log entries to write between syncs.
const STAGED_LEN: usize = 4 << 20;
/// Bytes of buffer capacity to keep after a large item.
const BUFFER_KEPT: usize = 1 << 20;

/// A state that is being received.
#[derive(Debug)]
pub struct Receiver {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    data_log_dir: PathBuf,
    options: StoreOptions,
    chunks: Chunks,
    /// Content that is not decoded yet: the start of an item.
    items: Vec<u8>,
    stage: Stage,
    progress: Progress,
}

#[derive(Debug)]
enum Stage {
    Begin,
    Tree(Box<TreeParts>),
    Log(LogParts),
    Whole(LogParts, Tail),
    Failed,
}

#[derive(Debug)]
struct TreeParts {
    applied: u64,
    filling: Filling,
    announced: Contents,
    /// Kind and key of the newest record; `None` while values may still come.
    last: Option<(usize, u64)>,
}

#[derive(Debug)]
struct LogParts {
    applied: u64,
    filling: Filling,
    log: NewLog,
}

/// A log that is being written.
#[derive(Debug)]
struct NewLog {
    log: Log,
    dir: PathBuf,
    /// Bytes of entries written since the last sync.
    staged: usize,
}

/// Progress of a transfer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes received.
    pub received: u64,
    /// Tree records received.
    pub records: u64,
    /// Tree records in the whole state.
    pub records_total: u64,
    /// Log entries received.
    pub entries: u64,
    /// Whether the whole state has been received.
    pub complete: bool,
}

/// The decision about the log's end, and the scalars that go with it.
#[derive(Debug, Clone, Default)]
pub struct InstalledScalars {
    /// The peer's entries below this index stay. It is at least the applied index, and at most the
    /// end of the peer's log.
    pub keep_until: u64,
    /// The receiving server's own entries from `keep_until` on.
    pub own: Vec<Arc<[u8]>>,
    /// Scalars of the new log, by key.
    pub scalars: Vec<(u8, Vec<u8>)>,
}

/// Result of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installed {
    /// Number of entries that the tree holds; the log begins at this index.
    pub applied: u64,
    /// Index after the last entry of the log.
    pub end: u64,
}

impl Receiver {
    /// Begins a transfer, and removes the remains of an earlier attempt. There can be only one at a
    /// time.
    ///
    /// # Errors
    /// [`TransferError::Pending`], [`TransferError::Store`].
    pub fn new(
        disk: &Arc<dyn Disk>,
        data_dir: &Path,
        data_log_dir: &Path,
        options: &StoreOptions,
    ) -> Result<Self, TransferError> {
        if !install::begin_install(&**disk, data_dir, data_log_dir)? {
            return Err(TransferError::Pending);
        }
        Ok(Self {
            disk: disk.clone(),
            data_dir: data_dir.to_path_buf(),
            data_log_dir: data_log_dir.to_path_buf(),
            options: options.clone(),
            chunks: Chunks::default(),
            items: Vec::new(),
            stage: Stage::Begin,
            progress: Progress::default(),
        })
    }

    /// Takes the next bytes of the stream, which may be split anywhere.
    ///
    /// # Errors
    /// Any [`TransferError`]; every later call fails, too.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<Progress, TransferError> {
        self.progress.received += bytes.len() as u64;
        while !bytes.is_empty() {
            let taken = self.take_chunk(&mut bytes);
            if taken.is_err() {
                self.stage = Stage::Failed;
            }
            taken?;
        }
        Ok(self.progress)
    }

    /// Returns the sender's scalars, or `None` until the whole state has been received.
    pub fn tail(&self) -> Option<&Tail> {
        match &self.stage {
            Stage::Whole(_, tail) => Some(tail),
            Stage::Begin | Stage::Tree(_) | Stage::Log(_) | Stage::Failed => None,
        }
    }

    /// Makes the new state count. `decide` returns whose entries stay at the log's end, and the
    /// scalars. Afterwards nothing may be written to the old log or tree: drop them and recover,
    /// which moves the new ones into place.
    ///
    /// # Errors
    /// [`TransferError::Incomplete`], [`TransferError::Failed`], [`TransferError::Store`]: the old
    /// state still counts.
    ///
    /// # Panics
    /// Panics if `decide` keeps entries that the peer did not send, or if the new name cannot be
    /// made durable.
    pub fn finish(self, decide: impl FnOnce(&Tail) -> InstalledScalars) -> Result<Installed, TransferError> {
        let (parts, tail) = match self.stage {
            Stage::Whole(parts, tail) => (parts, tail),
            Stage::Begin | Stage::Tree(_) | Stage::Log(_) => return Err(TransferError::Incomplete),
            Stage::Failed => return Err(TransferError::Failed),
        };
        let LogParts { applied, filling, log } = parts;
        let end = log.finish(applied, &tail, &decide(&tail))?;
        filling.finish(applied)?;
        install::commit_install(&*self.disk, &self.data_dir)?;
        Ok(Installed { applied, end })
    }

    fn take_chunk(&mut self, bytes: &mut &[u8]) -> Result<(), TransferError> {
        match self.stage {
            Stage::Failed => return Err(TransferError::Failed),
            Stage::Whole(..) => return Err(TransferError::Unexpected { what: "something follows the tail" }),
            Stage::Begin | Stage::Tree(_) | Stage::Log(_) => {}
        }
        if !self.chunks.next(bytes, &mut self.items)? {
            return Ok(());
        }
        let items = std::mem::take(&mut self.items);
        let mut rest = items.as_slice();
        while let Some((item, len)) = Item::decode(rest).map_err(|what| self.chunks.damaged_content(what))? {
            rest = &rest[len..];
            self.take_item(item)?;
        }
        let (used, whole) = (items.len() - rest.len(), matches!(self.stage, Stage::Whole(..)));
        if whole && used < items.len() {
            return Err(TransferError::Unexpected { what: "something follows the tail" });
        }
        self.items = items;
        self.items.drain(..used);
        self.items.shrink_to(BUFFER_KEPT);
        Ok(())
    }

    fn take_item(&mut self, item: Item<'_>) -> Result<(), TransferError> {
        self.stage = match (std::mem::replace(&mut self.stage, Stage::Failed), item) {
            (Stage::Begin, Item::Head { applied, contents }) => self.begin(applied, contents)?,
            (Stage::Tree(mut parts), Item::Value { name, value }) => {
                self.check_value(name, value)?;
                parts.value(name, value)?;
                Stage::Tree(parts)
            }
            (Stage::Tree(mut parts), Item::Record { kind, key, record }) => {
                parts.record(kind, key, record)?;
                self.progress.records += 1;
                Stage::Tree(parts)
            }
            (Stage::Tree(parts), item @ (Item::Entry { .. } | Item::Tail(_))) => {
                let log = self.begin_log(parts.applied)?;
                self.take_log_item(parts.end(log)?, item)?
            }
            (Stage::Log(parts), item @ (Item::Entry { .. } | Item::Tail(_))) => self.take_log_item(parts, item)?,
            (Stage::Begin, _) => return unexpected("it does not begin with a head"),
            (Stage::Tree(_) | Stage::Log(_), Item::Head { .. }) => return unexpected("it has two heads"),
            (Stage::Log(_), Item::Value { .. } | Item::Record { .. }) => {
                return unexpected("it has records behind log entries");
            }
            (Stage::Whole(..), _) => return unexpected("something follows the tail"),
            (Stage::Failed, _) => return Err(TransferError::Failed),
        };
        Ok(())
    }

    /// Refuses a state of a higher feature level than this server knows, before any of it is
    /// written.
    fn check_value(&self, name: &str, value: &[u8]) -> Result<(), TransferError> {
        let knows = self.options.knows;
        match Level::decode(value) {
            _ if name != LEVEL => Ok(()),
            Ok(needs) if needs > knows => Err(TransferError::Newer { needs, knows }),
            Ok(_) => Ok(()),
            Err(_) => unexpected("its feature level cannot be decoded"),
        }
    }

    fn check_entry(&self, entry: &[u8]) -> Result<(), TransferError> {
        Entry::check(entry, self.options.knows).or_else(|problem| match problem {
            BadEntry::Newer { needs, knows, .. } => Err(TransferError::Newer { needs, knows }),
            BadEntry::Malformed(_) => unexpected("a log entry cannot be decoded"),
        })
    }

    fn begin(&mut self, applied: u64, announced: Contents) -> Result<Stage, TransferError> {
        self.progress.records_total = announced.records();
        let filling = Filling::begin(self.disk.clone(), &self.data_dir.join(INCOMING), &self.options.tree)?;
        Ok(Stage::Tree(Box::new(TreeParts { applied, filling, announced, last: None })))
    }

    fn begin_log(&self, first_index: u64) -> Result<NewLog, StoreError> {
        let options = LogOptions { first_index, ..self.options.log.clone() };
        let dir = self.data_log_dir.join(INCOMING_LOG);
        Ok(NewLog { log: Log::open(self.disk.clone(), &dir, &options)?, dir, staged: 0 })
    }

    fn take_log_item(&mut self, mut parts: LogParts, item: Item<'_>) -> Result<Stage, TransferError> {
        let next = parts.log.log.next_index();
        match item {
            Item::Entry { index, entry } if index == next => {
                self.check_entry(entry)?;
                parts.log.append(entry)?;
                self.progress.entries += 1;
                Ok(Stage::Log(parts))
            }
            Item::Tail(tail) if tail.end == next && (parts.applied..=next).contains(&tail.decided) => {
                parts.log.sync()?;
                self.progress.complete = true;
                Ok(Stage::Whole(parts, tail))
            }
            Item::Tail(_) => unexpected("its tail belongs to another log"),
            Item::Entry { .. } | Item::Head { .. } | Item::Value { .. } | Item::Record { .. } => {
                unexpected("its log entries do not follow each other")
            }
        }
    }
}

impl TreeParts {
    fn value(&mut self, name: &str, value: &[u8]) -> Result<(), TransferError> {
        match self.last {
            None => Ok(self.filling.put_meta(name, value)?),
            Some(_) => unexpected("it has values behind records"),
        }
    }

    fn record(&mut self, kind: Kind, key: u64, record: &[u8]) -> Result<(), TransferError> {
        let place = Some((kind as usize, key));
        if place <= self.last {
            return unexpected("its records are not in order");
        }
        self.last = place;
        Ok(self.filling.put(kind, key, record)?)
    }

    /// Checks that the tree is complete, and goes on to the log.
    fn end(mut self, log: NewLog) -> Result<LogParts, TransferError> {
        match self.filling.contents()? == self.announced {
            true => Ok(LogParts { applied: self.applied, filling: self.filling, log }),
            false => unexpected("its records are not those it began to send"),
        }
    }
}

impl NewLog {
    fn append(&mut self, entry: &[u8]) -> Result<(), TransferError> {
        self.stage(|log| log.append(entry).map(drop))?;
        self.staged += entry.len();
        if self.staged >= STAGED_LEN { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), TransferError> {
        self.staged = 0;
        self.log.sync().map_err(|SyncError::Full| self.full().into())
    }

    /// Brings the log into its final form, durably, and returns the index after its last entry.
    fn finish(mut self, applied: u64, tail: &Tail, decided: &InstalledScalars) -> Result<u64, TransferError> {
        let (end, keep_until) = (tail.end, decided.keep_until);
        assert!((applied..=end).contains(&keep_until), "entries {applied}..{end} came, not {keep_until}");
        if keep_until < end {
            self.stage(|log| log.truncate(keep_until))?;
        }
        for entry in &decided.own {
            self.append(entry)?;
        }
        for (key, value) in &decided.scalars {
            self.stage(|log| log.set_scalar(*key, value))?;
        }
        self.sync()?;
        Ok(self.log.next_index())
    }

    fn stage(&mut self, mut stage: impl FnMut(&mut Log) -> Result<(), AppendError>) -> Result<(), TransferError> {
        let mut staged = stage(&mut self.log);
        if staged == Err(AppendError::SyncFirst) {
            self.sync()?;
            staged = stage(&mut self.log);
        }
        match staged {
            Ok(()) => Ok(()),
            Err(AppendError::Full) => Err(self.full().into()),
            Err(AppendError::TooLarge { .. } | AppendError::SyncFirst) => unexpected("an entry is too large for a log"),
        }
    }

    fn full(&self) -> StoreError {
        StoreError::Full { path: self.dir.clone() }
    }
}

fn unexpected<T>(what: &'static str) -> Result<T, TransferError> {
    Err(TransferError::Unexpected { what })
}

#[cfg(test)]
mod tests {
    use oxkeeper_store::fake::FakeDisk;

    use super::*;
    use crate::transfer::chunk::seal;

    /// Receives a stream of these items, each in its own chunk. Returns whether the state is
    /// complete, or the reason why the last item is refused; all items before it must be accepted.
    fn outcome(items: &[Item<'_>]) -> Result<bool, String> {
        let disk: Arc<dyn Disk> = Arc::new(FakeDisk::new());
        let options = StoreOptions::default();
        let mut receiver = Receiver::new(&disk, Path::new("/data"), Path::new("/data"), &options).expect("empty");
        for (number, item) in items.iter().enumerate() {
            let (mut content, mut chunk) = (Vec::new(), Vec::new());
            item.encode(&mut content);
            seal(number as u64, &content, &mut chunk);
            match receiver.take(&chunk) {
                Ok(_) => {}
                Err(TransferError::Unexpected { what }) if number + 1 == items.len() => return Err(what.to_owned()),
                Err(other) => panic!("item {number}: {other}"),
            }
        }
        Ok(receiver.tail().is_some())
    }

    /// Returns the contents that the head announces for a tree of these records.
    fn contents(records: &[(Kind, u64)]) -> Contents {
        let disk: Arc<dyn Disk> = Arc::new(FakeDisk::new());
        let mut filling = Filling::begin(disk, Path::new("/data"), &Default::default()).expect("room");
        filling.put_meta("name", b"value").expect("room");
        records.iter().for_each(|(kind, key)| filling.put(*kind, *key, b"record").expect("room"));
        filling.contents().expect("room")
    }

    fn head(records: &[(Kind, u64)]) -> Item<'static> {
        Item::Head { applied: 5, contents: contents(records) }
    }

    fn record(kind: Kind, key: u64) -> Item<'static> {
        Item::Record { kind, key, record: b"record" }
    }

    fn entry(index: u64) -> Item<'static> {
        // A batch of a standalone server, without commands.
        Item::Entry { index, entry: &[1, 0, 0, 0, 0, 0, 0, 0, 0] }
    }

    fn tail(decided: u64, end: u64) -> Item<'static> {
        Item::Tail(Tail { decided, end, ..Tail::default() })
    }

    const VALUE: Item<'static> = Item::Value { name: "name", value: b"value" };

    /// A state of a feature level that this server does not know is refused, whether the tree or a
    /// later log entry has that level.
    #[test]
    fn a_newer_state_is_refused() {
        let refused = |items: &[Item<'_>]| {
            let disk: Arc<dyn Disk> = Arc::new(FakeDisk::new());
            let options = StoreOptions::default();
            let mut receiver = Receiver::new(&disk, Path::new("/data"), Path::new("/data"), &options).expect("empty");
            let taken = items.iter().enumerate().try_for_each(|(number, item)| {
                let (mut content, mut chunk) = (Vec::new(), Vec::new());
                item.encode(&mut content);
                seal(number as u64, &content, &mut chunk);
                receiver.take(&chunk).map(drop)
            });
            match taken {
                Err(TransferError::Newer { needs, knows }) => Some((needs.0, knows)),
                Ok(()) | Err(_) => None,
            }
        };
        let level = |value: &'static [u8]| Item::Value { name: LEVEL, value };
        assert_eq!(refused(&[head(&[]), level(&[0, 0, 0, 1])]), None);
        assert_eq!(refused(&[head(&[]), level(&[0, 0, 0, 9, 7])]), Some((9, Level::KNOWN)));
        let newer = Item::Entry { index: 5, entry: &[200, 0, 0, 0, 9] };
        assert_eq!(refused(&[head(&[]), VALUE, newer]), Some((9, Level::KNOWN)));
    }

    #[test]
    fn what_makes_no_state_is_refused_where_it_stands() {
        let two = [(Kind::Znode, 2), (Kind::Session, 1)];
        let sound = [head(&two), VALUE, record(two[0].0, 2), record(two[1].0, 1), entry(5), entry(6), tail(6, 7)];
        assert_eq!(outcome(&sound), Ok(true));
        for cut in 0..sound.len() {
            assert_eq!(outcome(&sound[..cut]), Ok(false), "cut at {cut}");
        }
        let check = |keep: usize, item: Item<'static>, what: &str| {
            let items = [&sound[..keep], &[item][..]].concat();
            assert_eq!(outcome(&items), Err(what.to_owned()));
        };
        check(0, VALUE, "it does not begin with a head");
        check(1, head(&two), "it has two heads");
        check(3, VALUE, "it has values behind records");
        check(3, record(Kind::Znode, 2), "its records are not in order");
        check(3, record(Kind::Znode, 1), "its records are not in order");
        check(4, record(Kind::Znode, 3), "its records are not in order");
        check(3, entry(5), "its records are not those it began to send");
        check(2, tail(5, 5), "its records are not those it began to send");
        check(4, entry(6), "its log entries do not follow each other");
        check(5, entry(5), "its log entries do not follow each other");
        check(5, record(Kind::Acl, 9), "it has records behind log entries");
        check(6, tail(6, 8), "its tail belongs to another log");
        check(6, tail(8, 7), "its tail belongs to another log");
        check(6, tail(4, 7), "its tail belongs to another log");
        check(7, entry(7), "something follows the tail");
    }

    #[test]
    fn another_record_than_announced_is_noticed_in_the_sum() {
        let announced = head(&[(Kind::Znode, 1)]);
        let items = [announced, VALUE, record(Kind::Znode, 2), entry(5)];
        assert_eq!(outcome(&items), Err("its records are not those it began to send".to_owned()));
    }
}
