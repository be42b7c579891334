//! The tree on a disk that crashes, fills up and flips bits: it holds the old checkpoint or the new
//! one, and serves intact records or none.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oxkeeper_store::fake::FakeDisk;
use oxkeeper_store::{Kind, RealDisk, StoreError, Tree, TreeOptions};
use proptest::prelude::*;

const DIR: &str = "/data";
const FILE: &str = "/data/tree.redb";

fn open(disk: &FakeDisk) -> Result<Tree, StoreError> {
    // The cache and the pace are small, so that pages leave the memory before the commit.
    let options = TreeOptions { cache_len: 64 << 10, pace_len: 64 << 10, pace_rest: Duration::ZERO };
    Tree::open(Arc::new(disk.clone()), Path::new(DIR), &options)
}

/// The expected contents of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    applied: u64,
    records: BTreeMap<(u8, u64), Vec<u8>>,
    meta: BTreeMap<String, Vec<u8>>,
}

/// The changes of one checkpoint; `None` removes.
#[derive(Debug, Clone)]
struct Changes {
    applied: u64,
    records: Vec<(Kind, u64, Option<Vec<u8>>)>,
    meta: Vec<(String, Vec<u8>)>,
}

impl Changes {
    fn write(&self, tree: &Tree) -> Result<(), StoreError> {
        tree.checkpoint(self.applied, |writer| {
            for (kind, key, value) in &self.records {
                match value {
                    Some(value) => writer.put(*kind, *key, value)?,
                    None => writer.remove(*kind, *key)?,
                }
            }
            self.meta.iter().try_for_each(|(key, value)| writer.put_meta(key, value))
        })
    }

    fn apply(&self, model: &mut Model) {
        model.applied = self.applied;
        for (kind, key, value) in &self.records {
            match value {
                Some(value) => model.records.insert((*kind as u8, *key), value.clone()),
                None => model.records.remove(&(*kind as u8, *key)),
            };
        }
        model.meta.extend(self.meta.iter().cloned());
    }

    /// Returns changes to the keys in `range`, of which every fifth is a removal.
    fn of(applied: u64, range: std::ops::Range<u64>) -> Self {
        let value = |key: u64| (key % 5 != 4).then(|| (key * 31 + applied).to_le_bytes().repeat(20));
        let mut records: Vec<_> = range.map(|key| (Kind::Znode, key, value(key))).collect();
        records.push((Kind::Session, applied, Some(b"session".to_vec())));
        records.push((Kind::Acl, 1, Some(applied.to_le_bytes().to_vec())));
        Self { applied, records, meta: vec![("epoch".to_owned(), applied.to_le_bytes().to_vec())] }
    }
}

/// Returns the whole contents of a tree; `None` without a checkpoint.
fn content(tree: &Tree) -> Result<Option<Model>, StoreError> {
    let Some(view) = tree.snapshot()? else { return Ok(None) };
    let mut model = Model { applied: view.applied_index(), ..Model::default() };
    for kind in Kind::ALL {
        let mut count = 0;
        view.load(kind, |key, value| {
            model.records.insert((kind as u8, key), value.to_vec());
            count += 1;
        })?;
        assert_eq!(count, view.count(kind));
    }
    if let Some(epoch) = view.meta("epoch")? {
        model.meta.insert("epoch".to_owned(), epoch);
    }
    Ok(Some(model))
}

/// Returns a tree after two checkpoints, so that stale pages exist, and its contents.
fn two_checkpoints() -> (FakeDisk, Model) {
    let (disk, mut model) = (FakeDisk::new(), Model::default());
    let tree = open(&disk).expect("begins");
    for changes in [Changes::of(10, 0..300), Changes::of(20, 100..400)] {
        changes.write(&tree).expect("room");
        changes.apply(&mut model);
    }
    assert_eq!(content(&tree).expect("sound").as_ref(), Some(&model));
    // This is the disk as a kill leaves it: redb tidies up when it is closed.
    (disk.kill(), model)
}

#[test]
fn a_crash_at_every_operation_leaves_the_old_checkpoint_or_the_new_one() {
    let mut models = vec![None];
    let changes = [Changes::of(10, 0..200), Changes::of(20, 100..250), Changes::of(30, 50..120)];
    for change in &changes {
        let mut model = models.last().cloned().flatten().unwrap_or_default();
        change.apply(&mut model);
        models.push(Some(model));
    }
    let mut at = 0;
    loop {
        let disk = FakeDisk::new();
        let tree = open(&disk).expect("begins");
        disk.crash_at(at);
        // Number of operations at which each checkpoint was confirmed.
        let confirmed: Vec<u64> = changes
            .iter()
            .map(|change| {
                change.write(&tree).expect("room");
                disk.operations()
            })
            .collect();
        if at >= confirmed[2] {
            break;
        }
        let certain = confirmed.iter().filter(|operations| **operations <= at).count();
        for seed in 0..3 {
            let crashed = disk.crash(seed);
            let found = content(&open(&crashed).expect("no crash damages a tree")).expect("sound");
            let allowed = &models[certain..=certain + 1];
            assert!(allowed.contains(&found), "crash at {at}: neither checkpoint {certain} nor the next");
        }
        at += 1;
    }
    assert!(at > 20, "there were operations to crash at: {at}");
}

#[test]
fn a_full_disk_at_every_operation_keeps_the_old_checkpoint_usable() {
    let (base, old) = two_checkpoints();
    let change = Changes::of(30, 0..500);
    let mut new = old.clone();
    change.apply(&mut new);
    let mut refused = 0;
    for at in 0.. {
        let disk = base.kill();
        let tree = open(&disk).expect("sound");
        disk.fail_writes_at(disk.operations() + at, ErrorKind::StorageFull);
        let before = disk.operations();
        match change.write(&tree) {
            Ok(()) if disk.operations() - before <= at => break,
            Ok(()) => assert_eq!(content(&tree).expect("sound").as_ref(), Some(&new)),
            Err(error) => {
                refused += 1;
                assert!(matches!(error, StoreError::Full { .. }), "{error}");
                assert_eq!(content(&tree).expect("usable").as_ref(), Some(&old), "operation {at}");
                let killed = open(&disk.kill()).expect("sound");
                assert_eq!(content(&killed).expect("sound").as_ref(), Some(&old), "operation {at}");
                change.write(&tree).expect("room again");
                assert_eq!(content(&tree).expect("sound").as_ref(), Some(&new), "operation {at}");
            }
        }
    }
    assert!(refused > 5, "the disk was full {refused} times");
}

#[test]
fn the_first_checkpoint_on_a_full_disk_leaves_none() {
    for room in [0, 4096, 80_000] {
        let disk = FakeDisk::new();
        let tree = open(&disk).expect("begins");
        disk.set_room(Some(room));
        let error = Changes::of(10, 0..2000).write(&tree).expect_err("full");
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert_eq!(content(&tree).expect("none"), None);
        disk.set_room(None);
        Changes::of(10, 0..2000).write(&tree).expect("room again");
        assert_eq!(content(&tree).expect("sound").expect("there").applied, 10);
    }
}

#[test]
fn after_a_full_disk_a_held_snapshot_delays_the_next_checkpoint() {
    let (disk, old) = two_checkpoints();
    let tree = open(&disk).expect("sound");
    let view = tree.snapshot().expect("sound").expect("a checkpoint");
    disk.set_room(Some(disk.used()));
    let error = Changes::of(30, 0..5000).write(&tree).expect_err("full");
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    disk.set_room(None);
    let error = Changes::of(30, 0..10).write(&tree).expect_err("held");
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    drop(view);
    assert_eq!(content(&tree).expect("sound"), Some(old));
    Changes::of(30, 0..10).write(&tree).expect("room");
}

#[test]
fn an_aborted_checkpoint_changes_nothing() {
    let (disk, old) = two_checkpoints();
    let tree = open(&disk).expect("sound");
    let stop = || StoreError::Busy { path: FILE.into() };
    let stopped = tree.checkpoint(30, |writer| writer.put(Kind::Znode, 1, b"no").and_then(|()| Err(stop())));
    assert!(stopped.is_err());
    assert_eq!(content(&tree).expect("sound"), Some(old));
}

/// Opens and loads a damaged tree; returns `None` if redb panicked, which stops the process.
fn judge(disk: &FakeDisk) -> Option<Result<Option<Model>, StoreError>> {
    catch_unwind(AssertUnwindSafe(|| content(&open(disk)?))).ok()
}

#[test]
fn a_flip_anywhere_is_refused_or_harmless() {
    let (disk, model) = two_checkpoints();
    let len = disk.content(Path::new(FILE)).expect("there").len();
    let (mut refused, mut stopped, mut harmless) = (0, 0, 0);
    // Damage every byte of the header page, and samples of the rest.
    let bytes = (0..512).chain((512..len).step_by(83));
    for (turn, byte) in bytes.enumerate() {
        let bit = byte * 8 + turn % 8;
        disk.flip(Path::new(FILE), bit);
        match judge(&disk.kill()) {
            None => stopped += 1,
            Some(Err(error)) => {
                assert!(error.to_string().starts_with(FILE), "{error}");
                refused += 1;
            }
            Some(Ok(found)) => {
                assert_eq!(found.as_ref(), Some(&model), "bit {bit}: served what was not written");
                harmless += 1;
            }
        }
        disk.flip(Path::new(FILE), bit);
    }
    println!("flips refused: {refused}, stopped by a panic of redb: {stopped}, harmless: {harmless}");
    assert!(refused > harmless / 10 && harmless > 0, "refused {refused}, stopped {stopped}, harmless {harmless}");
}

#[test]
fn every_flip_of_a_value_names_the_record() {
    let disk = FakeDisk::new();
    let tree = open(&disk).expect("begins");
    let value = b"a value nobody else has".to_vec();
    tree.checkpoint(1, |writer| writer.put(Kind::Znode, 77, &value)).expect("room");
    let disk = disk.kill();
    let content = disk.content(Path::new(FILE)).expect("there");
    let places: Vec<_> = content.windows(value.len()).enumerate().filter(|(_, bytes)| *bytes == value).collect();
    assert_eq!(places.len(), 1, "the value lies in one place");
    let place = places[0].0;
    for bit in (place - 4) * 8..(place + value.len()) * 8 {
        disk.flip(Path::new(FILE), bit);
        let view = open(&disk.kill()).expect("opens").snapshot().expect("opens").expect("a checkpoint");
        let loaded = view.load(Kind::Znode, |_, _| panic!("served"));
        assert!(matches!(&loaded, Err(StoreError::DamagedRecord { key: 77, .. })), "{loaded:?}");
        assert!(view.get(Kind::Znode, 77).is_err());
        disk.flip(Path::new(FILE), bit);
    }
}

#[test]
fn a_file_cut_or_emptied_is_refused() {
    let (disk, _) = two_checkpoints();
    let whole = disk.content(Path::new(FILE)).expect("there");
    for len in [0, 1, 100, 512, 4096, whole.len() / 2, whole.len() - 4096] {
        disk.set_content(Path::new(FILE), whole[..len].to_vec());
        let judged = judge(&disk.kill());
        assert!(!matches!(judged, Some(Ok(_))), "cut to {len} bytes");
        if len == 0 {
            assert!(matches!(judged, Some(Err(StoreError::Empty { .. }))));
        }
    }
    disk.set_content(Path::new(FILE), vec![b'x'; 200_000]);
    assert!(matches!(judge(&disk), Some(Err(StoreError::Foreign { .. }))));
}

#[test]
fn an_unknown_version_is_refused() {
    const HEADER: redb::TableDefinition<'static, u8, &[u8]> = redb::TableDefinition::new("header");
    let root = tempfile::tempdir().expect("temporary directory");
    let open = || Tree::open(Arc::new(RealDisk), root.path(), &TreeOptions::default());
    open().expect("begins").checkpoint(1, |_| Ok(())).expect("room");
    let database = redb::Database::open(root.path().join("tree.redb")).expect("a redb file");
    let txn = database.begin_write().expect("begins");
    let mut row = txn.open_table(HEADER).expect("there").remove(0).expect("sound").expect("there").value().to_vec();
    let content = row.len() - 4;
    row[0] = 9;
    let crc = crc32fast::hash(&row[..content]);
    row[content..].copy_from_slice(&crc.to_le_bytes());
    txn.open_table(HEADER).expect("there").insert(0, &row[..]).expect("sound");
    txn.commit().expect("room");
    drop(database);
    let error = open().expect_err("refused");
    assert!(matches!(error, StoreError::UnknownVersion { found: 9, .. }), "{error}");
}

#[test]
#[should_panic(expected = "would go back")]
fn a_checkpoint_does_not_go_back() {
    let (disk, _) = two_checkpoints();
    let _ = Changes::of(19, 0..1).write(&open(&disk).expect("sound"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_follow_any_puts_and_removes(
        groups in prop::collection::vec(prop::collection::vec((0..3_usize, 0..30_u64, any::<Option<Vec<u8>>>()), 0..40), 1..5),
    ) {
        let (disk, mut model) = (FakeDisk::new(), Model::default());
        for (turn, records) in groups.into_iter().enumerate() {
            let records = records.into_iter().map(|(kind, key, value)| (Kind::ALL[kind], key, value)).collect();
            let meta = vec![("epoch".to_owned(), vec![turn as u8])];
            let changes = Changes { applied: turn as u64, records, meta };
            // The tree is reopened each time, so that the sums must be persisted.
            changes.write(&open(&disk).expect("sound")).expect("room");
            changes.apply(&mut model);
        }
        prop_assert_eq!(content(&open(&disk.kill()).expect("sound")).expect("sound"), Some(model));
    }
}
