//! A tree filled from another tree equals it, or else it is not a tree.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oxkeeper_store::fake::FakeDisk;
use oxkeeper_store::{Contents, Filling, Kind, Snapshot, StoreError, Tree, TreeOptions};

const DIR: &str = "/data/incoming";

fn options() -> TreeOptions {
    TreeOptions { pace_rest: Duration::ZERO, ..TreeOptions::default() }
}

fn begin(disk: &FakeDisk) -> Result<Filling, StoreError> {
    Filling::begin(Arc::new(disk.clone()), Path::new(DIR), &options())
}

fn open(disk: &FakeDisk, dir: &str) -> Tree {
    Tree::open(Arc::new(disk.clone()), Path::new(dir), &options()).expect("sound, or not there")
}

/// Returns various records: some of them are large, some small.
fn records(count: u64) -> Vec<(Kind, u64, Vec<u8>)> {
    let value = |key: u64| vec![key as u8; if key.is_multiple_of(97) { 70_000 } else { 60 + key as usize % 50 }];
    let of =
        |kind: Kind, every: u64| (0..count).filter(move |key| key % every == 0).map(move |key| (kind, key, value(key)));
    of(Kind::Znode, 1).chain(of(Kind::Session, 5)).chain(of(Kind::Acl, 11)).collect()
}

fn fill(disk: &FakeDisk, records: &[(Kind, u64, Vec<u8>)], applied: u64) -> Result<Contents, StoreError> {
    let mut filling = begin(disk)?;
    filling.put_meta("name", b"value")?;
    records.iter().try_for_each(|(kind, key, value)| filling.put(*kind, *key, value))?;
    let contents = filling.contents()?;
    filling.finish(applied)?;
    Ok(contents)
}

fn read(snapshot: &Snapshot) -> Vec<(Kind, u64, Vec<u8>)> {
    let mut found = Vec::new();
    for kind in Kind::ALL {
        snapshot.load(kind, |key, value| found.push((kind, key, value.to_vec()))).expect("sound");
    }
    found
}

#[test]
fn a_filled_tree_is_the_tree_of_one_checkpoint() {
    for count in [0, 1, 5000] {
        let (disk, records) = (FakeDisk::new(), records(count));
        let contents = fill(&disk, &records, 12).expect("room");
        let filled = open(&disk, DIR).snapshot().expect("sound").expect("there");
        assert_eq!((filled.applied_index(), filled.contents()), (12, contents));
        assert_eq!(contents.records(), records.len() as u64);
        assert!(read(&filled) == records);

        let tree = open(&disk, "/other");
        let written = tree.checkpoint(12, |writer| {
            writer.put_meta("name", b"value")?;
            records.iter().try_for_each(|(kind, key, value)| writer.put(*kind, *key, value))
        });
        written.expect("room");
        let written = tree.snapshot().expect("sound").expect("there");
        assert_eq!(written.contents(), contents);
        assert_eq!(Contents::decode(&contents.encode()), contents);
        let mut values = Vec::new();
        filled.load_meta(|name, value| values.push((name.to_owned(), value.to_vec()))).expect("sound");
        assert_eq!(values, [("name".to_owned(), b"value".to_vec())]);
    }
}

#[test]
fn a_tree_is_read_piece_by_piece() {
    let (disk, records) = (FakeDisk::new(), records(300));
    fill(&disk, &records, 1).expect("room");
    let snapshot = open(&disk, DIR).snapshot().expect("sound").expect("there");
    for piece in [1, 7, 1000] {
        let mut found = Vec::new();
        for kind in Kind::ALL {
            let (mut sum, mut next) = (oxkeeper_store::Sum::default(), Some(0));
            while let Some(from) = next {
                let mut count = 0;
                let part = snapshot.load_while(kind, from, |key, value| {
                    found.push((kind, key, value.to_vec()));
                    count += 1;
                    count < piece
                });
                let (part_sum, behind) = part.expect("sound");
                (sum, next) = (sum + part_sum, behind);
            }
            snapshot.check(kind, sum).expect("all of them");
        }
        assert!(found == records, "{piece} at a time");
    }
}

#[test]
fn half_a_tree_is_none_wherever_it_is_cut() {
    let (records, mut there) = (records(3000), [0; 2]);
    let whole = FakeDisk::new();
    fill(&whole, &records, 3).expect("room");
    let end = whole.operations();
    // The last operations are the critical ones.
    for at in (0..end - 15).step_by(11).chain(end - 15..=end) {
        let disk = FakeDisk::new();
        disk.crash_at(at);
        let contents = fill(&disk, &records, 3).expect("room");
        for crashed in [disk.crash(at), disk.kill()] {
            let found = open(&crashed, DIR).snapshot().expect("sound");
            assert!(found.as_ref().is_none_or(|found| found.contents() == contents), "crash at {at}");
            there[usize::from(found.is_some())] += 1;
        }
    }
    assert!(there[0] > 50 && there[1] > 1, "absent and there: {there:?}");
}

#[test]
fn a_full_disk_is_said_and_leaves_no_tree() {
    let records = records(3000);
    for room in [0, 1 << 20, 2 << 20, 3 << 20] {
        let disk = FakeDisk::new();
        disk.set_room(Some(room));
        assert!(matches!(fill(&disk, &records, 3), Err(StoreError::Full { .. })), "{room}");
        disk.set_room(None);
        assert!(open(&disk, DIR).snapshot().expect("sound").is_none(), "{room}");
    }
}
